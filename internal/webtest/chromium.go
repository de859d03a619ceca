package webtest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// findChromium returns a real browser to test with. Without one the test is
// skipped, unless PODGATE_REQUIRE says that it must run; so it is where that lists
// what must run and the browser is not among it.
func findChromium(t *testing.T) string {
	t.Helper()
	required := os.Getenv("PODGATE_REQUIRE")
	if required != "" && !strings.Contains(required, "browser") {
		t.Skip("PODGATE_REQUIRE does not name the browser")
	}
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if required != "" {
		t.Fatal("PODGATE_REQUIRE asks for the browser test, and there is no chromium in PATH")
	}
	t.Skip("no chromium in PATH to test with")
	return ""
}

// StartChromium starts a headless Chromium that lives until the test ends, and
// returns the context for chromedp.
func StartChromium(t *testing.T) context.Context {
	t.Helper()
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("mute-audio", true),
	}, rootOptions()...)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

// rootOptions: Chromium refuses to sandbox itself when root starts it, which
// is so in containers. It only ever sees our own pages.
func rootOptions() []chromedp.ExecAllocatorOption {
	if os.Geteuid() != 0 {
		return nil
	}
	return []chromedp.ExecAllocatorOption{chromedp.NoSandbox}
}
