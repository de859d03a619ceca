package podpages_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/pagetest"
)

// TestBrowser looks at the pages of pods in a real browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, test := range map[string]func(*testing.T, *pagetest.Site, *pagetest.Tab){
		"looks": looks, "live": live, "first pod": firstPod, "unscripted": unscripted, "drops": drops,
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

// live: what happens to pods is seen without a reload, and said; how many failed stays
// right in title, icon and badge whatever comes and goes.
func live(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red", "blue")
	actor := s.Actor(ada, "red")
	must := func(_ pods.Pod, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.CreatePod(ada, "red", "blog", "static")
	s.Fake.SetAgent(agentSaying(ended))
	s.CreatePod(ada, "red", "poll", "static")
	s.CreatePod(ada, "red", "wiki", "static")
	s.Fake.SetAgent(s.Agent)
	if _, err := chromedp.Call(c.Ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `
		navigator.setAppBadge = async (n) => { window.badge = n; };
		navigator.clearAppBadge = async () => { window.badge = 0; };`}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	failed := func(n int, title string) {
		t.Helper()
		icon := "icon."
		if n > 0 {
			title, icon = fmt.Sprintf("(%d failed) ", n)+title, "icon-failed."
		}
		c.Wait(fmt.Sprintf(`document.title === %q && window.badge === %d && document.querySelector("link[rel=icon]").href.includes("/%s")`, title+" · podgate", n, icon))
	}
	c.Wait(`document.querySelector("[data-pod=blog] [data-state]").textContent === "running"`)
	failed(2, "Pods")
	must(s.Pods.Stop(t.Context(), actor, "blog", nil))
	c.Wait(`document.querySelector("[data-pod=blog] [data-state]").textContent === "stopped"`)
	c.Wait(`document.getElementById("live-says").textContent.includes("blog is stopped")`)
	c.Wait(`document.querySelector("[data-pod=blog] button")?.textContent === "Start"`)
	s.CreatePod(ada, "red", "shop", "static")
	c.Wait(`document.querySelector("[data-pod=shop] [data-state]")?.textContent === "running"`)
	failed(2, "Pods")
	// What is folded stays so when the list is had anew.
	c.Do(chromedp.Evaluate[chromedp.Void](`document.getElementById("team-red").open = false`))
	must(s.Pods.Stop(t.Context(), actor, "poll", nil))
	failed(1, "Pods")
	c.Wait(`document.getElementById("wrong").textContent === "1 failed"`)
	c.Wait(`[...document.querySelectorAll("[data-pod]")].map(e => e.dataset.pod).join(" ") === "wiki blog poll shop"`)
	c.Wait(`document.querySelector("#team-attention .count").textContent === "1" && document.getElementById("team-attention").open && !document.getElementById("team-red").open`)
	c.Open("/pod/blog")
	must(s.Pods.Start(t.Context(), actor, "blog", nil))
	c.Wait(`[...document.querySelectorAll("#pod-live button")].some(b => b.textContent === "Restart")`)
	failed(1, "blog")
	if err := s.Pods.Delete(t.Context(), actor, "wiki", "wiki"); err != nil {
		t.Fatal(err)
	}
	failed(0, "blog")
	if err := s.Pods.Delete(t.Context(), actor, "blog", "blog"); err != nil {
		t.Fatal(err)
	}
	c.Wait(`document.querySelector("main").textContent.includes("None of your teams has a pod of that name.")`)
}

// The guide of a place without pods gives way to the list when an assistant makes the first.
func firstPod(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red")
	c.SignIn("ada@example.com")
	if c.Text(".first-pod") == "" {
		t.Fatalf("no guide: %s", c.Text("main"))
	}
	s.CreatePod(ada, "red", "blog", "static")
	c.Wait(`document.querySelector("[data-live=list] [data-pod=blog]")`)
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
