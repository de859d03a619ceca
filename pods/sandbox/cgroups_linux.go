//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/agent"
)

// This file is limits by cgroups, as plain reads and writes of files.

// cgroupFS is the little that is done with the kernel's files. All paths are
// absolute.
type cgroupFS interface {
	read(path string) (string, error)
	write(path, value string) error // to a file that the kernel has made
	mkdir(path string) error        // nil when it exists
	rmdir(path string) error
	list(path string) ([]string, error) // the folders in a folder
}

// kernelFS is the machine's own.
type kernelFS struct{}

func (kernelFS) read(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(bytes.TrimSpace(b)), err
}

func (kernelFS) write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (kernelFS) mkdir(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func (kernelFS) rmdir(path string) error { return unix.Rmdir(path) }

func (kernelFS) list(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// serverLeaf is the group into which the server moves itself where the kernel
// wants processes only in leaves.
const serverLeaf = "podgate-server"

// hierarchy is the groups of one runtime: a folder for each controller, below
// which every pod has a folder. Of version 2 it is the same for all.
type hierarchy struct {
	fs      cgroupFS
	version int
	bases   map[string]string // by controller: memory, pids, cpu
}

// how names it in Status.Enforced.
func (h *hierarchy) how() string { return fmt.Sprintf("cgroup v%d", h.version) }

func (h *hierarchy) has(controller string) bool { return h != nil && h.bases[controller] != "" }

// findHierarchy makes the runtime's groups, named by key, where the server may.
// Controllers that cannot be used are absent from the answer; the error says
// why there is none at all.
func findHierarchy(fs cgroupFS, key string) (*hierarchy, error) {
	mounts, err := cgroupMounts(fs)
	if err != nil {
		return nil, err
	}
	own, err := ownCgroups(fs)
	if err != nil {
		return nil, err
	}
	h2, err2 := findV2(fs, mounts, own, key)
	if err2 == nil {
		return h2, nil
	}
	h1, err1 := findV1(fs, mounts, own, key)
	if err1 == nil {
		return h1, nil
	}
	return nil, errors.Join(err2, err1)
}

// cgroupMount is one mounted hierarchy: where, and which part of it.
type cgroupMount struct{ point, root string }

// cgroupMounts is by controller for version 1 and "" for version 2.
func cgroupMounts(fs cgroupFS) (map[string]cgroupMount, error) {
	info, err := fs.read("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mounts := map[string]cgroupMount{}
	for line := range strings.Lines(info) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		m := cgroupMount{point: left[4], root: left[3]}
		switch right[0] {
		case "cgroup2":
			mounts[""] = m
		case "cgroup":
			for _, option := range strings.Split(right[2], ",") {
				mounts[option] = m
			}
		}
	}
	return mounts, nil
}

// ownCgroups is the server's own group by controller, "" for version 2.
func ownCgroups(fs cgroupFS) (map[string]string, error) {
	text, err := fs.read("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	own := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			own[controller] = parts[2]
		}
	}
	return own, nil
}

// dir is the folder of a group that /proc/self/cgroup names.
func (m cgroupMount) dir(group string) (string, error) {
	if m.point == "" {
		return "", errors.New("not mounted")
	}
	rel, err := filepath.Rel(m.root, group)
	// A group outside the cgroup namespace begins with "/..".
	if err != nil || strings.HasPrefix(group, "/..") || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("the group %s is not below the mounted %s", group, m.root)
	}
	return filepath.Join(m.point, rel), nil
}

func findV1(fs cgroupFS, mounts map[string]cgroupMount, own map[string]string, key string) (*hierarchy, error) {
	h := &hierarchy{fs: fs, version: 1, bases: map[string]string{}}
	var faults []error
	for _, controller := range []string{"memory", "pids", "cpu"} {
		dir, err := mounts[controller].dir(own[controller])
		if err == nil {
			dir = filepath.Join(dir, "podgate-"+key)
			err = fs.mkdir(dir)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("cgroup v1 %s: %w", controller, err))
			continue
		}
		h.bases[controller] = dir
	}
	if len(h.bases) == 0 {
		return nil, errors.Join(faults...)
	}
	return h, nil
}

