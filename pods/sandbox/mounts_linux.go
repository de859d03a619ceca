//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This file makes the pod's root. Sources are first taken as detached copies,
// which get their read-only and nosuid flags before anything can see them;
// then an empty root is made, filled, and exchanged for the host's.

const (
	readOnlyAttr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	writableAttr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	deviceAttr   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	closedAttr   = readOnlyAttr | unix.MOUNT_ATTR_NOEXEC
)

// maxPTYs is how many pseudoterminals a pod can have, those of programs such as
// tmux among them.
const maxPTYs = 32

// attached is a detached mount that waits for its place.
type attached struct {
	fd     int
	target string // relative to the new root
	dir    bool
}

// buildRoot makes everything that the pod sees as files and makes it the root
// of this process. The working directory is the new root afterwards. The logs are
// for the agent alone: they are mounted nowhere, and come back as a descriptor.
func buildRoot(s spec, files donated) (logs int, err error) {
	unix.Umask(0o022)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fail(stepRoot, err)
	}
	system, links := systemBinds()
	mounts, err := takeAll(append(system, s.Binds...), files)
	if err != nil {
		return -1, err
	}
	own, err := take(s.Logs, files)
	if err != nil {
		return -1, err
	}
	root, err := newRoot()
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	if err := makeFiles(s, links); err != nil {
		return -1, fail(stepFiles, err)
	}
	if err := mountOwn(s); err != nil {
		return -1, err
	}
	for _, m := range mounts {
		if err := m.attach(); err != nil {
			return -1, fail(stepAttach, fmt.Errorf("%s: %w", m.target, err))
		}
	}
	if err := enterRoot(); err != nil {
		return -1, err
	}
	return own.fd, closeRoot()
}

