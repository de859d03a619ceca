package storetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a disk of a test's own, with an ext4 file system, which can fail as real ones
// do. It is an image behind a loop device.
type Disk struct {
	Dir    string // where it is mounted
	t      *testing.T
	device string // such as /dev/loop3
	opened *os.File
}

// OnDisk runs the rest of a test with a disk of so many bytes. It is mounted in a mount
// namespace of its own, as that of OnSmallDisk, and needs root, loop devices and
// mkfs.ext4.
func OnDisk(t *testing.T, bytes int64, rest func(*Disk)) {
	t.Helper()
	if os.Getenv(diskEnv) == "" {
		if _, err := mkfs(); err != nil {
			lacking(t, err)
		}
		if _, err := os.Stat("/dev/loop-control"); err != nil {
			lacking(t, err)
		}
		runInNamespace(t)
		return
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	d := &Disk{Dir: t.TempDir(), t: t}
	image := filepath.Join(t.TempDir(), "image")
	d.attach(image, bytes)
	d.mount()
	t.Cleanup(d.unmount)
	rest(d)
}

// lacking skips a test, or fails it where what it needs must be there.
func lacking(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "disks") {
		t.Fatalf("required: a disk of the test's own cannot be had: %v", err)
	}
	t.Skipf("skipped: a disk of the test's own cannot be had: %v", err)
}

// mkfs finds the program, which is not on the path of ordinary users.
func mkfs() (string, error) {
	for _, path := range []string{"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return exec.LookPath("mkfs.ext4")
}

// attach makes the image and gives it a loop device, which goes when the last mount of
// it does and this process has ended.
func (d *Disk) attach(image string, bytes int64) {
	d.t.Helper()
	program, err := mkfs()
	if err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(bytes); err != nil {
		d.t.Fatal(err)
	}
	// A file system that finds an error becomes read-only, as distributions set it up.
	if out, err := exec.CommandContext(d.t.Context(), program, "-q", "-F", "-e", "remount-ro", "-E", "lazy_itable_init=1,nodiscard", image).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer control.Close()
	for range 100 { // others may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			d.t.Fatal(err)
		}
		d.device = "/dev/loop" + strconv.Itoa(n)
		if d.opened, err = os.OpenFile(d.device, os.O_RDWR, 0); err != nil {
			d.t.Fatal(err)
		}
		err = unix.IoctlLoopConfigure(int(d.opened.Fd()), &unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
		if err == nil {
			d.t.Cleanup(func() { d.opened.Close() })
			return
		}
		d.opened.Close()
		if !errors.Is(err, unix.EBUSY) {
			d.t.Fatal(err)
		}
	}
	d.t.Fatal("others take every loop device")
}

func (d *Disk) mount() {
	d.t.Helper()
	if err := syscall.Mount(d.device, d.Dir, "ext4", 0, ""); err != nil {
		d.t.Fatal(err)
	}
}

// unmount waits for mount namespaces that are still taken down with their processes: as
// long as there is one, the file system goes on, and another mount would be the same.
func (d *Disk) unmount() {
	d.t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		if err = syscall.Unmount(d.Dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	for start := time.Now(); err == nil; time.Sleep(5 * time.Millisecond) {
		if _, gone := os.Stat(d.sysfs()); errors.Is(gone, fs.ErrNotExist) {
			return
		}
		if time.Since(start) > 30*time.Second {
			err = errors.New("somebody else has it mounted")
		}
	}
	d.t.Errorf("unmount: %v", err)
}

// sysfs is the folder in which the kernel tells of the file system while it is mounted.
func (d *Disk) sysfs() string { return filepath.Join("/sys/fs/ext4", filepath.Base(d.device)) }

// EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h, and its flag that not even the
// journal is written any more.
const (
	ioctlShutdown     = 0x8004587d
	shutdownNoLogging = 2
)

// CutPower stops everything that is on its way to the disk, at this moment: what is there
// is what a machine finds that lost its power. Every access fails until MountAgain.
func (d *Disk) CutPower() {
	d.t.Helper()
	root, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), ioctlShutdown, shutdownNoLogging); err != nil {
		d.t.Fatal(err)
	}
}

// MountAgain is what the machine does when it is back. Nothing may use the disk.
func (d *Disk) MountAgain() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// Break has the file system find an error in itself, after which it is read-only.
func (d *Disk) Break() {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.sysfs(), "trigger_fs_error"), []byte("broken by a test"), 0); err != nil {
		d.t.Fatal(err)
	}
}

// Slow lets the processes given, and what they start, make so many writes a second.
func (d *Disk) Slow(writes int, pids ...int) {
	d.t.Helper()
	info, err := d.opened.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	device := info.Sys().(*syscall.Stat_t).Rdev
	limit := fmt.Sprintf("%d:%d ", unix.Major(device), unix.Minor(device))
	group, file := "/sys/fs/cgroup", "io.max"
	if _, err := os.Stat("/sys/fs/cgroup/blkio"); err == nil {
		group, file = "/sys/fs/cgroup/blkio", "blkio.throttle.write_iops_device"
		limit += strconv.Itoa(writes)
	} else {
		limit += fmt.Sprint("wiops=", writes)
		if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+io"), 0); err != nil {
			lacking(d.t, err)
		}
	}
	group = filepath.Join(group, fmt.Sprint("podgate-test-", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		lacking(d.t, err)
	}
	d.t.Cleanup(func() {
		for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			err := os.Remove(group)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				return
			}
			if time.Since(start) > 30*time.Second {
				d.t.Error(err)
				return
			}
		}
	})
	if err := os.WriteFile(filepath.Join(group, file), []byte(limit), 0); err != nil {
		lacking(d.t, err)
	}
	for _, pid := range pids {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			d.t.Fatal(err)
		}
	}
}
