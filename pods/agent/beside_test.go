package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

// besideOf is what a Procfile has.
func besideOf(t *testing.T, procfile string) preset.Beside {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/Procfile", []byte(procfile), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := presetOf(testSpec).Beside(preset.App{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A worker that dies comes back with the app's own pauses and is given up like it,
// while the app and other workers go on; a stop ends them all.
func TestWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{0}, answers: true, beside: besideOf(t, "steady: 1000h\nbrief: 1s\nbroken: x\n")}
		s := newSupervisor(l, time.Now)
		s.Start(testSpec)
		st := s.Settled(t.Context(), time.Minute)
		if st.App != wire.AppRunning || len(st.Workers) != 3 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(1500 * time.Millisecond)
		w := s.State().Workers
		if w[0].State != wire.AppRunning || w[0].Started.IsZero() || w[1].State != wire.AppWaiting || w[1].Reason != "exited with code 1" || time.Until(w[1].NextTry) > time.Second {
			t.Errorf("after one death: %+v", w)
		}
		if w[2].State != wire.AppWaiting || !strings.Contains(w[2].Reason, "cannot be started") {
			t.Errorf("what cannot be started: %+v", w[2])
		}
		time.Sleep(10 * time.Minute)
		st = s.State()
		if w := st.Workers; st.App != wire.AppRunning || w[0].Restarts != 0 || w[1].State != wire.AppFailed || w[1].Restarts != 9 || !w[1].NextTry.IsZero() || !strings.Contains(w[1].Reason, "tenth time") {
			t.Errorf("at the end: %+v", st)
		}
		if _, running := l.counts(); running != 2 || l.began("worker brief 1s") != 10 {
			t.Errorf("%d run; %d", running, l.began("worker brief 1s"))
		}
		s.Stop()
		if _, running := l.counts(); running != 0 || s.State().Workers != nil {
			t.Errorf("after a stop %d run: %+v", running, s.State())
		}
		s.Close()
	})
}

// Workers end with an app that is given up.
func TestWorkersOfAFailedApp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{time.Second}, beside: besideOf(t, "w: 1000h")}
		s := newSupervisor(l, time.Now)
		s.Start(testSpec)
		time.Sleep(10 * time.Minute)
		if _, running := l.counts(); s.State().App != wire.AppFailed || running != 0 {
			t.Errorf("%d run: %+v", running, s.State())
		}
		s.Close()
	})
}

// A command runs at its times, one at a time; a time that comes meanwhile is left
// out. How it ended is told, and still after a restart.
func TestCron(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{0}, answers: true, beside: besideOf(t, "cron: @every 5m 12m\ncron: 30 3 * * * 3h\ncron: 0 4 * * * x\n")}
		s := newSupervisor(l, time.Now)
		began := time.Now() // midnight UTC
		s.Start(testSpec)
		s.Settled(t.Context(), time.Second)
		if c := s.State().Crons; len(c) != 3 || !c[0].Next.Equal(began.Add(5*time.Minute)) || !c[1].Next.Equal(began.Add(3*time.Hour+30*time.Minute)) || c[0].Last != nil {
			t.Fatalf("%+v", c)
		}
		time.Sleep(16 * time.Minute)
		if c := s.State().Crons[0]; !c.Running || l.began("cron 1 12m") != 1 {
			t.Errorf("while it runs: %+v, %d", c, l.began("cron 1 12m"))
		}
		time.Sleep(2 * time.Minute)
		if c := s.State().Crons[0]; c.Running || c.Last == nil || c.Last.Result != "exited with code 1" || c.Last.Ended.Sub(c.Last.Began) != 12*time.Minute || !c.Next.Equal(began.Add(22*time.Minute)) {
			t.Errorf("after a run: %+v", c)
		}
		time.Sleep(5*time.Hour - 18*time.Minute)
		c := s.State().Crons
		if c[1].Last.Result != "took over 1h0m0s and was ended" || c[1].Last.Ended.Sub(c[1].Last.Began) != time.Hour || !c[1].Next.Equal(began.Add(27*time.Hour+30*time.Minute)) {
			t.Errorf("after one that takes too long: %+v %+v", c[1], c[1].Last)
		}
		if !strings.Contains(c[2].Last.Result, "cannot be started") {
			t.Errorf("what cannot be started: %+v", c[2].Last)
		}
		l.mu.Lock()
		l.beside.Crons = l.beside.Crons[1:]
		l.mu.Unlock()
		s.Restart(testSpec)
		s.Settled(t.Context(), time.Second)
		if c := s.State().Crons; len(c) != 2 || c[0].Last == nil {
			t.Errorf("after a restart: %+v", c)
		}
		s.Close()
		if _, running := l.counts(); running != 0 {
			t.Errorf("%d run after the end", running)
		}
	})
}

