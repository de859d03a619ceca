package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/control"
	"podgate/internal/config"
)

var (
	chaosTime  = flag.Duration("chaos", 0, "how long TestChaos kills the server, such as 15m with -timeout 30m; 0: 10s, or 30s where PODGATE_REQUIRE names the sandbox")
	chaosLeast = flag.Int("chaos-rounds", 3, "how often TestChaos kills the server at least")
	powerCuts  = flag.Int("power-cuts", 2, "how often TestPowerCut takes the power from under the server")
	chaosSeed  = flag.Uint64("seed", 0, "the choices of TestChaos, to repeat them; 0: others each time")
)

// actor is one who uses the server and keeps a ledger of what was acknowledged.
// It is used by one goroutine at a time.
type actor interface {
	// step does one thing and waits for its answer. What is asked for is noted
	// before and what was answered after.
	step()
	// verify holds a server that was just started against the ledger.
	verify()
	// finish verifies all that there is to verify and leaves nothing that lives.
	finish()
}

// chaos is a server that is killed over and over while actors use it.
type chaos struct {
	testing.TB
	rng    *rand.Rand
	dir    string
	config string // of the server, as a file has it
	srv    *testServer
	killed atomic.Bool // the server is gone, or is about to be
	actors []actor
	loses  bool         // a kill takes what the disk does not have yet, and so what apps wrote
	steps  atomic.Int64 // that were answered
	cut    atomic.Int64 // that were not
}

// TestChaos kills the server with SIGKILL at random instants under a mixed load.
// What it had acknowledged holds after it was started again, whatever it had not
// is there whole or not at all, nothing works a second time, check finds nothing,
// and no pod outlives its server.
func TestChaos(t *testing.T) {
	t.Parallel()
	c := newChaos(t, t.TempDir())
	rounds := 0
	for end := time.Now().Add(chaosDuration()); !t.Failed() && (rounds < *chaosLeast || time.Now().Before(end)); rounds++ {
		c.round()
	}
	if t.Failed() {
		return
	}
	c.start()
	c.finish()
	t.Logf("%d rounds, %d steps answered, %d cut off", rounds, c.steps.Load(), c.cut.Load())
}

// finish has the server that runs verified and emptied, and ends it.
func (c *chaos) finish() {
	c.all(actor.verify)
	c.all(actor.finish)
	c.purge()
	if code := c.srv.Stop(); code != exitDone {
		c.Errorf("the server ended with code %d\n%s", code, c.srv.Log)
	}
	c.check()
	c.nothingRuns()
	if homes, err := filepath.Glob(filepath.Join(c.dir, "pods", "[^.]*")); err != nil || len(homes) > 0 {
		c.Errorf("files of pods are left: %v, %v", homes, err)
	}
	if left, err := filepath.Glob(filepath.Join(c.dir, "pods", ".snapshots", "*")); err != nil || len(left) > 0 {
		c.Errorf("snapshots are left: %v, %v", left, err)
	}
}

// purge ends for good what was deleted.
func (c *chaos) purge() {
	var list []control.DeletedPod
	code, out, errs := c.srv.command("pod", "undelete", "--json")
	if err := json.Unmarshal([]byte(out), &list); code != exitDone || err != nil {
		c.Errorf("deleted pods: %d %s%s %v", code, out, errs, err)
	}
	for _, p := range list {
		if code, out, errs := c.srv.command("pod", "undelete", p.ID, "--for-good", "--yes"); code != exitDone {
			c.Errorf("%s: %s%s", p.Name, out, errs)
		}
	}
}

func chaosDuration() time.Duration {
	switch {
	case *chaosTime > 0:
		return *chaosTime
	case strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox"):
		return 30 * time.Second
	}
	return 10 * time.Second
}

