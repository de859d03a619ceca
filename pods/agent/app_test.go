package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	var p restartPolicy
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		if got, again := p.died(time.Second); !again || got != want*time.Second {
			t.Errorf("death %d: %v %v", i+1, got, again)
		}
	}
	if _, again := p.died(time.Second); again {
		t.Error("the tenth death is not the last")
	}
	p = restartPolicy{deaths: 9}
	if got, again := p.died(time.Minute); !again || got != time.Second {
		t.Errorf("after a good life: %v %v", got, again)
	}
}

// fakeLauncher gives out lives of a chosen length.
type fakeLauncher struct {
	mu       sync.Mutex
	lives    []time.Duration // 0: for ever; used up: the last one again
	err      error
	answers  bool
	runs     map[string]*wire.CronRun
	ports    []int
	beside   preset.Beside
	besides  map[string]int // what was launched beside, by source, label and command
	launched int
	endings  int
	running  int
}

type fakeChild struct {
	l    *fakeLauncher
	done chan struct{}
	once sync.Once
}

func (l *fakeLauncher) Launch(wire.AppSpec) (child, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.launched++
	if l.err != nil {
		return nil, "", l.err
	}
	c := &fakeChild{l: l, done: make(chan struct{})}
	l.running++
	if life := l.lives[min(l.launched, len(l.lives))-1]; life > 0 {
		time.AfterFunc(life, c.die)
	}
	return c, "fake", nil
}

func (l *fakeLauncher) Beside(wire.AppSpec) (preset.Beside, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.beside, nil
}

// began is how often something beside was launched.
func (l *fakeLauncher) began(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.besides[what]
}

// LaunchBeside starts what lives as long as its command says.
func (l *fakeLauncher) LaunchBeside(_ wire.AppSpec, source string, _ int, label, shell string) (child, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.besides == nil {
		l.besides = map[string]int{}
	}
	l.besides[source+" "+label+" "+shell]++
	life, err := time.ParseDuration(shell)
	if err != nil {
		return nil, err
	}
	c := &fakeChild{l: l, done: make(chan struct{})}
	l.running++
	time.AfterFunc(life, c.die)
	return c, nil
}

func (l *fakeLauncher) counts() (launched, running int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.launched, l.running
}

func (l *fakeLauncher) Answers(int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

func (l *fakeLauncher) EndAll()                             { l.endings++ }
func (l *fakeLauncher) Listening() []int                    { return l.ports }
func (l *fakeLauncher) LastRuns() map[string]*wire.CronRun  { return l.runs }
func (l *fakeLauncher) KeepRuns(r map[string]*wire.CronRun) { l.runs = r }
func (l *fakeLauncher) Remark(string, ...any)               {}
func (l *fakeLauncher) Tail(int) []wire.LogLine             { return []wire.LogLine{{Text: "last words"}} }

func (c *fakeChild) die() {
	c.once.Do(func() {
		c.l.mu.Lock()
		c.l.running--
		c.l.mu.Unlock()
		close(c.done)
	})
}

func (c *fakeChild) PID() int              { return 7 }
func (c *fakeChild) Done() <-chan struct{} { return c.done }
func (c *fakeChild) End() string           { return "exited with code 1" }
func (c *fakeChild) Stop()                 { c.die() }

var testSpec = wire.AppSpec{Preset: "command", Port: 8080, Name: "test"}

func TestSupervisorGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{time.Second}}
		s := newSupervisor(l, time.Now)
		began := time.Now()
		s.Start(testSpec)
		st := s.Settled(t.Context(), time.Minute)
		if st.App != wire.AppWaiting || st.Reason != "the app exited with code 1" || len(st.Tail) != 1 || !st.NextTry.Equal(began.Add(2*time.Second)) {
			t.Errorf("after one death: %+v", st)
		}
		time.Sleep(10 * time.Minute)
		st = s.State()
		if launched, running := l.counts(); st.App != wire.AppFailed || launched != 10 || running != 0 || st.Restarts != 9 {
			t.Errorf("at the end: %+v, %d launched", st, launched)
		}
		if !st.NextTry.IsZero() || st.PID != 0 || len(st.Tail) != 1 {
			t.Errorf("a failed app: %+v", st)
		}
		l.mu.Lock()
		l.lives, l.answers = []time.Duration{0}, true
		l.mu.Unlock()
		s.Start(testSpec)
		if st := s.Settled(t.Context(), time.Minute); st.App != wire.AppRunning || st.PID != 7 || st.Reason != "" {
			t.Errorf("started again: %+v", st)
		}
		s.Close()
		if st := s.State(); st.App != wire.AppStopped || st.PID != 0 {
			t.Errorf("closed: %+v", st)
		}
	})
}

// How the app ended last stays told when it runs again, and when it was asked to
// end since.
func TestSupervisorLastExit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(&fakeLauncher{lives: []time.Duration{time.Second, 0}, answers: true}, time.Now)
		defer s.Close()
		began := time.Now()
		s.Start(testSpec)
		time.Sleep(time.Minute)
		s.Restart(testSpec)
		time.Sleep(time.Minute)
		last := s.State().LastExit
		if s.State().App != wire.AppRunning || last == nil || last.Reason != "the app exited with code 1" || last.Time.Sub(began).Round(time.Second) != time.Second {
			t.Errorf("%+v, last exit %+v", s.State(), last)
		}
	})
}

