package podpages_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// drops: an app is deployed when its folder or its archive is dropped, and who drops
// something else reads why it is not.
func drops(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red")
	actor := s.Actor(ada, "red")
	s.Fake.SetAgent(podstest.RealAgent)
	s.CreatePod(ada, "red", "blog", "static")
	site := filepath.Join(t.TempDir(), "site")
	put := func(name, content string) string {
		t.Helper()
		path := filepath.Join(site, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	deployed := func(number int, want, source string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(c.Ctx, 40*time.Second)
		defer cancel()
		if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#deploys"))); err != nil {
			t.Fatalf("after dropping the page is still %s: %v", c.Text("main"), err)
		}
		var newest pods.Deploy
		for began := time.Now(); time.Since(began) < 40*time.Second && (newest.Number < number || newest.State == store.DeployBuilding); time.Sleep(10 * time.Millisecond) {
			list, err := s.Pods.Deploys(actor, "blog")
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > 0 {
				newest = list[0]
			}
		}
		index, err := s.Pods.ReadFile(t.Context(), actor, "blog", "index.html", 0, 0)
		if err != nil || string(index.Content) != want || newest.Number != number || newest.Source != source {
			t.Errorf("deploy %d of %q with %q, %v; want %d of %s with %q", newest.Number, newest.Source, index.Content, err, number, source, want)
		}
	}
	c.SignIn("ada@example.com")
	c.Open("/pod/blog")
	put("index.html", "<h1>one</h1>")
	put("css/deep/style.css", "h1 { color: red }")
	put(".git/config", "secret")
	put("node_modules/x/index.js", "installed")
	drop(c, site)
	deployed(1, "<h1>one</h1>", "2 files")
	if f, err := s.Pods.ReadFile(t.Context(), actor, "blog", "css/deep/style.css", 0, 0); err != nil || len(f.Content) == 0 {
		t.Errorf("a file in a folder: %v", err)
	}
	c.Open("/pod/blog")
	drop(c, put("site.zip", zipped(t, "site/index.html", "<h1>two</h1>")))
	deployed(2, "<h1>two</h1>", "1 file")
	c.Open("/pod/blog/deploys")
	c.Do(chromedp.Evaluate[chromedp.Void](`
		said = [];
		new MutationObserver(() => said.push(document.querySelector(".drop-says").textContent)).observe(document.querySelector(".drop-says"), { childList: true })`))
	drop(c, put("broken.zip", "this is no archive"))
	c.Wait(`document.querySelector(".drop-says.reason") && !document.querySelector("form[data-drop] button").disabled`)
	said := pagetest.Ask(c, chromedp.Evaluate[[]string](`said`))
	if all := strings.Join(said, "\n"); !strings.Contains(all, "Sent. Its deploy begins.") || !strings.Contains(said[len(said)-1], "zip") {
		t.Errorf("it says %q", said)
	}
	deployed(2, "<h1>two</h1>", "1 file")
}

// drop lets a file or folder of this machine fall onto the form, as a hand does.
func drop(c *pagetest.Tab, path string) {
	c.T.Helper()
	at := pagetest.Ask(c, chromedp.Evaluate[[]float64](`(() => {
		const form = document.querySelector("form[data-drop]");
		form.scrollIntoView({ block: "center" });
		const r = form.getBoundingClientRect();
		return [r.x + r.width / 2, r.y + 20];
	})()`))
	for _, step := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
		if _, err := chromedp.Call(c.Ctx, input.DispatchDragEvent, input.DispatchDragEventParams{
			Type: step, X: at[0], Y: at[1], Data: &input.DragData{Items: []*input.DragDataItem{}, Files: []string{path}, DragOperationsMask: 1},
		}); err != nil {
			c.T.Fatalf("%s of %s: %v", step, path, err)
		}
	}
}
