package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/packagetest"
	"podgate/pods/wire"
)

// deployment is a request that a test changes.
func (a *testAgent) deployment(t *testing.T, release int, before *wire.AppSpec) wire.DeployRequest {
	spec := *before
	spec.Preset = ""
	return wire.DeployRequest{Release: release, Spec: spec, Before: *before, Max: 1 << 20, WaitMillis: 20000}
}

// deploys returns how a deploy ended.
func (a *testAgent) deploys(r wire.DeployRequest) (*wire.Deployed, *wire.Fault) {
	a.t.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		a.t.Fatal(err)
	}
	resp, raw := a.do("POST", wire.PathDeploy, body)
	var e wire.Event
	if resp.StatusCode != http.StatusOK {
		e.Fault = new(wire.Fault)
		if err := json.Unmarshal(raw, e.Fault); err != nil {
			a.t.Fatalf("%s: %v", raw, err)
		}
		return nil, e.Fault
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Deployed == nil && e.Fault == nil {
		a.t.Fatalf("the last event is %s, %v", lines[len(lines)-1], err)
	}
	return e.Deployed, e.Fault
}

// beginDeploy begins a deploy that its caller leaves, before it can end.
func (a *testAgent) beginDeploy(r wire.DeployRequest) (leave func()) {
	a.t.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(a.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(ctx, "POST", "http://agent"+wire.PathDeploy, bytes.NewReader(body))
		if err != nil {
			a.t.Error(err)
			return
		}
		resp, err := a.http.Do(req)
		if err != nil {
			return // it was left
		}
		defer resp.Body.Close()
		if events, err := io.ReadAll(resp.Body); err == nil {
			a.t.Errorf("it came to an end: %s %s", resp.Status, events)
		}
	}()
	return func() { cancel(); <-ended }
}

// repository makes a git repository with an app on main and another on next, and
// returns the folder that has it and the commits of both.
func repository(t *testing.T) (root, first, next string) {
	t.Helper()
	packagetest.NeedGit(t)
	root = t.TempDir()
	app := filepath.Join(root, "app")
	first = packagetest.Commit(t, app, "main", map[string]string{"index.html": "of main"})
	next = packagetest.Commit(t, app, "next", map[string]string{"index.html": "of next"})
	if out, err := exec.Command("git", "-C", app, "symbolic-ref", "HEAD", "refs/heads/main").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root, first, next
}

func TestDeployFromGit(t *testing.T) {
	t.Parallel()
	root, first, next := repository(t)
	srv := httptest.NewServer(packagetest.Git(t, root))
	defer srv.Close()
	a := startAgent(t)
	before := a.spec(t, "static")
	for i, c := range []struct{ ref, commit, page string }{
		{"", first, "of main"}, {"next", next, "of next"}, {"main", first, "of main"},
	} {
		r := a.deployment(t, i+1, before)
		r.Git, r.Keep = &wire.Git{URL: srv.URL + "/app/.git", Ref: c.ref}, []int{i}
		done, fault := a.deploys(r)
		if fault != nil || done.Commit != c.commit || done.Preset != "static" || done.Answer == nil || done.Answer.Start != c.page {
			t.Fatalf("%+v: %+v, %+v\n%s", c, done, fault, a.log("source=install"))
		}
		before.Release = i + 1
	}
	if _, err := os.Stat(a.home("app/.git")); !os.IsNotExist(err) {
		t.Errorf(".git is left: %v", err)
	}
	r := a.deployment(t, 9, before)
	r.Git = &wire.Git{URL: srv.URL + "/app/.git", Ref: "absent"}
	if _, fault := a.deploys(r); fault == nil || !strings.Contains(fault.Message, "fetching "+srv.URL) || len(fault.Lines) == 0 || strings.Contains(fault.Message, "rev-parse") {
		t.Errorf("of a branch that is not there: %+v", fault)
	}
	if got := tree(t, a.home("releases")); got["9"] != "" || got["3"] == "" || got["1"] != "" {
		t.Errorf("there are %v", got)
	}
}

