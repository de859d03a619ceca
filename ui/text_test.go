package ui_test

import (
	"testing"

	"podgate/account"
	"podgate/ui"
	"podgate/ui/page"
)

func TestReturnURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://claude.ai/cb?error=access_denied&state=x", "http://127.0.0.1:8080/cb?error=x", "cursor://anysphere.cursor-mcp/oauth/callback?error=x"} {
		if got := ui.ReturnURL(good); string(got) != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	for _, bad := range []string{"", "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "blob:https://x", "/relative", "file:///etc/passwd", "java\nscript:x", "view-source:https://x"} {
		if got := ui.ReturnURL(bad); got != "" {
			t.Errorf("%q may be linked as %q", bad, got)
		}
	}
}

func TestBrowserName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0":                   "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                   "Chrome on macOS",
		"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                            "Chrome on Android",
		"curl/8.5.0": "curl", "": "Unknown browser", "<b>Something</b>\u202e else": "<b>Something</b> else",
	} {
		if got := ui.BrowserName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestIssuerMustBeAnOrigin(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "pods.example.com", "https://", "https://pods.example.com/", "https://pods.example.com/x", "ftp://x", "https://u@x", "https://x?y", "://"} {
		if _, err := ui.New(ui.Config{Config: page.Config{Issuer: bad, Account: new(account.Service)}}); err == nil {
			t.Errorf("issuer %q was taken", bad)
		}
	}
}
