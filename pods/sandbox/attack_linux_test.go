//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file tries to break out. The test binary runs inside a pod, like an app
// that somebody has taken over, and reports every attempt that did not fail in
// the way it should.

const attackRole = "attack"

// host is what the attacker has learned about the host by other ways.
type host struct{ file, tcp, abstract string }

// attempt fails, with one of the errors named, or with any when none is.
type attempt struct {
	name string
	try  func(host) error
	want []error
}

func attackMain(args []string) {
	if args[0] == typeRole {
		typeMain(args[1])
		return
	}
	h := host{args[0], args[1], args[2]}
	for _, a := range attempts {
		err := a.try(h)
		switch {
		case err == nil:
			fmt.Printf("BROKEN %s: it worked\n", a.name)
		case len(a.want) > 0 && !slices.ContainsFunc(a.want, func(w error) bool { return errors.Is(err, w) }):
			fmt.Printf("BROKEN %s: %v, want %v\n", a.name, err, a.want)
		default:
			fmt.Printf("held %s: %v\n", a.name, err)
		}
	}
	fmt.Println("attempts", len(attempts))
}

var (
	perm     = []error{unix.EPERM}
	absent   = []error{unix.ENOENT}
	readonly = []error{unix.EROFS}
	denied   = []error{unix.EACCES, unix.EPERM, unix.EROFS, unix.ENOENT}
)

