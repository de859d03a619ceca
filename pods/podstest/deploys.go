package podstest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

// source makes the files of a deploy from paths and texts in turns.
func source(pairs ...string) (files []pods.SourceFile) {
	for i := 0; i+1 < len(pairs); i += 2 {
		files = append(files, pods.SourceFile{Path: pairs[i], Content: []byte(pairs[i+1])})
	}
	return files
}

// deploy deploys or ends the test.
func (b *bench) deploy(name string, pairs ...string) pods.Deployment {
	b.t.Helper()
	d, err := b.Deploy(b.t.Context(), b.actor, pods.DeployRequest{Name: name, Files: source(pairs...)}, nil)
	if err != nil {
		b.t.Fatalf("deploy %s: %v", name, err)
	}
	return d
}

// shows fails unless a visitor of the pod gets that page.
func (b *bench) shows(pod, want string) {
	b.t.Helper()
	if status, body, err := b.visit(pod, "/"); err != nil || status != 200 || body != want {
		b.t.Errorf("%s shows %d %.200q, %v; want %q", pod, status, body, err, want)
	}
}

func testDeploy(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	d := b.deploy("shop", "index.html", "one", "css/a.css", "p{}", "run.sh", "#!/bin/sh\necho ran\n")
	if !d.Created || !d.Deploy.Live || d.Deploy.Number != 1 || d.Deploy.Preset != "static" || d.Deploy.Source != "3 files" || d.Deploy.By == "" {
		t.Errorf("%+v", d.Deploy)
	}
	if d.Pod.Name != "shop" || d.Pod.Status != "running" || d.Pod.Preset != "static" || d.Pod.URL == "" {
		t.Errorf("%+v", d.Pod)
	}
	if d.Answer == nil || d.Answer.Status != 200 || d.Answer.Start != "one" || !strings.HasPrefix(d.Answer.Type, "text/html") {
		t.Errorf("answered %+v", d.Answer)
	}
	b.shows("shop", "one")
	if got := b.prints("shop", "./run.sh"); got != "ran\n" {
		t.Errorf("a script printed %q", got)
	}
	b.write("shop", "/home/pod/data/kept", "kept")
	b.write("shop", "left", "of the first")

	if d := b.deploy("shop", "index.html", "two"); d.Created || d.Deploy.Number != 2 {
		t.Errorf("%+v", d)
	}
	b.shows("shop", "two")
	if got := b.prints("shop", `ls; cat "$PODGATE_DATA"/kept`); got != "index.html\nkept" {
		t.Errorf("after the second there are %q", got)
	}

	// What is deployed survives stop, start and reload.
	_, err := b.Stop(t.Context(), b.actor, "shop", nil)
	must(t, "stop", err)
	_, err = b.Start(t.Context(), b.actor, "shop", nil)
	must(t, "start", err)
	b.shows("shop", "two")
	b.write("shop", "index.html", "two and a half")
	_, err = b.Reload(t.Context(), b.actor, "shop", nil)
	must(t, "reload", err)
	b.shows("shop", "two and a half")

	list, err := b.Deploys(b.actor, "shop")
	if err != nil || len(list) != 3 || list[0].Action != "reload" || !list[0].Live || list[1].Live || !list[2].Kept || list[1].Kept {
		t.Errorf("%+v, %v", list, err)
	}
}

// dies is an app that prints and ends.
const dies = "web: echo it broke here >&2; exit 3"