// A token goes to the host that it is for, in no word of the log, and into no file.
func TestDeployWithToken(t *testing.T) {
	t.Parallel()
	root, first, _ := repository(t)
	inner := packagetest.Git(t, root)
	const token = "tok-0123456789"
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != "" {
			t.Errorf("another host was given %q", given)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="other"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer other.Close()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/away") {
			http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusFound)
			return
		}
		if _, given, _ := r.BasicAuth(); given != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, func(c *Config) { c.Environ = append(c.Environ, "GIT_SSL_CAINFO="+roots) })
	before := a.spec(t, "static")
	r := a.deployment(t, 1, before)
	r.Git = &wire.Git{URL: srv.URL + "/app/.git", Token: "wrong"}
	if _, fault := a.deploys(r); fault == nil {
		t.Error("a wrong token was taken")
	}
	r.Git.Token = token
	done, fault := a.deploys(r)
	if fault != nil || done.Commit != first {
		t.Fatalf("%+v, %+v\n%s", done, fault, a.log("source=install"))
	}
	r.Release, r.Git.URL = 2, srv.URL+"/away/app/.git"
	if _, fault := a.deploys(r); fault == nil {
		t.Error("a repository that is elsewhere was fetched")
	}
	if all := a.log("lines=1000"); strings.Contains(all, token) {
		t.Errorf("the log has the token:\n%s", all)
	}
	out, err := exec.Command("grep", "-r", token, a.cfg.Home).CombinedOutput()
	if err == nil {
		t.Errorf("the token is in %s", out)
	}
}

// What settings in the pod's home say to git does not count.
func TestGitIsNotTold(t *testing.T) {
	t.Parallel()
	root, first, _ := repository(t)
	srv := httptest.NewServer(packagetest.Git(t, root))
	defer srv.Close()
	a := startAgent(t)
	a.put("/home/pod/.gitconfig", "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = "+srv.URL+"/\n[core]\n\thooksPath = /home/pod/hooks\n")
	r := a.deployment(t, 1, a.spec(t, "static"))
	r.Git = &wire.Git{URL: srv.URL + "/app/.git"}
	if done, fault := a.deploys(r); fault != nil || done.Commit != first {
		t.Errorf("%+v, %+v", done, fault)
	}
}

// A deploy that cannot be leaves everything as it was.
func TestDeployRefuses(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	want := tree(t, a.cfg.Home)
	for words, change := range map[string]func(*wire.DeployRequest){
		"release must be":        func(r *wire.DeployRequest) { r.Release = 0 },
		"max is missing":         func(r *wire.DeployRequest) { r.Max = 0 },
		"one source":             func(r *wire.DeployRequest) { r.Archive, r.Git = "a", &wire.Git{URL: "https://x.example"} },
		"one source;kept":        func(r *wire.DeployRequest) { r.Archive, r.Kept = "a", true },
		"preset must be one of":  func(r *wire.DeployRequest) { r.Spec.Preset = "cobol" },
		"name must be":           func(r *wire.DeployRequest) { r.Before.Name = "X" },
		"begin with https://":    func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "ssh://x.example/a"} },
		"begin with https://;2":  func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "ext::sh -c id"} },
		"begin with https://;3":  func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "https:///a"} },
		"give a token apart":     func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "https://u@x.example/a"} },
		"give a token and a ref": func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "https://x.example/a?private_token=t"} },
		"over https only":        func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "http://x.example/a", Token: "t"} },
		"printable ASCII":        func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "https://x.example/a", Token: "a\nb"} },
		"a branch, a tag":        func(r *wire.DeployRequest) { r.Git = &wire.Git{URL: "https://x.example/a", Ref: "-x"} },
		"not there any more":     func(r *wire.DeployRequest) {},
		"not there any more;k":   func(r *wire.DeployRequest) { r.Kept = true },
		"wait_millis":            func(r *wire.DeployRequest) { r.WaitMillis = -1 },
		"does not exist":         func(r *wire.DeployRequest) { r.Archive = "a.tar" },
		"is outside":             func(r *wire.DeployRequest) { r.Archive = "../../../etc/passwd" },
		"is a directory":         func(r *wire.DeployRequest) { r.Archive = "/home/pod/app" },
		"archive cannot be read": func(r *wire.DeployRequest) { r.Archive = "index.html" },
	} {
		r := a.deployment(t, 1, before)
		change(&r)
		words, _, _ = strings.Cut(words, ";")
		if done, fault := a.deploys(r); fault == nil || !strings.Contains(fault.Message, words) {
			t.Errorf("%q: %+v, %+v", words, done, fault)
		}
	}
	got := tree(t, a.cfg.Home)
	delete(got, "releases")
	for name := range got {
		if strings.HasPrefix(name, ".podgate/") {
			delete(got, name)
			delete(want, name)
		}
	}
	sameTree(t, got, want)
	if _, body := get(t, before.Port, "/"); body != "by hand" {
		t.Errorf("the app says %q", body)
	}
}

