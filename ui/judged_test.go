package ui_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"podgate/account"
	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// axeEnv names the folder in which axe-core was installed with npm ci; .ci/axe has
// its version.
const axeEnv = "PODGATE_AXE"

// judges is what is evaluated on each page: our own questions and, where it is
// installed, axe-core.
func judges(t *testing.T) (script string, axe bool) {
	t.Helper()
	ours, err := os.ReadFile("testdata/judge.js")
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv(axeEnv)
	theirs, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	if dir == "" || err != nil {
		reason := fmt.Sprintf("axe-core is not installed: run npm ci in a copy of .ci/axe and name it in %s", axeEnv)
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "axe") {
			t.Fatal(reason)
		}
		t.Log(reason)
		return string(ours), false
	}
	return string(theirs) + "\n" + string(ours), true
}

// A visit is a state of a page that the judges look at.
type visit struct {
	route, name string
	role        string
	path        func(w *world) string
	prepare     func(w *world) // before anybody goes there; may be nil
	then        string         // CSS of what is pressed there, such as a button that sends a form; may be empty
}

func at(path string) func(*world) string { return func(*world) string { return path } }

// toInvitation leads to a new invitation to the team red.
func toInvitation(w *world) string {
	secret, _, err := w.Account.Invite(w.T.Context(), w.Actor(w.people["owner"], "red"), account.NewInvitation{Role: store.RoleViewer})
	if err != nil {
		w.T.Fatal(err)
	}
	return "/invitation?token=" + secret
}

