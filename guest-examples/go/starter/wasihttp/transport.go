//go:build wasip1

package wasihttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Transport is the http.RoundTripper that sends requests through the host. It has no state.
//
// The host allows what it was told to allow; see Error for what comes of the rest. A request that is not over when the
// handler returns is given up, body and all.
type Transport struct{}

// An exchange is a request that went out, until its response has been read.
type exchange struct {
	ctx context.Context
	// Handles of the host, while the response is awaited.
	future, pollable uint32
	upload           *output
	download         *input
	// Why it was ended.
	err error
	// To be called at the end: one stops waiting for the context, the other closes the request's body.
	stop      func() bool
	closeBody func()

	previous, next *exchange
}

// The ends of the list of all exchanges, which are not part of it.
var firstExchange, lastExchange exchange

func init() {
	firstExchange.next = &lastExchange
	lastExchange.previous = &firstExchange
}

// endExchanges ends those that the handler has left.
func endExchanges() {
	for firstExchange.next != &lastExchange {
		firstExchange.next.end(errOver)
	}
}

// nextDeadline is when the first of the exchanges has to be over.
func nextDeadline() (first time.Time, ok bool) {
	for ex := firstExchange.next; ex != &lastExchange; ex = ex.next {
		if deadline, has := ex.ctx.Deadline(); has && (!ok || deadline.Before(first)) {
			first, ok = deadline, true
		}
	}
	return
}

// end gives back whatever there is, and wakes whoever waits. Ending twice is fine.
func (ex *exchange) end(err error) {
	if ex.err != nil {
		return
	}
	ex.err = err
	ex.previous.next, ex.next.previous = ex.next, ex.previous
	ex.dropFuture()
	if ex.upload != nil {
		ex.upload.close(err)
	}
	if ex.download != nil {
		ex.download.close(err)
	}
	if ex.stop != nil {
		ex.stop()
	}
	ex.closeBody()
}

func (ex *exchange) dropFuture() {
	if ex.pollable != 0 {
		pollable := ex.pollable
		ex.pollable = 0
		forget(pollable)
	}
	if ex.future != 0 {
		dropFutureIncomingResponse(ex.future)
		ex.future = 0
	}
}

// RoundTrip implements http.RoundTripper.
func (Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body := request.Body
	if body == http.NoBody {
		body = nil
	}
	response, err := roundTrip(request, body)
	if err != nil {
		return nil, err
	}
	return response, nil
}

func roundTrip(request *http.Request, body io.ReadCloser) (*http.Response, error) {
	closeBody := sync.OnceFunc(func() {
		if body != nil {
			body.Close()
		}
	})
	ctx := request.Context()
	if err := context.Cause(ctx); err != nil {
		closeBody()
		return nil, err
	}
	if !serving {
		closeBody()
		return nil, errors.New("wasihttp: a request can be sent only while one is being served")
	}
	outgoing, err := newOutgoing(request, body != nil)
	if err != nil {
		closeBody()
		return nil, err
	}
	ex := &exchange{ctx: ctx, closeBody: closeBody}
	if body != nil {
		outgoingRequestBody(outgoing, writeResult.pointer())
		ex.upload = newOutput(writeResult.u32(4))
	}
	if err := ex.send(outgoing); err != nil {
		if ex.upload != nil {
			ex.upload.close(err)
		}
		closeBody()
		return nil, err
	}
	ex.stop = context.AfterFunc(ctx, func() { ex.end(context.Cause(ctx)) })
	if body != nil {
		go func() {
			defer closeBody()
			if err := ex.sendBody(body); err != nil {
				ex.end(err)
			}
		}()
	}

	incoming, err := ex.receive()
	if err != nil {
		ex.end(err)
		return nil, ex.err
	}
	status := int(incomingResponseStatus(incoming))
	header, fit := takeFields(incomingResponseHeaders(incoming))
	if !fit {
		dropIncomingResponse(incoming)
		ex.end(fmt.Errorf("wasihttp: the head of the response is larger than %d bytes", scratchSize))
		return nil, ex.err
	}
	response := &http.Response{
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		ContentLength: contentLength(header),
		Body:          http.NoBody,
		Request:       request,
	}
	if response.ContentLength < 0 || header["Trailer"] != nil {
		response.Trailer = http.Header{}
	}
	incomingResponseConsume(incoming, readResult.pointer())
	failed, incomingBody := readResult.u8(0) != 0, readResult.u32(4)
	dropIncomingResponse(incoming)
	switch {
	case ex.err != nil:
		// Its time came while the header was being read.
		if !failed {
			dropIncomingBody(incomingBody)
		}
		return nil, ex.err
	case failed:
		ex.end(io.EOF)
	default:
		ex.download = newInput(incomingBody, response.Trailer, func(err error) {
			if err == nil {
				err = io.EOF
			}
			ex.end(err)
		})
		response.Body = ex.download
		if ex.err != nil {
			// It came before there was a download to close.
			ex.download.close(ex.err)
			return nil, ex.err
		}
	}
	return response, nil
}

