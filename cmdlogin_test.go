package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"podgate/internal/config"
	"podgate/internal/webtest"
)

// elsewhere is the command line of a machine on which no server runs.
func elsewhere(t *testing.T) giver {
	home := t.TempDir()
	return giver{t: t, env: config.Environ{"HOME=" + home, "PODGATE_DATA_DIR=" + filepath.Join(home, "none")}}
}

func (g giver) credentials() string {
	home, _ := g.env.Lookup("HOME")
	return filepath.Join(home, ".config", "podgate", "credentials.json")
}

var authorizeLine = regexp.MustCompile(`\n  (http\S+/oauth/authorize\?\S+)\n`)

// logIn gives the command login, has a person decide, and brings the browser back to
// the command: by itself, or pasted.
func (g giver) logIn(p *person, server string, o connectOptions, paste bool, flags ...string) (code int, out, errs string) {
	g.t.Helper()
	stdout, stderr := &syncBuffer{}, &syncBuffer{}
	keyboard, typed := io.Pipe()
	defer typed.Close()
	ended := make(chan int, 1)
	go func() {
		ended <- run(context.Background(), process{Args: append([]string{"login", server}, flags...), Env: g.env, Stdin: keyboard, Stdout: stdout, Stderr: stderr})
	}()
	var found []string
	eventually(g.t, func() bool {
		found = authorizeLine.FindStringSubmatch(stderr.String())
		return found != nil || len(ended) > 0
	})
	if found == nil {
		return <-ended, stdout.String(), stderr.String()
	}
	back := bringBack(g.t, p, found[1], o)
	if paste {
		io.WriteString(typed, "https://example.com/\n"+back+"\n")
	} else if page := webtest.New(g.t).Open(back); page.Status != http.StatusOK || !strings.Contains(page.Text(), "Back to the command line") {
		g.t.Errorf("the page at the end: %d %s", page.Status, page.Text())
	}
	return <-ended, stdout.String(), stderr.String()
}

// bringBack lets a person decide and returns the address at which the browser would
// come back.
func bringBack(t *testing.T, p *person, address string, o connectOptions) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	back := u.Query().Get("redirect_uri")
	before := p.Stop
	defer func() { p.Stop = before }()
	p.Stop = func(u *url.URL) bool { return strings.HasPrefix(u.String(), back) }
	page := p.Open(address)
	if page.HasButton("Sign in") {
		page = p.signIn(page)
	}
	fields, button := webtest.Fields{}, "Approve"
	if o.team != "" {
		fields["team"] = []string{o.team}
	}
	if o.deny {
		button = "Deny"
	}
	if !strings.Contains(page.Text(), "podgate command line") {
		t.Errorf("the consent page does not name the command line: %s", page.Text())
	}
	end := page.Press(button, fields)
	if end.Location == nil {
		t.Fatalf("the browser stays at «%s»: %s", end.Title(), end.Text())
	}
	return end.Location.String()
}

// Somebody logs in from another machine, uses pods there, and logs out.
func TestLogin(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada, bob := setUp(t, srv), addPerson(t, srv, "bob")
	g := elsewhere(t)
	g.refuses("there is no login", "pod list")
	g.refuses("there is no login to "+srv.Issuer, "pod list --server "+srv.Issuer)

	code, out, errs := g.logIn(ada, srv.Issuer, connectOptions{}, false)
	if code != exitDone || out != "Logged in to "+srv.Issuer+" for the team home. «podgate pod list» shows its pods.\n" {
		t.Fatalf("login: %d %s%s\n%s", code, out, errs, srv.Log)
	}
	g.checkCredentials(srv)
	if podsRun(t, srv) {
		walkPodCommands(t, g, "home")
	} else {
		g.says("no pods yet", "pod list")
	}
	g.refuses("a login is for the team", "pod list --team home")

	// A second login to the server takes the place of the first, whose connection ends.
	if code, out, errs := g.logIn(bob, strings.TrimPrefix(srv.Issuer, "")+"/api/mcp", connectOptions{}, true, "--no-browser"); code != exitDone || !strings.Contains(out, "for the team bobs") || !strings.Contains(errs, "that is not the address") {
		t.Fatalf("pasted: %d %s%s", code, out, errs)
	}
	if _, list, _ := srv.command("connections"); strings.Contains(list, ada.email) || !strings.Contains(list, bob.email) {
		t.Errorf("after the second login:\n%s", list)
	}
	g.says(`"server": "`+srv.Issuer, "logout --json")
	if _, list, _ := srv.command("connections"); strings.Contains(list, bob.email) {
		t.Errorf("after logging out:\n%s", list)
	}
	g.says("There is no login", "login --list")
	g.refuses("there is no login", "logout")
}

