package podpages_test

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// TestBrowser looks at the pages of pods in a real browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, test := range map[string]func(*testing.T, *pagetest.Site, *pagetest.Tab){
		"looks": looks, "live": live, "unscripted": unscripted,
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

// used notes what a pod used during a day, with a gap.
func used(t *testing.T, s *pagetest.Site, name string) {
	t.Helper()
	p, err := s.DB.PodByName(name)
	if err != nil {
		t.Fatal(err)
	}
	var samples []store.UsageSample
	for i := range store.UsagePoints {
		if i > 100 && i < 130 {
			continue
		}
		wave := math.Sin(float64(i) / 20)
		samples = append(samples, store.UsageSample{Pod: p.ID, At: s.Clock.Now().Add(time.Duration(i-store.UsagePoints+1) * store.UsageStep), UsagePoint: store.UsagePoint{
			Known: true, Memory: int64(120e6 + 60e6*wave), CPU: int64(30000 + 25000*wave), In: int64(i%40) * 1e5, Out: int64(i%7) * 1e5,
		}})
	}
	if err := s.DB.PutUsage(samples); err != nil {
		t.Fatal(err)
	}
}

// live: what happens to pods is seen without a reload, and said.
func live(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	c.SignIn("ada@example.com")
	wait := func(what string) {
		t.Helper()
		if !pagetest.Ask(c, chromedp.Poll[bool](what)) {
			t.Errorf("it does not come to %s:\n%s", what, c.Text("main"))
		}
	}
	wait(`document.querySelector("[data-pod=blog] [data-state]").textContent === "running"`)
	if _, err := s.Pods.Stop(t.Context(), s.Actor(ada, "red"), "blog", nil); err != nil {
		t.Fatal(err)
	}
	wait(`document.querySelector("[data-pod=blog] [data-state]").textContent === "stopped"`)
	wait(`document.getElementById("live-says").textContent.includes("blog is stopped")`)
	s.CreatePod(ada, "red", "shop", "static")
	wait(`!!document.querySelector("[data-pod=shop]")`)
	c.Open("/pod/blog")
	if _, err := s.Pods.Start(t.Context(), s.Actor(ada, "red"), "blog", nil); err != nil {
		t.Fatal(err)
	}
	wait(`[...document.querySelectorAll("#pod-live button")].some(b => b.textContent === "Restart")`)
}

// unscripted: a pod is made, stopped and deleted without script.
func unscripted(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	s.AddUser("ada@example.com", false, "red")
	if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	c.Submit(".first-pod button")
	c.WantH1("hello")
	c.Submit(`form[action="/pod/hello/stop"] button`)
	if !strings.Contains(c.Text("main"), "stopped") {
		t.Errorf("after Stop: %s", c.Text("main"))
	}
	c.Submit(`a.danger`)
	c.WantH1("Delete hello?")
	c.Fill(map[string]string{"confirm": "hello"})
	c.Submit("button.danger")
	c.WantH1("Pods")
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
	used(t, s, "blog")
	c.Open("/pod/blog")
	shoot(c, "overview-used")
	c.Open("/pods/new")
	shoot(c, "create")
	c.Open("/pod/wiki/delete")
	shoot(c, "delete")
	c.Open("/pod/blog/deploys")
	shoot(c, "deploys")
	s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	c.Open("/connect")
	shoot(c, "connect")
}