func testDeployRefused(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	fails := func(want string, req pods.DeployRequest) {
		t.Helper()
		req.Name = "shop"
		_, err := b.Deploy(t.Context(), b.actor, req, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !pods.IsPublic(err) {
			t.Errorf("%v, want %q", err, want)
		}
		b.shows("shop", "one")
		if p, err := b.Get(t.Context(), b.actor, "shop"); err != nil || p.Preset != "static" || p.Status != "running" {
			t.Errorf("the pod is %+v, %v", p, err)
		}
		if got := b.prints("shop", "cd; ls releases; readlink app"); got != "0\n1\nreleases/1\n" {
			t.Errorf("what is left: %q", got)
		}
	}
	// It ends at once: what ran before is back, and the reason has its last words.
	fails("it broke here", pods.DeployRequest{Preset: "command", Files: source("Procfile", dies)})
	p, err := b.Get(t.Context(), b.actor, "shop")
	if last := p.LastDeploy; err != nil || last == nil || last.State != store.DeployFailed || last.Number != 2 || !strings.Contains(last.Reason, "what ran before is back") || len(last.Lines) == 0 {
		t.Errorf("last %+v, %v", last, err)
	}
	if !strings.Contains(p.Reason, "the last deploy failed") {
		t.Errorf("the reason is %q", p.Reason)
	}
	// Its install fails: nothing was ended meanwhile.
	started := p.Started
	fails("no such package", pods.DeployRequest{Preset: "command", Files: source("Procfile", "release: echo no such package; exit 1\nweb: sleep 100")})
	fails("there is nothing to start", pods.DeployRequest{Preset: "command", Files: source("readme", "")})
	if p, err := b.Get(t.Context(), b.actor, "shop"); err != nil || !p.Started.Equal(started) {
		t.Errorf("the app was started again: %v, %v, %v", p.Started, started, err)
	}
	// Bad input is not even noted.
	before, err := b.Deploys(b.actor, "shop")
	must(t, "list", err)
	for want, req := range map[string]pods.DeployRequest{
		"exactly one of them":         {},
		"no name of a file":           {Files: source("../x", "")},
		"given twice":                 {Files: source("a", "", "./a", "")},
		"unknown preset":              {Preset: "cobol", Files: source("a", "")},
		"does not change":             {Plan: "large", Files: source("a", "")},
		"stays there":                 {Region: "moon", Files: source("a", "")},
		"is set by podgate":           {Env: map[string]string{"PORT": "1"}, Files: source("a", "")},
		"exactly one of them; archiv": {Archive: "a.tar", Files: source("a", "")},
	} {
		want, _, _ = strings.Cut(want, ";")
		fails(want, req)
	}
	if after, err := b.Deploys(b.actor, "shop"); err != nil || len(after) != len(before) {
		t.Errorf("%d deploys, then %d, %v", len(before), len(after), err)
	}
	// A source that cannot be is.
	fails("https://", pods.DeployRequest{Git: &wire.Git{URL: "file:///etc"}})
	fails("give a token apart", pods.DeployRequest{Git: &wire.Git{URL: "https://a:b@git.example/x"}})
	fails("over https only", pods.DeployRequest{Git: &wire.Git{URL: "http://git.example/x", Token: "t"}})
	fails("branch, a tag or a commit", pods.DeployRequest{Git: &wire.Git{URL: "https://git.example/x", Ref: "--upload-pack=x"}})
	fails("does not exist", pods.DeployRequest{Archive: "none.tar.gz"})
	fails("is outside", pods.DeployRequest{Archive: "/etc/passwd"})

	stranger := b.actor
	stranger.Scopes = []store.Scope{authz.ScopeRead, authz.ScopeExec}
	var denied *authz.Denied
	if _, err := b.Deploy(t.Context(), stranger, pods.DeployRequest{Name: "shop", Files: source("a", "")}, nil); !errors.As(err, &denied) || denied.Scope != authz.ScopeWrite {
		t.Errorf("without the scope: %v", err)
	}
	if _, err := b.Rollback(t.Context(), stranger, "shop", nil, nil); !errors.As(err, &denied) {
		t.Errorf("without the scope: %v", err)
	}
}

func testRollback(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	back := func(number *int) (pods.Deployment, error) {
		return b.Rollback(t.Context(), b.actor, "shop", number, nil)
	}
	b.create("shop", "static", nil)
	if _, err := back(nil); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("with nothing to go back to: %v", err)
	}
	b.write("shop", "index.html", "by hand")
	for i := range 6 {
		b.deploy("shop", "index.html", fmt.Sprint("page ", i+1))
	}
	d, err := back(nil)
	if err != nil || d.Deploy.Action != "rollback" || d.Deploy.Source != "deploy 5" || d.Deploy.Number != 7 || !d.Deploy.Live {
		t.Errorf("%+v, %v", d.Deploy, err)
	}
	b.shows("shop", "page 5")
	four, one, zero, seven := 4, 1, 0, 7
	if _, err := back(&seven); !errors.Is(err, pods.ErrBadInput) || !strings.Contains(err.Error(), "what runs now") {
		t.Errorf("to what runs: %v", err)
	}
	if _, err := back(&one); !errors.Is(err, pods.ErrBadInput) || !strings.Contains(err.Error(), "list_deploys") {
		t.Errorf("to one that is gone: %v", err)
	}
	b.shows("shop", "page 5")
	_, err = back(&four)
	must(t, "to the fourth", err)
	b.shows("shop", "page 4")
	if d, err := back(&zero); err != nil || !d.Deploy.Live || d.Deploy.Release != 0 {
		t.Errorf("to before: %+v, %v", d, err)
	}
	b.shows("shop", "by hand")
	_, err = b.Restart(t.Context(), b.actor, "shop", nil)
	must(t, "restart", err)
	b.shows("shop", "by hand")

	// One whose folder somebody took away is refused, and nothing changes.
	list, err := b.Deploys(b.actor, "shop")
	must(t, "list", err)
	i := slices.IndexFunc(list, func(d pods.Deploy) bool { return d.Kept })
	if i < 0 {
		t.Fatalf("nothing is kept: %+v", list)
	}
	b.prints("shop", fmt.Sprintf("rm -r ~/releases/%d", list[i].Release))
	if _, err := back(&list[i].Number); err == nil || !strings.Contains(err.Error(), "not there any more") {
		t.Errorf("to one whose folder is gone: %v", err)
	}
	b.shows("shop", "by hand")
}