// takeAll makes a detached copy of every source that is there.
func takeAll(binds []bind, files donated) ([]attached, error) {
	var mounts []attached
	for _, b := range binds {
		m, err := take(b, files)
		if errors.Is(err, unix.ENOENT) && b.Optional {
			continue
		}
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func take(b bind, files donated) (attached, error) {
	fd, err := b.tree(files)
	if err != nil {
		return attached{}, fail(stepSource, fmt.Errorf("%s: %w", b.Target, err))
	}
	if err := setAttr(fd, "", b.attr()); err != nil {
		return attached{}, fail(stepAttr, fmt.Errorf("%s: %w", b.Target, err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return attached{}, fail(stepSource, err)
	}
	return attached{fd, strings.TrimPrefix(b.Target, "/"), st.Mode&unix.S_IFMT == unix.S_IFDIR}, nil
}

// tree is the detached mount of b.
func (b bind) tree(files donated) (int, error) {
	if b.Source == "" {
		return files.number(b.Target), nil
	}
	return cloneTree(b.Source)
}

func (b bind) attr() uint64 {
	attr := uint64(readOnlyAttr)
	if b.Writable {
		attr = writableAttr
	}
	if b.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	return attr
}

func cloneTree(path string) (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
}

// setAttr sets attributes on the mount at fd and path and on all below it.
func setAttr(fd int, path string, attr uint64) error {
	flags := uint(unix.AT_RECURSIVE)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.MountSetattr(fd, path, flags, &unix.MountAttr{Attr_set: attr})
}

// attach puts the mount at its place below the working directory, which it
// makes when it is absent.
func (m attached) attach() error {
	if err := makePlace(m.target, m.dir); err != nil {
		return err
	}
	defer unix.Close(m.fd)
	return unix.MoveMount(m.fd, "", unix.AT_FDCWD, m.target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func makePlace(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// newFS makes a detached mount of a fresh file system. Options alternate
// between name and value.
func newFS(kind string, attr int, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for i := 0; i < len(options); i += 2 {
		if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, fmt.Errorf("option %s: %w", options[i], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
}

// newRoot mounts the empty root over the host's, which this process still
// stands on, and makes it the working directory.
func newRoot() (int, error) {
	fd, err := newFS("tmpfs", writableAttr, "mode", "0755", "size", "4m", "nr_inodes", "4096")
	if err != nil {
		return -1, fail(stepRoot, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fail(stepRoot, err)
	}
	return fd, fail(stepRoot, unix.Fchdir(fd))
}

// mountOwn mounts what belongs to the pod alone.
func mountOwn(s spec) error {
	fd, err := newFS("proc", closedAttr&^unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return fail(stepProc, err)
	}
	if err := (attached{fd, "proc", true}).attach(); err != nil {
		return fail(stepProc, err)
	}
	if s.Uncounted {
		boundBuffers()
	}
	if err := mountDev(); err != nil {
		return fail(stepFiles, fmt.Errorf("/dev: %w", err))
	}
	for _, m := range []struct{ path, mode string }{{"tmp", "01777"}, {"var/tmp", "01777"}, {"run", "0755"}, {"dev/shm", "01777"}} {
		options := []string{"mode", m.mode, "nr_inodes", "65536"}
		if s.Scratch > 0 {
			options = append(options, "size", strconv.FormatInt(s.Scratch, 10))
		}
		fd, err := newFS("tmpfs", writableAttr, options...)
		if err != nil {
			return fail(stepFiles, fmt.Errorf("/%s: %w", m.path, err))
		}
		if err := (attached{fd, m.path, true}).attach(); err != nil {
			return fail(stepFiles, fmt.Errorf("/%s: %w", m.path, err))
		}
	}
	return nil
}

// boundBuffers makes the buffers of the pod's TCP connections small, where its
// kernel lets it: they are memory that no process has.
func boundBuffers() {
	for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
		_ = os.WriteFile("proc/sys/net/ipv4/"+name, []byte("4096 65536 262144"), 0) // bounded by descriptors all the same
	}
}

// mountDev makes a /dev with the six harmless devices of the host and a
// terminal multiplexer of its own.
func mountDev() error {
	devices := []string{"null", "zero", "full", "random", "urandom", "tty"}
	fds := make([]int, len(devices))
	for i, name := range devices {
		fd, err := cloneTree("/dev/" + name)
		if err != nil {
			return err
		}
		if err := setAttr(fd, "", deviceAttr); err != nil {
			return err
		}
		fds[i] = fd
	}
	fd, err := newFS("tmpfs", deviceAttr, "mode", "0755", "size", "64k", "nr_inodes", "64")
	if err != nil {
		return err
	}
	if err := (attached{fd, "dev", true}).attach(); err != nil {
		return err
	}
	for i, name := range devices {
		if err := (attached{fds[i], "dev/" + name, false}).attach(); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		if err := os.Symlink(l[1], "dev/"+l[0]); err != nil {
			return err
		}
	}
	// An instance of its own, without a terminal of the host's. The kernel counts
	// terminals of all instances together, so no pod may have all that there are.
	if fd, err = newFS("devpts", deviceAttr, "ptmxmode", "0666", "mode", "0620", "max", strconv.Itoa(maxPTYs)); err != nil {
		return fmt.Errorf("pts: %w", err)
	}
	return attached{fd, "dev/pts", true}.attach()
}

// enterRoot exchanges the roots and lets go of the host's.
func enterRoot() error {
	if err := os.Mkdir(".host", 0o700); err != nil {
		return fail(stepPivot, err)
	}
	if err := unix.PivotRoot(".", ".host"); err != nil {
		return fail(stepPivot, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fail(stepPivot, err)
	}
	if err := unix.Unmount("/.host", unix.MNT_DETACH); err != nil {
		return fail(stepPivot, err)
	}
	return nil
}

// Parts of /proc that tell about the host or steer it. Those that a pod's
// user cannot open anyway are covered as well: permissions of /proc have
// changed between kernels.
var (
	coveredProc = []string{"buddyinfo", "cmdline", "diskstats", "interrupts", "iomem", "ioports", "kallsyms", "kcore", "keys", "kmsg", "latency_stats", "mdstat", "modules",
		"pagetypeinfo", "partitions", "sched_debug", "schedstat", "softirqs", "sysrq-trigger", "timer_list", "timer_stats", "vmallocinfo", "zoneinfo"}
	emptiedProc  = []string{"acpi", "asound", "driver", "pressure", "scsi"}
	readOnlyProc = []string{"bus", "fs", "irq", "sys"}
)

// closeRoot covers parts of /proc and makes the root and /dev read-only.
func closeRoot() error {
	for _, name := range coveredProc {
		if err := cover("/proc/"+name, "/dev/null", deviceAttr|unix.MOUNT_ATTR_RDONLY); err != nil {
			return fail(stepProc, err)
		}
	}
	for _, name := range emptiedProc {
		if err := cover("/proc/"+name, "/.host", closedAttr); err != nil {
			return fail(stepProc, err)
		}
	}
	for _, name := range readOnlyProc {
		if err := cover("/proc/"+name, "/proc/"+name, closedAttr); err != nil {
			return fail(stepProc, err)
		}
	}
	if err := os.Remove("/.host"); err != nil {
		return fail(stepFiles, err)
	}
	for _, path := range []string{"/", "/dev"} {
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, path, 0, attr); err != nil {
			return fail(stepAttr, fmt.Errorf("%s: %w", path, err))
		}
	}
	return nil
}

// cover mounts a copy of source over path, if there is such a path.
func cover(path, source string, attr uint64) error {
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: attr}); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