// newOutgoing makes what the host calls a request, all but its body.
func newOutgoing(request *http.Request, hasBody bool) (uint32, error) {
	if request.URL == nil || request.URL.Host == "" {
		return 0, errors.New("wasihttp: no host in the URL of a request")
	}
	header := request.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if agent, has := header["User-Agent"]; !has {
		header["User-Agent"] = []string{"Go-http-client/1.1"}
	} else if len(agent) == 0 || agent[0] == "" {
		delete(header, "User-Agent")
	}
	delete(header, "Content-Length")
	if hasBody && request.ContentLength > 0 {
		header["Content-Length"] = []string{strconv.FormatInt(request.ContentLength, 10)}
	}
	outgoing := newOutgoingRequest(makeFields(header))
	if err := setTarget(outgoing, request.Method, request.URL); err != nil {
		dropOutgoingRequest(outgoing)
		return 0, err
	}
	return outgoing, nil
}

func setTarget(outgoing uint32, method string, target *url.URL) error {
	if method != "" && method != http.MethodGet {
		kind := len(methods)
		for i, known := range methods {
			if method == known {
				kind = i
			}
		}
		if outgoingRequestSetMethod(outgoing, uint32(kind), address(method), uint32(len(method))) != 0 {
			return fmt.Errorf("wasihttp: invalid method %q", method)
		}
	}
	kind := uint32(2)
	switch target.Scheme {
	case "http":
		kind = 0
	case "https":
		kind = 1
	}
	if outgoingRequestSetScheme(outgoing, 1, kind, address(target.Scheme), uint32(len(target.Scheme))) != 0 {
		return fmt.Errorf("wasihttp: unsupported scheme %q", target.Scheme)
	}
	if outgoingRequestSetAuthority(outgoing, 1, address(target.Host), uint32(len(target.Host))) != 0 {
		return fmt.Errorf("wasihttp: invalid host %q", target.Host)
	}
	path := target.RequestURI()
	if outgoingRequestSetPathWithQuery(outgoing, 1, address(path), uint32(len(path))) != 0 {
		return fmt.Errorf("wasihttp: invalid path %q", path)
	}
	return nil
}

// send hands the request to the host. From then on the exchange is in the list.
func (ex *exchange) send(outgoing uint32) error {
	scratchLock.Lock()
	defer scratchLock.Unlock()
	lend(scratchBytes())
	outgoingHandlerHandle(outgoing, 0, 0, scratchResult.pointer())
	fit := takeBack()
	if scratchResult.u8(0) != 0 {
		return errorAt(&scratchResult, 8, fit)
	}
	ex.future = scratchResult.u32(8)
	ex.previous, ex.next = lastExchange.previous, &lastExchange
	ex.previous.next, ex.next.previous = ex, ex
	return nil
}

// sendBody sends a body. An error is one of the body itself: that a server does not want to have it all is for the
// response to tell.
func (ex *exchange) sendBody(body io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		if err := ex.upload.write(buffer[:n]); err != nil {
			return wrongSize(err)
		}
		if err == io.EOF {
			return wrongSize(ex.upload.finish(nil))
		}
		if err != nil {
			return err
		}
		// What comes slowly is not to be held back.
		if n < len(buffer) {
			if err := ex.upload.flush(); err != nil {
				return wrongSize(err)
			}
		}
	}
}

// wrongSize is the error if it says that a body was not as long as announced, and otherwise nil.
func wrongSize(err error) error {
	if e, is := err.(*Error); is && e.Code == "HTTP-request-body-size" {
		return err
	}
	return nil
}

// receive waits for the response.
func (ex *exchange) receive() (uint32, error) {
	for {
		scratchLock.Lock()
		if ex.err != nil {
			scratchLock.Unlock()
			return 0, ex.err
		}
		lend(scratchBytes())
		futureIncomingResponseGet(ex.future, scratchResult.pointer())
		fit := takeBack()
		if scratchResult.u8(0) != 0 {
			// The result around the result only says that nobody asked before.
			if scratchResult.u8(16) != 0 {
				err := errorAt(&scratchResult, 24, fit)
				scratchLock.Unlock()
				return 0, err
			}
			incoming := scratchResult.u32(24)
			scratchLock.Unlock()
			ex.dropFuture()
			return incoming, nil
		}
		// Before the lock is given back: then others may run, and end this.
		if ex.pollable == 0 {
			ex.pollable = futureIncomingResponseSubscribe(ex.future)
		}
		scratchLock.Unlock()
		wait(&ex.pollable)
	}
}
