//go:build wasip1

package wasihttp

import (
	"encoding/binary"
	"sync"
	"unsafe"
)

// This file is the border to the host: the memory that results are put in, and the functions that are imported, in the
// shapes that the canonical ABI of the component model gives them. A handle of the host is a uint32, and 0 is none.
//
// The host asks for memory for lists and strings through cabi_realloc, in the middle of a call. Go must not allocate
// then: an allocation may start the garbage collector, which reads the clock, and while the host waits for memory the
// component may not call out. So every call that yields a list first lends a piece of memory that is there already.
//
// Go runs on one thread here and switches goroutines only where it blocks, where it unlocks what another one waits for,
// and where it allocates, because who allocates may be made to wait for the collector. Hence the rules of this package:
// what the host puts in memory that goroutines share is read before any of that happens, or under a lock; a handle is used
// only right after a look at whether it is still there; and lists that goroutines share are linked ones, which change
// without an allocation.

const (
	// Lists and strings of one call have to fit in here, the headers of a request above all. It is memory that costs
	// nothing until it is used.
	scratchSize = 1 << 20
	// What is kept for good by the adapter between the system calls of Go and the host: a page for its state and one for
	// its stack, which it asks for at the start.
	adapterSize = 256 << 10
	// The most that is read or written in one call.
	maxChunk = 1 << 20
	// An address that no memory has. Whoever writes to it traps.
	nowhere = 0xffff_fff0
)

var (
	scratch [scratchSize / 8]uint64
	adapter [adapterSize / 8]uint64
	// How much of adapter is taken.
	adapterUsed uint32

	// Held from a call that fills scratch until its result has been copied. Some of what is copied is allocated, and other
	// goroutines may run then.
	scratchLock sync.Mutex
)

// What has been lent to the host for the call that is under way.
var loan struct {
	open       bool
	full       bool
	start      uint32
	next       uint32
	end        uint32
	keepsAlive []byte
}

// lend makes memory the place for what the next call yields. Nothing may be allocated until takeBack.
func lend(memory []byte) {
	// Besides keeping it, this makes sure that it is not on a stack, which could move.
	loan.keepsAlive = memory
	loan.start = uint32(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
	loan.next = loan.start
	loan.end = loan.start + uint32(len(memory))
	loan.full = false
	loan.open = true
}

// takeBack ends what lend began, and says whether all fitted. If not, what is in the memory means nothing.
func takeBack() bool {
	loan.open = false
	loan.keepsAlive = nil
	return !loan.full
}

// The host's way to memory. It runs within calls of the host and must do no more than arithmetic: no allocation, no
// growth of the stack, no panic.
//
//go:wasmexport cabi_realloc
//go:nosplit
func cabiRealloc(old, oldSize, align, size uint32) uint32 {
	if !loan.open {
		// Nothing of this package is being called, so it is the adapter that asks, and it never gives back.
		start := uint32(uintptr(unsafe.Pointer(&adapter)))
		at := (start + adapterUsed + align - 1) &^ (align - 1)
		if old != 0 || size > adapterSize || at+size > start+adapterSize {
			return nowhere
		}
		adapterUsed = at + size - start
		return at
	}
	if old != 0 {
		// Grows what it asked for last, which happens when it converts a string.
		if old+oldSize != loan.next || size > loan.end-old {
			return nowhere
		}
		loan.next = old + size
		return old
	}
	at := (loan.next + align - 1) &^ (align - 1)
	if at > loan.end || size > loan.end-at {
		// Whatever the host writes from now on overwrites what it wrote before. That harms nobody, because takeBack says so
		// and the whole is thrown away. What does not even fit alone has to be refused on the spot.
		loan.full = true
		at = (loan.start + align - 1) &^ (align - 1)
		if at > loan.end || size > loan.end-at {
			return nowhere
		}
		return at
	}
	loan.next = at + size
	return at
}

// scratchBytes is scratch as bytes.
func scratchBytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&scratch)), scratchSize)
}

// inScratch is a list of so many bytes that the host put there.
func inScratch(address, size uint32) []byte {
	if size == 0 {
		return nil
	}
	at := address - uint32(uintptr(unsafe.Pointer(&scratch)))
	// Out of bounds panics, so that a mistake here is seen.
	return scratchBytes()[at : at+size]
}

// A result of a call as the host leaves it in memory. Offsets are in bytes.
type result [8]uint64

func (r *result) pointer() unsafe.Pointer {
	return unsafe.Pointer(r)
}

func (r *result) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(r)), len(r)*8)
}

func (r *result) u8(at int) uint8 {
	return r.bytes()[at]
}

