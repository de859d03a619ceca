package podstest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/wire"
)

// The limits of a plan, as the first word of what get_pod says of each.
const (
	LimitMemory    = "memory"
	LimitCPUs      = "cpus"
	LimitProcesses = "processes"
	LimitDisk      = "disk"
)

// tight is a plan for tests that break it. Under the race detector the agent alone is
// larger than the smallest plan.
var tight = pods.Limits{Memory: 192 << 20, CPUs: 0.25, Disk: 16 << 20, Processes: 40}

// testLimits breaks the limits that the runtime says it holds. Of the others a pod must
// not say that they hold.
func testLimits(t *testing.T, s Subject) {
	r := s.Open(t)
	held := s.limits(r)
	breaks := map[string]func(*bench){
		LimitMemory: breakMemory, LimitCPUs: breakCPUs, LimitProcesses: breakProcesses, LimitDisk: breakDisk,
	}
	b := newTight(t, r, tight)
	b.create("shop", "static", nil)
	p, err := b.Get(t.Context(), b.actor, "shop")
	must(t, "look", err)
	for name := range breaks {
		said := slices.ContainsFunc(p.Enforced, func(how string) bool { return strings.HasPrefix(how, name+" (") })
		if said != slices.Contains(held, name) {
			t.Errorf("of the limits %q hold, and the pod says %q", held, p.Enforced)
		}
	}
	if len(p.Enforced) != len(held) {
		t.Errorf("the limits %q hold, and the pod says %q", held, p.Enforced)
	}
	if len(held) > 0 {
		packagetest.Need(t, "perl")
	}
	for _, name := range held {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := tight
			if name != LimitCPUs {
				plan.CPUs = 2 // what is broken here should be soon
			}
			breaks[name](newTight(t, s.Open(t), plan))
		})
	}
}

// newTight is a bench whose pods have these limits.
func newTight(t *testing.T, r pods.Runtime, l pods.Limits) *bench {
	t.Helper()
	return newBench(t, r, func(c *pods.Config) { c.Plans = []pods.Plan{{Name: "tight", Limits: l}} })
}

// tooMuch takes 256 MiB and keeps them.
const tooMuch = `perl -e '$x = "x"; $x .= $x for 1 .. 28; sleep 1000'`

// listens is an app that does nothing but listen.
const listens = `exec perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); bind(S, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) || die; listen(S, 9); sleep 1000'`

// breakMemory has an app and a command take more than there is. How they ended is told,
// also when the app runs again, and the pod goes on.
func breakMemory(b *bench) {
	t := b.t
	id := b.create("shop", "command", nil).ID
	started := look(t, b.runtime, id).Started
	b.write("shop", "Procfile", "web: test -e once || { touch once; exec "+tooMuch+"; }; "+listens+"\n")
	_, err := b.Reload(t.Context(), b.actor, "shop", nil)
	must(t, "reload", err)
	var p pods.Pod
	b.until("it runs again, and why it ended is said", func() bool {
		p, err = b.Get(t.Context(), b.actor, "shop")
		return err == nil && p.Restarts == 1 && strings.Contains(p.LastExit.Reason, "out of memory: the limit is 192 MiB")
	})
	if apart := time.Since(p.LastExit.At); apart > time.Minute {
		t.Errorf("it ended %v ago", apart)
	}
	b.until("a command is told why it ended", func() bool { // a busy machine may hear of it too late once
		out := b.run("shop", tooMuch)
		return out.Code == 137 && strings.Contains(out.Limit, "out of memory: the limit is 192 MiB")
	})
	if out := b.run("shop", "kill -9 $$"); out.Code != 137 || out.Limit != "" {
		t.Errorf("a command that was killed by somebody else: %+v", out)
	}
	if now := look(t, b.runtime, id); !now.Running || !now.Started.Equal(started) {
		t.Errorf("the pod did not go on: %+v", now)
	}
	_, err = b.Restart(t.Context(), b.actor, "shop", nil)
	must(t, "restart", err)
	if p, err := b.Get(t.Context(), b.actor, "shop"); err != nil || !strings.Contains(p.LastExit.Reason, "out of memory") {
		t.Errorf("after a restart: %+v, %v", p.LastExit, err)
	}
}

