package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// The handlers are ordinary ones, so they are tested as such, on your own machine: go test ./...
func call(method, target, body, id string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	request.Header.Set("X-Request-Id", id)
	response := httptest.NewRecorder()
	withRequestID(routes()).ServeHTTP(response, request)
	return response
}

func TestRoutes(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		status               int
		answer               string
	}{
		{"GET", "/", "", 200, "try /users/7 and /events\n"},
		{"GET", "/users/7", "", 200, `{"id":7,"name":"user 7"}` + "\n"},
		{"GET", "/users/seven", "", 404, `{"error":"a user's id is a number"}` + "\n"},
		{"POST", "/users", `{"name":"Ada"}`, 201, `{"id":8,"name":"Ada"}` + "\n"},
		{"POST", "/users", "no json", 400, `{"error":"invalid character 'o' in literal null (expecting 'u')"}` + "\n"},
		{"POST", "/users", `{}`, 400, `{"error":"a user has a name"}` + "\n"},
		{"POST", "/users", strings.Repeat(" ", 64<<10) + "{}", 413, `{"error":"a user is 65536 bytes at most"}` + "\n"},
		{"POST", "/", "", 405, `{"error":"method not allowed"}` + "\n"},
		{"DELETE", "/users/7", "", 405, `{"error":"method not allowed"}` + "\n"},
		{"GET", "/users", "", 405, `{"error":"method not allowed"}` + "\n"},
		{"DELETE", "/events", "", 405, `{"error":"method not allowed"}` + "\n"},
		{"GET", "/nowhere", "", 404, `{"error":"no such path"}` + "\n"},
	} {
		response := call(test.method, test.target, test.body, "")
		if response.Code != test.status || response.Body.String() != test.answer {
			t.Errorf("%s %s: %d %q", test.method, test.target, response.Code, response.Body)
		}
		if (response.Code == 405) != (response.Header().Get("Allow") != "") {
			t.Errorf("%s %s: %v", test.method, test.target, response.Header())
		}
	}
}

func TestEventsAreFlushed(t *testing.T) {
	response := call("GET", "/events", "", "")
	if !response.Flushed || strings.Count(response.Body.String(), "\n") != 5 {
		t.Errorf("%v %q", response.Flushed, response.Body)
	}
}

func TestEveryResponseHasTheNameOfItsRequest(t *testing.T) {
	name := func(target, id string) string { return call("GET", target, "", id).Header().Get("X-Request-Id") }
	for _, target := range []string{"/", "/nowhere"} {
		if got := name(target, "abc-1"); got != "abc-1" {
			t.Errorf("%s: %q", target, got)
		}
	}
	first, second, odd := name("/", ""), name("/", ""), name("/", "no good")
	if first == "" || first == second || odd == "no good" {
		t.Errorf("%q, %q and %q", first, second, odd)
	}
}
