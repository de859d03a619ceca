package pods_test

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

// A short list is made once, and anew after whatever it may show.
func TestLinesAreMadeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "shop", "wiki")
		shop := c.agents["shop"]
		lines := func(a authz.Actor) *pods.Listing {
			t.Helper()
			out, err := c.Lines(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			list, err := c.List(t.Context(), a)
			if err != nil || len(list) != len(out.Lines) {
				t.Fatal(out, list, err)
			}
			for i, p := range list {
				if want := (pods.Line{Name: p.Name, Status: p.Status, Preset: p.Preset, Plan: p.Plan, Region: p.Region, URL: p.URL}); out.Lines[i] != want {
					t.Errorf("%+v, want %+v", out.Lines[i], want)
				}
			}
			return out
		}
		limited := c.ann
		limited.Grant, limited.Scopes, limited.Limits.Prefix = "g", authz.Scopes(), "sh"
		lines(c.ann) // the agents are heard from here on, which is news
		first := lines(c.ann)
		time.Sleep(30 * time.Second)
		if lines(c.ann) != first {
			t.Error("a list is made anew though nothing happened")
		}
		if len(first.Lines) != 2 || len(lines(limited).Lines) != 1 || len(lines(c.bob).Lines) != 0 || lines(c.ann) != first {
			t.Error("others have the same list")
		}
		time.Sleep(31 * time.Second) // an agent is to be heard within a minute
		if lines(c.ann) == first {
			t.Error("a list that is older than the last word of an agent may be")
		}
		for _, change := range []struct {
			name string
			make func()
		}{
			{"news of an agent", func() { shop.set(func(a *speaker) { a.state = wire.State{App: wire.AppFailed} }) }},
			{"other news", func() { shop.set(func(a *speaker) { a.state = wire.State{App: wire.AppRunning} }) }},
			{"a commit", func() { c.changes(t) }},
			{"a stop", func() {
				if _, err := c.Stop(t.Context(), c.ann, "wiki", nil); err != nil {
					t.Error(err)
				}
			}},
			{"the end of a stream", func() { shop.set(func(a *speaker) { a.ends = true }) }},
		} {
			lines(c.ann)
			time.Sleep(5 * time.Second)
			before := lines(c.ann)
			change.make()
			synctest.Wait()
			if lines(c.ann) == before {
				t.Errorf("%s: the list is the one before", change.name)
			}
		}
		stranger := c.ann
		stranger.Grant, stranger.Scopes = "g", []store.Scope{authz.ScopeExec}
		if out, err := c.Lines(t.Context(), stranger); err == nil || !reflect.ValueOf(out).IsNil() {
			t.Errorf("who may not list sees %+v, %v", out, err)
		}
		c.end(t, shop, c.agents["wiki"])
	})
}

// changes commits something that no list shows.
func (c *crew) changes(t *testing.T) {
	t.Helper()
	if err := c.db.CreateUser(store.User{ID: "eve", Email: "eve@example.com"}); err != nil {
		t.Error(err)
	}
}
