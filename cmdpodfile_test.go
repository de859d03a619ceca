package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podgate/control"
)

// A pod moves to another server in one file, with its files and what was set, and its
// secrets only when somebody says so. What cannot be is refused and leaves nothing.
func TestPodExportAndImport(t *testing.T) {
	t.Parallel()
	from := startServer(t)
	if !podsRun(t, from) {
		t.Skip("pods do not run here")
	}
	c := connect(t, from, setUp(t, from), connectOptions{})
	c.call(t, "create_pod", args{"name": "shop", "preset": "static", "env": args{"KEY": "hidden-value", "OTHER": "x"}})
	c.call(t, "write_file", args{"name": "shop", "path": "note", "content": "of the pod"})
	c.call(t, "exec_command", args{"name": "shop", "command": "ln -s note link; chmod 750 note; mkdir -m 555 closed"})
	dir := t.TempDir()
	here := giver{t: t, more: []string{"--data", from.DataDir, "--config", from.config}}
	here.must("pod network shop --mode none")
	key := strings.TrimSpace(here.must("backup key " + dir + "/key"))
	if out := here.must("pod export shop " + dir + "/plain"); strings.Contains(out, "secrets") || !strings.Contains(out, "Copied the pod shop") {
		t.Error(out)
	}
	if out := here.must("pod export shop " + dir + "/sealed --with-env --recipient " + key); !strings.Contains(out, "holds secrets") {
		t.Error(out)
	}
	if list := here.must("audit"); strings.Count(list, "copied a pod into a file") != 2 {
		t.Error(list)
	}
	for name, want := range map[string]string{"pod export absent x": "no pod", "pod export shop " + dir + "/plain": "--force", "pod export shop - --json": "--json", "backup verify " + dir + "/plain": "podgate pod import"} {
		if code, _, errs := here.give("", name); code == exitDone || !strings.Contains(errs, want) {
			t.Errorf("%s: %s", name, errs)
		}
	}
	here.must("backup " + dir + "/whole")

	data := t.TempDir()
	giver{t: t, more: []string{"--data", data}}.must("team add makers")
	left := filepath.Join(data, "pods", "neverwas", "home")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(data, importing+"neverwas", "pods", "closed"), 0o500); err != nil {
		t.Fatal(err)
	}
	to := startServerIn(t, data, "[pods]", "quota_pods = 2")
	there := giver{t: t, more: []string{"--data", data, "--config", to.config}}
	nothingLeft := func() {
		t.Helper()
		aside, _ := filepath.Glob(filepath.Join(data, importing+"*"))
		pods, err := os.ReadDir(filepath.Join(data, "pods"))
		pods = slices.DeleteFunc(pods, func(e os.DirEntry) bool { return e.Name() == ".lock" })
		if err != nil || len(aside) > 0 || slices.ContainsFunc(pods, func(e os.DirEntry) bool { return !e.IsDir() || strings.HasPrefix(e.Name(), "never") }) {
			t.Errorf("%v %v %v", aside, pods, err)
		}
		var list []struct{}
		if err := json.Unmarshal([]byte(there.must("pod list --json")), &list); err != nil || len(list) != len(pods) {
			t.Errorf("%d pods and %d folders: %v", len(list), len(pods), err)
		}
	}
	needSandbox(t, to)
	eventually(t, func() bool { _, err := os.Stat(filepath.Dir(left)); return os.IsNotExist(err) })
	eventually(t, func() bool {
		aside, err := filepath.Glob(filepath.Join(data, importing+"*"))
		return len(aside) == 0 && err == nil
	})
	nothingLeft()
	var made control.ImportedPod
	if err := json.Unmarshal([]byte(there.must("pod import "+dir+"/plain --json")), &made); err != nil || made.Problem != "" || made.Status != "running" || strings.Join(made.WithoutEnv, " ") != "KEY OTHER" {
		t.Errorf("%+v %v", made, err)
	}
	nothingLeft()
	for line, want := range map[string]string{
		"pod import " + dir + "/plain":                          "another name",
		"pod import " + dir + "/plain --name x --plan enormous": "enormous",
		"pod import " + dir + "/plain --name -x":                "name",
		"pod import " + dir + "/sealed --name x":                "--identity",
		"pod import " + dir + "/whole --name x":                 "podgate restore",
		"pod import " + dir + "/key --name x":                   "no backup",
		"pod import " + dir + "/plain --name x --team none":     "none",
		"pod import " + dir + "/absent":                         "no such file",
	} {
		if code, out, errs := there.give("", line); code == exitDone || !strings.Contains(errs, want) {
			t.Errorf("%s: %s%s", line, out, errs)
		}
	}
	nothingLeft()
	if out := there.must("pod import " + dir + "/sealed --name again --plan medium --identity " + dir + "/key"); !strings.Contains(out, "Made the pod again of team makers") || strings.Contains(out, "no values") {
		t.Error(out)
	}
	if code, out, errs := there.give("", "pod import "+dir+"/plain --name third"); code == exitDone || !strings.Contains(errs, "2") {
		t.Error("past the quota:", out, errs)
	}
	nothingLeft()
	for name, value := range map[string]string{"shop": "", "again": "hidden-value"} {
		out := there.must("pod exec "+name+" -- sh -c", "cat link; stat -c %a:%U note; stat -c %a closed; echo =$KEY=")
		if !strings.Contains(out, "of the pod") || !strings.Contains(out, "750:") || !strings.Contains(out, "555") || strings.Contains(out, "UNKNOWN") || !strings.Contains(out, "="+value+"=") {
			t.Errorf("%s: %s", name, out)
		}
		if out := there.must("pod network " + name); !strings.Contains(out, "none") && !strings.Contains(out, "nothing") {
			t.Error(out)
		}
	}
	if list := there.must("audit"); strings.Count(list, "made a pod of a file") != 2 {
		t.Error(list)
	}
	there.must("check")
}
