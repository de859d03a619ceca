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
		case <-time.After(40 * time.Second):
			f.t.Fatalf("nothing of %q:\n%s", parts, said.String())
		}
	}
}

// Who follows hears how each pod of theirs is, each change, and of none of others; and
// nothing more once they have left the team or signed out.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	eve := s.AddUser("eve@example.com", false, "green")
	s.CreatePod(ada, "red", "blog", "static")
	s.CreatePod(eve, "green", "secret", "static")
	b := s.Browser()
	b.SignIn("ada@example.com")
	f := followPods(t, s, b)
	said := f.until(`"name":"blog","status":"running"`)
	if _, err := s.Pods.Stop(t.Context(), s.Actor(ada, "red"), "blog", nil); err != nil {
		t.Fatal(err)
	}
	said += f.until(`"name":"blog","status":"stopped"`)
	if strings.Contains(said, "secret") {
		t.Errorf("another team's pod is told:\n%s", said)
	}
	s.CreatePod(ada, "red", "shop", "static")
	f.until(`"name":"shop"`)
	if _, err := s.DB.RemoveMember(s.Actor(ada, "red").Team.ID, ada.ID); err != nil {
		t.Fatal(err)
	}
	f.until("event: list")
	if err := s.DB.DeleteSession(store.HashSecret(b.Cookie("podgate"))); err != nil {
		t.Fatal(err)
	}
	if end := f.until(); strings.Contains(end, `"name"`) {
		t.Errorf("after the end: %s", end)
	}
}
