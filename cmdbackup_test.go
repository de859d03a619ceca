package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/backup"
	"podgate/control"
	"podgate/internal/s3test"
	"podgate/store"
)

const operationsPage = "docs/operations.md"

// What docs/operations.md says to type works, in the order of the page, beside a
// server that runs.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startServer(t)
	ran := 0
	for _, block := range fenced.FindAllStringSubmatch(documents(t)[operationsPage], -1) {
		for line := range strings.Lines(block[1]) {
			ran++
			words := strings.Fields(strings.TrimSpace(line))[1:]
			if !strings.Contains(line, "--data") {
				words = append(words, "--data", srv.DataDir)
			}
			for i, w := range words {
				if strings.HasPrefix(w, "podgate.tar") || strings.HasPrefix(w, "encrypted.") || strings.HasSuffix(w, ".key") || w == "recipients.txt" || i > 0 && words[i-1] == "--data" && w != srv.DataDir {
					words[i] = filepath.Join(dir, w)
				}
			}
			code, out, errs := runCommand(append(words, "--config", srv.config)...)
			if code != exitDone {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
			if strings.Contains(line, "backup key") {
				write(t, dir, map[string]string{"recipients.txt": out})
			}
		}
	}
	if ran < 9 {
		t.Errorf("only %d commands were found", ran)
	}
}

