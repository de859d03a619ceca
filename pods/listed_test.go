package pods_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods"

	"podgate/pods/wire"
	"podgate/store"
)

// speaker is the agent of one pod, or of several that are alike, which says how its app
// is whenever that changes.
type speaker struct {
	mu      sync.Mutex
	state   wire.State
	changed chan struct{} // closed with each change
	extra   string        // said after each state, as it is
	deaf    bool          // it knows no streams
	silent  bool          // it answers nothing
	ends    bool          // a stream ends after its first state
	streams int           // that were opened
	open    int           // that are
	asked   int           // questions for a state alone
	uses    int           // the same for use
}

func newSpeaker() *speaker {
	return &speaker{state: wire.State{App: wire.AppRunning, Started: day}, changed: make(chan struct{})}
}

func (a *speaker) set(do func(*speaker)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do(a)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *speaker) look() (s speaker, state string, changed chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	raw, _ := json.Marshal(a.state)
	return speaker{extra: a.extra, deaf: a.deaf, silent: a.silent, ends: a.ends, streams: a.streams, open: a.open, asked: a.asked, uses: a.uses}, string(raw), a.changed
}

func (a *speaker) count(n *int, by int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n += by
}

// serve is a podstest.AgentFunc.
func (a *speaker) serve(ctx context.Context, _ string, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathState, func(w http.ResponseWriter, r *http.Request) {
		now, state, _ := a.look()
		switch follow := r.URL.Query().Get("follow") == "1"; {
		case now.silent:
			<-r.Context().Done()
		case follow && now.deaf:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"code":"bad_request","message":"unknown parameter"}`)
		case follow:
			a.follow(w, r)
		default:
			a.count(&a.asked, 1)
			_, _ = fmt.Fprint(w, state)
		}
	})
	mux.HandleFunc("GET "+wire.PathUsage, func(w http.ResponseWriter, _ *http.Request) {
		a.count(&a.uses, 1)
		_, _ = fmt.Fprint(w, `{"memory":5242880}`)
	})
	mux.HandleFunc("POST "+wire.PathApp, func(w http.ResponseWriter, _ *http.Request) {
		_, state, _ := a.look()
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = fmt.Fprintf(w, "{\"state\":%s}\n", state)
	})
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	_ = srv.Serve(l) // it ends with ctx
	return nil
}

func (a *speaker) follow(w http.ResponseWriter, r *http.Request) {
	a.count(&a.streams, 1)
	a.count(&a.open, 1)
	defer a.count(&a.open, -1)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		now, state, changed := a.look()
		_, _ = fmt.Fprintf(w, "{\"state\":%s}\n%s", state, now.extra)
		_ = http.NewResponseController(w).Flush()
		if now.ends {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// crew is a house whose pods have such agents, in time that a test passes.
type crew struct {
	*house
	agents map[string]*speaker
}

func newCrew(t *testing.T, names ...string) *crew {
	t.Helper()
	c := &crew{newHouse(t), map[string]*speaker{}}
	for _, name := range names {
		c.agents[name] = newSpeaker()
		c.fake.SetAgent(c.agents[name].serve)
		c.create(t, name)
	}
	return c
}

// listed is how the pods are in a list, in order.
func (c *crew) listed(t *testing.T) string {
	t.Helper()
	list, err := c.Lines(t.Context(), c.ann) // made anew only when List may say something else
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, p := range list.Lines {
		words = append(words, p.Name+" "+p.Status)
	}
	return strings.Join(words, ", ")
}

// Whoever looks, and however often: a pod that runs is listened to through one stream,
// and asked for nothing, but once a minute, so that an agent that hangs is found out;
// what it uses is asked every 15 seconds, where that is shown.
func TestLooksCostAgentsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "shop")
		a := c.agents["shop"]
		a.set(func(a *speaker) { a.asked, a.uses = 0, 0 })
		follower := c.WatchPods([]store.TeamID{c.ann.Team.ID})
		for range 50 {
			if got := c.listed(t); got != "shop running" {
				t.Fatal(got)
			}
			front, err := c.Front(t.Context(), c.ann.User, time.Now())
			if err != nil || front.Teams[0].Pods[0].Status != "running" || front.Teams[0].Pods[0].Memory != 5<<20 {
				t.Fatalf("%+v %v", front, err)
			}
			if list, err := c.Gauges(t.Context()); err != nil || list[0].Status != "running" || list[0].Usage.Memory != 5<<20 {
				t.Fatalf("%+v %v", list, err)
			}
			if _, err := c.CountFailed(t.Context(), c.ann.User, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if now, _, _ := a.look(); now.streams != 1 || now.asked != 0 || now.uses > 50/15+1 {
			t.Errorf("in 50 seconds %d streams, %d questions how it is and %d what it uses", now.streams, now.asked, now.uses)
		}
		time.Sleep(time.Minute)
		c.listed(t)
		synctest.Wait()
		if now, _, _ := a.look(); now.streams > 3 || now.open != 1 || now.asked != 0 {
			t.Errorf("after a minute more %d streams, %d open, %d questions", now.streams, now.open, now.asked)
		}
		follower.Close()
		c.end(t, a)
	})
}

// end closes the service. No stream outlives it, and a synctest bubble no goroutine.
func (c *crew) end(t *testing.T, agents ...*speaker) {
	t.Helper()
	began := time.Now()
	if err := c.Close(); err != nil || time.Since(began) > time.Second {
		t.Errorf("close: %v after %s", err, time.Since(began))
	}
	synctest.Wait()
	for _, a := range agents {
		if now, _, _ := a.look(); now.open != 0 {
			t.Errorf("%d streams outlive the service", now.open)
		}
	}
}

// What an agent says is in the next list and with those who follow, of its own pod and no
// other, whatever it names. One that floods, or lies, has its own pod listed as it likes.
func TestListsHearAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "blog", "shop")
		blog, shop := c.agents["blog"], c.agents["shop"]
		follower := c.WatchPods([]store.TeamID{c.ann.Team.ID})
		heard := func() string {
			time.Sleep(time.Second) // a change is told at once, but not each of a burst
			changes, _ := follower.Take()
			var words []string
			for _, c := range changes {
				words = append(words, c.Name+" "+c.Status)
			}
			return strings.Join(words, ", ")
		}
		same(t, "at first", []string{c.listed(t), heard()}, []string{"blog running, shop running", "blog running, shop running"})
		blog.set(func(a *speaker) { a.state = wire.State{App: wire.AppFailed, Reason: "it broke"} })
		synctest.Wait()
		same(t, "after a failure", []string{c.listed(t), heard()}, []string{"blog failed, shop running", "blog failed"})
		blog.set(func(a *speaker) {
			a.state.App = wire.AppWaiting
			a.extra = strings.Repeat(`{"state":{"app":"waiting"},"name":"shop","pod":"shop"}`+"\n", 500)
		})
		for range 20 {
			time.Sleep(time.Second)
			blog.set(func(*speaker) {})
			if got := c.listed(t); got != "blog failing, shop running" {
				t.Errorf("during a flood: %s", got)
			}
		}
		if now, _, _ := shop.look(); now.streams != 1 {
			t.Errorf("the other pod's agent has %d streams", now.streams)
		}
		follower.Close()
		c.end(t, blog, shop)
	})
}

// After each tool that changes a pod the next list shows what came of it. What the agent
// said before, and the server has not read yet, is not shown any more.
func TestListsFollowTools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "shop")
		a := c.agents["shop"]
		for round := range 5 {
			a.set(func(a *speaker) {
				a.state = wire.State{App: wire.AppFailed, Reason: "before"}
				a.extra = strings.Repeat(`{"state":{"app":"failed","reason":"before"}}`+"\n", 2000)
			})
			synctest.Wait()
			if got := c.listed(t); got != "shop failed" {
				t.Errorf("round %d, before: %s", round, got)
			}
			a.set(func(a *speaker) { a.state, a.extra = wire.State{App: wire.AppRunning}, "" })
			if _, err := c.Restart(t.Context(), c.ann, "shop", nil); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := c.listed(t); got != "shop running" {
					t.Errorf("round %d, after a restart: %s", round, got)
				}
				time.Sleep(300 * time.Millisecond)
			}
		}
		if _, err := c.Stop(t.Context(), c.ann, "shop", nil); err != nil {
			t.Fatal(err)
		}
		if got := c.listed(t); got != "shop stopped" {
			t.Errorf("after a stop: %s", got)
		}
		synctest.Wait()
		if now, _, _ := a.look(); now.open != 0 {
			t.Errorf("%d streams outlive their pod", now.open)
		}
		if _, err := c.Start(t.Context(), c.ann, "shop", nil); err != nil {
			t.Fatal(err)
		}
		if got := c.listed(t); got != "shop running" {
			t.Errorf("after a start: %s", got)
		}
		if err := c.Delete(t.Context(), c.ann, "shop", "shop"); err != nil {
			t.Fatal(err)
		}
		if got := c.listed(t); got != "" {
			t.Errorf("after a delete: %s", got)
		}
		c.end(t, a)
	})
}

// An agent that knows no streams is asked, as often as a list is older than two seconds,
// and tried again after ever longer pauses; so is one whose streams break.
func TestListsAskWhoCannotSay(t *testing.T) {
	t.Parallel()
	for name, cannot := range map[string]func(*speaker){
		"knows no streams": func(a *speaker) { a.deaf = true },
		"streams end":      func(a *speaker) { a.ends = true },
		"lines are long":   func(a *speaker) { a.extra = strings.Repeat("x", 100<<10) },
		"no states":        func(a *speaker) { a.extra = "{}\n" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t, "shop")
				a := c.agents["shop"]
				a.set(func(a *speaker) { cannot(a); a.asked = 0 })
				for i := range 600 {
					if got := c.listed(t); got != "shop running" {
						t.Fatalf("list %d: %s", i, got)
					}
					time.Sleep(100 * time.Millisecond)
				}
				now, _, _ := a.look()
				if now.asked+now.streams > 60/2+10 || now.streams > 8 {
					t.Errorf("in a minute %d questions and %d streams", now.asked, now.streams)
				}
				a.set(func(a *speaker) { a.state.App = wire.AppFailed })
				time.Sleep(2 * time.Second)
				if got := c.listed(t); got != "shop failed" {
					t.Errorf("after a failure: %s", got)
				}
				a.set(func(a *speaker) { a.deaf, a.ends, a.extra, a.streams = false, false, "", 0 })
				for range 70 {
					c.listed(t)
					time.Sleep(time.Second)
				}
				if now, _, _ := a.look(); now.streams < 1 || now.streams > 2 || now.open != 1 {
					t.Errorf("once it can, %d streams, %d open", now.streams, now.open)
				}
				c.end(t, a)
			})
		})
	}
}

// An agent that says nothing any more is found out a minute after its last word, without
// anybody waiting for it, and one that says nothing at first makes a list say so.
func TestListsFindOutWhoIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "blog", "shop")
		a := c.agents["shop"]
		c.listed(t)
		a.set(func(a *speaker) { a.silent = true })
		time.Sleep(50 * time.Second)
		if got := c.listed(t); got != "blog running, shop running" {
			t.Errorf("after 50 seconds: %s", got)
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		if c.listed(t); time.Since(began) > 0 {
			t.Errorf("the list took %s", time.Since(began))
		}
		time.Sleep(3 * time.Second)
		if got := c.listed(t); got != "blog running, shop failed" {
			t.Errorf("after 70 seconds: %s", got)
		}
		if _, err := c.Restart(t.Context(), c.ann, "shop", nil); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if got := c.listed(t); got != "blog running, shop failed" || time.Since(began) > 3*time.Second {
			t.Errorf("of an agent that has said nothing: %s after %s", got, time.Since(began))
		}
		a.set(func(a *speaker) { a.silent = false })
		time.Sleep(2 * time.Minute)
		c.listed(t)
		time.Sleep(2 * time.Second)
		if got := c.listed(t); got != "blog running, shop running" {
			t.Errorf("once it answers: %s", got)
		}
		c.end(t, a)
	})
}

// Agents of one team that say nothing hold up nobody else's list.
func TestSilentAgentsHoldUpTheirTeam(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &crew{newHouse(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 100, Memory: 1 << 40} }), map[string]*speaker{}}
		silent, speaks := newSpeaker(), newSpeaker()
		c.fake.SetAgent(silent.serve)
		for i := range 70 {
			c.create(t, fmt.Sprintf("mute-%d", i))
		}
		c.fake.SetAgent(speaks.serve)
		if _, err := c.Create(t.Context(), c.bob, pods.CreateRequest{Name: "bobs", Preset: "static"}, nil); err != nil {
			t.Fatal(err)
		}
		silent.set(func(a *speaker) { a.silent = true })
		done := make(chan bool)
		go func() { c.listed(t); close(done) }()
		synctest.Wait() // as many of them are asked as may be at a time
		began := time.Now()
		list, err := c.List(t.Context(), c.bob)
		if err != nil || len(list) != 1 || list[0].Status != "running" || time.Since(began) > 0 {
			t.Errorf("%+v, %v after %s", list, err, time.Since(began))
		}
		<-done
		c.end(t, silent)
	})
}

// A pod that ends by itself is not listed as it was, and one whose agent cannot be
// reached says since when.
func TestListsNoticeTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "shop")
		c.listed(t)
		rec, err := c.db.PodByName("shop")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		c.fake.Hang("dial")
		c.agents["shop"].set(func(a *speaker) { a.ends, a.silent = true, true })
		synctest.Wait()
		front, err := c.Front(t.Context(), c.ann.User, time.Now())
		if p := front.Teams[0].Pods[0]; err != nil || p.Status != pods.StatusUnknown || !strings.Contains(p.Reason, "heard last at 2000-01-01T00:00:0") {
			t.Errorf("%+v %v", p, err)
		}
		c.fake.Hang()
		time.Sleep(5 * time.Second)
		c.agents["shop"].set(func(a *speaker) { a.ends, a.silent = false, false })
		time.Sleep(time.Minute)
		if got := c.listed(t); got != "shop running" {
			t.Error(got)
		}
		time.Sleep(3 * time.Second)
		c.fake.Kill(rec.ID, "killed")
		synctest.Wait()
		if got := c.listed(t); got != "shop starting" {
			t.Errorf("after its end: %s", got)
		}
		c.end(t, c.agents["shop"])
	})
}