// raw is a system call without Go's help.
func raw(number uintptr, args ...uintptr) func(host) error {
	return func(host) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

func socket(family, kind, protocol int) func(host) error {
	return func(host) error {
		fd, err := unix.Socket(family, kind, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func openFile(path string, flags int) func(host) error {
	return func(host) error {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		// What is covered opens as /dev/null.
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Minor(st.Rdev) == 3 {
			return unix.ENOENT
		}
		return nil
	}
}

// onAgent tries something on each thread of the pod's first process.
func onAgent(try func(tid int) error) func(host) error {
	return func(host) error {
		threads, err := os.ReadDir("/proc/1/task")
		if err != nil {
			return fmt.Errorf("threads of the first process: %s", err)
		}
		for _, thread := range threads {
			tid, _ := strconv.Atoi(thread.Name()) // the kernel writes numbers
			if err = try(tid); !errors.Is(err, unix.EPERM) {
				return err
			}
		}
		return err
	}
}

func create(path string) func(host) error {
	return func(host) error {
		f, err := os.OpenFile(filepath.Join(path, "attack"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			f.Close()
		}
		return err
	}
}

func dial(network string, address func(host) string) func(host) error {
	return func(h host) error {
		c, err := net.DialTimeout(network, address(h), 2*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
}

var attempts = []attempt{
	// mounts
	{"mount", func(host) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }, perm},
	{"remount the root", func(host) error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") }, perm},
	{"remount /usr", func(host) error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, "") }, perm},
	{"mount_setattr", func(host) error {
		return unix.MountSetattr(unix.AT_FDCWD, "/usr", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}, perm},
	{"umount", func(host) error { return unix.Unmount(home, unix.MNT_DETACH) }, perm},
	{"open_tree", func(host) error { _, err := cloneTree("/"); return err }, perm},
	{"fsopen", func(host) error { _, err := unix.Fsopen("tmpfs", 0); return err }, perm},
	{"move_mount", func(host) error { return unix.MoveMount(unix.AT_FDCWD, "/usr", unix.AT_FDCWD, "/mnt", 0) }, perm},
	{"pivot_root", func(host) error { return unix.PivotRoot("/tmp", "/tmp") }, perm},
	{"chroot", func(host) error { return unix.Chroot("/tmp") }, perm},

	// namespaces
	{"unshare user", raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER), perm},
	{"unshare network", raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET), perm},
	{"setns", func(host) error {
		f, err := os.Open("/proc/self/ns/uts")
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Setns(int(f.Fd()), 0)
	}, perm},
	{"setns of the first process", openFile("/proc/1/ns/mnt", os.O_RDONLY), []error{unix.EACCES, unix.EPERM}},
	{"clone into a user namespace", func(host) error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return cmd.Run()
	}, perm},
	{"clone3", raw(unix.SYS_CLONE3, 0, 0), []error{unix.ENOSYS}},

	// other processes
	{"ptrace the first process", raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1), perm},
	{"ptrace a parent", func(host) error { return unix.PtraceAttach(os.Getppid()) }, perm},
	{"process_vm_readv", raw(unix.SYS_PROCESS_VM_READV, 1), perm},
	{"pidfd_getfd", func(host) error {
		fd, err := unix.PidfdOpen(1, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.PidfdGetfd(fd, 5, 0)
		return err
	}, perm},
	{"memory of the first process", openFile("/proc/1/mem", os.O_RDWR), denied},
	{"environment of the first process", func(host) error { _, err := os.ReadFile("/proc/1/environ"); return err }, denied},
	{"map of the first process", func(host) error { _, err := os.ReadFile("/proc/1/maps"); return err }, denied},
	{"binary of the first process", openFile("/proc/1/exe", os.O_RDONLY), denied},
	{"writing the binary of the first process", openFile("/proc/1/exe", os.O_WRONLY), denied},
	{"descriptors of the first process", func(host) error { _, err := os.ReadDir("/proc/1/fd"); return err }, denied},
	{"one descriptor of the first process", openFile("/proc/1/fd/5", os.O_RDWR), denied},
	{"root of the first process", func(host) error { _, err := os.ReadDir("/proc/1/root/"); return err }, denied},
	{"processes of the host", func(host) error {
		found, err := filepath.Glob("/proc/[0-9]*")
		if err != nil || len(found) > 20 {
			return err
		}
		return unix.ESRCH
	}, []error{unix.ESRCH}},
	{"lower oom_score_adj", func(host) error {
		return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	}, denied},
	{"priority", func(host) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -10) }, denied},

	// starving the first process, which has the same user
	{"limits of the first process", onAgent(func(tid int) error {
		var now unix.Rlimit
		if err := unix.Prlimit(tid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
			return err
		}
		return unix.Prlimit(tid, unix.RLIMIT_NOFILE, &now, nil)
	}), perm},
	{"priority of the first process", onAgent(func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, 1) }), perm},
	{"priority of its group", func(host) error { return unix.Setpriority(unix.PRIO_PGRP, 1, 1) }, perm},
	{"priority of its user", func(host) error { return unix.Setpriority(unix.PRIO_USER, 0, 1) }, perm},
	{"processors of the first process", onAgent(func(tid int) error {
		var all unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		return unix.SchedSetaffinity(tid, &all)
	}), perm},
	{"attributes of the first process", onAgent(func(tid int) error {
		return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
	}), perm},
	{"class of the first process", onAgent(func(tid int) error {
		return raw(unix.SYS_SCHED_SETSCHEDULER, uintptr(tid), unix.SCHED_IDLE, uintptr(unsafe.Pointer(new(int32))))(host{})
	}), perm},
	{"disk priority of the first process", onAgent(func(tid int) error {
		return raw(unix.SYS_IOPRIO_SET, 1, uintptr(tid), 3<<13)(host{})
	}), perm},
	{"disk priority of its user", raw(unix.SYS_IOPRIO_SET, 3, podUID, 3<<13), perm},

	// privileges
	{"setuid 0", raw(unix.SYS_SETUID, 0), []error{unix.EINVAL, unix.EPERM}},
	{"setgid 0", raw(unix.SYS_SETGID, 0), []error{unix.EINVAL, unix.EPERM}},
	{"setgroups", raw(unix.SYS_SETGROUPS, 0, 0), perm},
	{"capset", func(host) error {
		header := unix.CapUserHeader{Version: capabilityVersion3}
		data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
		return unix.Capset(&header, &data[0])
	}, perm},
	{"ambient capability", raw(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN), perm},
	{"secure bits", raw(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0), perm},
	{"without no_new_privs", raw(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 0), []error{unix.EINVAL}},
	{"setuid programs", setuidPrograms, perm},
	{"rlimit", func(host) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: now.Cur, Max: now.Max + 1})
	}, perm},
	{"32 bit system call", legacyCall, perm},

	// devices and terminals
	{"mknod of a disk", func(host) error { return unix.Mknod(home+"/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) }, perm},
	{"mknod of memory", func(host) error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) }, perm},
	{"/dev/mem", openFile("/dev/mem", os.O_RDONLY), absent},
	{"/dev/kmsg", openFile("/dev/kmsg", os.O_RDONLY), absent},
	{"other devices", otherDevices, absent},
	{"TIOCSTI", typeInto(unix.TIOCSTI), perm},
	{"TIOCSTI with high bits", typeInto(unix.TIOCSTI | 1<<32), perm},
	{"all terminals of the machine", func(host) error {
		for range maxPTYs + 1 {
			f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
		}
		return nil
	}, []error{unix.ENOSPC}},
	{"terminals of others", func(host) error {
		found, err := filepath.Glob("/dev/pts/[0-9]*")
		if err == nil && len(found) == 0 {
			return unix.ENOENT
		}
		return errors.Join(err, fmt.Errorf("%q", found))
	}, absent},

	// wide parts of the kernel
	{"bpf", raw(unix.SYS_BPF), perm},
	{"io_uring", raw(unix.SYS_IO_URING_SETUP, 1), perm},
	{"perf_event_open", raw(unix.SYS_PERF_EVENT_OPEN), perm},
	{"userfaultfd", raw(unix.SYS_USERFAULTFD), perm},
	{"keyctl", raw(unix.SYS_KEYCTL), perm},
	{"add_key", raw(unix.SYS_ADD_KEY), perm},
	{"open_by_handle_at", raw(unix.SYS_OPEN_BY_HANDLE_AT), perm},
	{"personality", raw(unix.SYS_PERSONALITY, 0x0040000), perm},
	{"init_module", raw(unix.SYS_INIT_MODULE), perm},
	{"kexec_load", raw(unix.SYS_KEXEC_LOAD), perm},
	{"reboot", raw(unix.SYS_REBOOT), perm},
	{"clock_settime", raw(unix.SYS_CLOCK_SETTIME), perm},
	{"swapon", raw(unix.SYS_SWAPON), perm},
	{"syslog", raw(unix.SYS_SYSLOG, 3), perm},
	{"sethostname", func(host) error { return unix.Sethostname([]byte("x")) }, perm},

	// files
	{"write to /", create("/"), readonly},
	{"write to /usr", create("/usr"), readonly},
	{"write to /etc", create("/etc"), readonly},
	{"write to /etc/ssl/certs", create("/etc/ssl/certs"), []error{unix.EROFS, unix.ENOENT}},
	{"write to /dev", create("/dev"), readonly},
	{"write to the logs", create("/var/log/pod"), readonly},
	{"write to the logs through the first process", func(host) error {
		found, err := filepath.Glob("/proc/1/fd/*")
		for _, path := range found {
			if err = create(path)(host{}); err == nil {
				return nil
			}
		}
		return errors.Join(err, unix.EROFS)
	}, readonly},
	{"write to /proc/sys", openFile("/proc/sys/kernel/hostname", os.O_WRONLY), denied},
	{"core_pattern", openFile("/proc/sys/kernel/core_pattern", os.O_WRONLY), denied},
	{"sysrq-trigger", openFile("/proc/sysrq-trigger", os.O_WRONLY), denied},
	{"kcore", openFile("/proc/kcore", os.O_RDONLY), denied},
	{"pressure of the host", openFile("/proc/pressure/memory", os.O_RDONLY), absent},
	{"a trigger on pressure", openFile("/proc/pressure/cpu", os.O_RDWR), absent},
	{"disks of the host", openFile("/proc/diskstats", os.O_RDONLY), denied},
	{"partitions of the host", openFile("/proc/partitions", os.O_RDONLY), denied},
	{"memory map of the host", openFile("/proc/iomem", os.O_RDONLY), denied},
	{"kernel command line", openFile("/proc/cmdline", os.O_RDONLY), denied},
	{"/sys", openFile("/sys", os.O_RDONLY), absent},
	{"/boot", openFile("/boot", os.O_RDONLY), absent},
	{"/etc/shadow", openFile("/etc/shadow", os.O_RDONLY), absent},
	{"/etc/ssl/private", openFile("/etc/ssl/private", os.O_RDONLY), absent},
	{"/var/lib", func(host) error {
		if entries, err := os.ReadDir("/var/lib"); err != nil || len(entries) > 0 {
			return err
		}
		return unix.ENOENT
	}, absent},
	{"a file of the host", func(h host) error { _, err := os.ReadFile(h.file); return err }, absent},
	{"a file of the host through the working directory", func(h host) error {
		_, err := os.ReadFile("/proc/self/cwd/../../../../../.." + h.file)
		return err
	}, absent},
	{"the host's root", hostRoot, absent},
	{"shared memory of the host", func(host) error {
		if b, err := os.ReadFile("/proc/sysvipc/shm"); err != nil || strings.Count(string(b), "\n") > 1 {
			return err
		}
		return unix.ENOENT
	}, absent},
	{"groups of the host", func(host) error {
		b, err := os.ReadFile("/proc/self/cgroup")
		for line := range strings.Lines(string(b)) {
			if !strings.HasSuffix(line, ":/\n") {
				return err
			}
		}
		return unix.ENOENT
	}, absent},
	{"homes of others", func(host) error {
		entries, err := os.ReadDir("/home")
		if err != nil || len(entries) != 1 {
			return err
		}
		return unix.ENOENT
	}, absent},
	{"descriptors of the server", leakedDescriptors, absent},

	// network
	{"AF_VSOCK", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), perm},
	{"AF_PACKET", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), perm},
	{"AF_ALG", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), perm},
	{"raw socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), perm},
	{"netfilter", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), perm},
	{"SCTP", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP), perm},
	{"a port of the host", dial("tcp", func(h host) string { return h.tcp }), []error{unix.ECONNREFUSED}},
	{"an abstract socket of the host", dial("unix", func(h host) string { return h.abstract }), []error{unix.ECONNREFUSED}},
	{"the internet", dial("tcp", func(host) string { return "192.0.2.1:80" }), []error{unix.ENETUNREACH}},
	{"interfaces but lo", func(host) error {
		interfaces, err := net.Interfaces()
		if err != nil || len(interfaces) != 1 || interfaces[0].Name != "lo" {
			return err
		}
		return unix.ENODEV
	}, []error{unix.ENODEV}},
}

