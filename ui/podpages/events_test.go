package podpages_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"podgate/store"
	"podgate/ui/pagetest"
)

// follower reads /events line by line.
type follower struct {
	t     *testing.T
	lines chan string
}

func followPods(t *testing.T, s *pagetest.Site, b *pagetest.Browser) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.PageOrigin()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("a stream of %q", got)
	}
	f := &follower{t, make(chan string, 1000)}
	go func() {
		defer res.Body.Close()
		defer close(f.lines)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			f.lines <- lines.Text()
		}
	}()
	return f
}

// until returns what was said up to a line that holds all of these; without any, up to
// the end of the stream.
func (f *follower) until(parts ...string) string {
	f.t.Helper()
	var said strings.Builder
	late := time.After(40 * time.Second)
	for {
		select {
		case line, ok := <-f.lines:
			said.WriteString(line + "\n")
			if !ok {
				if len(parts) > 0 {
					f.t.Fatalf("the stream ended before %q:\n%s", parts, said.String())
				}
				return said.String()
			}
			all := len(parts) > 0
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return said.String()
			}
		case <-late:
			f.t.Fatalf("nothing of %q:\n%s", parts, said.String())
		}
	}
}

// Who follows hears how each pod of theirs is, each change, and of none of others; and
// nothing more once they have signed out.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	eve := s.AddUser("eve@example.com", false, "green")
	s.CreatePod(ada, "red", "blog", "static")
	s.CreatePod(eve, "green", "secret", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	f := followPods(t, s, b)
	said := f.until(`"name":"blog","status":"running"`)
	stop(t, s, ada, "red", "blog")
	said += f.until(`"name":"blog","status":"stopped"`)
	if strings.Contains(said, "secret") {
		t.Errorf("another team's pod is told:\n%s", said)
	}
	s.CreatePod(ada, "red", "shop", "static")
	f.until(`"name":"shop"`)
	f.until("event: list")
	if err := s.DB.DeleteSession(store.HashSecret(b.Cookie("podgate"))); err != nil {
		t.Fatal(err)
	}
	if end := f.until(); strings.Contains(end, `"name"`) {
		t.Errorf("after the end: %s", end)
	}
}

func stop(t *testing.T, s *pagetest.Site, u store.User, team, pod string) {
	t.Helper()
	if _, err := s.Pods.Stop(t.Context(), s.Actor(u, team), pod, nil); err != nil {
		t.Fatal(err)
	}
}

// Who is put out of a team, or has a role there that sees nothing, hears no more of its
// pods and goes on hearing of the others. Roles that see pods differ in nothing here.
func TestEventsEndWithTheRight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose  func(*store.DB, store.TeamID, store.UserID) error
		hears bool
	}{
		"removed": {lose: func(db *store.DB, team store.TeamID, ada store.UserID) error {
			_, err := db.RemoveMember(team, ada)
			return err
		}},
		"a role that sees nothing": {lose: func(db *store.DB, team store.TeamID, ada store.UserID) error {
			return db.PutMember(store.Member{Team: team, User: ada, Role: "visitor"})
		}},
		"a viewer": {hears: true, lose: func(db *store.DB, team store.TeamID, ada store.UserID) error {
			return db.SetRole(team, ada, store.RoleViewer)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := pagetest.New(t)
			owner := s.AddUser("owner@example.com", false, "red")
			ada := s.AddUser("ada@example.com", false, "red", "blue")
			s.CreatePod(owner, "red", "blog", "static")
			s.CreatePod(ada, "blue", "note", "static")
			stays := followPods(t, s, signedIn(s, "owner@example.com"))
			stays.until(`"name":"blog","status":"running"`)
			b := signedIn(s, "ada@example.com")
			f := followPods(t, s, b)
			f.until("event: list") // after the states of all
			if err := c.lose(s.DB, s.Actor(owner, "red").Team.ID, ada.ID); err != nil {
				t.Fatal(err)
			}
			stop(t, s, owner, "red", "blog")
			stays.until(`"name":"blog","status":"stopped"`)
			stop(t, s, ada, "blue", "note")
			said := f.until(`"name":"note","status":"stopped"`)
			if got := strings.Contains(said, `"name":"blog","status":"stop`); got != c.hears {
				t.Errorf("hears of the team: %t, want %t:\n%s", got, c.hears, said)
			}
			if a := b.Get("/account"); a.StatusCode != http.StatusOK || a.H1() != "Account" {
				t.Errorf("still signed in: %d %q", a.StatusCode, a.H1())
			}
		})
	}
}
