package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"podgate/internal/config"
)

// giver gives commands, on the server's machine or as somebody who logged in.
type giver struct {
	t    *testing.T
	env  config.Environ
	more []string // flags of every command
}

func onMachine(t *testing.T, srv *testServer) giver {
	return giver{t: t, more: []string{"--data", srv.DataDir}}
}

// give gives one command and returns exit code and output.
func (g giver) give(stdin, line string, more ...string) (code int, out, errs string) {
	g.t.Helper()
	words := append(strings.Fields(line), more...)
	n := min(2, len(words)) // flags come before a command that is for the pod
	args := append(append(append([]string{}, words[:n]...), g.more...), words[n:]...)
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), process{Args: args, Env: g.env, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr})
	return code, stdout.String(), stderr.String()
}

// must gives a command that must do what it is told, and returns what it printed.
func (g giver) must(line string, more ...string) string {
	g.t.Helper()
	code, out, errs := g.give("", line, more...)
	if code != exitDone {
		g.t.Fatalf("podgate %s %q: %d\n%s%s", line, more, code, out, errs)
	}
	return out + errs
}

// fails gives a command that must fail, and returns what it said.
func (g giver) fails(line string, more ...string) string {
	g.t.Helper()
	code, out, errs := g.give("", line, more...)
	if code == exitDone {
		g.t.Fatalf("podgate %s %q is done\n%s%s", line, more, out, errs)
	}
	return errs
}

func (g giver) says(want, line string, more ...string) {
	g.t.Helper()
	if got := g.must(line, more...); !strings.Contains(got, want) {
		g.t.Errorf("podgate %s %q says %q, not %q", line, more, got, want)
	}
}

func (g giver) refuses(want, line string, more ...string) {
	g.t.Helper()
	if got := g.fails(line, more...); !strings.Contains(got, want) {
		g.t.Errorf("podgate %s %q fails with %q, not %q", line, more, got, want)
	}
}

// All that a pod can do, by commands on the server's machine.
func TestPodCommands(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	setUp(t, srv)
	g := onMachine(t, srv)
	g.must("pod create planned --preset static --plan small")
	g.says("plan: medium", "pod plan planned medium")
	g.refuses("has plan medium already", "pod plan planned medium")
	g.refuses("pod not found", "pod plan absent medium")
	checkPodUndelete(t, g)
	walkPodCommands(t, g, "home")
	audit := g.must("audit --json")
	if !regexp.MustCompile(`"clone_pod site [a-z0-9]{10} site-copy"`).MatchString(audit) {
		t.Errorf("the copy is not noted:\n%s", audit)
	}
	for _, entry := range []string{"resize_pod planned", "undelete planned, back", "delete for good back", "snapshot_pod site", "deploy site", "manage_pod stop site", "set_env site", "exec_command site", "write_file site"} {
		if !strings.Contains(audit, `"`+entry+`"`) || !strings.Contains(audit, `"command line"`) {
			t.Errorf("no audit entry %q:\n%s", entry, audit)
		}
	}
	if strings.Contains(audit, "top-secret") {
		t.Error("the value of a variable stands in the audit list")
	}
}

// walkPodCommands does with one pod what commands can do.
func walkPodCommands(t *testing.T, g giver, team string) {
	t.Helper()
	g.says("There are no pods yet", "pod list")
	site := filepath.Join(t.TempDir(), "Site")
	write(t, site, map[string]string{"index.html": "<h1>Mine</h1>", ".gitignore": "*.log\n", "debug.log": "no", "node_modules/x/y.js": "no", ".git/config": "no"})
	g.says("Sending 2 files", "pod deploy "+site)
	if got := g.must("pod exec site -- find . -type f"); got != "./.gitignore\n./index.html\n" && got != "./index.html\n./.gitignore\n" {
		t.Errorf("the pod has %q", got)
	}
	g.says("running", "pod list")
	var list []pod
	if err := json.Unmarshal([]byte(g.must("pod list --json")), &list); err != nil || len(list) != 1 || list[0].Name != "site" || list[0].Team != team {
		t.Errorf("%+v, %v", list, err)
	}
	g.says("Pod site is running.", "pod show site")
	g.says(`"name": "site"`, "pod show site --json")
	g.says("live", "pod deploys site")
	for _, action := range []string{"stop", "start", "restart", "reload"} {
		g.says("Pod site is ", "pod "+action+" site")
	}
	checkPodEnv(t, g)
	checkPodExec(t, g)
	checkPodCopy(t, g)

	g.refuses("pod not found", "pod show absent")
	checkPodRollback(t, g, site)
	checkPodSnapshots(t, g, site)
	g.refuses("--yes", "pod delete site")
	g.says("deleted", "pod delete site --yes")
	g.refuses("pod not found", "pod show site")
}