func testDeploySources(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	b.prints("shop", "mkdir -p ~/w/app-main/sub && cd ~/w && echo packed > app-main/index.html && echo x > app-main/sub/x && tar cf ~/a.tar app-main && tar czf ${TMPDIR:-/tmp}/a.tgz -C app-main .")
	for _, archive := range []string{"/home/pod/a.tar", "/tmp/a.tgz"} {
		d, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Archive: archive}, nil)
		if err != nil || d.Deploy.Source != "archive "+archive {
			t.Errorf("%s: %+v, %v", archive, d.Deploy, err)
		}
		b.shows("shop", "packed\n")
		if got := b.prints("shop", "ls; cat sub/x"); got != "index.html\nsub\nx\n" {
			t.Errorf("%s: %q", archive, got)
		}
	}
	// So does what is sent through a link.
	packed := b.read("shop", "/tmp/a.tgz")
	l, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: "/home/pod/sent.tgz"})
	must(t, "make a link", err)
	if _, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Upload: l.ID}, nil); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("an upload that has not come: %v", err)
	}
	_, err = b.Receive(t.Context(), l.Secret, pods.Part{Size: int64(len(packed)), Total: int64(len(packed)), Body: strings.NewReader(packed)})
	must(t, "upload", err)
	b.deploy("shop", "index.html", "two")
	if d, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Upload: l.ID}, nil); err != nil || d.Deploy.Source != "upload /home/pod/sent.tgz" {
		t.Errorf("an upload: %+v, %v", d.Deploy, err)
	}
	b.shows("shop", "packed\n")
	sendNewApp(t, b, packed)
	// Variables come with the app that wants them.
	_, err = b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Files: source("index.html", "three"), Env: map[string]string{"COLOUR": "green"}}, nil)
	must(t, "deploy with a variable", err)
	if got := b.prints("shop", "echo $COLOUR"); got != "green\n" {
		t.Errorf("COLOUR is %q", got)
	}
	_, err = b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Preset: "command", Files: source("Procfile", dies), Env: map[string]string{"COLOUR": "red"}}, nil)
	if err == nil {
		t.Error("an app that ends was deployed")
	}
	if got := b.prints("shop", "echo $COLOUR"); got != "green\n" {
		t.Errorf("after a deploy that failed COLOUR is %q", got)
	}
	// A folder in place of the link is somebody's own, and kept.
	b.prints("shop", "cd && rm app && mkdir app && echo mine > app/index.html")
	_, err = b.Restart(t.Context(), b.actor, "shop", nil)
	must(t, "restart", err)
	b.shows("shop", "mine\n")
	b.deploy("shop", "index.html", "four")
	b.shows("shop", "four")
	if got := b.prints("shop", "cat ~/releases/0-2/index.html"); got != "mine\n" {
		t.Errorf("what was there: %q", got)
	}
}