// A time that a sleeping machine missed is left out.
func TestCronAfterSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{0}, answers: true, beside: besideOf(t, "cron: @hourly 1s")}
		var jump atomic.Int64
		s := newSupervisor(l, func() time.Time { return time.Now().Add(time.Duration(jump.Load())) })
		s.Start(testSpec)
		time.Sleep(30*time.Minute + time.Second)
		synctest.Wait()
		jump.Store(int64(3*time.Hour + 10*time.Minute)) // it is 3:40 now
		time.Sleep(2 * time.Minute)
		if c := s.State().Crons[0]; c.Last != nil || c.Next.Sub(s.now()) > 20*time.Minute {
			t.Errorf("%+v", c)
		}
		time.Sleep(20 * time.Minute)
		if c := s.State().Crons[0]; c.Last == nil {
			t.Errorf("%+v", c)
		}
		s.Close()
	})
}

// The lines of a Procfile run in the pod, with the app's environment and logs of
// their own; an app may be nothing else. An install leaves them alone, until it has
// worked.
func TestProcfileProcesses(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "command")
	spec.Env = map[string]string{"X": "42"}
	id := fmt.Sprintf("6003.%d", time.Now().UnixNano()%1e9)
	a.put("Procfile", "mailer: echo sent $X; exec sleep "+id+"\ncron: @every 1s echo tick; echo tock >&2\n")
	st := a.app(wire.AppRequest{Action: actionReload, Spec: spec, WaitMillis: 20000})
	if st.App != wire.AppRunning || st.Reason != "" || st.PID != 0 || len(st.Workers) != 1 || len(st.Crons) != 1 {
		t.Fatalf("%+v", st)
	}
	eventually(t, "the worker has spoken", func() bool { return a.log("source=worker") == "mailer: sent 42" })
	eventually(t, "the command ran", func() bool {
		c := ask[wire.State](a, "GET", wire.PathState, nil).Crons[0]
		return c.Last != nil && c.Last.Result == "exited with code 0"
	})
	if got := a.log("source=cron"); !strings.Contains(got, "1: tick") || !strings.Contains(got, "1: tock") {
		t.Errorf("%q", got)
	}
	for _, part := range []string{"worker-1.000000001", "cron-1.000000001"} {
		if _, err := os.Stat(a.home(".podgate/logs/" + part)); err != nil {
			t.Errorf("it has no log of its own: %v", err)
		}
	}
	eventually(t, "the worker sleeps", func() bool { return alive(id) })
	a.put("Procfile", "release: exit 3\nmailer: true\n")
	if st, b := a.do("POST", wire.PathApp, mustJSON(wire.AppRequest{Action: actionReload, Spec: spec})); st.StatusCode < 400 || !alive(id) {
		t.Errorf("after an install that failed: %s %s, the worker lives: %v", st.Status, b, alive(id))
	}
	a.put("Procfile", "mailer: true\ncron: 61 * * * * true\n")
	if st, b := a.do("POST", wire.PathApp, mustJSON(wire.AppRequest{Action: actionReload, Spec: spec})); st.StatusCode < 400 || !strings.Contains(string(b), "cron: 61 * * * * true» cannot be read") || !alive(id) {
		t.Errorf("a line that makes no sense: %s %s", st.Status, b)
	}
	if st := a.app(wire.AppRequest{Action: actionRestart, Spec: spec, WaitMillis: 20000}); st.App != wire.AppFailed || !strings.Contains(st.Reason, "cannot be read") || alive(id) {
		t.Errorf("%+v", st)
	}
}

// How a cron line ran last is known to the next agent, after a stop of the pod or a
// restart of the server; lines that are gone are forgotten, and what else may lie
// there is no harm.
func TestLastRunsAreKept(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "command")
	a.put("Procfile", "cron: @every 1s exit 3\ncron: @yearly true\n")
	a.app(wire.AppRequest{Action: actionReload, Spec: spec, WaitMillis: 20000})
	eventually(t, "the command ran", func() bool { return ask[wire.State](a, "GET", wire.PathState, nil).Crons[0].Last != nil })
	ended := time.Now()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	again := func() wire.State {
		t.Helper()
		next := startAgent(t, func(c *Config) {
			c.Home, c.Tmp = a.cfg.Home, a.cfg.Tmp
			c.Now = func() time.Time { return ended.Add(time.Hour) } // it stands, so nothing runs
		})
		st := next.app(wire.AppRequest{Action: actionStart, Spec: spec, WaitMillis: 20000})
		if err := next.end(); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := again(); len(st.Crons) != 2 || st.Crons[1].Last != nil || st.Crons[0].Last == nil || !strings.Contains(st.Crons[0].Last.Result, "3") || st.Crons[0].Last.Ended.After(ended.Add(time.Minute)) {
		t.Errorf("%+v", st.Crons)
	}
	for _, content := range []string{"", "[", `{"@every 1s exit 3": null}`, `{"@every 1s exit 3": {"result": "` + strings.Repeat("x", wire.MaxLineBytes+1) + `"}}`} {
		if err := os.WriteFile(a.home(".podgate/logs/"+runsFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if st := again(); len(st.Crons) != 2 || st.Crons[0].Last != nil {
			t.Errorf("%.40q: %+v", content, st.Crons)
		}
	}
}

func TestLabelled(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", wire.MaxLineBytes/2)
	got := labelled("w: ", []string{"a", long})
	if len(got) != 3 || got[0] != "w: a" || len(got[1]) > wire.MaxLineBytes || strings.TrimPrefix(got[1], "w: ")+strings.TrimPrefix(got[2], "w: ") != long {
		t.Errorf("%d lines", len(got))
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
