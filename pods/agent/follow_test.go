package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"podgate/pods/wire"
)

// followed opens a stream that follows and returns a function that waits for its
// next event; io.EOF or another error when it is over.
func (a *testAgent) followed(path string) (next func() (wire.Event, error)) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://agent"+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.http.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != ndjson {
		a.t.Fatalf("follow %s: %v %v", path, resp, err)
	}
	events := make(chan wire.Event)
	end := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		end <- readEvents(resp.Body, func(e wire.Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	return func() (wire.Event, error) {
		select {
		case e := <-events:
			return e, nil
		case err := <-end:
			return wire.Event{}, errors.Join(io.EOF, err)
		case <-time.After(20 * time.Second):
			return wire.Event{}, errors.New("no event comes")
		}
	}
}

// logLines waits for n lines.
func logLines(t *testing.T, next func() (wire.Event, error), n int) []wire.LogLine {
	t.Helper()
	var lines []wire.LogLine
	for len(lines) < n {
		e, err := next()
		if err != nil {
			t.Fatalf("after %d lines of %d: %v", len(lines), n, err)
		}
		lines = append(lines, e.Lines...)
	}
	return lines
}

func TestFollowLogs(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("Procfile", "web: echo one apple; echo two pears; while ! test -e go; do sleep 0.01; done; echo three apples; printf 'four \\377 pears'; sleep 1000")
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	eventually(t, "two lines are there", func() bool { return strings.Count(a.log("source=app"), "|") == 1 })
	all := a.followed(wire.PathLogs + "?follow=1&source=app")
	fresh := a.followed(wire.PathLogs + "?follow=1&source=app&lines=0")
	apples := a.followed(wire.PathLogs + "?follow=1&grep=apple&source=app")
	none := a.followed(wire.PathLogs + "?follow=1&source=install")
	a.put("go", "")
	if got := texts(logLines(t, all, 4)); got != "one apple|two pears|three apples|four \uFFFD pears" {
		t.Errorf("all: %q", got)
	}
	if got := texts(logLines(t, fresh, 2)); got != "three apples|four \uFFFD pears" {
		t.Errorf("fresh: %q", got)
	}
	got := logLines(t, apples, 2)
	if texts(got) != "one apple|three apples" || got[1].Source != "app" || got[1].Stream != "stdout" || time.Since(got[1].Time) > time.Hour {
		t.Errorf("apples: %+v", got)
	}
	a.put("Procfile", "release: echo installed")
	a.do("POST", wire.PathApp, fmt.Appendf(nil, `{"action":"reload","spec":{"preset":"command","port":%d,"name":"a"}}`, freePort(t)))
	if got := texts(logLines(t, none, 1)); got != "installed" {
		t.Errorf("install: %q", got)
	}
	for _, bad := range []string{"follow=0", "follow=", "follow=1&lines=1001", "follow=1&lines=-1", "follow=1&source=x"} {
		a.refused(wire.FaultBadRequest, "GET", wire.PathLogs+"?"+bad, nil)
	}
	a.refused(wire.FaultBadRequest, "GET", wire.PathState+"?follow=2", nil)
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := all(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Between the lines that were there and those that come is neither a gap nor one
// twice, whenever somebody begins to follow.
func TestFollowHasNoSeam(t *testing.T) {
	t.Parallel()
	l, err := openLogs(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const total = 900
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range total {
			l.add(sourceApp, "stdout", fmt.Sprint(i))
		}
	}()
	for range 20 {
		f, from := l.follow(logQuery{Lines: wire.MaxLines})
		lines := findLines(l.root, f.query, from)
		for len(lines) < total {
			<-f.more
			more, lost := l.take(f)
			if lines = append(lines, more...); lost > 0 {
				t.Fatalf("%d lines were lost", lost)
			}
		}
		l.unfollow(f)
		for i, line := range lines {
			if line.Text != fmt.Sprint(i) {
				t.Fatalf("line %d is %q", i, line.Text)
			}
		}
	}
	<-written
}

// Who does not read loses lines and is told how many; nobody waits for it.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	const total = 40_000
	next := a.followed(wire.PathLogs + "?follow=1&source=app&lines=0")
	a.put("Procfile", fmt.Sprintf("web: yes %s | head -%d; echo done > done; sleep 1000", strings.Repeat("x", 70), total))
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	eventually(t, "the app has said all", func() bool { return a.run("cat done").Code == 0 })
	eventually(t, "all of it is read", func() bool { return len(a.log("source=app&lines=1000")) > 70*1000 })
	var seen, lost int64
	for seen+lost < total {
		e, err := next()
		if err != nil {
			t.Fatalf("after %d lines and %d lost: %v", seen, lost, err)
		}
		if len(e.Lines) > eventLines {
			t.Errorf("%d lines in one event", len(e.Lines))
		}
		seen += int64(len(e.Lines))
		lost += e.Lost
	}
	if lost == 0 || seen < followLines || seen+lost != total {
		t.Errorf("%d lines came and %d were lost, of %d", seen, lost, total)
	}
}

func TestFollowerIsBounded(t *testing.T) {
	t.Parallel()
	l, err := openLogs(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	many, _ := l.follow(logQuery{})
	for range followLines + 7 {
		l.add(sourceAgent, "stdout", "short")
	}
	if lines, lost := l.take(many); len(lines) != followLines || lost != 7 {
		t.Errorf("%d lines and %d lost", len(lines), lost)
	}
	l.unfollow(many)
	large, _ := l.follow(logQuery{})
	for range 200 {
		l.add(sourceAgent, "stdout", strings.Repeat("x", wire.MaxLineBytes))
	}
	l.add(sourceAgent, "stdout", "short")
	lines, lost := l.take(large)
	if len(lines) != followBytes/wire.MaxLineBytes || lost != 201-int64(len(lines)) {
		t.Errorf("%d long lines and %d lost", len(lines), lost)
	}
	if l.unfollow(large); len(l.followers) != 0 {
		t.Error("a follower is left")
	}
}

func TestFollowsAreBounded(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range maxFollows {
		path := []string{wire.PathLogs, wire.PathState}[i%2] + "?follow=1"
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://agent"+path, nil)
		resp, err := a.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %v %v", i, resp, err)
		}
		defer resp.Body.Close()
	}
	a.refused(wire.FaultBusy, "GET", wire.PathLogs+"?follow=1", nil)
	a.refused(wire.FaultBusy, "GET", wire.PathState+"?follow=1", nil)
	if got := a.run("echo on"); got.stdout != "on\n" {
		t.Errorf("%+v", got)
	}
	cancel()
	eventually(t, "there is room again", func() bool {
		one, stop := context.WithCancel(t.Context())
		defer stop()
		req, _ := http.NewRequestWithContext(one, "GET", "http://agent"+wire.PathState+"?follow=1", nil)
		resp, err := a.http.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestFollowState(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	next := a.followed(wire.PathState + "?follow=1")
	until := func(want string) wire.State {
		t.Helper()
		for {
			e, err := next()
			if err != nil || e.State == nil {
				t.Fatalf("waiting for %s: %+v %v", want, e, err)
			}
			if e.State.App == want {
				return *e.State
			}
		}
	}
	until(wire.AppStopped)
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "static")})
	until(wire.AppStarting)
	if st := until(wire.AppRunning); st.PID == 0 || st.Command == "" {
		t.Errorf("%+v", st)
	}
	a.app(wire.AppRequest{Action: actionStop})
	until(wire.AppStopped)
	a.put("Procfile", "web: echo why; exit 3")
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	if st := until(wire.AppWaiting); !strings.Contains(st.Reason, "code 3") || len(st.Tail) == 0 {
		t.Errorf("%+v", st)
	}
}
