package podpages_test

import (
	"net/http"
	"strings"
	"testing"

	"podgate/ui/pagetest"
)

// A pod of others, one that never was and a name that none can have look the same.
func TestForeignPodsAreAbsent(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, eve := s.AddUser("ada@example.com", false, "red"), s.AddUser("eve@example.com", false, "green")
	s.CreatePod(ada, "red", "blog", "static")
	s.CreatePod(eve, "green", "secret", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	absent := b.Get("/pod/nobody")
	for _, name := range []string{"secret", "-", "%00", strings.Repeat("a", 300)} {
		a := b.Get("/pod/" + name)
		if a.StatusCode != http.StatusNotFound || a.HTML != absent.HTML {
			t.Errorf("%q: %d, other bytes than an absent pod", name, a.StatusCode)
		}
	}
	if a := b.Get("/pod/blog"); a.StatusCode != http.StatusOK || a.H1() != "blog" || !strings.Contains(a.Text(), "running") {
		t.Errorf("one's own: %d %s", a.StatusCode, a.Text())
	}
	if a := s.Browser().Get("/pod/blog"); a.Request.URL.Path != "/sign-in" {
		t.Errorf("a stranger is at %s", a.Request.URL)
	}
}
