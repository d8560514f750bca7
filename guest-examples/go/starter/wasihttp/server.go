//go:build wasip1

package wasihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"
)

var (
	handler http.Handler
	// Whether a call of the host is under way.
	serving bool
)

// Serve makes h answer the requests that the host has. With nil it is http.DefaultServeMux.
//
// It only takes note of h, and has to be called from init: in a component nobody calls main.
func Serve(h http.Handler) {
	if h == nil {
		h = http.DefaultServeMux
	}
	handler = h
}

// What the host calls, once for every request and never twice at a time.
//
//go:wasmexport wasi:http/incoming-handler@0.2.0#handle
func exportHandle(request, responseOutparam uint32) {
	done := false
	serving = true
	go func() {
		defer func() {
			done = true
			tellLoop()
		}()
		serve(request, responseOutparam)
	}()
	runUntil(&done)
	serving = false
}

var (
	errOver  = errors.New("wasihttp: the handler has returned")
	errAbort = errors.New("wasihttp: the handler gave up")
)

func serve(incoming, responseOutparam uint32) {
	ctx, cancel := context.WithCancelCause(context.Background())
	request, body, problem := newRequest(ctx, cancel, incoming)
	w := &response{
		request:  request,
		cancel:   cancel,
		outparam: responseOutparam,
		header:   http.Header{},
		length:   -1,
		buffer:   spareBuffer[:0],
	}
	spareBuffer = nil

	finished := false
	defer func() {
		thrown := recover()
		switch {
		case finished:
			w.finish()
		case thrown == nil || thrown == http.ErrAbortHandler:
			// nil is a handler that has left by runtime.Goexit.
			w.abort()
		default:
			fmt.Fprintf(os.Stderr, "wasihttp: panic serving %s %s: %v\n%s",
				request.Method, request.URL.Path, thrown, debug.Stack())
			w.fail()
		}
		if body != nil {
			body.close(http.ErrBodyReadAfterClose)
		}
		w.over = true
		spareBuffer, w.buffer = w.buffer, nil
		cancel(errOver)
		endExchanges()
	}()

	switch {
	case problem != 0:
		http.Error(w, http.StatusText(problem), problem)
	case handler == nil:
		fmt.Fprintln(os.Stderr, "wasihttp: nobody has called Serve; it has to be called from init")
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	default:
		handler.ServeHTTP(w, request)
	}
	finished = true
}

var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// newRequest takes over the request. If it cannot be handled, the status to answer with is not 0.
func newRequest(ctx context.Context, cancel context.CancelCauseFunc, incoming uint32) (*http.Request, *input, int) {
	request := &http.Request{
		Method:     "GET",
		URL:        &url.URL{Path: "/"},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{},
		Body:       http.NoBody,
	}
	defer dropIncomingRequest(incoming)

	method, target, scheme, authority, fit := requestLine(incoming)
	header, headerFits := takeFields(incomingRequestHeaders(incoming))
	if !fit || !headerFits {
		fmt.Fprintf(os.Stderr, "wasihttp: the head of a request is larger than %d bytes\n", scratchSize)
		return request.WithContext(ctx), nil, http.StatusRequestHeaderFieldsTooLarge
	}
	request.Method = method
	request.Header = header
	request.RequestURI = target
	request.Host = authority
	if request.Host == "" {
		request.Host = header.Get("Host")
	}
	delete(header, "Host")
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return request.WithContext(ctx), nil, http.StatusBadRequest
	}
	request.URL = parsed
	request.URL.Scheme = scheme
	request.URL.Host = request.Host

	request.ContentLength = contentLength(header)
	if request.ContentLength == 0 {
		return request.WithContext(ctx), nil, 0
	}
	incomingRequestConsume(incoming, readResult.pointer())
	if readResult.u8(0) != 0 {
		return request.WithContext(ctx), nil, 0
	}
	incomingBody := readResult.u32(4)
	if request.ContentLength < 0 || header["Trailer"] != nil {
		request.Trailer = http.Header{}
	}
	body := newInput(incomingBody, request.Trailer, func(err error) {
		if err != nil && err != http.ErrBodyReadAfterClose && err != errClosed {
			// The client did not send it to its end, so it is gone.
			cancel(err)
		}
	})
	// Without a length nothing but reading tells whether there is a body.
	if request.ContentLength < 0 && body.empty() {
		request.ContentLength = 0
		request.Trailer = nil
		return request.WithContext(ctx), nil, 0
	}
	request.Body = body
	return request.WithContext(ctx), body, 0
}

