package ui_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// Everything that forms do can be done in a real browser, by what its pages show:
// without script, and with it.
func TestFlows(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for _, script := range []bool{false, true} {
		t.Run(fmt.Sprintf("script %t", script), func(t *testing.T) {
			w := newWorld(t)
			for role, walk := range map[string]func(*flow){"owner": ownerFlow, "foreign": foreignFlow, "admin": adminFlow} {
				t.Run(role, func(t *testing.T) {
					c := pagetest.NewTab(t, browser, w.PageOrigin())
					if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}); err != nil {
						t.Fatal(err)
					}
					c.SignIn(emailOf(role))
					walk(&flow{c, w, script})
				})
			}
		})
	}
}

// flow is somebody at work in a tab.
type flow struct {
	*pagetest.Tab
	w      *world
	script bool
}

// send opens a page, fills its fields and presses a button there; the page that follows
// has these words.
func (f *flow) send(path string, fields map[string]string, button, want string) {
	f.T.Helper()
	f.Open(path)
	f.press(fields, button, want)
}

// press is send on the page that is open.
func (f *flow) press(fields map[string]string, button, want string) {
	f.T.Helper()
	f.Fill(fields)
	f.Submit(button)
	if text := f.Text("main"); !strings.Contains(text, want) {
		f.T.Errorf("%s: %q is not in:\n%s", button, want, text)
	}
}

func (f *flow) click(selector string) {
	f.T.Helper()
	f.Do(chromedp.Click(chromedp.CSS(selector)))
}

// file puts a file where the browser can choose it.
func (f *flow) file(name string, content []byte) string {
	f.T.Helper()
	path := filepath.Join(f.T.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.T.Fatal(err)
	}
	return path
}

func ownerFlow(f *flow) {
	f.newPod()
	f.deployAndRollBack()
	f.send("/pod/bakery", map[string]string{"plan": "medium"}, `form[action$="/plan"] button`, "medium")
	f.manageFiles()
	f.settingsOfPod()
	f.findPods()
	f.send("/connection/"+string(f.w.grants["owner"].ID), map[string]string{"nickname": "My laptop"}, `form[action$="/name"] button`, "My laptop")
	f.peopleOfTeam()
	f.settingsOfTeam()
	f.send("/pod/bakery/delete", map[string]string{"confirm": "bakery"}, ".danger", "")
	f.WantH1("Pods")
}

// newPod makes the pod bakery, whose address is shown while its name is typed.
func (f *flow) newPod() {
	f.T.Helper()
	f.Open("/pods/new")
	f.Do(chromedp.SendKeys(chromedp.CSS("#name"), "bakery"))
	if shown := f.Text("[data-address]"); f.script && !strings.Contains(shown, "bakery.") {
		f.T.Errorf("the address that is shown: %q", shown)
	}
	f.click(`input[name="preset"][value="static"]`)
	f.press(nil, ".create .primary", "What it is")
	f.WantH1("bakery")
}

func (f *flow) deployAndRollBack() {
	f.T.Helper()
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	if index, err := z.Create("index.html"); err != nil {
		f.T.Fatal(err)
	} else if _, err := index.Write([]byte("<h1>Bread</h1>")); err != nil {
		f.T.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.T.Fatal(err)
	}
	folder := filepath.Dir(f.file("index.html", []byte("<h1>Cake</h1>")))
	for field, path := range map[string]string{"archive": f.file("bakery.zip", archive.Bytes()), "folder": folder} {
		f.Open("/pod/bakery/deploys")
		f.Do(chromedp.SetUploadFiles(chromedp.CSS("#"+field), []string{path}))
		f.press(nil, "form[data-drop] button", "deploy")
		f.deployed()
	}
	if live := f.deployed(); live != 2 {
		f.T.Errorf("deploy %d is live, want 2", live)
	}
	f.Open("/pod/bakery/deploys")
	f.press(nil, `a[aria-label="Roll back to deploy 1"]`, "Roll back")
	f.press(nil, "form .danger, form .primary", "rollback")
	if live := f.deployed(); live != 3 {
		f.T.Errorf("deploy %d is live, want 3, which rolls back", live)
	}
}

