package wasihttp

import "strings"

// Error is an error of wasi:http: what the host says of a request or a body that failed.
type Error struct {
	// Its name in wasi:http, such as "connection-refused" or "HTTP-request-denied".
	Code string
	// What the host adds, which may be nothing.
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return "wasi:http: " + e.Code
	}
	return "wasi:http: " + e.Code + ": " + e.Detail
}

// Timeout makes it one of those errors that os.IsTimeout and url.Error ask.
func (e *Error) Timeout() bool {
	return strings.HasSuffix(e.Code, "-timeout")
}