// visits are the states of all pages.
var visits = []visit{
	{route: "GET /sign-in", name: "sign-in", role: "nobody", path: at("/sign-in")},
	{route: "GET /sign-in", name: "sign-in-fault", role: "nobody", path: at("/sign-in"), then: "form.fields button"},
	{route: "GET /setup", name: "setup-closed", role: "nobody", path: at("/setup")},
	{route: "GET /", name: "pods", role: "owner", path: at("/")},
	{route: "GET /", name: "pods-of-nobody", role: "admin", path: at("/")},
	{route: "GET /", name: "pods-viewer", role: "viewer", path: at("/")},
	{route: "GET /pods/new", name: "new-pod", role: "owner", path: at("/pods/new")},
	{route: "GET /pod/:name/deploys", name: "deploys", role: "owner", path: at("/pod/blog/deploys")},
	{route: "GET /pod/:name/deploys", name: "deploys-viewer", role: "viewer", path: at("/pod/blog/deploys")},
	{route: "GET /pod/:name/rollback", name: "rollback", role: "owner", path: at("/pod/blog/rollback?to=1")},
	{route: "GET /pod/:name/snapshots", name: "snapshots-none", role: "viewer", path: at("/pod/shop/snapshots")},
	{route: "GET /pod/:name/snapshots", name: "snapshots", role: "owner", path: func(w *world) string { w.snapshot(); return "/pod/blog/snapshots" }},
	{route: "GET /pod/:name/snapshots/restore", name: "snapshot-restore", role: "owner", path: func(w *world) string { return "/pod/blog/snapshots/restore?id=" + w.snapshot() }},
	{route: "GET /pod/:name/snapshots/delete", name: "snapshot-delete", role: "owner", path: func(w *world) string { return "/pod/blog/snapshots/delete?id=" + w.snapshot() }},
	{route: "GET /pods/deleted", name: "deleted-none", role: "viewer", path: at("/pods/deleted")},
	{route: "GET /pods/deleted", name: "deleted", role: "owner", path: func(w *world) string { w.deleted(); return "/pods/deleted" }},
	{route: "GET /pods/deleted/purge", name: "deleted-purge", role: "owner", path: func(w *world) string { return "/pods/deleted/purge?team=red&id=" + w.deleted() }},
	{route: "GET /pod/:name/delete", name: "delete-pod", role: "owner", path: at("/pod/blog/delete")},
	{route: "GET /connections", name: "connections", role: "owner", path: at("/connections")},
	{route: "GET /connections", name: "connections-none", role: "admin", path: at("/connections")},
	{route: "GET /connection/:id/limits", name: "limits", role: "owner", path: func(w *world) string { return limitsPath(w.grants["owner"]) }},
	{route: "GET /connection/:id/revoke", name: "revoke", role: "owner", path: func(w *world) string { return revokePath(w.grants["owner"]) }},
	{route: "GET /activity", name: "activity", role: "owner", path: at("/activity")},
	{route: "GET /activity", name: "activity-none", role: "viewer", path: at("/activity")},
	{route: "GET /audit", name: "audit", role: "admin", path: at("/audit?all=1")},
	{route: "GET /account", name: "account", role: "owner", path: at("/account")},
	{route: "GET /account/prove", name: "prove", role: "owner", path: at("/account/prove?next=/account/passkeys")},
	{route: "GET /account/prove", name: "prove-fault", role: "owner", path: at("/account/prove"), then: "form.fields:not([data-passkey]) button"},
	{route: "GET /account/passkeys", name: "passkeys-none", role: "member", path: at("/account/passkeys")},
	{route: "GET /account/passkeys", name: "passkeys", role: "owner", path: at("/account/passkeys"), prepare: func(w *world) { w.passkey("owner") }},
	{route: "GET /account/passkeys/remove", name: "passkey-remove", role: "viewer", path: func(w *world) string { return "/account/passkeys/remove?passkey=" + w.passkey("viewer") }},
	{route: "GET /account/log-out-everywhere", name: "everywhere", role: "owner", path: at("/account/log-out-everywhere")},
	{route: "GET /pod/:name", name: "pod", role: "owner", path: at("/pod/blog")},
	{route: "GET /pod/:name", name: "pod-stopped", role: "viewer", path: at("/pod/shop")},
	{route: "GET /pod/:name", name: "pod-absent", role: "owner", path: at("/pod/none")},
	{route: "GET /pod/:name/logs", name: "logs", role: "owner", path: at("/pod/blog/logs")},
	{route: "GET /pod/:name/files", name: "files", role: "owner", path: at("/pod/blog/files")},
	{route: "GET /pod/:name/files", name: "files-viewer", role: "viewer", path: at("/pod/blog/files")},
	{route: "GET /pod/:name/files/view", name: "file", role: "owner", path: at("/pod/blog/files/view?path=index.html")},
	{route: "GET /pod/:name/files/edit", name: "file-edit", role: "owner", path: at("/pod/blog/files/edit?path=index.html")},
	{route: "GET /pod/:name/files/move", name: "file-move", role: "owner", path: at("/pod/blog/files/move?path=index.html")},
	{route: "GET /pod/:name/files/delete", name: "file-delete", role: "owner", path: at("/pod/blog/files/delete?path=index.html")},
	{route: "GET /pod/:name/jobs", name: "jobs", role: "owner", path: at("/pod/blog/jobs")},
	{route: "GET /pod/:name/settings", name: "pod-settings", role: "owner", path: at("/pod/blog/settings")},
	{route: "GET /pod/:name/settings", name: "pod-settings-viewer", role: "viewer", path: at("/pod/blog/settings")},
	{route: "GET /pod/:name/audit", name: "pod-audit", role: "owner", path: at("/pod/blog/audit")},
	{route: "GET /pod/:name/terminal", name: "terminal-viewer", role: "viewer", path: at("/pod/blog/terminal")},
	{route: "GET /pod/:name/terminal", name: "terminal-stopped", role: "owner", path: at("/pod/shop/terminal")},
	{route: "GET /connection/:id", name: "connection", role: "owner", path: func(w *world) string { return "/connection/" + string(w.grants["member"].ID) }},
	{route: "GET /connect", name: "connect", role: "owner", path: at("/connect")},
	{route: "GET /team", name: "teams", role: "owner", path: at("/team")},
	{route: "GET /team/:slug", name: "team", role: "owner", path: at("/team/red")},
	{route: "GET /team/:slug", name: "team-viewer", role: "viewer", path: at("/team/red")},
	{route: "GET /team/:slug", name: "team-admin", role: "admin", path: at("/team/red")},
	{route: "GET /team/:slug/settings", name: "team-settings", role: "owner", path: at("/team/red/settings")},
	{route: "GET /team/:slug/member/:user/remove", name: "member-remove", role: "owner", path: func(w *world) string { return "/team/red/member/" + string(w.people["member"].ID) + "/remove" }},
	{route: "GET /team/:slug/leave", name: "team-leave", role: "member", path: at("/team/red/leave")},
	{route: "GET /team/:slug/remove", name: "team-remove", role: "owner", path: at("/team/red/remove")},
	{route: "GET /invitation", name: "invitation-gone", role: "nobody", path: at("/invitation")},
	{route: "GET /invitation", name: "invitation", role: "nobody", path: toInvitation},
	{route: "GET /invitation", name: "invitation-signed-in", role: "foreign", path: toInvitation},
	{route: "GET /server", name: "server", role: "admin", path: at("/server")},
	{route: "GET /server/people", name: "server-people", role: "admin", path: at("/server/people")},
	{route: "GET /server/person/:user/admin", name: "server-admin", role: "admin", path: func(w *world) string { return "/server/person/" + string(w.people["member"].ID) + "/admin" }},
	{route: "GET /server/person/:user/password", name: "server-password", role: "admin", path: func(w *world) string { return "/server/person/" + string(w.people["member"].ID) + "/password" }},
	{route: "GET /server/person/:user/remove", name: "server-remove", role: "admin", path: func(w *world) string { return "/server/person/" + string(w.people["member"].ID) + "/remove" }},
	{route: "GET /server/teams", name: "server-teams", role: "admin", path: at("/server/teams")},
	{route: "GET /server/quota/:slug", name: "server-quota", role: "admin", path: at("/server/quota/red")},
	{route: "GET /server/connections", name: "server-connections", role: "admin", path: at("/server/connections")},
	{route: "GET /server/clients", name: "server-clients", role: "admin", path: at("/server/clients")},
	{route: "GET /server/clients", name: "server-clients-blocked", role: "admin", path: at("/server/clients?list=blocked")},
	{route: "GET /server/clients/:act", name: "server-block", role: "admin", path: func(w *world) string {
		return "/server/clients/block?client=" + url.QueryEscape(string(w.grants["member"].Client))
	}},
	{route: "GET /server/settings", name: "server-settings", role: "admin", path: at("/server/settings")},
	{route: "GET /oauth/authorize", name: "consent", role: "owner", path: at("/oauth/authorize")},
}