// requestLine is all of a request that is neither headers nor body.
func requestLine(incoming uint32) (method, target, scheme, authority string, fit bool) {
	scratchLock.Lock()
	defer scratchLock.Unlock()
	fit = true
	get := func(from func(uint32, unsafe.Pointer)) {
		lend(scratchBytes())
		from(incoming, scratchResult.pointer())
		if !takeBack() {
			fit = false
			scratchResult = result{}
		}
	}

	get(incomingRequestMethod)
	if kind := int(scratchResult.u8(0)); kind < len(methods) {
		method = methods[kind]
	} else {
		method = scratchResult.text(4)
	}
	target = "/"
	get(incomingRequestPathWithQuery)
	if scratchResult.u8(0) != 0 {
		if path := scratchResult.text(4); path != "" {
			target = path
		}
		if target[0] == '?' {
			target = "/" + target
		}
	}
	get(incomingRequestScheme)
	if scratchResult.u8(0) != 0 {
		switch scratchResult.u8(4) {
		case 0:
			scheme = "http"
		case 1:
			scheme = "https"
		default:
			scheme = scratchResult.text(8)
		}
	}
	get(incomingRequestAuthority)
	if scratchResult.u8(0) != 0 {
		authority = scratchResult.text(4)
	}
	return
}

// contentLength is the one that a header tells, or -1.
func contentLength(header http.Header) int64 {
	length, err := strconv.ParseUint(strings.TrimSpace(header.Get("Content-Length")), 10, 63)
	if err != nil {
		return -1
	}
	return int64(length)
}

// Bytes of a response that are gathered before they are sent, if nobody flushes.
const bufferSize = 8 << 10

// The buffer of the last response, for the next.
var spareBuffer []byte

// response is the http.ResponseWriter, and an http.Flusher.
type response struct {
	request  *http.Request
	cancel   context.CancelCauseFunc
	outparam uint32
	header   http.Header
	status   int
	// What header was when the status was given. This is what is sent.
	head http.Header
	// The content-length that the handler gave, or -1.
	length int64
	// Bytes that the handler wrote.
	written int64
	buffer  []byte
	sent    bool
	// nil before the head is sent, and if there is no body.
	body *output
	// What failed in sending.
	err error
	// The handler has returned.
	over bool
}

func (w *response) Header() http.Header {
	return w.header
}

func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("wasihttp: invalid status %d", status))
	}
	if w.over {
		return
	}
	if w.status != 0 {
		fmt.Fprintf(os.Stderr, "wasihttp: a second status, %d after %d, is ignored\n", status, w.status)
		return
	}
	if status < 200 {
		// wasi:http 0.2 has no way to send these.
		return
	}
	w.status = status
	w.head = w.header.Clone()
	if w.head["Content-Length"] != nil {
		w.length = contentLength(w.head)
		if w.length < 0 || !bodyAllowed(status) && status != http.StatusNotModified {
			w.length = -1
			delete(w.head, "Content-Length")
		}
	}
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	if w.over {
		return 0, errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.request.Method == http.MethodHead {
		// Not sent, but it shows what type it would have.
		w.buffer = append(w.buffer, p[:min(len(p), bufferSize-len(w.buffer))]...)
		return len(p), nil
	}
	if w.err != nil {
		return 0, w.err
	}
	size := len(p)
	if len(w.buffer)+len(p) > bufferSize {
		// The buffer is filled first, so that there is enough of it to see what type it has.
		room := bufferSize - len(w.buffer)
		w.buffer = append(w.buffer, p[:room]...)
		p = p[room:]
		if err := w.sendBuffer(false); err != nil {
			return 0, err
		}
		if len(p) >= bufferSize {
			if err := w.check(w.body.write(p)); err != nil {
				return 0, err
			}
			return size, nil
		}
	}
	w.buffer = append(w.buffer, p...)
	return size, nil
}