// newChaos starts a server in a folder for the first time, with people who are signed up.
func newChaos(t *testing.T, dir string) *chaos {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test . -run TestChaos -seed %d", seed)
	c := &chaos{TB: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: dir}
	port := freePort(t)
	c.config = fmt.Sprintf("public_url = \"http://localhost:%s\"\nlisten = \"127.0.0.1:%[1]s\"\ntrusted_proxies = [\"127.0.0.0/8\"]", port)
	c.srv = startProcess(t, c.dir, c.config)
	setUp(t, c.srv)
	actorOf := func(n int) chaosActor {
		p := addPerson(t, c.srv, fmt.Sprint("person", n))
		return newChaosActor(c, p, rand.New(rand.NewPCG(seed, uint64(n+1))))
	}
	c.actors = append(c.actors, &chaosSessions{chaosActor: actorOf(0)}, newChaosApps(actorOf(1)), newChaosApps(actorOf(2)))
	if podsRun(t, c.srv) {
		c.actors = append(c.actors, newChaosPods(actorOf(3)), newChaosUndo(actorOf(4)))
	}
	return c
}

// round lets the actors verify what was, and then work until the server is
// killed. In one of four it is killed once more while it starts.
func (c *chaos) round() {
	if c.rng.IntN(4) == 0 && c.srv.killed.Load() {
		c.launch()
		time.Sleep(c.instant(150 * time.Millisecond))
		c.killed.Store(true)
		c.kill()
	}
	if c.srv.killed.Load() {
		c.start()
	}
	c.all(actor.verify)
	c.loadUntil(c.kill)
	c.check()
}

// loadUntil has all actors work until the server meets its end.
func (c *chaos) loadUntil(end func()) {
	var load sync.WaitGroup
	load.Go(func() { c.all(c.work) })
	time.Sleep(c.instant(1500 * time.Millisecond))
	c.killed.Store(true)
	end()
	load.Wait()
}

// instant is one of a span, the early ones as likely as the late.
func (c *chaos) instant(most time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(most)))
}

// launch starts the server without waiting for it.
func (c *chaos) launch() {
	c.srv = newTestServer(c, c.dir)
	c.srv.launch(config.Environ{"PATH=" + os.Getenv("PATH")}, c.srv.Stdout, c.srv.Log, c.srv.args([]string{c.config}))
	c.killed.Store(false)
}

func (c *chaos) start() {
	c.launch()
	c.srv.waitReady()
}

func (c *chaos) kill() {
	c.srv.Kill()
	c.nothingRuns()
	if log := c.srv.Log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") {
		c.Errorf("the server had trouble of its own:\n%s", log)
	}
}

// nothingRuns waits until nothing is there that the server or its pods ran, and nobody
// has its socket: what it was about to start holds that until it runs. Their mounts
// live in namespaces, and so end with their processes.
func (c *chaos) nothingRuns() {
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := c.processes()
		conn, err := net.Dial("unix", filepath.Join(c.dir, "podgate.sock"))
		if err == nil {
			conn.Close()
		} else if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			c.Fatalf("left behind: %+v, and dialling the socket: %v", left, err)
		}
	}
}

// check looks at the database of a server that does not run.
func (c *chaos) check() {
	if code, out, errs := c.srv.command("check"); code != exitDone {
		c.Errorf("check: %s%s", out, errs)
	}
}

func (c *chaos) work(a actor) {
	for !c.killed.Load() && !c.Failed() {
		a.step()
		c.steps.Add(1)
	}
}

// cutOff is the panic of an actor whose request got no answer.
type cutOff struct{ error }

// all lets every actor do something at the same time. One that gets no answer
// stops there, which is a fault unless the server was killed.
func (c *chaos) all(do func(actor)) {
	var group sync.WaitGroup
	for _, a := range c.actors {
		group.Go(func() {
			defer func() {
				switch p := recover().(type) {
				case nil:
				case cutOff:
					if c.cut.Add(1); !c.killed.Load() {
						c.Errorf("%T: %v", a, p)
					}
				default:
					panic(p)
				}
			}()
			do(a)
		})
	}
	group.Wait()
}

// chaosTB ends an actor's step, and not the test, where a browser cannot go on.
type chaosTB struct{ testing.TB }

func (chaosTB) Fatal(args ...any)                 { panic(cutOff{errors.New(fmt.Sprint(args...))}) }
func (chaosTB) Fatalf(format string, args ...any) { panic(cutOff{fmt.Errorf(format, args...)}) }