// setuidPrograms starts each and looks whether it gets another user.
func setuidPrograms(host) error {
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.Mode()&os.ModeSetuid == 0 {
				continue
			}
			if err := keepsUser(filepath.Join(dir, e.Name())); err != nil {
				return nil
			}
		}
	}
	return unix.EPERM
}

func keepsUser(path string) error {
	cmd := exec.Command(path)
	cmd.Stdin, cmd.Env = nil, []string{"PATH=/usr/bin"}
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil // not even started
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err == nil && !strings.Contains(string(status), "Uid:\t1000\t1000\t1000\t1000") && strings.Contains(string(status), "Uid:") {
		return fmt.Errorf("%s runs as another user", path)
	}
	return nil
}

// hostRoot looks for anything in the root that a pod does not have.
func hostRoot(host) error {
	known := []string{"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "tmp", "usr", "var"}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return nil
		}
	}
	return unix.ENOENT
}

// typeRole is the first argument of a process that types into the terminal that it
// has, as an ioctl of the number that follows. It ends with the error's number.
const typeRole = "type"

func typeMain(number string) {
	command, _ := strconv.ParseUint(number, 10, 64) // we wrote it
	c := byte('x')
	var errno unix.Errno
	if err := raw(unix.SYS_IOCTL, 0, uintptr(command), uintptr(unsafe.Pointer(&c)))(host{}); errors.As(err, &errno) {
		os.Exit(int(errno))
	}
}