func (r *result) u32(at int) uint32 {
	return binary.LittleEndian.Uint32(r.bytes()[at:])
}

func (r *result) u64(at int) uint64 {
	return binary.LittleEndian.Uint64(r.bytes()[at:])
}

// text is the string in scratch whose address and length are at an offset.
func (r *result) text(at int) string {
	return string(inScratch(r.u32(at), r.u32(at+4)))
}

// One result for each of those calls that are decoded at once, and one for all that are made under scratchLock.
var (
	readResult    result
	writeResult   result
	pollResult    result
	scratchResult result
)

// address is where the bytes of a string are. The call that it is for must be the next thing that happens.
func address(text string) unsafe.Pointer {
	return unsafe.Pointer(unsafe.StringData(text))
}

// wasi:io

//go:wasmimport wasi:io/error@0.2.0 [method]error.to-debug-string
func ioErrorToDebugString(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/error@0.2.0 [resource-drop]error
func dropIoError(self uint32)

//go:wasmimport wasi:io/poll@0.2.0 poll
func pollPoll(list unsafe.Pointer, length uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/poll@0.2.0 [resource-drop]pollable
func dropPollable(self uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.read
func inputStreamRead(self uint32, length uint64, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.subscribe
func inputStreamSubscribe(self uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]input-stream
func dropInputStream(self uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.check-write
func outputStreamCheckWrite(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.write
func outputStreamWrite(self uint32, data unsafe.Pointer, length uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.flush
func outputStreamFlush(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.subscribe
func outputStreamSubscribe(self uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]output-stream
func dropOutputStream(self uint32)

// wasi:clocks

//go:wasmimport wasi:clocks/monotonic-clock@0.2.0 subscribe-duration
func clockSubscribeDuration(nanoseconds uint64) uint32

// wasi:http

//go:wasmimport wasi:http/types@0.2.0 http-error-code
func httpErrorCode(ioError uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [constructor]fields
func newFields() uint32

//go:wasmimport wasi:http/types@0.2.0 [static]fields.from-list
func fieldsFromList(list unsafe.Pointer, length uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]fields.append
func fieldsAppend(
	self uint32,
	name unsafe.Pointer, nameLength uint32,
	value unsafe.Pointer, valueLength uint32,
	result unsafe.Pointer,
)

//go:wasmimport wasi:http/types@0.2.0 [method]fields.entries
func fieldsEntries(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]fields
func dropFields(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.method
func incomingRequestMethod(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.path-with-query
func incomingRequestPathWithQuery(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.scheme
func incomingRequestScheme(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.authority
func incomingRequestAuthority(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.headers
func incomingRequestHeaders(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.consume
func incomingRequestConsume(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-request
func dropIncomingRequest(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-body.stream
func incomingBodyStream(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]incoming-body.finish
func incomingBodyFinish(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-body
func dropIncomingBody(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]future-trailers.subscribe
func futureTrailersSubscribe(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]future-trailers.get
func futureTrailersGet(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-trailers
func dropFutureTrailers(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-response
func newOutgoingResponse(headers uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.set-status-code
func outgoingResponseSetStatusCode(self, status uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.body
func outgoingResponseBody(self uint32, result unsafe.Pointer)

// The second parameter says whether it is a response (0) or an error (1), the third is the response or the kind of
// error, the others belong to some kinds of error.
//
//go:wasmimport wasi:http/types@0.2.0 [static]response-outparam.set
func responseOutparamSet(self, isError, responseOrCode, a uint32, b uint64, c, d, e, f uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-body.write
func outgoingBodyWrite(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]outgoing-body.finish
func outgoingBodyFinish(self, hasTrailers, trailers uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]outgoing-body
func dropOutgoingBody(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-request
func newOutgoingRequest(headers uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.body
func outgoingRequestBody(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-method
func outgoingRequestSetMethod(self, kind uint32, other unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-path-with-query
func outgoingRequestSetPathWithQuery(self, isSome uint32, path unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-scheme
func outgoingRequestSetScheme(self, isSome, kind uint32, other unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-authority
func outgoingRequestSetAuthority(self, isSome uint32, authority unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]outgoing-request
func dropOutgoingRequest(self uint32)

//go:wasmimport wasi:http/outgoing-handler@0.2.0 handle
func outgoingHandlerHandle(request, hasOptions, options uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.subscribe
func futureIncomingResponseSubscribe(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.get
func futureIncomingResponseGet(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-incoming-response
func dropFutureIncomingResponse(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.status
func incomingResponseStatus(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.headers
func incomingResponseHeaders(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.consume
func incomingResponseConsume(self uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-response
func dropIncomingResponse(self uint32)
