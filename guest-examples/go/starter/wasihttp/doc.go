// Package wasihttp serves an http.Handler from a WebAssembly component, over wasi:http 0.2, with Go's own compiler and
// no dependency.
//
//	func init() {
//		wasihttp.Serve(http.HandlerFunc(hello))
//	}
//
//	func main() {}
//
// Build it with
//
//	GOARCH=wasm GOOS=wasip1 go build -buildmode=c-shared -ldflags='-s -w' -o core.wasm .
//
// and make a component of what comes out, for the world in the folder wit.
//
// # Requests
//
// The handler gets what it would get from net/http. Besides, Scheme and Host of the request's URL are set. Not known,
// and empty, are RemoteAddr and TLS, and Proto is always HTTP/1.1. The body streams. Its trailers are in Trailer once it
// has been read to its end.
//
// The context is cancelled when the handler returns, and when a read or a write finds that the client is gone. While a
// handler does neither, it does not get to know.
//
// # Responses
//
// The http.ResponseWriter is an http.Flusher. What is longer than 8 KiB, or flushed, is sent at once; what is shorter
// gets its Content-Length. Trailers are given as with net/http. Informational responses (1xx) are not sent, because
// wasi:http 0.2 has none. A panic becomes a 500, or cuts the body if the head was sent; it is written to stderr with its
// stack.
//
// # Requests to others
//
// Transport sends them through the host, which allows what it was told to allow:
//
//	response, err := wasihttp.Transport{}.RoundTrip(request)
//
// Deadline and cancellation of the request's context are honoured. The server is the one in the URL, and so is the field
// Host; another one that is set in the request is ignored. Trailers are received, and not sent. What fails is an *Error.
//
// An http.Client with a Transport does redirects and cookies besides. It makes a component larger by 5 MB, because
// Go's own transport then comes along, which cannot open a connection there. To have http.Get and whatever else uses it go
// through the host, say this in init:
//
//	http.DefaultTransport = wasihttp.Transport{}
//
// # Goroutines
//
// All goroutines share one thread. Those that wait for the host, for one another or for a timer let the others run, so
// requests that several goroutines send are under way at the same time. While some wait for the host and no other can
// run, a timer may be late by a millisecond, or a sixteenth of the time waited so far, up to some 20 ms. (If all wait
// for the host, only a function of time.AfterFunc can be late, and that by up to some 200 ms. Deadlines of requests that
// were sent are kept to the millisecond.)
//
// Nothing runs between requests. Goroutines that are left when the handler returns stand still until the instance serves
// another request, if it does, and requests that they had sent are given up.
//
// # Instances
//
// An instance serves one request at a time. To start one is to start a Go program, which takes longer than most requests
// do, so let an instance serve many. Variables then keep their values from one request to the next.
package wasihttp