// breakCPUs works with two processes for longer than the plan has processor time.
func breakCPUs(b *bench) {
	t := b.t
	id := b.create("shop", "static", nil).ID
	before, began := look(t, b.runtime, id).Usage.CPU, time.Now()
	b.run("shop", "for i in 1 2; do (end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; done) & done; wait")
	used, took := look(t, b.runtime, id).Usage.CPU-before, time.Since(began).Seconds()
	// A period's worth may come on top, and the agent's own.
	if most := 1.5*tight.CPUs*took + 0.3; used > most {
		t.Errorf("it had %.2f s of processors in %.2f s, at most %.2f are its", used, took, most)
	}
}

// breakProcesses starts more than there may be, and lets them start more whenever
// there is room. Others are well, and a restart ends it.
func breakProcesses(b *bench) {
	t := b.t
	b.create("shop", "static", nil)
	b.create("other", "static", nil)
	out := b.run("shop", `n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 1000 >/dev/null 2>&1 & done; echo all`)
	if strings.Contains(string(out.Stdout), "all") && !strings.Contains(string(out.Stderr), "fork") {
		t.Errorf("200 processes where %d may be: %+v", tight.Processes, out)
	}
	b.run("shop", "true") // has a place
	b.prints("other", "true")
	_, err := b.Restart(t.Context(), b.actor, "shop", nil)
	must(t, "restart", err)
	b.prints("shop", `export b='trap "" TERM; while sleep 0.01; do (sh -c "$b" &); done'; sh -c "$b" >/dev/null 2>&1 &`)
	b.until("the processes are used up", func() bool {
		p, err := b.Get(t.Context(), b.actor, "shop")
		return err == nil && p.Processes > tight.Processes/2
	})
	b.prints("other", "true")
	if p, err := b.Restart(t.Context(), b.actor, "shop", nil); err != nil || p.Status != "running" || p.Restarts != 0 || p.Processes != 2 {
		t.Errorf("after the restart: %+v %v", p, err)
	}
}

// breakDisk writes more than there is room for: an app that does so is stopped, and why
// is said; so is a command, and what is sent is refused. What makes room goes on.
func breakDisk(b *bench) {
	t := b.t
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "web: test -e once || { touch once; n=0; while [ $n -lt 300 ]; do n=$((n + 1)); head -c 1M /dev/zero > part$n; done; }; "+listens+"\n")
	_, err := b.Reload(t.Context(), b.actor, "shop", nil)
	must(t, "reload", err)
	b.until("it runs again, and why it ended is said", func() bool {
		p, err := b.Get(t.Context(), b.actor, "shop")
		return err == nil && p.Restarts == 1 && strings.Contains(p.LastExit.Reason, "disk full")
	})
	out := b.run("shop", "exec dd if=/dev/zero of=part1 bs=64k count=1000000 conv=notrunc")
	if out.Code == 0 || out.Limit != "" && !strings.Contains(out.Limit, "disk full") {
		t.Errorf("a command: %+v", out)
	}
	b.until("what is sent is refused", func() bool {
		_, err := b.WriteFile(t.Context(), b.actor, "shop", "more", make([]byte, 64<<10), 0)
		return errors.Is(err, pods.ErrOverPlan)
	})
	b.prints("shop", "rm part*")
	b.until("there is room again", func() bool {
		_, err := b.WriteFile(t.Context(), b.actor, "shop", "more", make([]byte, 64<<10), 0)
		return err == nil
	})
}

// A worker that prints without end pushes out its own lines and those of nobody else.
func testFlood(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "release: echo installed\nloud: echo begun; yes $(printf %01000d 0) | head -c 12M; while :; do echo over; sleep 0.2; done\nquiet: echo working; exec sleep 1000\n")
	_, err := b.Reload(t.Context(), b.actor, "shop", nil)
	must(t, "reload", err)
	lines := func(q pods.LogQuery) []wire.LogLine {
		t.Helper()
		lines, err := b.Logs(t.Context(), b.actor, "shop", q)
		must(t, "logs", err)
		return lines
	}
	b.until("it has printed all of it", func() bool { return len(lines(pods.LogQuery{Source: "worker", Grep: "loud: over"})) > 0 })
	if got := lines(pods.LogQuery{Source: "worker", Grep: "loud: begun"}); len(got) != 0 {
		t.Errorf("nothing made room: %+v", got)
	}
	for source, want := range map[string]string{"install": "installed", "worker": "quiet: working"} {
		if got := lines(pods.LogQuery{Source: source, Grep: want}); len(got) != 1 {
			t.Errorf("of %s is left %+v", source, got)
		}
	}
	if got := lines(pods.LogQuery{Lines: 1000}); len(got) != 1000 {
		t.Errorf("%d lines", len(got))
	}
}