func checkPodRollback(t *testing.T, g giver, site string) {
	t.Helper()
	write(t, site, map[string]string{"index.html": "<h1>Again</h1>"})
	g.must("pod deploy " + site)
	g.must("pod rollback site 1")
	if got := g.must("pod exec site -- cat index.html"); got != "<h1>Mine</h1>" {
		t.Errorf("after going back the app is %q", got)
	}
	g.refuses("no going back", "pod rollback site 99")
}

func checkPodSnapshots(t *testing.T, g giver, site string) {
	t.Helper()
	g.says("mine", "pod snapshot site --note mine")
	g.must("pod exec site -- rm index.html")
	var list struct {
		Snapshots []struct{ ID, Why, Note string }
	}
	if err := json.Unmarshal([]byte(g.must("pod snapshots site --json")), &list); err != nil || len(list.Snapshots) < 2 || list.Snapshots[0].Note != "mine" || list.Snapshots[1].Why != "deploy" {
		t.Fatalf("%+v, %v", list, err)
	}
	id := list.Snapshots[0].ID
	g.says("Pod site is running.", "pod restore site "+id)
	if got := g.must("pod exec site -- cat index.html"); got != "<h1>Mine</h1>" {
		t.Errorf("after the restore the app is %q", got)
	}
	g.says("Pod site-copy is running.", "pod clone site site-copy --snapshot "+id)
	if got := g.must("pod exec site-copy -- cat index.html"); got != "<h1>Mine</h1>" {
		t.Errorf("the copy is %q", got)
	}
	g.says("is deleted", "pod snapshots site --delete "+id)
	g.refuses("snapshot not found", "pod restore site "+id)
	g.must("pod delete site-copy --yes")
}

// checkPodUndelete brings the pod planned back under another name.
func checkPodUndelete(t *testing.T, g giver) {
	t.Helper()
	g.says("No pod was deleted", "pod undelete")
	g.says("pod undelete planned", "pod delete planned --yes")
	g.says("planned", "pod undelete")
	g.refuses("No pod absent was deleted", "pod undelete absent")
	g.must("pod create planned --preset static --plan small")
	g.refuses("another pod has the name planned", "pod undelete planned")
	g.says("Pod back is back and is running", "pod undelete planned --as back")
	g.must("pod delete planned --yes")
	g.must("pod delete back --yes")
	g.refuses("--yes", "pod undelete back --for-good")
	g.says("gone for good", "pod undelete back --for-good --yes")
	g.refuses("No pod back was deleted", "pod undelete back")
}

func checkPodEnv(t *testing.T, g giver) {
	t.Helper()
	g.says("No variable is set.", "pod env site")
	if got := g.must("pod env site", "KEY=top-secret", "OTHER=a=b"); strings.Contains(got, "top-secret") {
		t.Errorf("a value is shown: %s", got)
	}
	if got := g.must("pod env site"); got != "KEY\nOTHER\n" {
		t.Errorf("the variables: %q", got)
	}
	if code, out, errs := g.give("THIRD=3\n\n", "pod env site --stdin --unset OTHER"); code != exitDone {
		t.Error(code, out, errs)
	}
	if got := g.must("pod exec site", "echo $KEY $OTHER $THIRD"); got != "top-secret 3\n" {
		t.Errorf("in the pod: %q", got)
	}
	g.refuses("not of the form KEY=VALUE", "pod env site KEY")
}

