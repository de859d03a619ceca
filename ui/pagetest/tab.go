package pagetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Tab is one tab of a headless Chromium.
type Tab struct {
	T    *testing.T
	Ctx  context.Context
	Base string
}

// NewTab opens a tab with cookies of its own.
func NewTab(t *testing.T, browser context.Context, base string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return &Tab{T: t, Ctx: ctx, Base: base}
}

func (c *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	c.T.Helper()
	if err := chromedp.Do(c.Ctx, steps...); err != nil {
		c.T.Fatalf("browser: %v", err)
	}
}

func (c *Tab) Open(path string) {
	c.T.Helper()
	c.Do(chromedp.Navigate(c.Base+path), chromedp.WaitVisible(chromedp.CSS("main")))
	c.Settle()
}

// settle ends the time in which buttons do not react yet. Polling would need the
// page's script, which some tests switch off.
func (c *Tab) Settle() {
	c.T.Helper()
	c.Do(chromedp.Evaluate[chromedp.Void](`document.getAnimations().forEach(a => a.finish())`))
}

// submit presses a button and waits until another page is there.
func (c *Tab) Submit(button string) {
	c.T.Helper()
	c.Settle()
	resp, err := chromedp.RunResponse(c.Ctx, chromedp.Click(chromedp.CSS(button)))
	if err != nil {
		c.T.Fatalf("press %s: %v", button, err)
	}
	c.T.Logf("pressed %s: %d %s", button, resp.Status, resp.URL)
}

func (c *Tab) Fill(fields map[string]string) {
	c.T.Helper()
	for id, value := range fields {
		c.Do(chromedp.SetValue(chromedp.CSS("#"+id), value))
	}
}

// ask runs an action that returns something, such as an Evaluate.
func Ask[T any](c *Tab, a chromedp.Action[T]) T {
	c.T.Helper()
	v, err := chromedp.Run(c.Ctx, a)
	if err != nil {
		c.T.Fatalf("browser: %v", err)
	}
	return v
}

// Wait returns when a script's expression is true, in whatever page the tab then shows:
// unlike chromedp.Poll it outlives a page that loads another. After half a minute the
// test fails.
func (c *Tab) Wait(what string) {
	c.T.Helper()
	var last error
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		var met bool
		// Between two pages there is nothing that could evaluate it.
		if met, last = chromedp.Run(c.Ctx, chromedp.Evaluate[bool]("!!("+what+")")); met && last == nil {
			return
		}
		if err := c.Ctx.Err(); err != nil {
			c.T.Fatalf("browser: %v", err)
		}
	}
	c.T.Fatalf("it does not come to %s (%v):\n%s", what, last, c.Text("body"))
}

func (c *Tab) Text(selector string) string {
	c.T.Helper()
	return Ask(c, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)))
}

func (c *Tab) WantH1(want string) {
	c.T.Helper()
	if got := c.Text("h1"); !strings.Contains(got, want) {
		c.T.Fatalf("the page is headed %q, want %q:\n%s", got, want, c.Text("body"))
	}
}

// wantInView fails unless the element is within the window, as the page opened.
func (c *Tab) WantInView(selector string) {
	c.T.Helper()
	const where = `(() => { const e = document.querySelector(%q); if (!e) return "absent"; const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight ? "" : r.top + " to " + r.bottom + " of " + innerHeight; })()`
	if at := Ask(c, chromedp.Evaluate[string](fmt.Sprintf(where, selector))); at != "" {
		c.T.Errorf("%s is out of sight: %s", selector, at)
	}
}

// look sets width and colour scheme.
func (c *Tab) Look(width int, scheme string) {
	c.T.Helper()
	c.Do(chromedp.EmulateViewport(int64(width), 800))
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(c.Ctx, emulation.SetEmulatedMedia, media); err != nil {
		c.T.Fatalf("browser: %v", err)
	}
}

// inspect checks that nothing is wider than the window at the narrowest and
// the widest size. When PODGATE_SCREENSHOTS names a folder, it keeps a picture
// of each, light and dark.
func (c *Tab) Inspect(name string) {
	c.T.Helper()
	folder, schemes := os.Getenv("PODGATE_SCREENSHOTS"), []string{"light"}
	if folder != "" {
		schemes = append(schemes, "dark")
	}
	for _, width := range []int{320, 1280} {
		for _, scheme := range schemes {
			c.Look(width, scheme)
			if over := Ask(c, chromedp.Evaluate[[]string](Overflowing)); len(over) > 0 {
				c.T.Errorf("%s at %d px: wider than the window: %s", name, width, strings.Join(over, ", "))
			}
			if folder != "" {
				c.Picture(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)))
			}
		}
	}
	c.Look(1280, "light")
}

// Overflowing lists the elements that reach beyond the window, but for those in a part
// that scrolls by itself.
const Overflowing = `(() => {
	const wide = document.documentElement.clientWidth, list = [];
	const scrolls = e => { while ((e = e.parentElement) && e !== document.body) if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return true; return false; };
	if (document.documentElement.scrollWidth > wide) list.push("document");
	for (const e of document.querySelectorAll("body *")) {
		if (e.classList.contains("skip") || !e.checkVisibility()) continue;
		const r = e.getBoundingClientRect();
		if (r.width > 0 && (r.right > wide + 1 || r.left < -1) && !scrolls(e)) list.push(e.tagName + "." + e.className);
	}
	return list;
})()`

func (c *Tab) Picture(path string) {
	c.T.Helper()
	png := Ask(c, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.T.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		c.T.Fatal(err)
	}
}

func (c *Tab) SignIn(email string) {
	c.T.Helper()
	c.Open("/sign-in")
	c.Fill(map[string]string{"email": email, "password": Password})
	c.Submit("form.fields button")
	c.WantH1("Pods")
}