// typeInto types into a terminal from a process whose own it is: of others the
// kernel lets nobody.
func typeInto(command uint64) func(host) error {
	return func(host) error {
		f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return fmt.Errorf("no terminal to try with: %s", err)
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil {
			return fmt.Errorf("no terminal to try with: %s", err)
		}
		other, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
		if errno != 0 {
			return fmt.Errorf("no other side to try with: %s", errno)
		}
		terminal := os.NewFile(other, "terminal")
		defer terminal.Close()
		cmd := exec.Command("/proc/self/exe", attackRole, typeRole, strconv.FormatUint(command, 10))
		cmd.Stdin = terminal
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() < 0 {
			return err
		}
		return unix.Errno(exit.ExitCode())
	}
}

// leakedDescriptors looks at what this process was started with.
func leakedDescriptors(host) error {
	for fd := 3; fd < 1024; fd++ {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
			return nil
		}
	}
	return unix.ENOENT
}

func otherDevices(host) error {
	known := []string{"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return nil
		}
	}
	return unix.ENOENT
}

// legacyCall runs a tiny program that ends itself with code 42 through the
// system call gate of 32-bit programs. When that is shut it goes on into an
// illegal instruction.
func legacyCall(host) error {
	if runtime.GOARCH != "amd64" {
		return unix.EPERM // there is no such gate
	}
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (exit)
		0xbb, 42, 0, 0, 0, // mov ebx, 42
		0xcd, 0x80, // int 0x80
		0x0f, 0x0b, // ud2
	}
	path := "/tmp/legacy"
	if err := os.WriteFile(path, smallELF(code), 0o700); err != nil {
		return fmt.Errorf("program: %s", err)
	}
	err := exec.Command(path).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("program: %v", err)
	}
	if exit.ExitCode() == 42 {
		return nil
	}
	// The second is what a kernel without that gate answers.
	if s := exit.Sys().(syscall.WaitStatus).Signal(); s == unix.SIGILL || s == unix.SIGSEGV {
		return unix.EPERM
	}
	return fmt.Errorf("program: %v", err)
}

