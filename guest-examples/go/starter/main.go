// A small web service: routes, JSON in and out, a streamed response, a request to another server.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"starter/wasihttp"
)

// In a component main is never called. What there is to do at the start is done here, once for every instance.
func init() {
	wasihttp.Serve(routes())
}

func main() {}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", home)
	mux.HandleFunc("GET /users/{id}", showUser)
	mux.HandleFunc("POST /users", addUser)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /fetch", fetch)
	mux.HandleFunc("POST /echo", echo)
	return mux
}

func home(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "Hello from starter")
}

type user struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func showUser(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		problem(w, http.StatusNotFound, "a user's id is a number")
		return
	}
	reply(w, http.StatusOK, user{ID: id, Name: fmt.Sprintf("user %d", id)})
}

func addUser(w http.ResponseWriter, r *http.Request) {
	var added struct {
		Name string `json:"name"`
	}
	// What is wrong with the body is the client's business, so it is told.
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&added); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if added.Name == "" {
		problem(w, http.StatusBadRequest, "a user has a name")
		return
	}
	reply(w, http.StatusCreated, user{ID: 8, Name: added.Name})
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

// fetch passes on what another server says. It has to be allowed: see allow-outbound in wasmcluster.toml.
func fetch(w http.ResponseWriter, r *http.Request) {
	target, err := url.Parse(r.URL.Query().Get("url"))
	if err != nil || target.Host == "" {
		problem(w, http.StatusBadRequest, "give a url=")
		return
	}
	// The context of the request is there so that this ends when the client is gone.
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	response, err := wasihttp.Transport{}.RoundTrip(request)
	if err != nil {
		problem(w, http.StatusBadGateway, err.Error())
		return
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(response.StatusCode)
	if _, err := io.Copy(w, response.Body); err != nil {
		// The head is sent. Cutting the body is all that is left to say.
		panic(http.ErrAbortHandler)
	}
}

// echo sends the body back while it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

func problem(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"error": message})
}
