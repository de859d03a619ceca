package ui_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/ui/pagetest"
)

// Times are in the reader's zone, or say that they are not.
func times(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "red")
	g := s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	if _, err := chromedp.Call(c.Ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Pacific/Auckland"}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	c.Open("/connection/" + string(g.ID))
	for shown, want := range map[string]string{
		c.Text(".facts div:nth-child(3) time"): "2 March 2026 at 01:00 GMT+13", // of noon, UTC
		c.Text(".facts div:nth-child(4) time"): "just now",
		pagetest.Ask(c, chromedp.Evaluate[string](`document.querySelector(".facts div:nth-child(4) time").title`)): "2 March 2026 at 01:00:00 GMT+13",
	} {
		if shown != want {
			t.Errorf("shown as %q, want %q", shown, want)
		}
	}
	c.Open("/audit")
	if lead, first := c.Text(".lead"), c.Text(".entry time"); lead != "What you did, and what was done to your account. Kept for 90 days. Times are GMT+13." || first != "2 Mar, 01:00:00" {
		t.Errorf("the audit list says %q and %q", lead, first)
	}
	if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.Open("/connection/" + string(g.ID))
	if shown := c.Text(".facts div:nth-child(3) time"); shown != "1 March 2026, 12:00 UTC" {
		t.Errorf("without script: %q", shown)
	}
}
