// A small JSON service of users and events: routes by method and path, JSON in and out, a limit, a streamed response.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"starter/wasihttp"
)

// largest is what a user may be long in JSON.
const largest = 64 << 10

// In a component main is never called. What there is to do at the start is done here, once for every instance.
func init() {
	wasihttp.Serve(withRequestID(routes()))
}

func main() {}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.HandleFunc("GET /users/{id}", showUser)
	mux.HandleFunc("POST /users", addUser)
	mux.HandleFunc("GET /events", events)
	// The mux would say these in plain text.
	mux.HandleFunc("/{$}", only("GET, HEAD"))
	mux.HandleFunc("/users/{id}", only("GET, HEAD"))
	mux.HandleFunc("/users", only("POST"))
	mux.HandleFunc("/events", only("GET, HEAD"))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "no such path")
	})
	return mux
}

func home(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "try /users/7 and /events")
}

type user struct {
	ID   uint64 `json:"id"`
	Name string `json:"name"`
}

func showUser(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		problem(w, http.StatusNotFound, "a user's id is a number")
		return
	}
	reply(w, http.StatusOK, user{ID: id, Name: fmt.Sprintf("user %d", id)})
}

func addUser(w http.ResponseWriter, r *http.Request) {
	var added user
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, largest)).Decode(&added)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a user is %d bytes at most", largest))
	case err != nil:
		// What is wrong with the body is the client's business, so it is told.
		problem(w, http.StatusBadRequest, err.Error())
	case added.Name == "":
		problem(w, http.StatusBadRequest, "a user has a name")
	default:
		reply(w, http.StatusCreated, user{ID: 8, Name: added.Name})
	}
}

// events sends five lines, one every 200 ms, each of which reaches the client when it is made.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for number := 1; number <= 5; number++ {
		time.Sleep(200 * time.Millisecond)
		fmt.Fprintf(w, "event %d\n", number)
		w.(http.Flusher).Flush()
		// A client that is gone needs no more of them.
		if r.Context().Err() != nil {
			return
		}
	}
}

// withRequestID is middleware: every response has the request's X-Request-Id, or a new one where it has none that is fit
// for logs.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !isFitForLogs(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r)
	})
}

// only answers where the path exists and the method is another one.
func only(methods string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", methods)
		problem(w, http.StatusMethodNotAllowed, "method not allowed")
	}
}

// No regular expression: with a count of 255 in it, one would take longer to compile than a fresh instance to start.
func isFitForLogs(id string) bool {
	const fits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=-"
	return 1 <= len(id) && len(id) <= 255 && strings.Trim(id, fits) == ""
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

func problem(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"error": message})
}