// notVisited are routes that show no page, and why.
var notVisited = map[string]string{
	"GET /assets/:name":              "parts of pages",
	"GET /events":                    "a stream",
	"GET /manifest.webmanifest":      "a document for phones",
	"GET /pod/:name/job":             "wants a command that runs; one of the states",
	"GET /pod/:name/files/raw":       "a file",
	"GET /pod/:name/files/download":  "a file",
	"GET /pod/:name/terminal/socket": "a stream",
	"GET /pod/:name/logs/events":     "a stream",
	"GET /pod/:name/logs/download":   "a file",
}

// No page is without a visit of the judges.
func TestEveryPageIsJudged(t *testing.T) {
	t.Parallel()
	for _, r := range pagetest.New(t).UI.Routes() {
		route := r.Method + " " + r.Path
		if r.Method == "GET" && notVisited[route] == "" && !slices.ContainsFunc(visits, func(v visit) bool { return v.route == route }) {
			t.Errorf("%s has no visit: add its states to visits, or the reason to notVisited", route)
		}
	}
}

// In a real browser, every page can be used by everybody: axe-core finds no fault,
// light and dark, narrow and wide; the Tab key leads everywhere and shows where one is;
// nothing is wider than the window or cut off; the page asks nobody else for anything,
// and its own policy refuses nothing of it.
func TestPagesAreJudged(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	script, axe := judges(t)
	w := newWorld(t)
	seedAttempts(w.Site, w.people["owner"], "red")
	byRole := map[string][]visit{}
	for _, v := range visits {
		if v.prepare != nil {
			v.prepare(w)
		}
		byRole[v.role] = append(byRole[v.role], v)
	}
	for role, list := range byRole {
		t.Run(role, func(t *testing.T) {
			c := judgedTab(t, browser, w, script)
			if role != "nobody" {
				c.Open("/sign-in")
				c.Fill(map[string]string{"email": emailOf(role), "password": pagetest.Password})
				c.Submit("form.fields button")
			}
			for _, v := range list {
				judgeVisit(w, c, v, axe)
			}
		})
	}
}

