package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Those who come while an entrance is shut wait, and whoever accepts next has them.
func TestEntrance(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next, err := ln.(*net.TCPListener).File() // as of the program that takes over
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	open := make(chan struct{})
	e := newEntrance(ln, open)
	accepted := make(chan net.Conn)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := e.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			accepted <- c
		}
	})
	dial := func() {
		t.Helper()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	dial()
	select {
	case <-accepted:
		t.Fatal("somebody was accepted before it opened")
	default:
	}
	close(open)
	_ = (<-accepted).Close()
	if err := e.Shut(); err != nil {
		t.Fatal(err)
	}
	<-e.parked
	dial()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
	other, err := net.FileListener(next)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A wave is over when all of its requests are, or have become what nobody waits for; those
// that come later belong to the next one.
func TestVisits(t *testing.T) {
	t.Parallel()
	var v visits
	over := func(w *wave) bool {
		select {
		case <-w.over:
			return true
		default:
			return false
		}
	}
	if !over(v.turn()) {
		t.Error("an empty wave goes on")
	}
	came, cut, last := make(chan struct{}), make(chan struct{}), make(chan struct{})
	h := v.counted(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		switch r.URL.Path {
		case "/lasts":
			lasts(r.Context())
			came <- struct{}{}
			select {
			case <-r.Context().Done():
				t.Error("what lasts was cut off")
			case <-last:
			}
		default:
			<-r.Context().Done()
			close(cut)
		}
	}))
	var all sync.WaitGroup
	serve := func(path string) {
		all.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)) })
		<-came
	}
	serve("/lasts")
	<-came
	serve("/stays")
	w := v.turn()
	if over(w) {
		t.Error("it is over, though a request goes on")
	}
	w.cut()
	<-cut
	<-w.over
	if !over(v.turn()) {
		t.Error("what lasts is waited for")
	}
	close(last)
	all.Wait()
}

// Connections that nothing was heard of for long, or nothing is expected on, keep nobody.
func TestConnections(t *testing.T) {
	t.Parallel()
	var c connections
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if !c.quiet() {
		t.Error("there are none")
	}
	c.state(one, http.StateNew)
	if c.quiet() {
		t.Error("a request may come")
	}
	c.busy[one] = time.Now().Add(-2 * silentTime)
	if !c.quiet() {
		t.Error("none has come")
	}
	for state, quiet := range map[http.ConnState]bool{http.StateActive: false, http.StateIdle: true, http.StateHijacked: true, http.StateClosed: true} {
		if c.state(one, state); c.quiet() != quiet {
			t.Errorf("%v", state)
		}
	}
}

// Shutting lets an answer end that has been begun, and hangs up on nobody who was accepted.
func TestShut(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{started: make(chan struct{})}
	e := srv.enter(ln)
	came, goOn := make(chan struct{}), make(chan struct{})
	s := &http.Server{ConnState: srv.upgrades.connections.state, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-goOn
		_, _ = io.WriteString(w, "all of it")
	})}
	srv.upgrades.servers = append(srv.upgrades.servers, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(e) })
	answer := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		answer <- string(raw)
	}()
	<-came
	shut := make(chan struct{})
	go func() { srv.shut(t.Context()); close(shut) }()
	<-srv.upgrades.entrances[0].parked
	select {
	case <-shut:
		t.Error("it did not wait for the answer")
	default:
	}
	close(goOn)
	if got := <-answer; got != "all of it" {
		t.Errorf("%q", got)
	}
	<-shut
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	serving.Wait()
}
