package pods_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

// script is an agent that does what a test says: it answers with fixed states
// and notes what it was asked.
type script struct {
	mu     sync.Mutex
	state  wire.State
	usage  wire.Usage
	fault  *wire.Fault // of app actions and of a new home
	asked  []wire.AppRequest
	looks  int             // how often the state was asked for
	follow chan wire.Event // what is sent to who follows the state
	hold   chan struct{}   // when set, app actions wait until it is closed or the caller leaves
	held   chan struct{}   // receives when an app action waits
	exec   func(http.ResponseWriter, *http.Request, wire.ExecRequest)
	files  map[string]string
	gone   []string // paths that were to be deleted
}

func newScript() *script {
	return &script{state: wire.State{App: wire.AppRunning, Command: "run it"}, held: make(chan struct{}, 100), files: map[string]string{}}
}

func (s *script) set(do func(*script)) { s.mu.Lock(); defer s.mu.Unlock(); do(s) }

// actions returns the app actions so far.
func (s *script) actions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.asked {
		all = append(all, r.Action)
	}
	return all
}

// serve is a podstest.AgentFunc.
func (s *script) serve(ctx context.Context, _ string, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathState, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") == "1" {
			s.followed(w, r)
			return
		}
		s.answer(w, func() any { s.looks++; return s.state })
	})
	mux.HandleFunc("GET "+wire.PathUsage, func(w http.ResponseWriter, _ *http.Request) { s.answer(w, func() any { return s.usage }) })
	mux.HandleFunc("GET "+wire.PathLogs, func(w http.ResponseWriter, _ *http.Request) { s.answer(w, func() any { return []wire.LogLine{} }) })
	mux.HandleFunc("GET "+wire.PathDir, func(w http.ResponseWriter, _ *http.Request) { s.answer(w, func() any { return wire.Listing{} }) })
	mux.HandleFunc("POST "+wire.PathApp, s.app)
	mux.HandleFunc("PUT "+wire.PathFile, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		s.answer(w, func() any {
			s.files[r.URL.Query().Get("path")] = string(raw)
			return wire.FileInfo{Name: "/home/pod/app/" + r.URL.Query().Get("path"), Size: int64(len(raw))}
		})
	})
	mux.HandleFunc("PUT "+wire.PathRelease, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.answer(w, func() any { return wire.Imported{} })
	})
	mux.HandleFunc("POST "+wire.PathDeploy, s.app)
	mux.HandleFunc("DELETE "+wire.PathFile, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, func() any {
			s.gone = append(s.gone, r.URL.Query().Get("path"))
			return wire.FileInfo{Name: r.URL.Query().Get("path")}
		})
	})
	mux.HandleFunc("PUT "+wire.PathHome, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state.App = wire.AppStopped
		if s.fault != nil {
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(s.fault)
			return
		}
		_ = json.NewEncoder(w).Encode(wire.Imported{})
	})
	mux.HandleFunc("POST "+wire.PathExec, func(w http.ResponseWriter, r *http.Request) {
		var req wire.ExecRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		w.Header().Set("Content-Type", "application/x-ndjson")
		s.mu.Lock()
		do := s.exec
		s.mu.Unlock()
		if do == nil {
			send(w, wire.Event{Exit: &wire.Exit{}})
			return
		}
		do(w, r, req)
	})
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// followed sends what the test puts into follow, until the reader leaves.
// Without follow the stream ends at once.
func (s *script) followed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for s.follow != nil {
		select {
		case e := <-s.follow:
			send(w, e)
		case <-r.Context().Done():
			return
		}
	}
}

func (s *script) answer(w http.ResponseWriter, value func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(value())
}

func send(w http.ResponseWriter, e wire.Event) {
	_ = json.NewEncoder(w).Encode(e)
	_ = http.NewResponseController(w).Flush()
}

func (s *script) app(w http.ResponseWriter, r *http.Request) {
	var req wire.AppRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	s.mu.Lock()
	s.asked = append(s.asked, req)
	hold, fault := s.hold, s.fault
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	send(w, wire.Event{Stream: "install", Data: []byte("working\n")})
	if hold != nil {
		s.held <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault != nil {
		send(w, wire.Event{Fault: fault})
		return
	}
	if s.state.App == wire.AppStopped {
		s.state.App = wire.AppRunning
	}
	send(w, wire.Event{State: &s.state})
}

// house is a service over the fake with scripted agents, and two teams.
type house struct {
	*pods.Service
	db     *store.DB
	fake   *podstest.Fake
	script *script
	ann    authz.Actor // owns team ann
	bob    authz.Actor // owns team bob
}

func newHouse(t *testing.T, change ...func(*pods.Config)) *house {
	t.Helper()
	h := &house{db: storetest.New(t), fake: podstest.NewFake(t), script: newScript()}
	h.fake.SetAgent(h.script.serve)
	h.ann, h.bob = actor(t, h.db, "ann"), actor(t, h.db, "bob")
	h.Service = podstest.ServiceOver(t, h.db, h.fake, change...)
	return h
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func actor(t *testing.T, db *store.DB, name string) authz.Actor {
	t.Helper()
	w := storetest.Populate(t, db, name, day)
	return authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
}

// create makes a pod of ann's or ends the test.
func (h *house) create(t *testing.T, name string) pods.Pod {
	t.Helper()
	p, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: name, Preset: "static"}, nil)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return p
}

func (h *house) status(t *testing.T, name string) pods.Pod {
	t.Helper()
	p, err := h.Get(t.Context(), h.ann, name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return p
}

func wants(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
