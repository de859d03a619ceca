package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

const (
	cronTime = time.Hour // of one run
	// cronLook is how often the clock is looked at: a machine that slept goes on
	// counting where it was.
	cronLook = time.Minute
)

// idle stands for the app of a pod that has only what runs beside it.
type idle struct{}

func (idle) PID() int              { return 0 }
func (idle) Done() <-chan struct{} { return nil }
func (idle) End() string           { return "" }
func (idle) Stop()                 {}

// keepBeside runs what goes beside the app until the returned function is called,
// which waits for the end of all of it.
func (s *supervisor) keepBeside(ctx context.Context, spec wire.AppSpec, b preset.Beside) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	s.update(func(*wire.State) {
		s.workers, s.crons = nil, nil
		ran := map[string]*wire.CronRun{}
		for _, w := range b.Workers {
			s.workers = append(s.workers, wire.Worker{Name: w.Name, State: wire.AppRunning})
		}
		for _, c := range b.Crons {
			key := c.When + " " + c.Shell
			if last := s.ran[key]; last != nil {
				ran[key] = last
			}
			s.crons = append(s.crons, wire.Cron{When: c.When, Command: c.Shell, Last: s.ran[key]})
		}
		s.ran = ran
	})
	var all sync.WaitGroup
	for i, w := range b.Workers {
		all.Go(func() { s.keepWorker(ctx, spec, i, w) })
	}
	for i, c := range b.Crons {
		all.Go(func() { s.keepCron(ctx, spec, i, c) })
	}
	return func() {
		cancel()
		all.Wait()
		s.update(func(*wire.State) { s.workers, s.crons = nil, nil })
	}
}

// keepWorker is keep for a worker.
func (s *supervisor) keepWorker(ctx context.Context, spec wire.AppSpec, i int, w preset.Worker) {
	set := func(f func(*wire.Worker)) { s.update(func(*wire.State) { f(&s.workers[i]) }) }
	s.again(ctx, func() (string, bool) {
		c, err := s.l.LaunchBeside(spec, sourceWorker, i, w.Name, w.Shell)
		if err != nil {
			return "cannot be started: " + err.Error(), false
		}
		defer c.Stop()
		s.l.Remark("worker %s started: %s", w.Name, w.Shell)
		set(func(w *wire.Worker) {
			w.State, w.Reason, w.Started, w.NextTry = wire.AppRunning, "", s.now(), time.Time{}
		})
		select {
		case <-ctx.Done():
			return "", false
		case <-c.Done():
			return c.End(), false
		}
	}, func(reason string, _ int, next time.Time) {
		state := wire.AppWaiting
		if next.IsZero() {
			state = wire.AppFailed
		}
		s.l.Remark("worker %s %s", w.Name, reason)
		set(func(w *wire.Worker) { w.State, w.Reason, w.NextTry = state, reason, next })
	}, func() {
		set(func(w *wire.Worker) { w.Restarts++ })
	})
}

// keepCron runs a command at its times. A time that comes while the command runs,
// or while the machine sleeps, is left out.
func (s *supervisor) keepCron(ctx context.Context, spec wire.AppSpec, i int, c preset.Cron) {
	set := func(f func(*wire.Cron)) { s.update(func(*wire.State) { f(&s.crons[i]) }) }
	for {
		next := c.Schedule.Next(s.now().UTC())
		set(func(c *wire.Cron) { c.Next = next })
		for s.now().Before(next) {
			if !sleep(ctx, min(next.Sub(s.now()), cronLook)) {
				return
			}
		}
		if s.now().Sub(next) >= cronLook {
			continue
		}
		set(func(c *wire.Cron) { c.Running = true })
		run := &wire.CronRun{Began: s.now()}
		run.Result = s.runCron(ctx, spec, i, c)
		run.Ended = s.now()
		s.l.Remark("cron %d %s: %s", i+1, run.Result, c.Shell)
		set(func(cr *wire.Cron) {
			cr.Running, cr.Last = false, run
			s.ran[c.When+" "+c.Shell] = run
		})
		s.keepRuns()
	}
}

// keepRuns keeps how the lines ran last for a later agent. Lines run side by side, and
// what the last of them keeps has to have all.
func (s *supervisor) keepRuns() {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	ran := maps.Clone(s.ran)
	s.mu.Unlock()
	s.l.KeepRuns(ran)
}

// runCron is one run, and returns how it ended.
func (s *supervisor) runCron(ctx context.Context, spec wire.AppSpec, i int, c preset.Cron) string {
	child, err := s.l.LaunchBeside(spec, sourceCron, i, strconv.Itoa(i+1), c.Shell)
	if err != nil {
		return "cannot be started: " + err.Error()
	}
	defer child.Stop()
	late := time.NewTimer(cronTime)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return "was ended with the app"
	case <-late.C:
		return fmt.Sprintf("took over %v and was ended", cronTime)
	case <-child.Done():
		return child.End()
	}
}

// Beside implements launcher.
func (a *agent) Beside(spec wire.AppSpec) (preset.Beside, error) {
	return presetOf(spec).Beside(preset.App{Dir: a.appDir()})
}

// LaunchBeside implements launcher.
func (a *agent) LaunchBeside(spec wire.AppSpec, source string, slot int, label, shell string) (child, error) {
	dir := a.appDir()
	c := command{app: true, path: a.cfg.Shell, shell: true, argv: []string{"sh", "-c", shell}, dir: dir, env: a.appEnv(dir, spec)}
	l, err := a.spawnLabelled(c, slotPart(source, slot), source, label+": ", nil)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// labelled puts a label before each line; what is too long then goes to a line of
// its own.
func labelled(label string, lines []string) []string {
	if label == "" {
		return lines
	}
	var out []string
	for _, line := range lines {
		if over := len(label) + len(line) - wire.MaxLineBytes; over > 0 {
			n := cutAt([]byte(line), len(line)-over)
			out = append(out, label+line[:n])
			line = line[n:]
		}
		out = append(out, label+line)
	}
	return out
}

// shown completes a state with what runs beside the app. s.mu is held.
func (s *supervisor) shown() wire.State {
	st := s.state
	st.Workers, st.Crons = slices.Clone(s.workers), slices.Clone(s.crons)
	return st
}