// An app may have workers alone, and a failing line of the Procfile is said.
func testDeployBeside(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	d := b.deploy("shop", "Procfile", "ticker: while :; do echo tick; sleep 1; done\ncron: @hourly true\n")
	if !d.Deploy.Live || d.Listens || d.Answer != nil || len(d.Lines) != 0 || d.Deploy.Preset != "command" {
		t.Errorf("%+v", d)
	}
	b.until("the worker ticks", func() bool {
		lines, err := b.Logs(t.Context(), b.actor, "shop", pods.LogQuery{Source: "worker"})
		return err == nil && len(lines) > 0
	})
	_, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Files: source("Procfile", "cron: 61 * * * * true")}, nil)
	if err == nil || !strings.Contains(err.Error(), "cron") {
		t.Errorf("a line that cannot be: %v", err)
	}
	packagetest.Need(t, "perl")
	d = b.deploy("shop", "Procfile", "web: exec perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1);bind(S,sockaddr_in($ENV{PORT},INADDR_LOOPBACK))||die;listen(S,9);while(accept(C,S)){sysread(C,$x,9999);print C \"HTTP/1.0 500 no\\r\\n\\r\\nbroken\";close C}'")
	if d.Answer == nil || d.Answer.Status != 500 || d.Answer.Start != "broken" || !d.Listens {
		t.Errorf("%+v, answered %+v", d, d.Answer)
	}
}

// sendNewApp sends the archive of an app for which there is no pod yet. Its deploy
// deletes it, whatever becomes of it.
func sendNewApp(t *testing.T, b *bench, packed string) {
	t.Helper()
	for _, content := range []string{packed, "no archive"} {
		l, err := b.CreateUpload(t.Context(), b.actor, "sent", pods.UploadRequest{Bytes: int64(len(content))})
		must(t, "make a link for a deploy", err)
		_, err = b.Receive(t.Context(), l.Secret, pods.Part{Size: int64(len(content)), Total: int64(len(content)), Body: strings.NewReader(content)})
		must(t, "upload", err)
		if got := b.prints("sent", "ls -A ~ | grep -c ^.podgate-deploy- || true"); got != "1\n" {
			t.Errorf("%s archives", got)
		}
		if _, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "sent", Upload: l.ID}, nil); (err == nil) != (content == packed) {
			t.Errorf("deploy what was sent: %v", err)
		}
		b.shows("sent", "packed\n")
		if got := b.prints("sent", "ls -A ~ | grep -c ^.podgate-deploy- || true"); got != "0\n" {
			t.Errorf("%s archives afterwards", got)
		}
	}
	l, err := b.CreateUpload(t.Context(), b.actor, "sent", pods.UploadRequest{})
	must(t, "make a link for a deploy", err)
	_, err = b.Receive(t.Context(), l.Secret, pods.Part{Size: int64(len(packed)), Total: int64(len(packed)), Body: strings.NewReader(packed)})
	must(t, "upload", err)
	_, err = b.Stop(t.Context(), b.actor, "sent", nil)
	must(t, "stop", err)
	if _, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "sent", Upload: l.ID}, nil); err == nil || !strings.Contains(err.Error(), "send it again") {
		t.Errorf("deploy what was sent before the pod ended: %v", err)
	}
	if _, err := b.CreateUpload(t.Context(), b.actor, "sent", pods.UploadRequest{Unpack: true}); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("unpacked nowhere: %v", err)
	}
}

