//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/handover"
	"podgate/pods/wire"
	"podgate/store"
)

// passOn detaches the runtime and opens the next one on what it has handed over, which
// change may alter. Both are in this process, as the two programs are.
func passOn(t *testing.T, r *Runtime, baton *handover.Baton, change func(*handedRuntime)) *Runtime {
	t.Helper()
	if err := r.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	var h handedRuntime
	if err := baton.Get(handedPart, &h); err != nil {
		t.Fatal(err)
	}
	change(&h)
	if err := baton.Put(handedPart, h); err != nil {
		t.Fatal(err)
	}
	next := open(t, Config{Dir: r.cfg.Dir, Before: baton})
	baton.Drop()
	return next
}

func newBaton(t *testing.T) *handover.Baton {
	t.Helper()
	baton, err := handover.New()
	if err != nil {
		t.Fatal(err)
	}
	return baton
}

// A pod that is handed over runs on, with its connections, and belongs to the next runtime
// in every respect.
func TestPodHandOver(t *testing.T) {
	t.Parallel()
	baton := newBaton(t)
	r := open(t, Config{Next: func() *handover.Baton { return baton }})
	world := newElsewhere(t)
	g := gateTo(world, openToAll)
	startWith(t, r, "a", g)
	start(t, r, "b", limits)
	// A program with a connection that was open before says what comes over it after.
	const speaker = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => "api.example.com:443", Timeout => 60) or die; $s->autoflush; print $s "before\n"; print scalar <$s>; $| = 1; sleep 1 until -e "/tmp/on"; print $s "after\n"; print scalar <$s>; open F, ">", "/tmp/done"; sleep 1 until -e "/tmp/off"' > /tmp/out 2>&1`
	job(t, r, "a", speaker)
	until(t, r, "a", "grep -q before /tmp/out")
	was, first := statusOf(t, r, "a"), command(t, r, "a", "cut -d' ' -f22 /proc/1/stat").stdout
	address := command(t, r, "a", "perl -e 'print join(\".\", unpack(\"C4\", scalar gethostbyname(\"api.example.com\")))'").stdout

	next := passOn(t, r, baton, func(*handedRuntime) {})
	if err := r.Close(t.Context()); err != nil {
		t.Errorf("close what is detached: %v", err)
	}
	is := statusOf(t, next, "a")
	if !is.Running || !is.Started.Equal(was.Started) || strings.Join(is.Enforced, "\n") != strings.Join(was.Enforced, "\n") || !statusOf(t, next, "b").Running {
		t.Fatalf("it was %+v and is %+v", was, is)
	}
	g = gateTo(world, openToAll)
	startWith(t, next, "a", g) // as reconcile does
	startWith(t, next, "a", g)
	if got := command(t, next, "a", "cut -d' ' -f22 /proc/1/stat; touch /tmp/on").stdout; got != first {
		t.Errorf("its first process began at %s and %s", first, got)
	}
	until(t, next, "a", "test -e /tmp/done")
	if got := command(t, next, "a", "cat /tmp/out"); got.stdout != "before\nafter\n" {
		t.Errorf("over the connection came %+v", got)
	}
	// The address that stands for a name still does, which a program may have kept.
	if got := command(t, next, "a", perlTCP+address+":443"); got.stdout != "hello\n" {
		t.Errorf("by %s: %+v", address, got)
	}
	has := func(connections int) {
		t.Helper()
		eventually(t, "the number of connections that the gate knows", func() bool {
			open := 0
			for _, e := range g.Ledger() {
				open += e.Open
			}
			return open == connections
		})
	}
	has(1)
	command(t, next, "a", "touch /tmp/off")
	has(0)
	if err := next.running("b").process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if death, err := next.Ended(ctx); err != nil || death.ID != "b" {
		t.Errorf("%+v, %v", death, err)
	}
	if err := next.Stop(t.Context(), "a"); err != nil || statusOf(t, next, "a").Running {
		t.Errorf("stop: %v", err)
	}
	forgotten(t, r, "a")
	start(t, next, "a", limits)
}

// What cannot be adopted ends, and can be started anew; what only seems to be a pod is left
// alone.
func TestPodHandOverOfWhatCannotBe(t *testing.T) {
	t.Parallel()
	baton := newBaton(t)
	r := open(t, Config{Next: func() *handover.Baton { return baton }})
	for _, id := range []store.PodID{"stays", "young", "lost"} {
		start(t, r, id, limits)
	}
	stranger := exec.Command("sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	first := map[store.PodID]int{}
	next := passOn(t, r, baton, func(h *handedRuntime) {
		for i := range h.Pods {
			p := &h.Pods[i]
			first[p.ID] = p.Process.PID
			switch p.ID {
			case "young": // its number belongs to a later process
				p.Process.PID = stranger.Process.Pid
			case "lost":
				p.Process.Socket = 499 // was not kept
			}
		}
	})
	for id, runs := range map[store.PodID]bool{"stays": true, "young": false, "lost": false} {
		if got := statusOf(t, next, id); got.Running != runs {
			t.Errorf("%s: %+v", id, got)
		}
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process that is no pod was ended: %v", err)
	}
	eventually(t, "the end of it", func() bool { _, err := readProcess(first["lost"]); return err != nil })
	for _, id := range []store.PodID{"young", "lost"} {
		forgotten(t, r, id)
		start(t, next, id, limits)
	}
}

// Agents of another protocol end.
func TestPodHandOverOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	baton := newBaton(t)
	r := open(t, Config{Next: func() *handover.Baton { return baton }})
	start(t, r, "a", limits)
	next := passOn(t, r, baton, func(h *handedRuntime) { h.Protocol++ })
	if statusOf(t, next, "a").Running {
		t.Error("it runs, though nobody can speak with its agent")
	}
	forgotten(t, r, "a")
	start(t, next, "a", limits)
}

// Without anybody to hand over to, nothing changes.
func TestPodDetachAlone(t *testing.T) {
	t.Parallel()
	r := open(t, Config{Next: func() *handover.Baton { return nil }})
	start(t, r, "a", limits)
	if err := r.Detach(t.Context()); !errors.Is(err, errors.ErrUnsupported) || !statusOf(t, r, "a").Running {
		t.Errorf("%v", err)
	}
}

// forgotten waits until the runtime that was detached, which is still there in this
// process, has seen the end of a pod.
func forgotten(t *testing.T, r *Runtime, id store.PodID) {
	t.Helper()
	eventually(t, "the end of a pod", func() bool { return r.running(id) == nil })
}

// job starts a command that outlives the request.
func job(t *testing.T, r *Runtime, id store.PodID, line string) {
	t.Helper()
	body, err := json.Marshal(wire.JobRequest{Command: line, Dir: home})
	if err != nil {
		t.Fatal(err)
	}
	agent := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return r.Dial(ctx, id) },
		DisableKeepAlives: true,
	}}
	res, err := agent.Post("http://pod"+wire.PathJob, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
}

func until(t *testing.T, r *Runtime, id store.PodID, line string) {
	t.Helper()
	eventually(t, line, func() bool { return command(t, r, id, line).code == 0 })
}