// How often it died in a row is told while it starts and runs again, and until it
// has lived for a good while.
func TestSupervisorDeaths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(&fakeLauncher{lives: []time.Duration{time.Second, time.Second, time.Second, 0}, answers: true}, time.Now)
		defer s.Close()
		s.Start(testSpec)
		time.Sleep(time.Second + time.Second/2) // of its first life and the pause after it
		if st := s.State(); st.App != wire.AppWaiting || st.Deaths != 1 {
			t.Errorf("after one death: %+v", st)
		}
		time.Sleep(20 * time.Second)
		if st := s.State(); st.App != wire.AppRunning || st.Deaths != 3 {
			t.Errorf("in its fourth life: %+v", st)
		}
		time.Sleep(goodLife)
		if st := s.State(); st.App != wire.AppRunning || st.Deaths != 0 || st.Restarts != 3 {
			t.Errorf("after a good while: %+v", st)
		}
	})
}

// An app that lives well in between is never given up.
func TestSupervisorForgives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{61 * time.Second}}
		s := newSupervisor(l, time.Now)
		s.Start(testSpec)
		time.Sleep(62 * 30 * time.Second)
		if st := s.State(); st.App == wire.AppFailed || st.Restarts < 28 {
			t.Errorf("%+v", st)
		}
		s.Close()
	})
}

func TestSupervisorNothingToStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{err: faultf(wire.FaultFailed, "nothing to start")}
		s := newSupervisor(l, time.Now)
		s.Start(testSpec)
		st := s.Settled(t.Context(), time.Hour)
		time.Sleep(time.Hour)
		if launched, _ := l.counts(); st.App != wire.AppFailed || st.Reason != "nothing to start" || launched != 1 {
			t.Errorf("%+v after %d launches", st, launched)
		}
		// A lack of memory or processes may pass: that is tried again.
		l.mu.Lock()
		l.err = errors.New("no more processes")
		l.mu.Unlock()
		s.Start(testSpec)
		if st := s.Settled(t.Context(), time.Hour); st.App != wire.AppWaiting {
			t.Errorf("%+v", st)
		}
		s.Close()
	})
}

func TestSupervisorActions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLauncher{lives: []time.Duration{0}}
		s := newSupervisor(l, time.Now)
		s.Start(testSpec)
		began := time.Now()
		if st := s.Settled(t.Context(), 5*time.Second); st.App != wire.AppStarting || time.Since(began) != 5*time.Second {
			t.Errorf("an app that never answers: %+v after %v", st, time.Since(began))
		}
		s.Start(testSpec)
		synctest.Wait()
		if launched, running := l.counts(); launched != 1 || running != 1 {
			t.Errorf("a second start: %d launched, %d running", launched, running)
		}
		s.Restart(testSpec)
		synctest.Wait()
		if launched, running := l.counts(); launched != 2 || running != 1 || s.State().Restarts != 0 || l.endings != 1 {
			t.Errorf("restart: %d launched, %d running", launched, running)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				switch i % 3 {
				case 0:
					s.Start(testSpec)
				case 1:
					s.Restart(testSpec)
				default:
					s.Stop()
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if _, running := l.counts(); running > 1 {
			t.Errorf("%d run at once", running)
		}
		s.Close()
		s.Start(testSpec)
		synctest.Wait()
		if _, running := l.counts(); running != 0 {
			t.Error("something runs after Close")
		}
	})
}

func TestSupervisorWaitEndsWithCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(&fakeLauncher{lives: []time.Duration{0}}, time.Now)
		s.Start(testSpec)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s.Settled(ctx, time.Hour)
		if time.Since(began) != time.Second {
			t.Errorf("waited %v", time.Since(began))
		}
		s.Close()
	})
}

func TestEnvironOrder(t *testing.T) {
	t.Parallel()
	e := newEnviron([]string{"A=1", "junk", "=x", "B=2", "A=3"})
	e.setDefault("B", "9")
	e.setAll(map[string]string{"Z": "z", "C": "c"})
	if got := fmt.Sprint(e.list()); got != "[A=3 B=2 C=c Z=z]" {
		t.Error(got)
	}
}

// An app that runs and never listens is no longer «starting» after a minute, and
// says where it listens instead; when it listens at last all is well.
func TestAppThatDoesNotListen(t *testing.T) {
	t.Parallel()
	for want, ports := range map[string][]int{
		"it runs, but nothing listens on $PORT, which is 8080. Make the app listen there, then reload":                                     nil,
		"it runs, but nothing listens on $PORT, which is 8080; something listens on 3000, 9229. Make the app listen on $PORT, then reload": {3000, 9229},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &fakeLauncher{lives: []time.Duration{0}, ports: ports}
			s := newSupervisor(l, time.Now)
			s.Start(testSpec)
			if st := s.Settled(t.Context(), silentAfter-time.Second); st.App != wire.AppStarting || st.Reason != "" {
				t.Errorf("before: %+v", st)
			}
			if st := s.Settled(t.Context(), time.Minute); st.App != wire.AppRunning || st.Reason != want || len(st.Tail) != 1 {
				t.Errorf("after: %+v", st)
			}
			l.mu.Lock()
			l.answers = true
			l.mu.Unlock()
			time.Sleep(2 * lastProbe)
			if st := s.State(); st.App != wire.AppRunning || st.Reason != "" || st.Tail != nil {
				t.Errorf("at last: %+v", st)
			}
			s.Close()
		})
	}
}