func (w *response) WriteString(s string) (int, error) {
	// Write neither changes nor keeps what it gets.
	return w.Write(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func (w *response) Flush() {
	w.FlushError()
}

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	if w.over {
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.sendBuffer(false); err != nil {
		return err
	}
	if w.body == nil {
		return nil
	}
	return w.check(w.body.flush())
}

// check keeps the error of a write. There is only one reason for it: the client is gone.
func (w *response) check(err error) error {
	if err != nil && w.err == nil {
		w.err = err
		w.cancel(err)
	}
	return err
}

// sendBuffer sends what is in the buffer, and the head before it. At the end of the response last is true.
func (w *response) sendBuffer(last bool) error {
	if w.err != nil {
		return w.err
	}
	if !w.sent {
		w.sendHead(last)
	}
	if len(w.buffer) == 0 || w.body == nil {
		return nil
	}
	err := w.body.write(w.buffer)
	w.buffer = w.buffer[:0]
	return w.check(err)
}

func (w *response) sendHead(last bool) {
	allowed := bodyAllowed(w.status)
	head := w.request.Method == http.MethodHead
	trailers := w.head["Trailer"] != nil
	for name := range w.head {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			delete(w.head, name)
		}
	}
	for name := range w.header {
		trailers = trailers || strings.HasPrefix(name, http.TrailerPrefix)
	}
	for _, name := range w.declaredTrailers() {
		delete(w.head, name)
	}
	if last && allowed && w.length < 0 && !trailers && (!head || w.written > 0) {
		w.length = w.written
		w.head["Content-Length"] = []string{strconv.FormatInt(w.length, 10)}
	}
	if _, typed := w.head["Content-Type"]; !typed && len(w.buffer) > 0 && w.head.Get("Content-Encoding") == "" {
		w.head["Content-Type"] = []string{http.DetectContentType(w.buffer)}
	}

	outgoing := newOutgoingResponse(makeFields(w.head))
	if w.status != http.StatusOK && outgoingResponseSetStatusCode(outgoing, uint32(w.status)) != 0 {
		fmt.Fprintf(os.Stderr, "wasihttp: the host does not take the status %d\n", w.status)
		outgoingResponseSetStatusCode(outgoing, http.StatusInternalServerError)
	}
	// A response whose body is never asked for has none, which is less work for all.
	if allowed && !head && (!last || len(w.buffer) > 0 || w.length > 0 || trailers) {
		outgoingResponseBody(outgoing, writeResult.pointer())
		w.body = newOutput(writeResult.u32(4))
	}
	responseOutparamSet(w.outparam, 0, outgoing, 0, 0, 0, 0, 0, 0)
	w.sent = true
}

func (w *response) declaredTrailers() []string {
	var names []string
	for _, list := range w.head["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			names = append(names, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return names
}

// finish sends what is left of a response whose handler has returned.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.sendBuffer(true) != nil || w.body == nil {
		if w.body != nil {
			w.body.close(w.err)
		}
		return
	}
	trailer := http.Header{}
	for _, name := range w.declaredTrailers() {
		if values := w.header[name]; len(values) > 0 {
			trailer[name] = values
		}
	}
	for name, values := range w.header {
		if name, is := strings.CutPrefix(name, http.TrailerPrefix); is {
			trailer[http.CanonicalHeaderKey(name)] = values
		}
	}
	if w.length >= 0 && w.written < w.length {
		fmt.Fprintf(os.Stderr, "wasihttp: %s %s: %d bytes written, %d were announced\n",
			w.request.Method, w.request.URL.Path, w.written, w.length)
		w.body.close(errAbort)
		return
	}
	w.check(w.body.finish(trailer))
}

// fail answers with a 500 if that is still possible, and cuts the response otherwise.
func (w *response) fail() {
	if w.sent {
		w.abort()
		return
	}
	w.buffer = w.buffer[:0]
	w.written, w.length, w.status = 0, -1, 0
	clear(w.header)
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	w.finish()
}

// abort lets the client see that there is no whole response.
func (w *response) abort() {
	switch {
	case !w.sent:
		responseOutparamSet(w.outparam, 1, internalError, 0, 0, 0, 0, 0, 0)
		w.sent = true
	case w.body != nil:
		w.body.close(errAbort)
	}
}