// findV2 tries the server's own group and, as the top of everything, the root
// of the hierarchy, which only root may write to.
func findV2(fs cgroupFS, mounts map[string]cgroupMount, own map[string]string, key string) (*hierarchy, error) {
	dir, err := mounts[""].dir(own[""])
	if err != nil {
		return nil, fmt.Errorf("cgroup v2: %w", err)
	}
	if filepath.Base(dir) == serverLeaf {
		dir = filepath.Dir(dir)
	}
	var faults []error
	for _, parent := range slices.Compact([]string{dir, mounts[""].point}) {
		h, err := makeV2(fs, parent, key, parent == mounts[""].point)
		if err == nil {
			return h, nil
		}
		faults = append(faults, fmt.Errorf("cgroup v2 in %s: %w", parent, err))
	}
	return nil, errors.Join(faults...)
}

func makeV2(fs cgroupFS, parent, key string, top bool) (*hierarchy, error) {
	offered, err := fs.read(parent + "/cgroup.controllers")
	if err != nil {
		return nil, err
	}
	var wanted []string
	for _, controller := range strings.Fields(offered) {
		if controller == "memory" || controller == "pids" || controller == "cpu" {
			wanted = append(wanted, controller)
		}
	}
	if len(wanted) == 0 {
		return nil, errors.New("offers none of memory, pids, cpu")
	}
	if err := enableV2(fs, parent, wanted, top); err != nil {
		return nil, err
	}
	base := filepath.Join(parent, "podgate-"+key)
	if err := fs.mkdir(base); err != nil {
		return nil, err
	}
	if err := enable(fs, base, wanted); err != nil {
		return nil, err
	}
	h := &hierarchy{fs: fs, version: 2, bases: map[string]string{}}
	for _, controller := range wanted {
		h.bases[controller] = base
	}
	return h, nil
}

func enable(fs cgroupFS, dir string, controllers []string) error {
	return fs.write(dir+"/cgroup.subtree_control", "+"+strings.Join(controllers, " +"))
}

// enableV2 gives the controllers to the groups below parent. The kernel does
// that only when no process is in parent itself, so the server moves to a leaf
// of its own first, and back when others are in the way.
func enableV2(fs cgroupFS, parent string, controllers []string, top bool) error {
	err := enable(fs, parent, controllers)
	if !errors.Is(err, unix.EBUSY) || top {
		return err
	}
	leaf := filepath.Join(parent, serverLeaf)
	if err := fs.mkdir(leaf); err != nil {
		return err
	}
	pid := strconv.Itoa(os.Getpid())
	if err := fs.write(leaf+"/cgroup.procs", pid); err != nil {
		return err
	}
	if err = enable(fs, parent, controllers); err != nil {
		err = errors.Join(err, fs.write(parent+"/cgroup.procs", pid), fs.rmdir(leaf))
	}
	return err
}

// group is the cgroups of one pod.
type group struct {
	h    *hierarchy
	name string
}

// setting is one file of a group and what goes into it.
type setting struct {
	controller, file, value string
	optional                bool // kernels without swap accounting lack the file
}

func (h *hierarchy) settings(l pods.Limits) []setting {
	var all []setting
	set := func(controller, file, value string, optional bool) {
		all = append(all, setting{controller, file, value, optional})
	}
	memory := strconv.FormatInt(l.Memory, 10)
	quota := strconv.FormatInt(max(1000, int64(l.CPUs*cpuPeriod)), 10)
	period := strconv.Itoa(cpuPeriod)
	v2 := h.version == 2
	if l.Memory > 0 && v2 {
		set("memory", "memory.max", memory, false)
		set("memory", "memory.swap.max", "0", true)
	} else if l.Memory > 0 {
		set("memory", "memory.limit_in_bytes", memory, false)
		set("memory", "memory.memsw.limit_in_bytes", memory, true)
		set("memory", "memory.kmem.tcp.limit_in_bytes", memory, true) // counts them at all
	}
	if l.Processes > 0 {
		set("pids", "pids.max", strconv.Itoa(l.Processes+agent.ReservedThreads), false)
	}
	if l.CPUs > 0 && v2 {
		set("cpu", "cpu.max", quota+" "+period, false)
	} else if l.CPUs > 0 {
		set("cpu", "cpu.cfs_period_us", period, false)
		set("cpu", "cpu.cfs_quota_us", quota, false)
	}
	return all
}

