package podstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
)

// visit asks a pod's app for a path by the way that the ingress goes.
func (b *bench) visit(pod, path string) (status int, body string, err error) {
	conn, _, err := b.DialApp(b.t.Context(), pod)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, pod); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return res.StatusCode, string(raw), err
}

func testStatic(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	p := b.create("shop", "static", nil)
	if p.Status != "running" || p.Command == "" || p.Started.IsZero() || p.Port != 8080 {
		t.Errorf("created %+v", p)
	}
	if status, body, err := b.visit("shop", "/"); err != nil || status != 200 || !strings.Contains(body, "shop") {
		t.Errorf("the welcome page: %d %v\n%s", status, err, body)
	}
	b.write("shop", "index.html", "<p>mine")
	if status, body, err := b.visit("shop", "/"); err != nil || status != 200 || body != "<p>mine" {
		t.Errorf("my page: %d %q %v", status, body, err)
	}
	if status, _, err := b.visit("shop", "/nothing"); err != nil || status != 404 {
		t.Errorf("nothing: %d %v", status, err)
	}
	if p, err := b.Restart(t.Context(), b.actor, "shop", nil); err != nil || p.Status != "running" || p.Restarts != 0 {
		t.Errorf("restart: %+v %v", p, err)
	}
	if status, _, err := b.visit("shop", "/"); err != nil || status != 200 {
		t.Errorf("after restart: %d %v", status, err)
	}
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.visit("shop", "/"); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("stopped: %v", err)
	}
	if p, err := b.Start(t.Context(), b.actor, "shop", nil); err != nil || p.Status != "running" {
		t.Errorf("start: %+v %v", p, err)
	}
	if _, body, err := b.visit("shop", "/"); err != nil || body != "<p>mine" {
		t.Errorf("after stop and start: %q %v", body, err)
	}
}

// testLogs uses an app that prints and ends, so that nothing has to listen.
func testLogs(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	before := time.Now().Add(-time.Second)
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "web: echo one apple; echo two pears >&2; echo three apples; exit 3\nrelease: echo installing\n")
	p, err := b.Reload(t.Context(), b.actor, "shop", nil)
	if err != nil || p.Status != "failing" || p.Reason == "" {
		t.Fatalf("reload: %+v %v", p, err)
	}
	logs := func(q pods.LogQuery) (texts []string) {
		t.Helper()
		lines, err := b.Logs(t.Context(), b.actor, "shop", q)
		if err != nil {
			t.Fatalf("logs %+v: %v", q, err)
		}
		for _, l := range lines {
			if l.Time.Before(before) || l.Time.After(time.Now().Add(time.Second)) {
				t.Errorf("line %+v was not written just now", l)
			}
			texts = append(texts, l.Stream+" "+l.Text)
		}
		return texts
	}
	b.until("the app's three lines are in the log", func() bool { return len(logs(pods.LogQuery{Source: "app"})) >= 3 })
	for _, want := range []string{"stdout one apple", "stderr two pears", "stdout three apples"} {
		if all := logs(pods.LogQuery{Source: "app"}); !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("no %q in %q", want, all)
		}
	}
	for _, line := range logs(pods.LogQuery{Grep: "pears", Source: "app"}) {
		if line != "stderr two pears" {
			t.Errorf("grep gave %q", line)
		}
	}
	if got := logs(pods.LogQuery{Source: "install"}); len(got) != 1 || got[0] != "stdout installing" {
		t.Errorf("install: %q", got)
	}
	if got := logs(pods.LogQuery{Lines: 2}); len(got) != 2 {
		t.Errorf("two lines: %q", got)
	}
	if got := logs(pods.LogQuery{Since: time.Now().Add(time.Hour)}); len(got) != 0 {
		t.Errorf("since tomorrow: %q", got)
	}
	if got := logs(pods.LogQuery{Source: "agent"}); len(got) == 0 {
		t.Error("the agent says nothing of the app's end")
	}
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if got := logs(pods.LogQuery{Grep: "pears", Source: "app"}); !slices.Contains(got, "stderr two pears") {
		t.Errorf("of the stopped pod: %q", got)
	}
	if got := logs(pods.LogQuery{Lines: 2}); len(got) != 2 {
		t.Errorf("two lines of the stopped pod: %q", got)
	}
	if _, err := b.Start(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if got := logs(pods.LogQuery{Source: "install"}); len(got) != 1 {
		t.Errorf("the log did not survive a stop: %q", got)
	}
}