// checkCredentials looks at how a login is kept and shown.
func (g giver) checkCredentials(srv *testServer) {
	t := g.t
	t.Helper()
	info, err := os.Stat(g.credentials())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if folder, err := os.Stat(filepath.Dir(g.credentials())); err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", folder, err)
	}
	kept := readFile(t, g.credentials())
	if !strings.Contains(kept, "pgat_") || !strings.Contains(kept, "pgrt_") {
		t.Fatalf("no tokens are kept: %s", kept)
	}
	for _, line := range []string{"login --list", "login --list --json"} {
		if got := g.must(line); !strings.Contains(got, srv.Issuer) || !strings.Contains(got, "home") || strings.Contains(got, "pgat_") || strings.Contains(got, "pgrt_") {
			t.Errorf("%s: %s", line, got)
		}
	}
	if err := os.Chmod(g.credentials(), 0o640); err != nil {
		t.Fatal(err)
	}
	g.refuses("other people of this machine can read", "pod list")
	if err := os.Chmod(g.credentials(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoginRefusals(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	g := elsewhere(t)
	if code, _, errs := g.logIn(ada, srv.Issuer, connectOptions{deny: true}, false); code != exitFailed || !strings.Contains(errs, "denied in the browser") {
		t.Errorf("denied: %d %s", code, errs)
	}
	for address, want := range map[string]string{
		"http://pods.example.com": "over https", "ftp://localhost": "no address of a server", "https://a@localhost": "as a browser shows it",
		"http://localhost:1": "refused", srv.Issuer + "/pod": "as a browser shows it",
	} {
		g.refuses(want, "login "+address)
	}
	if _, err := os.Stat(g.credentials()); err == nil {
		t.Error("something was kept")
	}
	// Revoked at the server, the login says how to go on.
	if code, _, errs := g.logIn(ada, srv.Issuer, connectOptions{}, false, "--read-only"); code != exitDone {
		t.Fatal(errs)
	}
	g.refuses("scope", "pod create x --preset static")
	_, list, _ := srv.command("connections", "--json")
	id := regexp.MustCompile(`"id": "([^"]+)"`).FindStringSubmatch(list)
	if code, _, errs := srv.command("connection", "revoke", id[1]); code != exitDone {
		t.Fatal(errs)
	}
	g.refuses("«podgate login "+srv.Issuer+"» makes a new one", "pod list")
}

const podsPage = "docs/pods.md"

// TestPodsPage gives the commands of the page on pods, one after the other, as somebody
// on another machine.
func TestPodsPage(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	g := elsewhere(t)
	here := t.TempDir()
	write(t, here, map[string]string{"site/index.html": "<h1>Hello</h1>", "notes.txt": "notes"})
	ran := 0
	for _, block := range fenced.FindAllStringSubmatch(documents(t)[podsPage], -1) {
		for line := range strings.Lines(block[1]) {
			ran++
			line = strings.TrimPrefix(strings.TrimSpace(line), "podgate ")
			line = strings.NewReplacer("https://pods.example.com", srv.Issuer, "./", here+"/").Replace(line)
			if strings.HasPrefix(line, "login ") {
				if code, _, errs := g.logIn(ada, srv.Issuer, connectOptions{}, false); code != exitDone {
					t.Fatal(errs)
				}
				continue
			}
			g.must(line)
		}
	}
	if ran < 15 || readFile(t, here+"/backup/notes.txt") != "notes" {
		t.Errorf("%d commands were given", ran)
	}
}