const cpuPeriod = 100000 // microseconds, the kernel's default

// create makes the groups of a pod with its limits.
func (h *hierarchy) create(name string, l pods.Limits) (*group, error) {
	g := &group{h, name}
	for _, dir := range g.dirs() {
		if err := h.fs.mkdir(dir); err != nil {
			return nil, errors.Join(err, g.remove())
		}
	}
	for _, s := range h.settings(l) {
		base := h.bases[s.controller]
		if base == "" {
			continue
		}
		path := filepath.Join(base, name, s.file)
		err := h.fs.write(path, s.value)
		if err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			return nil, errors.Join(fmt.Errorf("limit %s: %w", s.file, err), g.remove())
		}
	}
	return g, nil
}

// dirs are the folders of the group, each once.
func (g *group) dirs() []string {
	var dirs []string
	for _, controller := range []string{"memory", "pids", "cpu"} {
		base := g.h.bases[controller]
		if base != "" && (len(dirs) == 0 || g.h.version == 1) {
			dirs = append(dirs, filepath.Join(base, g.name))
		}
	}
	return dirs
}

// add puts a process into the group; what it starts later is in it too.
func (g *group) add(pid int) error {
	for _, dir := range g.dirs() {
		if err := g.h.fs.write(dir+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// oomKills is how many processes of the group the kernel has killed for its memory
// limit.
func (g *group) oomKills() int64 {
	file := "memory.oom_control"
	if g.h.version == 2 {
		file = "memory.events"
	}
	return valueOf(g.read(file, "memory"), "oom_kill")
}

// remove kills what is left in the group and takes its folders away.
func (g *group) remove() error {
	var faults []error
	for _, dir := range g.dirs() {
		faults = append(faults, removeGroup(g.h.fs, dir))
	}
	return errors.Join(faults...)
}

// removeGroup waits a little: a dead process leaves its group a moment after
// its parent has heard of it.
func removeGroup(fs cgroupFS, dir string) error {
	var err error
	for wait := time.Millisecond; wait < 2*time.Second; wait *= 2 {
		err = fs.rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		killAll(fs, dir)
		time.Sleep(wait)
	}
	return fmt.Errorf("cgroup %s: %w", dir, err)
}

func killAll(fs cgroupFS, dir string) {
	if fs.write(dir+"/cgroup.kill", "1") == nil {
		return
	}
	text, _ := fs.read(dir + "/cgroup.procs") // gone: nothing to kill
	for field := range strings.FieldsSeq(text) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL) // dead already
		}
	}
}

// sweep removes the groups that a server which was killed has left, but for those of which
// stays says so.
func (h *hierarchy) sweep(stays func(name string) bool) error {
	var faults []error
	seen := map[string]bool{}
	for _, base := range h.bases {
		if seen[base] {
			continue
		}
		seen[base] = true
		names, err := h.fs.list(base)
		faults = append(faults, err)
		for _, name := range names {
			if stays(name) {
				continue
			}
			faults = append(faults, removeGroup(h.fs, filepath.Join(base, name)))
		}
	}
	return errors.Join(faults...)
}

// close removes the runtime's own folders, which are empty by now.
func (h *hierarchy) close() error {
	var faults []error
	for _, base := range h.bases {
		faults = append(faults, removeGroup(h.fs, base))
	}
	return errors.Join(faults...)
}