func checkPodExec(t *testing.T, g giver) {
	t.Helper()
	code, out, errs := g.give("", "pod exec site", "--", "sh", "-c", `echo "out $1"; echo err >&2; exit 7`, "sh", "it's")
	if code != 7 || out != "out it's\n" || errs != "err\n" {
		t.Errorf("exec: %d %q %q", code, out, errs)
	}
	if code, out, _ = g.give("from here", "pod exec -i site cat"); code != 0 || out != "from here" {
		t.Errorf("standard input: %d %q", code, out)
	}
	if code, out, errs = g.give("", "pod exec --timeout 1 site", "echo begun; sleep 60"); code != exitFailed || out != "begun\n" || !strings.Contains(errs, "command timed out") {
		t.Errorf("over its time: %d %q %q", code, out, errs)
	}
	g.says("runs in the background", "pod exec --background site", "echo done")
	var jobs struct {
		Jobs []struct{ Job string }
	}
	if err := json.Unmarshal([]byte(g.must("pod jobs site --json")), &jobs); err != nil || len(jobs.Jobs) != 1 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	eventually(t, func() bool { // it has printed a moment before it has ended
		said := g.must("pod job site " + jobs.Jobs[0].Job)
		return strings.Contains(said, "exited") && strings.Contains(said, "--- output\ndone\n")
	})
	g.says("exited", "pod job-stop site "+jobs.Jobs[0].Job)
	g.must("pod exec site", "printf 'one\\033[31m\\n' > /proc/1/fd/1 2>/dev/null || true")
	g.says("/", "pod logs site --lines 5")
	g.refuses("lines", "pod logs site --lines 0")
}

func checkPodCopy(t *testing.T, g giver) {
	t.Helper()
	here := t.TempDir()
	large := strings.Repeat("0123456789abcdef", maxInCall/16+1)
	write(t, here, map[string]string{"small": "few words", "large": large, "folder/a/b": "deep", "folder/c": "flat"})
	in := func(name string) string { return filepath.Join(here, name) }
	g.says("Copied "+in("small")+" to site:/home/pod/data/small", "pod cp "+in("small")+" site:/home/pod/data/")
	g.says("2048 KiB", "pod cp "+in("large")+" site:/home/pod/data/large")
	g.says("2 files", "pod cp "+in("folder")+" site:/home/pod/data/folder")
	for from, want := range map[string]string{"small": "few words", "large": large, "folder/a/b": "deep"} {
		g.must("pod cp site:/home/pod/data/" + from + " " + in("back"))
		if got := readFile(t, in("back")); got != want {
			t.Errorf("%s comes back as %d bytes, not %d", from, len(got), len(want))
		}
	}
	g.must("pod cp site:/home/pod/data/folder " + in("all"))
	if got := readFile(t, in("all/a/b")) + readFile(t, in("all/c")); got != "deepflat" {
		t.Errorf("the folder comes back as %q", got)
	}
	// In a folder that is there it gets a name of its own, which nobody else chooses.
	g.must("pod cp site:/home/pod/data/folder " + in("all"))
	g.must("pod cp site:/home/pod/data/./small " + in("all") + "/")
	if got := readFile(t, in("all/folder/a/b")) + readFile(t, in("all/small")); got != "deepfew words" {
		t.Errorf("a folder that was there holds %q", got)
	}
	if code, out, errs := g.give("typed", "pod cp - site:data/typed"); code != exitDone {
		t.Error(code, out, errs)
	}
	if got := g.must("pod cp site:data/typed -"); got != "typed" {
		t.Errorf("standard output: %q", got)
	}
	g.says("typed", "pod ls site data")
	g.says("a/b", "pod ls site /home/pod/data/folder --recursive")
	g.says("few words", "pod search site words /home/pod/data --glob small")
	g.says("Moved", "pod mv site data/typed data/moved")
	g.refuses("exists", "pod mv site data/moved /home/pod/data/small")
	g.says("Deleted", "pod rm site data/moved")
	g.refuses("recursive", "pod rm site /home/pod/data/folder")
	g.refuses("NAME:PATH", "pod cp "+in("small")+" "+in("large"))
	g.refuses("no such file", "pod cp "+in("absent")+" site:x")
}

func TestNameOfCopy(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{"a/b.txt": "b.txt", "a/b/": "b", "b": "b", "": "site", ".": "site", "a/..": "site", "/": "site"} {
		if got := nameOfCopy("site", from); got != want {
			t.Errorf("%q becomes %q", from, got)
		}
	}
}

// write makes files in a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
