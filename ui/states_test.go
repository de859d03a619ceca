package ui_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/pagetest"
	"podgate/ui/serverpages"
)

// A state is how a page can look beside what the visits see: with a fault, an answer,
// or something that is rare. The judges look at it once.
type state struct {
	name, path string
	open       bool              // folded parts are opened first
	fill       map[string]string // fields, by id
	pick       string            // CSS of a choice that is made; may be empty
	press      string            // CSS of a button; may be empty
	want       string            // what the page says then
}

// pressed is a state that a form leads to.
func pressed(name, path, press, want string, fields ...string) state {
	s := state{name: name, path: path, press: press, want: want, fill: map[string]string{}}
	for i := 0; i < len(fields); i += 2 {
		s.fill[fields[i]] = fields[i+1]
	}
	return s
}

// ownersStates are what the owner of the team red comes to, in this order.
func ownersStates(w *world) []state {
	connection := "/connection/" + string(w.grants["owner"].ID)
	return []state{
		{name: "front-failed", path: "/", want: "1 failed"},
		{name: "front-filtered", path: "/?state=stopped&q=none", want: "No pod is like that."},
		{name: "pod-failed", path: "/pod/poll", want: "ModuleNotFoundError"},
		{name: "pod-used", path: "/pod/blog", open: true, want: "Use over the last 24 hours"},
		pressed("create-fault", "/pods/new?team=red", ".create .primary", "blog", "name", "blog", "team", "red"),
		pressed("delete-fault", "/pod/blog/delete", ".danger", "name", "confirm", "blo"),
		pressed("env-fault", "/pod/blog/settings", ".env-form button", "not a variable name", "env-name", "1 of"),
		{name: "network-fault", path: "/pod/blog/settings", pick: `#network input[value="names"]`, press: ".network-form button", want: "Write the names"},
		pressed("new-file-fault", "/pod/blog/files", `button[value="folder"]`, "", "new", "index.html"),
		pressed("move-fault", "/pod/blog/files/move?path=index.html", "form .primary", "taken", "to", "taken.html"),
		pressed("job", "/pod/blog/jobs", "main form button", "All jobs", "command", "printf '\\033[31mred\\033[0m\\n'; exec sleep 600"),
		{name: "logs-search", path: "/pod/blog/logs?q=none", want: "No line has"},
		{name: "deploys-empty", path: "/pod/poll/deploys", want: "Nothing was deployed yet"},
		pressed("nickname-fault", connection, `form[action$="/name"] button`, "", "nickname", strings.Repeat("n", 90)),
		pressed("limits-fault", connection+"/limits", "form.fields button", "", "max_pods", "many"),
		pressed("invite-fault", "/team/red", "#invite button", "already", "email", "member@example.com"),
		pressed("invited", "/team/red", "#invite button", "Here is the link", "role", "viewer"),
		pressed("rename-fault", "/team/red/settings", "#name button", "", "slug", "Not One"),
		pressed("policy-fault", "/team/red/settings", "#policy button", "", "max_pods", "many"),
		{name: "team-network-fault", path: "/team/red/settings", pick: `#network input[value="names"]`, press: "#network button"},
		{name: "team-remove-refused", path: "/team/red/remove", want: "Delete them first"},
		pressed("account-fault", "/account", "#change-password button", "differ", "password", "a long and new sentence"),
		{name: "error-404", path: "/nowhere/at/all", want: "nothing at this address"},
		{name: "error-500", path: "/broken", want: ""},
	}
}

func adminsStates(w *world) []state {
	member := "/server/person/" + string(w.people["member"].ID)
	return []state{
		pressed("doctor", "/server", "#doctor button", "Pass the header Host on."),
		pressed("add-fault", "/server/people", "#add button", "already", "email", "member@example.com", "password", "a long and plain sentence"),
		pressed("last-admin", "/server/people?q=admin", ".row-actions button", "needs an administrator"),
		pressed("admin-fault", member+"/admin", "form .primary", "present password", "own", "wrong"),
		pressed("password-fault", member+"/password", "form .primary", "present password", "own", "wrong", "password", "a long and plain sentence"),
		pressed("make-fault", "/server/teams", "#make button", "", "name", "Red", "slug", "red"),
		pressed("quota-fault", "/server/quota/red", "form .primary", "whole number", "pods", "many"),
		{name: "search-none", path: "/server/connections?q=none+of+that", want: "No connection has that"},
	}
}

// machine is a server of which there is something to say.
func machine(cfg *ui.Config) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg.Machine = serverpages.Machine{
		Version: "v1.2.3", Started: now.Add(-3 * time.Hour),
		Problems: func() []string { return []string{"The disk that holds podgate's database is full. Make room on it."} },
		Settings: func() []serverpages.Setting {
			return []serverpages.Setting{{Key: "public_url", Value: `"https://pods.example.com"`, Source: "podgate.toml"}, {Key: "egress.a.long.name", Value: strings.Repeat("long ", 60), Source: "PODGATE_LONG"}}
		},
		Certificates: func() []serverpages.Certificate {
			return []serverpages.Certificate{{Name: "pods.example.com", Expires: now.Add(60 * 24 * time.Hour)}, {Name: "*.pods.example.com", Problem: "The authority refused it.", At: now.Add(-time.Hour)}}
		},
		Doctor: func(context.Context) (serverpages.Report, error) {
			return serverpages.Report{URL: "https://pods.example.com/api/mcp", Findings: []serverpages.Finding{{Check: "certificate", Level: "ok", Text: "It is in force."}, {Check: "proxy", Level: "fault", Text: "The header Host does not come through.", Advice: "Pass the header Host on."}}}, nil
		},
	}
}

