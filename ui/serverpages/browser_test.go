package serverpages_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/ui/pagetest"
)

// The pages fit every window, and work without script.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	s := pagetest.New(t, machine)
	s.AddUser("ada@example.com", true, "red")
	u := s.AddUser("somebody.with.a.long.name@a-company-of-many-words.example", false, "red")
	s.Connect(u, "red", hostileName, "a-long-host-name-of-some-client.example", authz.ScopeRead)
	c := pagetest.NewTab(t, browser, s.PageOrigin())
	if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	c.Open("/server")
	c.Inspect("server")
	c.Submit("#doctor button")
	c.Inspect("server-doctor")
	for _, name := range []string{"people", "teams", "connections", "clients", "settings"} {
		c.Open("/server/" + name)
		c.Inspect("server-" + name)
	}
	c.Open("/server/quota/red")
	c.Inspect("server-quota")
	c.Open("/server/clients")
	c.Submit(`a[href*="/block"]`)
	c.WantH1("Block this client?")
	c.Submit("button.danger")
	c.WantInView(".notice")
}
