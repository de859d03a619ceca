//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"podgate/pods"
)

// fakeFS behaves like the kernel's files where it matters: folders come with
// their files, controllers are offered by the parent, version 2 does not give
// controllers to the groups below one that has processes, and a folder with
// processes cannot be removed.
type fakeFS struct {
	files map[string]string // by path
	top2  string            // where version 2 is mounted; "" for none
	shut  []string          // folders that this user may not write to
}

func (f *fakeFS) read(path string) (string, error) {
	text, ok := f.files[path]
	if !ok {
		return "", os.ErrNotExist
	}
	return strings.TrimSpace(text), nil
}

func (f *fakeFS) denied(path string) bool { return slices.Contains(f.shut, filepath.Dir(path)) }

func (f *fakeFS) write(path, value string) error {
	if _, ok := f.files[path]; !ok {
		return os.ErrNotExist
	}
	if f.denied(path) {
		return os.ErrPermission
	}
	dir, file := filepath.Split(path)
	dir = strings.TrimSuffix(dir, "/")
	switch file {
	case "cgroup.procs":
		f.leave(value)
		f.files[path] = strings.TrimSpace(f.files[path] + "\n" + value)
	case "cgroup.subtree_control":
		if f.files[dir+"/cgroup.procs"] != "" && dir != f.top2 {
			return unix.EBUSY
		}
		f.files[path] = strings.ReplaceAll(value, "+", "")
	case "cgroup.kill":
		f.files[dir+"/cgroup.procs"] = ""
	case "cgroup.freeze":
		f.files[path], f.files[dir+"/cgroup.events"] = value, "populated 1\nfrozen "+value+"\n"
	default:
		f.files[path] = value
	}
	return nil
}

// leave takes a process out of its group of version 2.
func (f *fakeFS) leave(pid string) {
	for path, text := range f.files {
		if f.top2 != "" && strings.HasPrefix(path, f.top2) && filepath.Base(path) == "cgroup.procs" {
			rest := slices.DeleteFunc(strings.Fields(text), func(p string) bool { return p == pid })
			f.files[path] = strings.Join(rest, "\n")
		}
	}
}

