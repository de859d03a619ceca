package podpages_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	cdp "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"podgate/internal/webtest"
	"podgate/ui/pagetest"
)

// TestTerminalBrowser uses a terminal as a person does, under the page's policy.
func TestTerminalBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	s := terminalSite(t)
	c := pagetest.NewTab(t, browser, s.PageOrigin())
	// What the policy refuses is told here, before any script of the page runs.
	const listen = `window.refused = []; addEventListener("securitypolicyviolation", (e) => refused.push(e.violatedDirective + " " + e.sourceFile + ":" + e.lineNumber)); console.error = (e) => refused.push(String(e && e.stack || e))`
	if _, err := chromedp.Call(c.Ctx, cdp.AddScriptToEvaluateOnNewDocument, cdp.AddScriptToEvaluateOnNewDocumentParams{Source: listen}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	c.Look(1280, "light") // without motion: a cursor that blinks never settles
	c.Open("/pod/blog/terminal")
	shows := func(selector, want string) {
		t.Helper()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(c.Text(selector), want); <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("%s never shows %q, but %q; refused: %q", selector, want, c.Text(selector), pagetest.Ask(c, chromedp.Evaluate[[]string](`refused`)))
			}
		}
	}
	types := func(text string) { t.Helper(); typeKeys(c, text) }
	shows("#terminal-state", "Connected")
	types("printf '\\033[38;2;10;120;200mblue%s\\033[0m \\033[1;31mred\\033[0m\\n' $((1))\r")
	shows(".xterm-rows", "blue1")
	if got := pagetest.Ask(c, chromedp.Evaluate[string](`(() => { const e = [...document.querySelectorAll(".xterm-rows span")].find(e => e.textContent.startsWith("blue1")); return e ? e.style.color : "no span"; })()`)); got == "" || got == "no span" {
		t.Errorf("colours by style attribute: %q", got)
	}
	if got := pagetest.Ask(c, chromedp.Evaluate[string](`getComputedStyle(document.querySelector(".xterm-rows")).fontFamily`)); !strings.Contains(got, "ui-monospace") {
		t.Errorf("the styles of the terminal do not count: %q", got)
	}

	types("clear; stty size\r")
	size := `(() => { const rows = document.querySelectorAll(".xterm-rows > div").length; return rows; })()`
	rows := pagetest.Ask(c, chromedp.Evaluate[int](size))
	shows(".xterm-rows", strconv.Itoa(rows)+" ")
	c.Do(chromedp.EmulateViewport(700, 560))
	types("clear; echo is $(stty size)\r")
	less := pagetest.Ask(c, chromedp.Evaluate[int](size))
	if less >= rows {
		t.Errorf("%d rows in a small window, %d in a large one", less, rows)
	}
	shows(".xterm-rows", "is "+strconv.Itoa(less)+" ")

	c.Do(chromedp.Evaluate[chromedp.Void](`(() => { const data = new DataTransfer(); data.setData("text/plain", "echo pasted$((1)) \\\n&& echo two$((2))"); document.querySelector(".xterm-helper-textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true })); })()`))
	types("\r")
	shows(".xterm-rows", "pasted1")
	shows(".xterm-rows", "two2")

	c.Look(320, "light")
	types("sh -c 'echo run$((3)); exec sleep 1000'\r")
	shows(".xterm-rows", "run3")
	c.Do(chromedp.Click(chromedp.CSS(`[data-key="ctrl"]`)))
	types("c")
	types("echo after$((1))\r")
	shows(".xterm-rows", "after1")
	c.Do(chromedp.Click(chromedp.CSS(`[data-key="up"]`)))
	types("\r")
	shows(".xterm-rows", "after1\nroot") // once more, from the history
	pictures(c, "terminal")
	c.Look(1280, "light")
	types("clear; ls -la --color=always; printf '\\033[%sm%s\\033[0m ' 31 red 32 green 33 yellow 34 blue 35 magenta 36 cyan 90 grey; echo\r")
	shows(".xterm-rows", "grey")
	pictures(c, "terminal-colours")

	accessible(c, "an open terminal")

	// The keyboard gets out of an open terminal, which takes Tab for the shell.
	focused := func(want string) {
		t.Helper()
		const where = "(() => { const e = document.activeElement; return e.id || `<${e.tagName}> ${e.className}`; })()"
		if at := pagetest.Ask(c, chromedp.Evaluate[string](where)); !strings.Contains(at, want) {
			t.Errorf("the keyboard is at %q, want %q", at, want)
		}
	}
	c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".xterm-helper-textarea").focus()`))
	c.Do(chromedp.KeyEvent(kb.Tab))
	focused("xterm-helper-textarea")
	c.Do(chromedp.KeyEvent(kb.Escape, chromedp.KeyModifiers(chromedp.ModifierShift)))
	focused("terminal-reader")
	c.Do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	focused("<A>") // the last of the pod's pages, in the row above

	c.Do(chromedp.Click(chromedp.CSS("#terminal-reader")))
	shows(".xterm-accessibility-tree", "grey")
	accessible(c, "an open terminal for screen readers")
	c.Do(chromedp.Click(chromedp.CSS("#terminal-reader")))
	c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".xterm-helper-textarea").focus()`))
	types("exit\r")
	shows("#terminal-state", "Ended: its shell has ended.")
	focused("terminal-again")
	c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".xterm-helper-textarea").focus()`))
	c.Do(chromedp.KeyEvent(kb.Tab)) // which nobody takes now
	if at := pagetest.Ask(c, chromedp.Evaluate[string](`document.activeElement.className`)); strings.Contains(at, "xterm-helper") {
		t.Error("the keyboard does not get out of a terminal that has ended")
	}
	accessible(c, "a terminal that has ended")
	pictures(c, "terminal-ended")
	c.Do(chromedp.Click(chromedp.CSS("#terminal-again")))
	shows("#terminal-state", "Connected")
	if refused := pagetest.Ask(c, chromedp.Evaluate[[]string](`refused`)); len(refused) > 0 {
		t.Errorf("the policy refused: %s", strings.Join(refused, "\n"))
	}
}

// accessible has axe-core look at the page as it is, light and dark.
func accessible(c *pagetest.Tab, what string) {
	c.T.Helper()
	script, err := os.ReadFile(filepath.Join(os.Getenv("PODGATE_AXE"), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "axe") {
			c.T.Fatal(err)
		}
		return
	}
	c.Do(chromedp.Evaluate[chromedp.Void](string(script)))
	const ask = `axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + n.failureSummary.slice(0, 200)).join("; ")))`
	for _, scheme := range []string{"dark", "light"} {
		c.Look(1280, scheme)
		for _, fault := range pagetest.Ask(c, chromedp.Evaluate[[]string](ask, chromedp.EvalAwaitPromise)) {
			c.T.Errorf("%s, %s: %s", what, scheme, fault)
		}
	}
}

// typeKeys presses keys as a keyboard does: the character comes with the key, so a
// page that takes the key takes both.
func typeKeys(c *pagetest.Tab, text string) {
	c.T.Helper()
	for _, r := range text {
		for _, k := range kb.Encode(r) {
			switch k.Type {
			case kb.KeyChar:
				continue
			case kb.KeyDown:
				k.Text = string(r)
			}
			if _, err := chromedp.Call(c.Ctx, input.DispatchKeyEvent, *k); err != nil {
				c.T.Fatalf("browser: %v", err)
			}
		}
	}
}

// pictures keeps some when somebody wants to look.
func pictures(c *pagetest.Tab, name string) {
	c.T.Helper()
	folder := os.Getenv("PODGATE_SCREENSHOTS")
	if folder == "" {
		return
	}
	for _, width := range []int{320, 768, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			c.Look(width, scheme)
			if over := pagetest.Ask(c, chromedp.Evaluate[[]string](pagetest.Overflowing)); len(over) > 0 {
				c.T.Errorf("%s at %d px: wider than the window: %s", name, width, strings.Join(over, ", "))
			}
			c.Picture(filepath.Join(folder, name+"-"+strconv.Itoa(width)+"-"+scheme+".png"))
		}
	}
	c.Look(1280, "light")
}