func testApp(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.prints("shop", "rm -f *")
	p, err := b.Restart(t.Context(), b.actor, "shop", nil)
	if err != nil || p.Status != "failed" || !strings.Contains(p.Reason, "Procfile") {
		t.Errorf("nothing to start: %+v %v", p, err)
	}
	if _, _, err := b.visit("shop", "/"); !errors.Is(err, pods.ErrNotAnswering) {
		t.Errorf("visit: %v", err)
	}
	b.write("shop", "Procfile", "web: echo life >> lives; echo last words >&2; exit 3\n")
	if p, err = b.Restart(t.Context(), b.actor, "shop", nil); err != nil || p.Status != "failing" || len(p.Tail) == 0 {
		t.Errorf("an app that ends: %+v %v", p, err)
	}
	b.until("it is started again", func() bool {
		p, err := b.Get(t.Context(), b.actor, "shop")
		return err == nil && p.Restarts > 0
	})
	b.until("its second life has left its mark", func() bool { return strings.Count(b.read("shop", "lives"), "life") >= 2 })
	b.write("shop", "Procfile", "web: exit 0\nrelease: echo no good >&2; exit 9\n")
	var heard strings.Builder
	_, err = b.Reload(t.Context(), b.actor, "shop", func(_ string, data []byte) { heard.Write(data) })
	if !errors.Is(err, pods.ErrAppFailed) || !strings.Contains(err.Error(), "install") || !strings.Contains(heard.String(), "no good") {
		t.Errorf("an install that fails: %v, heard %q", err, heard.String())
	}
}

// listed is how a pod is in a list.
func (b *bench) listed(pod string) string {
	b.t.Helper()
	list, err := b.List(b.t.Context(), b.actor)
	if err != nil {
		b.t.Fatalf("list: %v", err)
	}
	for _, p := range list {
		if p.Name == pod {
			return p.Status
		}
	}
	return "absent"
}

// testLists has the list after each tool show what came of it, what the agent says since
// without being asked, and the end of a pod.
func testLists(t *testing.T, r pods.Runtime, kill Kill) {
	b := newBench(t, r)
	id := b.create("shop", "command", nil).ID
	wants := func(after, want string) {
		t.Helper()
		for range 3 {
			if got := b.listed("shop"); got != want {
				t.Errorf("after %s it is listed as %s, not %s", after, got, want)
			}
		}
	}
	must := func(p pods.Pod, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%+v %v", p, err)
		}
	}
	wants("create", "running")
	b.write("shop", "Procfile", "web: exit 3\n")
	must(b.Restart(t.Context(), b.actor, "shop", nil))
	wants("a restart that fails", "failing")
	b.until("what its agent says since is listed", func() bool {
		list, err := b.List(t.Context(), b.actor)
		return err == nil && list[0].Restarts > 0
	})
	b.write("shop", "Procfile", "sleeper: exec sleep 1000\n")
	must(b.Reload(t.Context(), b.actor, "shop", nil))
	wants("a reload", "running")
	must(b.Stop(t.Context(), b.actor, "shop", nil))
	wants("a stop", "stopped")
	must(b.Start(t.Context(), b.actor, "shop", nil))
	wants("a start", "running")
	kill(t, r, id)
	b.until("its end is listed", func() bool { return b.listed("shop") == "starting" })
	b.until("nothing of it is left", func() bool { return !look(t, r, id).Running })
	must(b.Start(t.Context(), b.actor, "shop", nil))
	wants("a start after its end", "running")
	if err := b.Delete(t.Context(), b.actor, "shop", "shop"); err != nil {
		t.Fatal(err)
	}
	wants("a delete", "absent")
}