// A server with a team, an assistant and a pod is backed up while it runs, and goes on
// elsewhere: with its accounts, sessions, connections, pods and their files. What was
// renewed after the backup is taken for stolen there.
func TestMoveToAnotherMachine(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	public := fmt.Sprintf("public_url = %q\nlisten = \"127.0.0.1:%d\"", "http://localhost:"+port, portNumber(t, port))
	srv := startServer(t, public)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	runs := podsRun(t, srv)
	if runs {
		c.call(t, "create_pod", args{"name": "kept", "preset": "static"})
		c.call(t, "write_file", args{"name": "kept", "path": "note", "content": "of the pod"})
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	here := giver{t: t, more: []string{"--data", srv.DataDir, "--config", srv.config}}
	code, out, errs := here.give("", "backup "+file+" --json")
	var m backup.Manifest
	if err := json.Unmarshal([]byte(out), &m); code != exitDone || err != nil || !m.Settings {
		t.Fatal(code, out, errs, err)
	}
	if runs && (len(m.Pods) != 1 || m.Pods[0].State != backup.PodStill || m.Pods[0].LeftOut > 0) {
		t.Errorf("%+v", m.Pods)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if list := here.must("audit"); !strings.Contains(list, "copied the server into a backup") {
		t.Error("nobody can tell that the server was copied:", list)
	}
	here.must("team add later")
	srv.Stop()

	data := filepath.Join(dir, "data")
	if code, out, errs := runCommand("restore", file, "--data", data); code != exitDone || !strings.Contains(out, "Restored to ") {
		t.Fatal(code, out, errs)
	}
	moved := startServerIn(t, data, public)
	if moved.SetupURL != "" {
		t.Error("it begins anew")
	}
	if text := c.call(t, "list_pods", nil); runs && !strings.Contains(toJSON(t, text), "kept") {
		t.Error(text)
	}
	if runs {
		needSandbox(t, moved)
		if got := c.call(t, "read_file", args{"name": "kept", "path": "note"}); !strings.Contains(toJSON(t, got), "of the pod") {
			t.Error(got)
		}
	}
	if code, page := visit(t, moved.pages()+"/healthz"); code != 200 {
		t.Error(code, page)
	}
	if page := ada.Open(moved.pages() + "/account"); page.Status != 200 || page.HasButton("Sign in") {
		t.Errorf("the session does not work there: %d %s", page.Status, page.Text())
	}
	there := giver{t: t, more: []string{"--data", data}}
	if list := there.must("team list"); strings.Contains(list, "later") {
		t.Error("what came after the backup is in it:", list)
	}
	there.must("check")
}

// An older database holds a refresh token that was replaced since. Its assistant comes
// with the newer one, which nobody there gave out: the connection ends, and the older
// token opens nothing any more.
func TestOlderDatabase(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	public := fmt.Sprintf("public_url = %q\nlisten = \"127.0.0.1:%d\"", "http://localhost:"+port, portNumber(t, port))
	srv := startServer(t, public)
	ada := setUp(t, srv)
	renewing := func(next http.RoundTripper) http.RoundTripper { return hasty{next} }
	c, idle := connect(t, srv, ada, connectOptions{through: renewing}), connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	dir := t.TempDir()
	file, data := filepath.Join(dir, "backup"), filepath.Join(dir, "data")
	here := giver{t: t, more: []string{"--data", srv.DataDir, "--config", srv.config}}
	here.must("backup " + file)
	c.call(t, "list_pods", nil) // renews
	srv.Stop()
	if code, out, errs := runCommand("restore", file, "--data", data); code != exitDone {
		t.Fatal(code, out, errs)
	}
	startServerIn(t, data, public)
	if !c.dead(t) {
		t.Error("an access token that the database does not know works")
	}
	_, _ = c.CallTool(t.Context(), &sdk.CallToolParams{Name: "list_pods"}) // the client asks its person again, or gives up
	if len(c.authorize) < 2 {
		t.Errorf("the person was asked %d times, want once more", len(c.authorize)-1)
	}
	idle.call(t, "list_pods", nil)
	there := giver{t: t, more: []string{"--data", data}}
	if told := there.must("timeline"); !strings.Contains(told, "An old refresh token was used again") {
		t.Error(told)
	}
	there.must("check")
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What is said of a backup may be as much as there are pods.
func TestBackupOfManyPods(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	craftShop(t, data)
	db, err := store.Open(filepath.Join(data, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	shop, err := db.PodByName("shop")
	for i := range 200 {
		p := shop
		p.ID, p.Name = store.PodID(fmt.Sprint("crafted", i)), fmt.Sprint("shop", i)
		err = errors.Join(err, db.CreatePod(p, p.Created, func([]store.Pod) error { return nil }))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		home := filepath.Join(data, "pods", fmt.Sprint("crafted", i), "home")
		err = errors.Join(os.MkdirAll(home, 0o700), syscall.Mkfifo(filepath.Join(home, strings.Repeat("\x01", 255)), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	startServerIn(t, data)
	here := giver{t: t, more: []string{"--data", data}}
	file := filepath.Join(t.TempDir(), "backup")
	out := here.must("backup " + file + " --json")
	var m backup.Manifest
	if err := json.Unmarshal([]byte(out), &m); err != nil || len(m.Pods) != 201 {
		t.Fatal(err, out)
	}
	here.must("backup verify " + file)
}

// The commands say what is wrong with their arguments and files.
func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "file")
	here := giver{t: t, more: []string{"--data", data}}
	here.must("team add makers")
	here.must("backup " + file)
	write(t, dir, map[string]string{"text": "no backup", "key": "no key"})
	for line, want := range map[string]string{
		"backup " + file:                                        "--force",
		"backup x --recipient nobody":                           "age1",
		"backup x --recipients-file " + dir + "/key":            "public keys",
		"backup - --json":                                       "--json",
		"backup " + dir + "/absent/x":                           "no such file",
		"backup verify " + dir + "/text":                        "no backup of podgate",
		"backup verify " + file + " --identity " + dir + "/key": "secret key",
		"restore " + file:                                       "not empty",
		"restore " + dir + "/text --data " + dir + "/new":       "no backup of podgate",
		"backup key " + dir + "/key":                            "another name",
	} {
		code, out, errs := here.give("", line)
		if code == exitDone || !strings.Contains(errs, want) {
			t.Errorf("podgate %s: %d %s%s", line, code, out, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a refused restore makes a folder")
	}
	here.must("backup " + file + " --force")
	code, out, errs := here.give("", "backup -")
	if code != exitDone || !strings.Contains(errs, "Backed up: ") {
		t.Fatal(code, errs)
	}
	if _, err := backup.Verify(t.Context(), strings.NewReader(out)); err != nil {
		t.Error(err)
	}
	if code, _, errs := runCommand("backup", file, "--data", filepath.Join(dir, "none"), "--force"); code != exitFailed || !strings.Contains(errs, "no podgate database") {
		t.Error(code, errs)
	}
}

// A server with the section [backup] makes a backup at its start and says so wherever
// it says how it is; when it cannot, that is said, and the server is as well as its
// settings have it.
func TestDailyBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := strings.TrimSpace(giver{t: t}.must("backup key " + dir + "/key"))
	to := filepath.Join(dir, "to")
	srv := startServer(t, "[backup]", fmt.Sprintf("to = %q", to), fmt.Sprintf("recipients = [%q]", key), `max_age = "25h"`)
	here := giver{t: t, more: []string{"--data", srv.DataDir, "--config", srv.config}}
	status := func() (s control.Status) {
		_, out, _ := here.give("", "status --json")
		if err := json.Unmarshal([]byte(out), &s); err != nil || s.Backup == nil {
			t.Fatal(out, err)
		}
		return s
	}
	ready := func() (r readiness) {
		_, body := srv.get("localhost", "/readyz")
		if err := json.Unmarshal([]byte(body), &r); err != nil || r.Backup == nil {
			t.Fatal(body, err)
		}
		return r
	}
	eventually(t, func() bool { return status().Backup.State == "failed" })
	if b := status().Backup; !strings.Contains(b.Problem, "no such file") || ready().Backup.OK {
		t.Errorf("%+v", b)
	}
	if out := here.mayFail("config check"); !strings.Contains(out, "backup.to") {
		t.Error(out)
	}
	if out := srv.Log.String(); !strings.Contains(out, "backups cannot be written") || !strings.Contains(out, to) {
		t.Error("no warning at the start:", out)
	}
	srv.Stop()

	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	srv = startServerIn(t, srv.DataDir, "[backup]", fmt.Sprintf("to = %q", to), fmt.Sprintf("recipients = [%q]", key), `max_age = "25h"`)
	here.more[3] = srv.config
	eventually(t, func() bool { return status().Backup.State == "ok" })
	if _, body := srv.get("localhost", "/readyz"); !ready().Backup.OK || strings.Contains(body, time.Now().UTC().Format("2006-")) {
		t.Error("strangers see more than that it is well:", body)
	}
	if out := here.mayFail("status"); !strings.Contains(out, "BACKUP") || !strings.Contains(out, "; the next is ") {
		t.Error(out)
	}
	key = " --identity " + dir + "/key"
	here.must("backup verify " + to + key)
	made, err := filepath.Glob(to + "/podgate-*/*.backup.age")
	if err != nil || len(made) != 1 {
		t.Fatal(made, err)
	}
	for line, want := range map[string]string{
		"backup verify " + made[0] + key:             "name the folder",
		"backup verify " + to:                        "--identity",
		"backup verify " + dir + key:                 "there is no backup",
		"backup verify " + to + " --at 1999" + key:   "the newest are of " + strings.TrimSuffix(filepath.Base(made[0]), ".backup.age"),
		"backup verify " + dir + "/key --at 1999":    "folder or a bucket",
		"restore s3://bucket/x --data " + dir + "/x": "backup.s3_access_key",
	} {
		if out := here.mayFail(line); !strings.Contains(out, want) {
			t.Errorf("%s: %s", line, out)
		}
	}
	if code, out, errs := runCommand(strings.Fields("restore " + to + key + " --at " + strings.TrimSuffix(filepath.Base(made[0]), ".backup.age") + " --data " + dir + "/data")...); code != exitDone {
		t.Fatal(out, errs)
	}
	if code, out, errs := runCommand("check", "--data", dir+"/data"); code != exitDone {
		t.Error(out, errs)
	}
}

// A bucket does as a folder does: a server keeps its backups there, another one does not
// take it for its own unasked, and both are restored from it.
func TestBackupInABucket(t *testing.T) {
	t.Parallel()
	dir, storage := t.TempDir(), s3test.New(t)
	write(t, dir, map[string]string{"secret": s3test.SecretKey + "\n"})
	to := "s3://" + s3test.Bucket + "/here"
	settings := []string{
		"[backup]", fmt.Sprintf("to = %q", to), fmt.Sprintf("s3_endpoint = %q", storage.URL), fmt.Sprintf("s3_region = %q", s3test.Region),
		fmt.Sprintf("s3_access_key = %q", s3test.AccessKey), fmt.Sprintf("s3_secret_key_file = %q", dir+"/secret"),
	}
	srv := startServer(t, settings...)
	here := giver{t: t, more: []string{"--data", srv.DataDir, "--config", srv.config}}
	here.must("config check")
	here.must("team add makers")
	eventually(t, func() bool { return strings.Contains(here.mayFail("status --json"), `"state": "ok"`) })
	here.must("backup verify " + to)
	there := giver{t: t, more: []string{"--data", dir + "/data", "--config", srv.config}}
	there.must("restore " + to)
	there.must("check")
	srv.Stop()
	for _, name := range storage.Names() {
		if !strings.HasPrefix(name, "here/podgate") {
			t.Error(name)
		}
	}

	moved := startServerIn(t, dir+"/data", settings...)
	there.more[3] = moved.config
	eventually(t, func() bool { return strings.Contains(there.mayFail("status"), "another server's") })
	there.must("backup adopt")
	moved.Stop()
	moved = startServerIn(t, dir+"/data", settings...)
	there.more[3] = moved.config
	eventually(t, func() bool { return strings.Contains(there.mayFail("status --json"), `"state": "ok"`) })
	there.must("backup verify " + to)
}

func (g giver) mayFail(line string) string {
	_, out, errs := g.give("", line)
	return out + errs
}
