package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// The handlers are ordinary ones, so they are tested as such, on your own machine: go test ./...
func call(method, target, body string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	routes().ServeHTTP(response, httptest.NewRequest(method, target, strings.NewReader(body)))
	return response
}

func TestRoutes(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		status               int
		answer               string
	}{
		{"GET", "/", "", 200, "Hello from starter\n"},
		{"GET", "/users/7", "", 200, `{"id":7,"name":"user 7"}` + "\n"},
		{"GET", "/users/x", "", 404, `{"error":"a user's id is a number"}` + "\n"},
		{"POST", "/users", `{"name":"Ada"}`, 201, `{"id":8,"name":"Ada"}` + "\n"},
		{"POST", "/users", `{}`, 400, `{"error":"a user has a name"}` + "\n"},
		{"DELETE", "/users/7", "", 405, "Method Not Allowed\n"},
		{"GET", "/nothing", "", 404, "404 page not found\n"},
		{"POST", "/echo", "there and back", 200, "there and back"},
		{"GET", "/fetch", "", 400, `{"error":"give a url="}` + "\n"},
	} {
		response := call(test.method, test.target, test.body)
		if response.Code != test.status || response.Body.String() != test.answer {
			t.Errorf("%s %s: %d %q", test.method, test.target, response.Code, response.Body)
		}
	}
}

func TestEventsAreFlushed(t *testing.T) {
	response := call("GET", "/events", "")
	if !response.Flushed || strings.Count(response.Body.String(), "\n") != 5 {
		t.Errorf("%v %q", response.Flushed, response.Body)
	}
}

func TestFetchRelays(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	}))
	defer other.Close()
	response := call("GET", "/fetch?url="+url.QueryEscape(other.URL), "")
	if response.Code != http.StatusTeapot || response.Body.String() != "short and stout" {
		t.Errorf("%d %q", response.Code, response.Body)
	}
}
