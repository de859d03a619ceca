package podpages_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/ui/pagetest"
)

// TestBrowser looks at the pages of pods in a real browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, test := range map[string]func(*testing.T, *pagetest.Site, *pagetest.Tab){
		"looks": looks,
	} {
		t.Run(name, func(t *testing.T) {
			s := pagetest.New(t)
			test(t, s, pagetest.NewTab(t, browser, s.PageOrigin()))
		})
	}
}

// shoot keeps pictures when somebody wants to look.
func shoot(c *pagetest.Tab, name string) {
	c.Inspect(name)
	folder := os.Getenv("PODGATE_SCREENSHOTS")
	if folder == "" {
		return
	}
	c.Look(768, "light")
	c.Picture(filepath.Join(folder, name+"-"+strconv.Itoa(768)+"-light.png"))
	c.Look(1280, "light")
}

// Nothing is wider than the window, with all that rows can hold.
func looks(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := fill(s)
	c.SignIn("ada@example.com")
	shoot(c, "front")
	c.Open("/?q=nothing")
	shoot(c, "front-none")
	c.Open("/pod/wiki")
	shoot(c, "overview")
	s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	c.Open("/connect")
	shoot(c, "connect")
}