// deployed is the number of the deploy that is live once none goes on.
func (f *flow) deployed() int {
	f.T.Helper()
	for f.T.Context().Err() == nil {
		list, err := f.w.Pods.Deploys(f.w.Actor(f.w.people["owner"], "red"), "bakery")
		if err != nil {
			f.T.Fatal(err)
		}
		live := 0
		for _, d := range list {
			if d.Ended.IsZero() {
				live = -1
			} else if d.Live && live == 0 {
				live = d.Number
			}
		}
		if live >= 0 {
			return live
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

func (f *flow) manageFiles() {
	f.T.Helper()
	f.Open("/pod/bakery/files")
	f.click("#file-add summary")
	f.press(map[string]string{"new": "notes.txt"}, `button[value="file"]`, "notes.txt")
	at := func(act, name string) string { return "/pod/bakery/files/" + act + "?path=" + url.QueryEscape(name) }
	f.send(at("edit", "notes.txt"), map[string]string{"content": "flour\n"}, "form.edit .primary", "flour")
	f.send(at("move", "notes.txt"), map[string]string{"to": "list.txt"}, "form .primary", "list.txt")
	f.Open("/pod/bakery/files")
	f.click("#file-add summary")
	f.Do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{f.file("prices.txt", []byte("3\n"))}))
	f.press(nil, "#upload button", "prices.txt")
	f.send(at("delete", "list.txt"), nil, ".danger", "prices.txt")
	if strings.Contains(f.Text("table"), "list.txt") {
		f.T.Error("the file is still listed")
	}
}

func (f *flow) settingsOfPod() {
	f.T.Helper()
	const settings = "/pod/bakery/settings"
	f.send(settings, map[string]string{"env-name": "API_KEY", "env-value": "hunter2"}, ".env-form button", "API_KEY")
	f.press(nil, `button[name="unset"]`, "No variable is set")
	f.click(`#network input[value="names"]`)
	f.press(map[string]string{"names": "api.example.com"}, ".network-form button", "api.example.com")
	f.Open("/pod/bakery/logs")
	f.press(map[string]string{"q": "none of that"}, ".filters button", "No line has “none of that”.")
	const download = `fetch([...document.querySelectorAll(".log-tools a")].find(a => a.innerText === "Download").href).then(r => r.headers.get("Content-Disposition"))`
	if name := pagetest.Ask(f.Tab, chromedp.Evaluate[string](download, chromedp.EvalAwaitPromise)); !strings.HasPrefix(name, "attachment; filename=") {
		f.T.Errorf("the log is downloaded as %q", name)
	}
}

// findPods looks for pods on the front page, whose address keeps what was chosen.
func (f *flow) findPods() {
	f.T.Helper()
	f.send("/", map[string]string{"q": "bak"}, ".filters button", "1 pod of 3")
	f.send("/", map[string]string{"state": "stopped"}, ".filters button", "shop")
	if at := pagetest.Ask(f.Tab, chromedp.Location()); !strings.Contains(at, "state=stopped") || strings.Contains(f.Text("#pods"), "bakery") {
		f.T.Errorf("at %s: %s", at, f.Text("#pods"))
	}
}

func (f *flow) peopleOfTeam() {
	f.T.Helper()
	viewer := string(f.w.people["viewer"].ID)
	f.send("/team/red", map[string]string{"role-" + viewer: "member"}, "#role-"+viewer+" + button", "The role is changed.")
	if a := f.w.Actor(f.w.people["viewer"], "red"); a.Role != store.RoleMember {
		f.T.Errorf("the role is %s", a.Role)
	}
	f.send("/team/red", map[string]string{"email": "new@example.com", "role": "viewer"}, "#invite button", "new@example.com can become a viewer")
	f.send("/team/red", nil, "#invitations button", "Nobody is invited")
	f.send("/team/red/member/"+viewer+"/remove", nil, ".danger", "They are out of the team")
}

func (f *flow) settingsOfTeam() {
	f.T.Helper()
	f.Open("/team/red/settings")
	f.click(`#network input[value="names"]`)
	f.press(map[string]string{"names": "*.example.com"}, "#network button", "What pods may reach is changed.")
	f.press(map[string]string{"prefix": "b", "max_pods": "5"}, "#policy button", "The policy is changed.")
	f.press(map[string]string{"team-name": "The reds"}, "#name button", "The team is renamed.")
}

// foreignFlow is somebody who is invited while signed in, and leaves again.
func foreignFlow(f *flow) {
	team, err := f.w.Account.AddTeam(f.T.Context(), "blue", "The blues")
	if err != nil {
		f.T.Fatal(err)
	}
	secret, _, err := f.w.Account.Invite(f.T.Context(), authz.CommandLine(team), account.NewInvitation{Role: store.RoleMember})
	if err != nil {
		f.T.Fatal(err)
	}
	f.send("/invitation?token="+secret, nil, `form[action="/invitation/accept"] button`, "Welcome to the team.")
	f.Open("/")
	if text := f.Text("main"); !strings.Contains(text, "hidden-pod") {
		f.T.Errorf("the front page over several teams: %s", text)
	}
	f.send("/team/blue/leave", nil, ".danger", "You left the team")
}

func adminFlow(f *flow) {
	f.managePeople()
	f.manageTeams()
	f.manageClients()
}

func (f *flow) managePeople() {
	f.T.Helper()
	const email = "newcomer@example.com"
	f.send("/server/people", map[string]string{"email": email, "name": "New", "password": "a long and plain sentence"}, "#add button", "The account is there.")
	f.press(map[string]string{"q": "newcomer"}, "[role=search] button", email)
	f.press(nil, `a[aria-label="Make administrator: `+email+`"]`, "Your own password")
	f.press(map[string]string{"own": "guessed wrongly"}, "form .primary", "That is not your present password.")
	f.press(map[string]string{"own": pagetest.Password}, "form .primary", "administers this server from now on")
	f.press(nil, `button[aria-label="No administrator: `+email+`"]`, "does not administer this server any more")
	f.press(nil, `a[aria-label="Set the password of `+email+`"]`, "Your own password")
	f.press(map[string]string{"own": "guessed wrongly", "password": "another long sentence"}, "form .primary", "That is not your present password.")
	f.press(map[string]string{"own": pagetest.Password, "password": "another long sentence"}, "form .primary", "The password is set.")
	f.press(nil, `a[aria-label="Remove `+email+`"]`, "This ends every session")
	f.press(nil, ".danger", "The account is removed")
	if _, err := f.w.DB.UserByEmail(email); err == nil {
		f.T.Error("the account is still there")
	}
}

func (f *flow) manageTeams() {
	f.T.Helper()
	f.send("/server/teams", map[string]string{"name": "The yellows", "slug": "yellow"}, "#make button", "The team is there.")
	f.press(map[string]string{"q": "yell"}, "[role=search] button", "The yellows")
	f.press(nil, `a[aria-label="Quota of The yellows"]`, "Memory of all pods together")
	f.press(map[string]string{"pods": "7", "memory": "2048"}, "form .primary", "0 of 7 pods")
	f.press(nil, `a[aria-label="Settings of The yellows"]`, "0 of 7")
	f.press(nil, `#remove a`, "This cannot be taken back.")
	f.press(nil, ".danger", "The team is removed.")
}

func (f *flow) manageClients() {
	f.T.Helper()
	u := f.w.people["foreign"]
	for _, name := range []string{"Revoked", "Blocked", "Forgotten"} {
		f.w.Connect(u, "green", name, "claude.ai", authz.ScopeRead)
	}
	f.send("/server/connections", map[string]string{"q": "revoked"}, "[role=search] button", "Revoked")
	f.press(nil, "ul a.danger", "Revoke this connection?")
	f.press(nil, ".danger", "")
	f.send("/server/clients", map[string]string{"q": "blocked"}, "[role=search] button", "Blocked")
	f.press(nil, `a[aria-label="Block Blocked"]`, "This ends 1 connection")
	f.press(nil, ".danger", "The client is blocked, and 1 connection ended.")
	f.Open("/server/clients?list=blocked")
	f.press(nil, `button[aria-label="Unblock Blocked"]`, "let in again")
	f.press(nil, `a[aria-label="Forget Forgotten"]`, "It has to register again")
	f.press(nil, ".danger", "The client is forgotten, and 1 connection ended.")
	list, err := f.w.Account.Connections(u.ID)
	if err != nil || len(list) != 1 {
		f.T.Errorf("%d connections are left, want the first one: %v", len(list), err)
	}
}
