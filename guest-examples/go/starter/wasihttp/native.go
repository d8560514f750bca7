//go:build !wasip1

package wasihttp

import "net/http"

// Serve does nothing outside of WebAssembly, so that what calls it can be tested.
func Serve(http.Handler) {}

// Transport is http.DefaultTransport outside of WebAssembly.
type Transport struct{}

// RoundTrip implements http.RoundTripper.
func (Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(request)
}
