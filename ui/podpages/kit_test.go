package podpages_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods/wire"
	"podgate/ui/pagetest"
)

// logAgent is an agent that has a log and nothing else.
type logAgent struct {
	site *pagetest.Site
	mu   sync.Mutex
	kept []wire.LogLine
	feed []chan wire.LogLine // of those who follow
	left chan struct{}       // a value for each that does no more
}

// withLog is a site whose pods have such an agent.
func withLog(t *testing.T) (*pagetest.Site, *logAgent) {
	s := pagetest.New(t)
	a := &logAgent{site: s, left: make(chan struct{}, 100)}
	s.Fake.SetAgent(a.serve)
	return s, a
}

// add writes a line; they are a second apart.
func (a *logAgent) add(source, stream, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.site.Clock.Now().Add(time.Duration(len(a.kept)) * time.Second)
	line := wire.LogLine{Time: at, Source: source, Stream: stream, Text: text}
	a.kept = append(a.kept, line)
	for _, f := range a.feed {
		select {
		case f <- line:
		default: // like a real one it waits for nobody
		}
	}
}

func (a *logAgent) serve(ctx context.Context, _ string, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, wire.State{App: wire.AppRunning, Port: 8080})
	})
	mux.HandleFunc("GET /v1/usage", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, wire.Usage{Memory: 12 << 20}) })
	mux.HandleFunc("POST /v1/app", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = json.NewEncoder(w).Encode(wire.Event{State: &wire.State{App: wire.AppRunning, Port: 8080}})
	})
	mux.HandleFunc("GET /v1/logs", a.serveLogs)
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	_ = srv.Serve(l) // it ends with ctx
	return nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (a *logAgent) serveLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	most, _ := strconv.Atoi(q.Get("lines"))
	a.mu.Lock()
	var found []wire.LogLine
	for _, l := range a.kept {
		since, _ := time.Parse(time.RFC3339, q.Get("since"))
		before, err := time.Parse(time.RFC3339, q.Get("before"))
		if !l.Time.Before(since) && (err != nil || l.Time.Before(before)) && (q.Get("stream") == "" || q.Get("stream") == l.Stream) && strings.Contains(l.Text, q.Get("grep")) {
			found = append(found, l)
		}
	}
	found = found[max(0, len(found)-most):]
	if q.Get("follow") == "" {
		a.mu.Unlock()
		writeJSON(w, found)
		return
	}
	more := make(chan wire.LogLine, 100)
	a.feed = append(a.feed, more)
	a.mu.Unlock()
	defer a.leave(more)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	for {
		_ = out.Encode(wire.Event{Lines: found})
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case l := <-more:
			if found = nil; strings.Contains(l.Text, q.Get("grep")) {
				found = []wire.LogLine{l}
			}
		}
	}
}

func (a *logAgent) leave(more chan wire.LogLine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.feed {
		if f == more {
			a.feed = append(a.feed[:i], a.feed[i+1:]...)
			a.left <- struct{}{}
			return
		}
	}
}