// rare makes what the states show: pods that failed and that used something, a second
// team, a file where another should go.
func (w *world) rare() {
	w.T.Helper()
	w.setRole("green", w.people["owner"], store.RoleMember)
	w.write("taken.html", "<h1>Taken</h1>\n")
	w.Fake.SetAgent(pagetest.AgentSaying(`{"app":"failed","reason":"The app ended 4 times in a row.","tail":[{"time":"2026-03-01T11:59:00Z","source":"app","stream":"stderr","text":"ModuleNotFoundError: No module named 'flask'"}]}`))
	w.CreatePod(w.people["owner"], "red", "poll", "static")
	blog, err := w.DB.PodByName("blog")
	var samples []store.UsageSample
	for i := range store.UsagePoints {
		wave := math.Sin(float64(i) / 20)
		if i < 100 || i > 130 {
			samples = append(samples, store.UsageSample{Pod: blog.ID, At: w.Clock.Now().Add(time.Duration(i-store.UsagePoints+1) * store.UsageStep), UsagePoint: store.UsagePoint{
				Known: true, Memory: int64(120e6 + 60e6*wave), CPU: int64(30000 + 25000*wave), In: int64(i%40) * 1e5, Out: int64(i%7) * 1e5,
			}})
		}
	}
	if err := errors.Join(err, w.DB.PutUsage(samples)); err != nil {
		w.T.Fatal(err)
	}
}

// Every state of a page can be used by everybody, as every page can.
func TestStatesAreJudged(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	script, axe := judges(t)
	w := newWorld(t, machine)
	w.rare()
	for role, states := range map[string][]state{"owner": ownersStates(w), "admin": adminsStates(w)} {
		t.Run(role, func(t *testing.T) {
			c := judgedTab(t, browser, w, script)
			c.SignIn(emailOf(role))
			for _, s := range states {
				judgeState(c, s, axe)
			}
			if role == "owner" {
				consentStates(w, c, axe)
				conflictState(w, c, axe)
			}
		})
	}
	t.Run("setup", func(t *testing.T) {
		w := &world{Site: pagetest.New(t)}
		token, err := w.Account.SetupLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := judgedTab(t, browser, w, script)
		judgeState(c, state{name: "setup", path: "/setup?token=" + url.QueryEscape(token), want: "Welcome"}, axe)
		judgeState(c, state{name: "setup-fault", fill: map[string]string{"name": "Ada", "email": "ada@example.com", "password": "ada@example.com", "team": "Red"}, press: "form.fields button", want: "your own address"}, axe)
	})
}

// consentStates are an approval with a fault, for a program on this computer, of more
// than before.
func consentStates(w *world, c *pagetest.Tab, axe bool) {
	w.Consent.Fault, w.Consent.RedirectHost, w.Consent.Loopback = "Choose the team that this connection is for.", "127.0.0.1:51733", true
	judgeState(c, state{name: "consent-fault", path: "/oauth/authorize", open: true, want: "Choose the team"}, axe)
	w.Consent.Fault, w.Consent.LimitFault, w.Consent.Limits.Prefix = "No pod's name can begin like that.", "prefix", "-web"
	w.Consent.Filled, w.Consent.Scopes[1].New = w.grants["owner"].Team, true
	judgeState(c, state{name: "consent-step-up", path: "/oauth/authorize", open: true, want: "No pod's name can begin like that."}, axe)
}

// conflictState is a file that somebody else changed meanwhile.
func conflictState(w *world, c *pagetest.Tab, axe bool) {
	c.Open("/pod/blog/files/edit?path=index.html")
	w.write("index.html", "<h1>Hi</h1>\n")
	judgeState(c, state{name: "edit-conflict", fill: map[string]string{"content": "<h1>Ho</h1>\n"}, press: "form.edit .primary", want: "Somebody changed this file"}, axe)
}

// judgeState goes to a state, from the page that is open where it has no path.
func judgeState(c *pagetest.Tab, s state, axe bool) {
	c.T.Helper()
	if s.path != "" {
		c.Open(s.path)
	}
	const loosen = `document.querySelectorAll("form").forEach(f => f.noValidate = true); document.querySelectorAll("details").forEach(d => d.open = true)`
	if s.press != "" || s.open {
		c.Do(chromedp.Evaluate[chromedp.Void](loosen))
	}
	c.Fill(s.fill)
	if s.pick != "" {
		c.Do(chromedp.Click(chromedp.CSS(s.pick)))
	}
	if s.press != "" {
		c.Submit(s.press)
	}
	if text := c.Text("main"); !strings.Contains(text, s.want) || s.press != "" && s.want == "" && c.Text("#fault, .fault") == "" {
		c.T.Errorf("%s: %q is not in:\n%s", s.name, s.want, text)
	}
	scheme := "light"
	if len(s.name)%2 == 0 { // each scheme for about half of them
		scheme = "dark"
	}
	c.Look(320, scheme)
	faults := pagetest.Ask(c, chromedp.Evaluate[[]string]("judge.shape()"))
	if axe {
		faults = slices.Concat(faults, pagetest.Ask(c, chromedp.Evaluate[[]string]("judge.axe()", chromedp.EvalAwaitPromise)))
	}
	for _, fault := range slices.Concat(faults, pagetest.Ask(c, chromedp.Evaluate[[]string]("judge.refused()"))) {
		c.T.Errorf("%s: %s", s.name, fault)
	}
	if folder := os.Getenv("PODGATE_SCREENSHOTS"); folder != "" {
		for _, width := range []int{320, 768, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				c.Look(width, scheme)
				c.Picture(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", s.name, width, scheme)))
			}
		}
	}
}