// Workers and cron lines run in the pod, and show in it and in its log.
func testBeside(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "mailer: echo up; exec sleep 60\nbroken: exit 4\ncron: @every 1s echo $PODGATE_NAME\n")
	p, err := b.Reload(t.Context(), b.actor, "shop", nil)
	if err != nil || p.Status != "running" || p.Reason != "" || len(p.Workers) != 2 || len(p.Crons) != 1 || p.Crons[0].When != "@every 1s" || p.Crons[0].Next.IsZero() {
		t.Fatalf("%+v %v", p, err)
	}
	b.until("the command ran and the worker was started again", func() bool {
		p, err := b.Get(t.Context(), b.actor, "shop")
		return err == nil && p.Crons[0].Last != nil && p.Workers[1].Restarts > 0
	})
	if p, err := b.Get(t.Context(), b.actor, "shop"); err != nil || p.Workers[0].State != "running" || p.Workers[0].Restarts != 0 || p.Crons[0].Last.Result != "exited with code 0" {
		t.Errorf("%+v %v", p, err)
	}
	for source, want := range map[string]string{"worker": "mailer: up", "cron": "1: shop"} {
		b.until("the log has what it printed", func() bool {
			lines, err := b.Logs(t.Context(), b.actor, "shop", pods.LogQuery{Source: source})
			return err == nil && len(lines) > 0 && lines[0].Text == want && lines[0].Source == source
		})
	}
	if p, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil || p.Workers != nil || p.Crons != nil {
		t.Errorf("stopped: %+v %v", p, err)
	}
}

func testPlan(t *testing.T, r pods.Runtime) {
	tiny := limits()
	tiny.Disk = 3 << 20
	b := newBench(t, r, func(c *pods.Config) { c.Plans = []pods.Plan{{Name: "tiny", Limits: tiny}} })
	b.create("shop", "static", nil)
	b.write("shop", "a", strings.Repeat("x", 1<<20))
	if _, err := b.WriteFile(t.Context(), b.actor, "shop", "b", make([]byte, 3<<20), 0); !errors.Is(err, pods.ErrOverPlan) {
		t.Errorf("over the plan: %v", err)
	}
	if _, err := b.ReadFile(t.Context(), b.actor, "shop", "b", 0, 0); !errors.Is(err, pods.ErrNoFile) {
		t.Errorf("it was written all the same: %v", err)
	}
	p, err := b.Get(t.Context(), b.actor, "shop")
	if err != nil || p.Limits.Disk != tiny.Disk || p.Disk == 0 || p.Processes == 0 || p.Memory == 0 {
		t.Errorf("usage %+v %v", p, err)
	}
}

// testEndsAll looks whether restart and reload end what commands left behind in
// the pod, and those that run.
func testEndsAll(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	for name, change := range map[string]func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){"restart": b.Restart, "reload": b.Reload} {
		b.prints("shop", beating(name))
		b.until("the heart beats", func() bool { return b.run("shop", "test -s beat."+name).Code == 0 })
		begun, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			var once sync.Once
			_, err := b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: "echo on; sleep 1000"}, func(string, []byte) { once.Do(func() { close(begun) }) })
			ended <- err
		}()
		<-begun
		if p, err := change(t.Context(), b.actor, "shop", nil); err != nil || p.Status != "running" {
			t.Fatalf("%s: %+v %v", name, p, err)
		}
		if err := <-ended; !errors.Is(err, pods.ErrInterrupted) {
			t.Errorf("a command that ran at %s: %v", name, err)
		}
		if b.beats("shop", name) {
			t.Errorf("a process outlived %s", name)
		}
	}
}