// A source is judged like any archive: it stays in its folder and within its bound.
func TestHostileSources(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	at := func(release string, limit int) string {
		return fmt.Sprintf("%s?release=%s&max=%d", wire.PathRelease, release, limit)
	}
	a.refused(wire.FaultBadRequest, "PUT", at("1", 1<<20), packed(t, tar.Header{Name: "../../app/x"}))
	a.refused(wire.FaultBadRequest, "PUT", at("1", 1<<20), packed(t, tar.Header{Name: "/etc/x"}))
	if f := a.refused(wire.FaultFailed, "PUT", at("1", 1<<20), packed(t,
		tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../.."}, tar.Header{Name: "out/x"})); !strings.Contains(f.Message, "out/x") {
		t.Errorf("through a link: %+v", f)
	}
	a.refused(wire.FaultTooLarge, "PUT", at("1", 4096), packed(t, tar.Header{Name: "a", Size: 8192}))
	a.refused(wire.FaultBadRequest, "PUT", at("0", 1<<20), nil)
	a.refused(wire.FaultBadRequest, "PUT", at("../x", 1<<20), nil)
	a.refused(wire.FaultBadRequest, "PUT", at("1", 0), nil)
	if got := tree(t, a.cfg.Home); got["x"] != "" || got["app/x"] != "" || len(tree(t, a.home("releases"))) != 0 {
		t.Errorf("there are %v", got)
	}
	// What runs is not replaced in place.
	a.do("PUT", at("1", 1<<20), packed(t, tar.Header{Name: "index.html"}))
	if _, fault := a.deploys(a.deployment(t, 1, a.spec(t, "static"))); fault != nil {
		t.Fatal(fault)
	}
	a.refused(wire.FaultExists, "PUT", at("1", 1<<20), packed(t, tar.Header{Name: "index.html"}))
}

// An app folder that somebody made useless does not keep the agent from serving.
func TestAppFolderGone(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "static")
	for command, want := range map[string]string{
		"cd; rm -r app; ln -s nowhere app": "is not there; deploy again or roll back",
		"cd; rm -r app; touch app":         "is no folder",
	} {
		a.exec(wire.ExecRequest{Command: command, Dir: "/home/pod", TimeoutMillis: 10000, MaxOutput: 1000})
		st := a.app(wire.AppRequest{Action: actionRestart, Spec: spec, WaitMillis: 5000})
		if st.App != wire.AppFailed || !strings.Contains(st.Reason, want) {
			t.Errorf("%s: %+v", command, st)
		}
	}
	a.exec(wire.ExecRequest{Command: "cd; rm app", Dir: "/home/pod", TimeoutMillis: 10000, MaxOutput: 1000})
	if st := a.app(wire.AppRequest{Action: actionRestart, Spec: spec, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Errorf("%+v", st)
	}
}

// Which release runs is the server's to say: one that went live and was never
// acknowledged is taken back with the next start.
func TestStartFollowsTheServer(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "static")
	a.put("index.html", "by hand")
	for _, n := range []int{1, 2} {
		at := fmt.Sprintf("%s?release=%d&max=1000000", wire.PathRelease, n)
		a.do("PUT", at, packed(t, tar.Header{Name: "index.html"}))
		r := a.deployment(t, n, spec)
		r.Keep = []int{1}
		if _, fault := a.deploys(r); fault != nil {
			t.Fatal(fault)
		}
	}
	for release, want := range map[int]string{1: "releases/1", 0: "releases/0", 7: "releases/2"} {
		if err := os.Remove(a.home("app")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("releases/2", a.home("app")); err != nil {
			t.Fatal(err)
		}
		spec.Release = release
		if st := a.app(wire.AppRequest{Action: actionRestart, Spec: spec, WaitMillis: 20000}); st.App != wire.AppRunning {
			t.Errorf("%+v", st)
		}
		if got, err := os.Readlink(a.home("app")); err != nil || got != want {
			t.Errorf("release %d: %s, %v; want %s", release, got, err, want)
		}
	}
}

// A deploy whose caller goes away brings back what ran before, and what comes next
// waits for that.
func TestDeployAbandoned(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	const procfile = "web: sleep 1000"
	a.do("PUT", wire.PathRelease+"?release=1&max=1000000", packed(t, tar.Header{Name: "Procfile", Size: int64(len(procfile))}))
	if err := os.WriteFile(a.home("releases/1/Procfile"), []byte(procfile), 0o644); err != nil {
		t.Fatal(err)
	}
	r := a.deployment(t, 1, before)
	r.Spec.Preset = "command"
	leave := a.beginDeploy(r)
	eventually(t, "the new app was started", func() bool {
		return strings.Contains(ask[wire.State](a, "GET", wire.PathState, nil).Command, "sleep 1000")
	})
	leave()
	st := a.app(wire.AppRequest{Action: actionRestart, Spec: before, WaitMillis: 20000})
	if st.App != wire.AppRunning || strings.Contains(st.Command, "sleep") {
		t.Errorf("%+v", st)
	}
	if _, body := get(t, before.Port, "/"); body != "by hand" {
		t.Errorf("the app says %q", body)
	}
	if _, err := os.Stat(a.home("releases/1")); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// An app that runs and never listens on $PORT, the commonest mistake, is not live: what
// ran before is back, and the answer says where something listens instead, with what the
// app printed. The agent's clock runs ahead, so that its minute is soon over.
func TestDeployThatNeverListens(t *testing.T) {
	t.Parallel()
	began := time.Now()
	a := startAgent(t, func(c *Config) { c.Now = func() time.Time { return began.Add(100 * time.Since(began)) } })
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	r := a.deployment(t, 1, before)
	const procfile = "web: echo listening on 3000; sleep 1000"
	a.do("PUT", wire.PathRelease+"?release=1&max=1000000", packed(t, tar.Header{Name: "Procfile", Size: int64(len(procfile))}))
	if err := os.WriteFile(a.home("releases/1/Procfile"), []byte(procfile), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Spec.Preset = "command"
	_, fault := a.deploys(r)
	if fault == nil || len(fault.Lines) == 0 || !slices.ContainsFunc(fault.Lines, func(l wire.LogLine) bool { return l.Text == "listening on 3000" }) {
		t.Fatalf("%+v", fault)
	}
	want := []string{fmt.Sprintf("it runs, but nothing listens on $PORT, which is %d", before.Port), "Make the app listen", "; what ran before is back"}
	if strings.Contains(fault.Message, "reload") {
		t.Errorf("to reload is of no use to what is not live: %q", fault.Message)
	}
	for _, w := range want {
		if !strings.Contains(fault.Message, w) {
			t.Errorf("%q, want %q", fault.Message, w)
		}
	}
	if _, body := get(t, before.Port, "/"); body != "by hand" {
		t.Errorf("the app says %q", body)
	}
	if _, err := os.Stat(a.home("releases/1")); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// What the app folder leads to is never deleted, whatever a server that forgot some
// deploys asks for and however the link is written, and neither is what was no release.
func TestDeployDeletesNothingElse(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"releases/2", "./releases/2", "/home"} {
		a := startAgent(t)
		before := a.spec(t, "static")
		if err := os.RemoveAll(a.home("app")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"1", "2", "2024", "0", "03"} {
			if err := os.MkdirAll(a.home("releases/"+name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if target == "/home" {
			target = a.home("releases/2")
		}
		if err := os.Symlink(target, a.home("app")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(a.home("a.tar"), packed(t, tar.Header{Name: "index.html"}), 0o644); err != nil {
			t.Fatal(err)
		}
		for release, words := range map[int]string{2: "is the app that runs", 3: "nothing there says"} {
			r := a.deployment(t, release, before)
			r.Before.Preset, r.Archive = "command", "/home/pod/a.tar"
			if release == 3 {
				r.Archive = ""
				if err := os.MkdirAll(a.home("releases/3"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if done, fault := a.deploys(r); fault == nil || !strings.Contains(fault.Message, words) {
				t.Errorf("%s: %+v, %+v", target, done, fault)
			}
		}
		left, err := filepath.Glob(a.home("releases/*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range left {
			left[i] = filepath.Base(left[i])
		}
		if got := strings.Join(left, " "); got != "0 03 2 2024" {
			t.Errorf("%s: there are %s", target, got)
		}
	}
}

// A deploy whose caller goes away while the new app is asked for its first page is
// taken back: the server has noted that it failed.
func TestDeployAbandonedAtItsFirstPage(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "python3")
	a := startAgent(t)
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	const server = `import os, socket
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
kept = []
while True:
    c, _ = s.accept()
    kept.append(c)
    if c.recv(1):
        open(os.environ["HOME"] + "/asked", "w").close()
`
	if err := os.MkdirAll(a.home("releases/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Procfile": "web: python3 s.py", "s.py": server} {
		if err := os.WriteFile(a.home("releases/1/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := a.deployment(t, 1, before)
	r.Spec.Preset = "command"
	leave := a.beginDeploy(r)
	eventually(t, "the new app is asked", func() bool { _, err := os.Stat(a.home("asked")); return err == nil })
	leave()
	eventually(t, "what ran before is back", func() bool {
		target, err := os.Readlink(a.home("app"))
		return err != nil || target != "releases/1"
	})
	if st := a.app(wire.AppRequest{Action: actionRestart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Errorf("%+v", st)
	}
	if _, body := get(t, before.Port, "/"); body != "by hand" {
		t.Errorf("the app says %q", body)
	}
}

// An archive whose headers have no end, as few bytes can say, is given up with its
// deploy.
func TestDeployOfEndlessHeaders(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	before := a.spec(t, "static")
	var long, member bytes.Buffer
	if err := tar.NewWriter(&long).WriteHeader(&tar.Header{Name: strings.Repeat("a", 1<<20-513), Format: tar.FormatGNU, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&member)
	for range 16 {
		z.Write(long.Bytes()[:1<<20]) // the name, without what has it
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.home("a.tgz"), bytes.Repeat(member.Bytes(), 2000), 0o644); err != nil {
		t.Fatal(err)
	}
	r := a.deployment(t, 1, before)
	r.Archive = "/home/pod/a.tgz"
	leave := a.beginDeploy(r)
	eventually(t, "the deploy has begun", func() bool { _, err := os.Stat(a.home("releases/1")); return err == nil })
	leave()
	eventually(t, "nothing of it is left", func() bool { _, err := os.Stat(a.home("releases/1")); return os.IsNotExist(err) })
}

// A folder by the name of a release that somebody made before there was one is kept
// under another.
func TestReleaseOfSomebodyElse(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("/home/pod/releases/1/mine", "mine")
	a.do("PUT", wire.PathRelease+"?release=1&max=1000000", packed(t, tar.Header{Name: "index.html"}))
	got := tree(t, a.home("releases"))
	if got["1-2/mine"] == "" || got["1/index.html"] == "" || got["1/mine"] != "" {
		t.Errorf("there are %v", got)
	}
}

// What listens and answers nobody does not take the place of what does.
func TestDeployThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "python3")
	a := startAgent(t)
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	const server = `import os, socket
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    c, _ = s.accept()
    c.recv(1)
    print("asked", flush=True)
    c.close()
`
	if err := os.MkdirAll(a.home("releases/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Procfile": "web: python3 s.py", "s.py": server} {
		if err := os.WriteFile(a.home("releases/1/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := a.deployment(t, 1, before)
	r.Spec.Preset = "command"
	_, fault := a.deploys(r)
	if fault == nil || !strings.Contains(fault.Message, "gives no answer to GET / over HTTP") || !strings.Contains(fault.Message, "what ran before is back") ||
		!slices.ContainsFunc(fault.Lines, func(l wire.LogLine) bool { return l.Text == "asked" }) {
		t.Errorf("%+v", fault)
	}
	if _, body := get(t, before.Port, "/"); body != "by hand" {
		t.Errorf("the app says %q", body)
	}
}
