//go:build wasip1

package wasihttp

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"unsafe"
)

var (
	errClosed = errors.New("wasihttp: read or write of a body that is closed")
	errGone   = errors.New("wasihttp: the other side takes no more of the body")
)

// An input is the body of a request that came in, or of a response to one that went out.
type input struct {
	// One goroutine reads at a time. Closing needs no turn.
	reading sync.Mutex
	// Handles of the host. There is a stream until it has ended, then for a moment a future with the trailers.
	body, stream, future uint32
	// Belongs to the stream, then to the future. It is made when there is something to wait for.
	pollable uint32
	// What reading says from now on.
	err error
	// Trailers are put here, unless it is nil.
	trailer http.Header
	// Called once, when there is nothing more to be read and every handle is given back. The error is nil at the regular
	// end.
	over func(error)
}

// newInput takes over the body.
func newInput(body uint32, trailer http.Header, over func(error)) *input {
	in := &input{body: body, trailer: trailer, over: over}
	incomingBodyStream(body, readResult.pointer())
	// It can only fail the second time.
	in.stream = readResult.u32(4)
	return in
}

// empty says, without waiting, whether it is clear before the first byte that there is none.
func (in *input) empty() bool {
	lend(nil)
	inputStreamRead(in.stream, 0, readResult.pointer())
	takeBack()
	if readResult.u8(0) == 0 {
		return false
	}
	if readResult.u8(4) != 0 {
		// Trailers of nothing are not worth a turn of waiting for each request.
		in.close(io.EOF)
		return true
	}
	in.close(streamError(readResult.u32(8)))
	return false
}

func (in *input) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) > maxChunk {
		p = p[:maxChunk]
	}
	in.reading.Lock()
	defer in.reading.Unlock()
	for in.err == nil {
		// The host puts the bytes right where they are wanted.
		lend(p)
		inputStreamRead(in.stream, uint64(len(p)), readResult.pointer())
		takeBack()
		if readResult.u8(0) == 0 {
			if n := readResult.u32(8); n > 0 {
				return int(n), nil
			}
			if in.pollable == 0 {
				in.pollable = inputStreamSubscribe(in.stream)
			}
			wait(&in.pollable)
		} else if readResult.u8(4) != 0 {
			in.end()
		} else {
			in.close(streamError(readResult.u32(8)))
		}
	}
	return 0, in.err
}

func (in *input) Close() error {
	in.close(errClosed)
	return nil
}

// end is what comes after the last byte.
func (in *input) end() {
	if in.trailer == nil {
		in.close(io.EOF)
		return
	}
	in.dropStream()
	in.future = incomingBodyFinish(in.body)
	in.body = 0
	for in.err == nil {
		scratchLock.Lock()
		if in.err != nil {
			scratchLock.Unlock()
			return
		}
		lend(scratchBytes())
		futureTrailersGet(in.future, scratchResult.pointer())
		fit := takeBack()
		if scratchResult.u8(0) == 0 {
			// Before the lock is given back: then others may run, and close this.
			if in.pollable == 0 {
				in.pollable = futureTrailersSubscribe(in.future)
			}
			scratchLock.Unlock()
			wait(&in.pollable)
			continue
		}
		failed := scratchResult.u8(8) != 0
		var err error = io.EOF
		var fields uint32
		if !failed && scratchResult.u8(16) != 0 {
			err = errorAt(&scratchResult, 24, fit)
		} else if !failed && scratchResult.u8(24) != 0 {
			fields = scratchResult.u32(28)
		}
		scratchLock.Unlock()
		if fields != 0 {
			if header, ok := takeFields(fields); ok {
				for name, values := range header {
					in.trailer[name] = values
				}
			}
		}
		in.close(err)
	}
}

func (in *input) dropStream() {
	if in.pollable != 0 {
		pollable := in.pollable
		in.pollable = 0
		forget(pollable)
	}
	if in.stream != 0 {
		dropInputStream(in.stream)
		in.stream = 0
	}
}

// close gives back what there is, and wakes whoever waits for it. Closing twice is fine.
func (in *input) close(err error) {
	if in.err != nil {
		return
	}
	in.err = err
	in.dropStream()
	if in.future != 0 {
		dropFutureTrailers(in.future)
		in.future = 0
	}
	if in.body != 0 {
		dropIncomingBody(in.body)
		in.body = 0
	}
	if err == io.EOF {
		err = nil
	}
	if in.over != nil {
		in.over(err)
	}
}

// An output is the body of a response that goes out, or of a request.
type output struct {
	body, stream, pollable uint32
	// Why nothing more can be written.
	err error
}

// newOutput takes over the body.
func newOutput(body uint32) *output {
	out := &output{body: body}
	outgoingBodyWrite(body, writeResult.pointer())
	// It can only fail the second time.
	out.stream = writeResult.u32(4)
	return out
}

// permit waits until something may be written, and says how much.
func (out *output) permit() (int, error) {
	for out.err == nil {
		outputStreamCheckWrite(out.stream, writeResult.pointer())
		if writeResult.u8(0) != 0 {
			out.fail(8)
		} else if n := writeResult.u64(8); n > 0 {
			return int(min(n, maxChunk)), nil
		} else {
			if out.pollable == 0 {
				out.pollable = outputStreamSubscribe(out.stream)
			}
			wait(&out.pollable)
		}
	}
	return 0, out.err
}