// smallELF is a static program for amd64 that consists of code.
func smallELF(code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(code))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	le := binary.LittleEndian
	b = le.AppendUint16(b, 2)  // executable
	b = le.AppendUint16(b, 62) // amd64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+headers) // entry
	b = le.AppendUint64(b, 64)           // program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // load
	b = le.AppendUint32(b, 5) // readable, executable
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...)
}

// TestPodHolds runs all attempts inside a pod.
func TestPodHolds(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copySelf(filepath.Join(bin, "attack")); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@podgate-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	// A library in the server that forgets close-on-exec.
	leak, err := unix.FcntlInt(os.Stdin.Fd(), unix.F_DUPFD, 300)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	shared, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.SysvShmCtl(shared, unix.IPC_RMID, nil)
	// Without limits: the race detector reserves more address space than any
	// plan has memory.
	r := open(t, Config{Binds: []string{bin}, LimitsMode: LimitsOff})
	start(t, r, "victim", limits)
	start(t, r, "attacker", limits)
	got := command(t, r, "attacker", fmt.Sprintf("%s/attack %s %s %s '%s'", bin, attackRole, secret, tcp.Addr(), abstract.Addr()))
	if want := fmt.Sprintf("attempts %d\n", len(attempts)); got.code != 0 || !strings.HasSuffix(got.stdout, want) {
		t.Errorf("the attacker did not get to the end: %+v", got)
	}
	for line := range strings.Lines(got.stdout) {
		if strings.HasPrefix(line, "BROKEN") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// TestPodTools uses on itself what may not be used on the agent.
func TestPodTools(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	for line, want := range map[string]string{
		"nice -n 5 sh -c 'test $(nice) -ge 5 && echo nicer'": "nicer\n",
		"taskset -c 0 sh -c 'taskset -p 0; echo 0'":          "0\n",
		"ulimit -n 100; sh -c 'ulimit -n'":                   "100\n",
		"prlimit --nofile=90 sh -c 'ulimit -n'":              "90\n",
		"chrt -b 0 echo batch":                               "batch\n",
		"ionice -c 3 ionice":                                 "idle\n",
	} {
		if _, err := exec.LookPath(strings.Fields(line)[0]); err != nil && !strings.HasPrefix(line, "ulimit") {
			t.Logf("not on this machine: %s", line)
			continue
		}
		if got := command(t, r, "a", line); got.code != 0 || !strings.HasSuffix(got.stdout, want) {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// TestPodPrivileges looks at every process of a pod.
func TestPodPrivileges(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	got := command(t, r, "a", `sleep 60 & for s in /proc/[0-9]*/status; do echo "== $s"; cat $s; done; kill %1 2>/dev/null; kill $!`)
	for line := range strings.Lines(command(t, r, "a", "cat /proc/self/cgroup").stdout) {
		if !strings.HasSuffix(line, ":/\n") {
			t.Errorf("the pod sees its place among the host's groups: %s", line)
		}
	}
	processes := strings.Split(got.stdout, "== ")[1:]
	if len(processes) < 3 {
		t.Fatalf("%d processes: %+v", len(processes), got)
	}
	for _, p := range processes {
		if !strings.Contains(p, "Name:") {
			continue // it ended while it was looked at
		}
		for _, want := range []string{
			"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n",
			"CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Uid:\t1000\t1000\t1000\t1000\n", "Gid:\t1000\t1000\t1000\t1000\n",
		} {
			if !strings.Contains(p, want) {
				t.Errorf("a process without %q:\n%s", want, p)
			}
		}
	}
}