func testDeployLater(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	d, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Files: source("index.html", "one"), Background: true}, nil)
	if err != nil || d.Deploy.Number != 1 || !d.Created {
		t.Fatalf("%+v, %v", d, err)
	}
	b.until("the deploy has ended", func() bool {
		list, err := b.Deploys(b.actor, "shop")
		return err == nil && list[0].State == store.DeploySucceeded && list[0].Live
	})
	b.shows("shop", "one")
	if _, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Preset: "cobol", Files: source("a", ""), Background: true}, nil); !errors.Is(err, pods.ErrUnknownPreset) {
		t.Errorf("bad input in the background: %v", err)
	}
}

// What goes on in the background is a job: it is seen, waited for and ended, and what
// ran before is there afterwards.
func testDeployJobs(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	job := pods.DeployJob(2)
	slow := source("Procfile", "release: echo installing; until [ -e \"$HOME/go\" ]; do sleep 0.02; done; echo on\nworker: exec sleep 1000\n")
	later := func(number int) {
		t.Helper()
		d, err := b.Deploy(t.Context(), b.actor, pods.DeployRequest{Name: "shop", Preset: "command", Files: slow, Background: true}, nil)
		if err != nil || d.Deploy.Number != number {
			t.Fatalf("%+v, %v", d.Deploy, err)
		}
		job = pods.DeployJob(number)
		b.until("it prints", func() bool { return strings.Contains(string(b.job("shop", job, 0).Data), "installing\n") })
	}
	later(2)
	if out := b.job("shop", job, 10*time.Millisecond); out.Job.State != wire.JobRunning || !strings.HasPrefix(out.Job.Command, "deploy of ") {
		t.Errorf("while it goes on: %+v", out.Job)
	}
	if list, err := b.Jobs(t.Context(), b.actor, "shop"); err != nil || len(list) != 1 || list[0].ID != job {
		t.Errorf("the jobs: %+v, %v", list, err)
	}
	if j, err := b.StopJob(t.Context(), b.actor, "shop", job); err != nil || j.State != wire.JobStopped || j.Code != 1 || j.Ended.IsZero() {
		t.Errorf("stopped: %+v, %v", j, err)
	}
	b.shows("shop", "one")
	if list, err := b.Jobs(t.Context(), b.actor, "shop"); err != nil || len(list) != 0 {
		t.Errorf("the jobs afterwards: %+v, %v", list, err)
	}
	later(3)
	whole := b.job("shop", job, 0).Job.Output
	b.write("shop", "/home/pod/go", "")
	out := b.job("shop", job, patience)
	if out.Job.State != wire.JobExited || out.Job.Code != 0 || out.Job.Output <= whole {
		t.Errorf("at the end: %+v", out.Job)
	}
	if part, err := b.Job(t.Context(), b.actor, "shop", job, pods.JobQuery{Offset: whole, Limit: 1000}); err != nil || part.Offset != whole || !strings.Contains(string(part.Data), "on\n") {
		t.Errorf("what came since: %q from %d, %v", part.Data, part.Offset, err)
	}
	b.prints("shop", "rm ~/go") // so that its release waits again
	if p, d, err := b.ReloadLater(t.Context(), b.actor, "shop"); err != nil || p.Name != "shop" || d.Number != 4 || d.Action != "reload" {
		t.Errorf("reload: %+v, %v", d, err)
	}
	if j, err := b.StopJob(t.Context(), b.actor, "shop", pods.DeployJob(4)); err != nil || j.State != wire.JobStopped {
		t.Errorf("a stopped reload: %+v, %v", j, err)
	}
	for _, id := range []string{"deploy-0", "deploy-9", "deploy-04", "deploy--1", "deploy-"} {
		if _, err := b.Job(t.Context(), b.actor, "shop", id, pods.JobQuery{}); !errors.Is(err, pods.ErrNoJob) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// cutting is a pod in the middle of a deploy of an app that was sent as an archive.
type cutting struct {
	b      *bench
	before string
}

func newCutting(b *bench) *cutting {
	b.t.Helper()
	b.deploy("shop", "index.html", "one")
	b.write("shop", "/home/pod/.deploy-mine.tar.gz", "a person's own")
	return &cutting{b, b.prints("shop", leftOfDeploys)}
}

const leftOfDeploys = "cd; ls -A . releases; readlink app"

// begin deploys the app of a Procfile, which makes a file when it is to be cut off.
func (c *cutting) begin(procfile string) {
	b := c.b
	b.t.Helper()
	packed := b.prints("shop", "cd ${TMPDIR:-/tmp}; mkdir -p app; echo '"+procfile+"' > app/Procfile; tar czf - app")
	l, err := b.CreateUpload(b.t.Context(), b.actor, "shop", pods.UploadRequest{})
	must(b.t, "make a link", err)
	_, err = b.Receive(b.t.Context(), l.Secret, pods.Part{Size: int64(len(packed)), Total: int64(len(packed)), Body: strings.NewReader(packed)})
	must(b.t, "upload", err)
	_, err = b.Deploy(b.t.Context(), b.actor, pods.DeployRequest{Name: "shop", Preset: "command", Upload: l.ID, Background: true}, nil)
	must(b.t, "deploy", err)
	b.until("it has begun", func() bool { // not by a command, which would end with what ran before
		_, err := b.ReadFile(b.t.Context(), b.actor, "shop", "/home/pod/begun", 0, 0)
		return err == nil
	})
	if list, err := b.ListFiles(b.t.Context(), b.actor, "shop", pods.ListQuery{Path: "/home/pod/releases"}); err != nil || len(list.Entries) != 3 {
		b.t.Errorf("while it goes on there are %+v, %v", list.Entries, err)
	}
}

// check fails unless the pod is what it was.
func (c *cutting) check() {
	b := c.b
	b.t.Helper()
	_, err := b.Start(b.t.Context(), b.actor, "shop", nil)
	must(b.t, "start", err)
	b.until("it answers", func() bool { _, body, _ := b.visit("shop", "/"); return body == "one" })
	b.prints("shop", "rm ~/begun")
	if got := b.prints("shop", leftOfDeploys); got != c.before {
		b.t.Errorf("it has %q and had %q", got, c.before)
	}
	if d, err := b.Deploys(b.actor, "shop"); err != nil || d[0].State != store.DeployFailed {
		b.t.Errorf("%+v, %v", d, err)
	}
}

// A pod that is killed in the middle of a deploy has afterwards what it had before, and
// nothing of the deploy: neither what was sent for it nor what had been made.
func testDeployCut(t *testing.T, r pods.Runtime, kill Kill) {
	b := newBench(t, r)
	c := newCutting(b)
	for _, procfile := range []string{"release: touch ~/begun; sleep 1000", "web: touch ~/begun; exec sleep 1000"} {
		c.begin(procfile)
		p, err := b.Get(t.Context(), b.actor, "shop")
		must(t, "look", err)
		kill(t, r, p.ID)
		b.until("the pod has ended", func() bool { return !look(t, r, p.ID).Running })
		b.until("the deploy has ended", func() bool {
			d, err := b.Deploys(b.actor, "shop")
			return err == nil && d[0].State == store.DeployFailed
		})
		c.check()
	}
}

// So has one whose server ends.
func testDeployServerCut(t *testing.T, open func() pods.Runtime) {
	first := open()
	b := newBench(t, first)
	c := newCutting(b)
	c.begin("release: touch ~/begun; sleep 1000")
	must(t, "close the runtime", first.Close(t.Context()))
	must(t, "close", b.Close())
	b.Service = ServiceOver(t, b.db, open())
	must(t, "reconcile", b.Reconcile(t.Context()))
	c.check()
}