// write sends all of p.
func (out *output) write(p []byte) error {
	for len(p) > 0 {
		n, err := out.permit()
		if err != nil {
			return err
		}
		n = min(n, len(p))
		outputStreamWrite(out.stream, unsafe.Pointer(unsafe.SliceData(p)), uint32(n), writeResult.pointer())
		if writeResult.u8(0) != 0 {
			out.fail(4)
			return out.err
		}
		p = p[n:]
	}
	return nil
}

// flush asks the host to pass on what it has, and does not wait for it.
func (out *output) flush() error {
	if out.err != nil {
		return out.err
	}
	outputStreamFlush(out.stream, writeResult.pointer())
	if writeResult.u8(0) != 0 {
		out.fail(4)
	}
	return out.err
}

// fail closes the body for the error that is in writeResult.
func (out *output) fail(at int) {
	if writeResult.u8(at) != 0 {
		out.close(errGone)
	} else {
		out.close(streamError(writeResult.u32(at + 4)))
	}
}

// finish ends the body as it should end.
func (out *output) finish(trailer http.Header) error {
	err := out.flush()
	if err == nil {
		// The stream may be dropped once it takes bytes again.
		_, err = out.permit()
	}
	if err != nil {
		return err
	}
	var fields uint32
	if len(trailer) > 0 {
		fields = makeFields(trailer)
		if out.err != nil {
			dropFields(fields)
			return out.err
		}
	}
	scratchLock.Lock()
	defer scratchLock.Unlock()
	if out.err != nil {
		if fields != 0 {
			dropFields(fields)
		}
		return out.err
	}
	out.dropStream()
	body := out.body
	out.body = 0
	out.err = errClosed
	has := uint32(0)
	if fields != 0 {
		has = 1
	}
	lend(scratchBytes())
	outgoingBodyFinish(body, has, fields, scratchResult.pointer())
	fit := takeBack()
	if scratchResult.u8(0) != 0 {
		return errorAt(&scratchResult, 8, fit)
	}
	return nil
}

func (out *output) dropStream() {
	if out.pollable != 0 {
		pollable := out.pollable
		out.pollable = 0
		forget(pollable)
	}
	if out.stream != 0 {
		dropOutputStream(out.stream)
		out.stream = 0
	}
}

// close cuts the body, unless it has been finished: who receives it is told that it is not whole.
func (out *output) close(err error) {
	if out.err != nil {
		return
	}
	out.err = err
	out.dropStream()
	if out.body != 0 {
		dropOutgoingBody(out.body)
		out.body = 0
	}
}

// streamError says what an error of a stream was, and gives it back.
func streamError(handle uint32) error {
	scratchLock.Lock()
	defer scratchLock.Unlock()
	lend(scratchBytes())
	httpErrorCode(handle, scratchResult.pointer())
	fit := takeBack()
	var err error
	if scratchResult.u8(0) != 0 {
		err = errorAt(&scratchResult, 8, fit)
	} else {
		lend(scratchBytes())
		ioErrorToDebugString(handle, scratchResult.pointer())
		if takeBack() {
			err = &Error{Code: "internal-error", Detail: scratchResult.text(0)}
		} else {
			err = &Error{Code: "internal-error"}
		}
	}
	dropIoError(handle)
	return err
}

// The cases of error-code, in the order of its definition.
var errorCodes = [...]string{
	"DNS-timeout",
	"DNS-error",
	"destination-not-found",
	"destination-unavailable",
	"destination-IP-prohibited",
	"destination-IP-unroutable",
	"connection-refused",
	"connection-terminated",
	"connection-timeout",
	"connection-read-timeout",
	"connection-write-timeout",
	"connection-limit-reached",
	"TLS-protocol-error",
	"TLS-certificate-error",
	"TLS-alert-received",
	"HTTP-request-denied",
	"HTTP-request-length-required",
	"HTTP-request-body-size",
	"HTTP-request-method-invalid",
	"HTTP-request-URI-invalid",
	"HTTP-request-URI-too-long",
	"HTTP-request-header-section-size",
	"HTTP-request-header-size",
	"HTTP-request-trailer-section-size",
	"HTTP-request-trailer-size",
	"HTTP-response-incomplete",
	"HTTP-response-header-section-size",
	"HTTP-response-header-size",
	"HTTP-response-body-size",
	"HTTP-response-trailer-section-size",
	"HTTP-response-trailer-size",
	"HTTP-response-transfer-coding",
	"HTTP-response-content-coding",
	"HTTP-response-timeout",
	"HTTP-upgrade-failed",
	"HTTP-protocol-error",
	"loop-detected",
	"configuration-error",
	"internal-error",
}

const internalError = uint32(len(errorCodes) - 1)

// errorAt reads an error-code, with what belongs to it if that has fitted. scratchLock must be held.
func errorAt(r *result, at int, fit bool) error {
	code := int(r.u8(at))
	if code >= len(errorCodes) {
		return &Error{Code: "unknown"}
	}
	err := &Error{Code: errorCodes[code]}
	// Where the option<string> is, in those that have one that is of use.
	text := 0
	switch err.Code {
	case "DNS-error", "HTTP-response-transfer-coding", "HTTP-response-content-coding", "internal-error":
		text = at + 8
	case "TLS-alert-received":
		text = at + 12
	default:
		return err
	}
	if fit && r.u8(text) != 0 {
		err.Detail = r.text(text + 4)
	}
	return err
}