// judgedTab opens a tab on whose pages the judges are.
func judgedTab(t *testing.T, browser context.Context, w *world, script string) *pagetest.Tab {
	t.Helper()
	c := pagetest.NewTab(t, browser, w.PageOrigin())
	if _, err := chromedp.Call(c.Ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		t.Fatal(err)
	}
	c.Look(1280, "light")
	return c
}

// faultyPage has one of each fault that the judges know.
const faultyPage = `<!doctype html><html lang="en"><title>Faulty</title><main><h1>Faulty</h1>
<style>.a { width: 2000px } .b { width: 60px; overflow: hidden; white-space: nowrap } .c { color: #ddd; background: #fff } .d { width: 30px; overflow-wrap: anywhere } .e:focus { outline: none }</style>
<p class="a">wide</p><p class="b">text that is cut off</p><p class="c">pale</p><p class="d">unbreakable</p><a class="e" href="/">unseen</a>
<button onfocus="this.blur()">unreachable</button><input><img src="https://elsewhere.example/x.png"><p style="color: red">refused</p></main>`

// The judges see faults.
func TestJudgesFindFaults(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	script, axe := judges(t)
	w := newWorld(t)
	w.Preview = map[string]func(http.ResponseWriter, *http.Request) error{"faulty": func(rw http.ResponseWriter, _ *http.Request) error {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Content-Security-Policy", "default-src 'none'; img-src *; script-src 'unsafe-inline'; style-src-elem 'unsafe-inline'")
		_, err := io.WriteString(rw, faultyPage)
		return err
	}}
	found := strings.Join(faultsOf(w, judgedTab(t, browser, w, script), visit{path: at("/preview/faulty")}, axe), "\n")
	want := []string{"at 320 px: wide: p.a", "at 1280 px: cut: p.b", "at 320 px: broken: p.d", "nothing shows that it has the focus", "style-src-attr refuses inline", "asks others: https://elsewhere.example/x.png"}
	if axe {
		want = append(want, "color-contrast", "label (", "image-alt")
	}
	for _, fault := range want {
		if !strings.Contains(found, fault) {
			t.Errorf("the judges do not find %q in\n%s", fault, found)
		}
	}
}

// judgeVisit reports what the judges find.
func judgeVisit(w *world, c *pagetest.Tab, v visit, axe bool) {
	c.T.Helper()
	for _, fault := range faultsOf(w, c, v, axe) {
		c.T.Errorf("%s: %s", v.name, fault)
	}
}

func faultsOf(w *world, c *pagetest.Tab, v visit, axe bool) (faults []string) {
	c.T.Helper()
	c.Open(v.path(w))
	if v.then != "" {
		c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("form").forEach(f => f.noValidate = true)`))
		c.Submit(v.then)
	}
	c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`))
	find := func(what, expression string) {
		c.T.Helper()
		for _, fault := range pagetest.Ask(c, chromedp.Evaluate[[]string](expression, chromedp.EvalAwaitPromise)) {
			faults = append(faults, what+": "+fault)
		}
	}
	for _, width := range []int{320, 360, 768, 1280, 1920} {
		c.Look(width, "light")
		find(fmt.Sprintf("at %d px", width), "judge.shape()")
	}
	folder := os.Getenv("PODGATE_SCREENSHOTS")
	for _, l := range []struct {
		width  int
		scheme string
		judged bool // each width and each scheme once
	}{{320, "light", false}, {320, "dark", true}, {1280, "dark", false}, {1280, "light", true}} {
		if l.judged || folder != "" {
			c.Look(l.width, l.scheme)
		}
		if axe && l.judged {
			find(fmt.Sprintf("axe at %d px, %s", l.width, l.scheme), "judge.axe()")
		}
		if folder != "" {
			c.Picture(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", v.name, l.width, l.scheme)))
		}
	}
	for range pagetest.Ask(c, chromedp.Evaluate[int]("judge.begin()")) + 1 {
		c.Do(chromedp.KeyEvent("\t"))
	}
	find("keyboard", "judge.ways()")
	find("policy", "judge.refused()")
	find("asks others", "judge.foreign()")
	return faults
}