func (f *fakeFS) mkdir(path string) error {
	if _, ok := f.files[path+"/cgroup.procs"]; ok {
		return nil
	}
	if slices.Contains(f.shut, filepath.Dir(path)) {
		return os.ErrPermission
	}
	names := []string{"cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "memory.oom_control", "pids.max", "cpu.cfs_period_us", "cpu.cfs_quota_us"}
	if f.top2 != "" && strings.HasPrefix(path, f.top2) {
		names = []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.kill", "cgroup.freeze", "cgroup.events"}
		offered := f.files[filepath.Dir(path)+"/cgroup.subtree_control"]
		f.files[path+"/cgroup.controllers"] = offered
		for controller, files := range map[string][]string{"memory": {"memory.max", "memory.swap.max", "memory.events"}, "pids": {"pids.max"}, "cpu": {"cpu.max"}} {
			if slices.Contains(strings.Fields(offered), controller) {
				names = append(names, files...)
			}
		}
	}
	for _, name := range names {
		f.files[path+"/"+name] = ""
	}
	return nil
}

func (f *fakeFS) rmdir(path string) error {
	procs, ok := f.files[path+"/cgroup.procs"]
	if !ok {
		return unix.ENOENT
	}
	names, _ := f.list(path)
	if procs != "" || len(names) > 0 {
		return unix.EBUSY
	}
	maps.DeleteFunc(f.files, func(p, _ string) bool { return filepath.Dir(p) == path })
	return nil
}

func (f *fakeFS) list(path string) ([]string, error) {
	var names []string
	for p := range f.files {
		if dir := filepath.Dir(p); filepath.Dir(dir) == path && filepath.Base(p) == "cgroup.procs" {
			names = append(names, filepath.Base(dir))
		}
	}
	return names, nil
}

// dirs is how many groups there are.
func (f *fakeFS) dirs() (n int) {
	for p := range f.files {
		if filepath.Base(p) == "cgroup.procs" {
			n++
		}
	}
	return n
}

const mountV2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"

// machineV2 is one with the server in group, beside others.
func machineV2(group string, others ...string) *fakeFS {
	f := &fakeFS{top2: "/sys/fs/cgroup", files: map[string]string{
		"/proc/self/mountinfo":                  "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mountV2,
		"/proc/self/cgroup":                     "0::" + group + "\n",
		"/sys/fs/cgroup/cgroup.controllers":     "cpuset cpu io memory pids",
		"/sys/fs/cgroup/cgroup.subtree_control": "cpu memory pids",
		"/sys/fs/cgroup/cgroup.procs":           "1",
	}}
	dir := "/sys/fs/cgroup"
	for _, part := range strings.FieldsFunc(group, func(r rune) bool { return r == '/' }) {
		f.files[dir+"/cgroup.subtree_control"] = "cpu memory pids"
		dir += "/" + part
		_ = f.mkdir(dir)
	}
	f.files[dir+"/cgroup.procs"] = strings.TrimSpace(f.files[dir+"/cgroup.procs"] + "\n" + strconv.Itoa(os.Getpid()) + "\n" + strings.Join(others, "\n"))
	return f
}

var plan = pods.Limits{Memory: 256 << 20, CPUs: 1.5, Processes: 100}

func TestGroupsV2(t *testing.T) {
	t.Parallel()
	f := machineV2("/system.slice/podgate.service")
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	own := "/sys/fs/cgroup/system.slice/podgate.service"
	if got := f.files[own+"/podgate-server/cgroup.procs"]; got != strconv.Itoa(os.Getpid()) {
		t.Errorf("the server is not in its leaf: %q", got)
	}
	if h.version != 2 || !h.has("memory") || !h.has("pids") || !h.has("cpu") {
		t.Errorf("%+v", h)
	}
	g, err := h.create("pod", plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.add(77); err != nil {
		t.Fatal(err)
	}
	base := own + "/podgate-key/pod/"
	for file, want := range map[string]string{
		"memory.max": "268435456", "memory.swap.max": "0", "pids.max": "132", "cpu.max": "150000 100000", "cgroup.procs": "77",
	} {
		if got := f.files[base+file]; got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	before := f.dirs()
	f.files["/proc/self/cgroup"] = "0::/system.slice/podgate.service/podgate-server\n"
	if again, err := findHierarchy(f, "key"); err != nil || again.bases["memory"] != h.bases["memory"] || f.dirs() != before {
		t.Errorf("a second look from the leaf: %+v, %v", again, err)
	}
	if err := h.sweep(func(string) bool { return false }); err != nil || f.files[base+"memory.max"] != "" {
		t.Errorf("sweep: %v", err)
	}
	if err := h.close(); err != nil || f.dirs() != before-2 {
		t.Errorf("close: %d groups, %v", f.dirs(), err)
	}
}

func TestGroupsOutOfMemory(t *testing.T) {
	t.Parallel()
	f := machineV2("/a")
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.create("pod", plan)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"": false, "oom 3\noom_kill 0\n": false, "oom 3\noom_kill 2\noom_group_kill 0\n": true} {
		f.files["/sys/fs/cgroup/a/podgate-key/pod/memory.events"] = text
		if got := g.oomKills() > 0; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestGroupsV2Crowded has another process in the server's group, which the
// server may not move.
func TestGroupsV2Crowded(t *testing.T) {
	t.Parallel()
	f := machineV2("/user.slice/session.scope", "4711")
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.bases["memory"]; got != "/sys/fs/cgroup/podgate-key" {
		t.Errorf("root's groups are in %s", got)
	}
	if got := strings.Fields(f.files["/sys/fs/cgroup/user.slice/session.scope/cgroup.procs"]); len(got) != 2 {
		t.Errorf("the server did not go back: %q", got)
	}
	f = machineV2("/user.slice/session.scope", "4711")
	f.shut = []string{"/sys/fs/cgroup"}
	if h, err := findHierarchy(f, "key"); err == nil {
		t.Errorf("an ordinary user got %+v", h)
	} else if !errors.Is(err, unix.EBUSY) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("the reasons are missing: %v", err)
	}
}

func TestGroupsV2Part(t *testing.T) {
	t.Parallel()
	f := machineV2("/a")
	f.files["/sys/fs/cgroup/a/cgroup.controllers"] = "memory pids"
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	if h.has("cpu") || !h.has("memory") || !h.has("pids") {
		t.Errorf("%+v", h)
	}
	if _, err := h.create("pod", plan); err != nil {
		t.Errorf("a pod without the controller for cpus: %v", err)
	}
}

func machineV1() *fakeFS {
	f := &fakeFS{files: map[string]string{"/proc/self/cgroup": "4:memory:/docker/abc/srv\n3:pids:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/\n"}}
	info := ""
	for i, m := range [][2]string{{"/docker/abc", "memory"}, {"/docker/abc", "pids"}, {"/docker/abc", "cpu,cpuacct"}} {
		info += fmt.Sprintf("%d 20 0:%d %s /cg/%s rw - cgroup cgroup rw,%s\n", i, i, m[0], m[1], m[1])
		_ = f.mkdir("/cg/" + m[1])
	}
	_ = f.mkdir("/cg/memory/srv")
	f.files["/proc/self/mountinfo"] = info
	return f
}

func TestGroupsV1(t *testing.T) {
	t.Parallel()
	f := machineV1()
	before := f.dirs()
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.create("pod", plan)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/cg/memory/srv/podgate-key/pod/memory.limit_in_bytes":          "268435456",
		"/cg/memory/srv/podgate-key/pod/memory.memsw.limit_in_bytes":    "268435456",
		"/cg/memory/srv/podgate-key/pod/memory.kmem.tcp.limit_in_bytes": "268435456",
		"/cg/pids/podgate-key/pod/pids.max":                             "132",
		"/cg/cpu,cpuacct/podgate-key/pod/cpu.cfs_period_us":             "100000",
		"/cg/cpu,cpuacct/podgate-key/pod/cpu.cfs_quota_us":              "150000",
	} {
		if got := f.files[path]; got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if err := errors.Join(g.remove(), h.close()); err != nil || f.dirs() != before {
		t.Errorf("%d groups before, %d after, %v", before, f.dirs(), err)
	}
}

func TestGroupsV1Part(t *testing.T) {
	t.Parallel()
	f := machineV1()
	f.shut = []string{"/cg/pids", "/cg/cpu,cpuacct"}
	h, err := findHierarchy(f, "key")
	if err != nil || !h.has("memory") || h.has("pids") || h.has("cpu") {
		t.Fatalf("%+v, %v", h, err)
	}
	f.shut = append(f.shut, "/cg/memory/srv/podgate-key")
	if _, err := h.create("pod", plan); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a group that cannot be made: %v", err)
	}
}

func TestGroupsNone(t *testing.T) {
	t.Parallel()
	f := &fakeFS{files: map[string]string{"/proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda rw\nbroken\n", "/proc/self/cgroup": "0::/\nbroken\n"}}
	if h, err := findHierarchy(f, "key"); err == nil {
		t.Errorf("%+v", h)
	}
	f = machineV2("/a")
	f.files["/proc/self/cgroup"] = "0::/../outside\n"
	if _, err := findHierarchy(f, "key"); err == nil {
		t.Error("a group above the mounted part was used")
	}
	var none *hierarchy
	if none.has("memory") {
		t.Error("no hierarchy has a controller")
	}
}
