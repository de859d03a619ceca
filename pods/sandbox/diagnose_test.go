package sandbox

import (
	"strings"
	"syscall"
	"testing"
)

func TestDiagnose(t *testing.T) {
	linux := facts{OS: "linux", Arch: "amd64", Kernel: "6.1.0", Admin: true, UsernsClone: -1, MaxUserns: 1000, AppArmorUserns: -1, MemfdNoexec: -1}
	with := func(change func(*facts)) facts {
		f := linux
		change(&f)
		return f
	}
	for _, c := range []struct {
		name        string
		step        string
		errno       syscall.Errno
		facts       facts
		reason, fix string // parts
	}{
		{"macOS", "", 0, facts{OS: "darwin", Arch: "arm64"}, "needs Linux, this is darwin", "virtual machine"},
		{"other machine", "", 0, facts{OS: "linux", Arch: "riscv64"}, "riscv64", "amd64 or arm64"},
		{"sysctl of Debian", stepClone, syscall.EPERM, with(func(f *facts) { f.UsernsClone = 0 }), "unprivileged_userns_clone is 0", "unprivileged_userns_clone=1"},
		{"that does not matter to root", stepClone, syscall.EPERM, with(func(f *facts) { f.UsernsClone, f.Root = 0, true }), "refused a user namespace", "missing capability"},
		{"no more namespaces", stepClone, syscall.ENOSPC, with(func(f *facts) { f.MaxUserns = 0 }), "max_user_namespaces is 0", "max_user_namespaces=15000"},
		{"kernel without them", stepClone, syscall.EINVAL, linux, "without user namespaces", "CONFIG_USER_NS"},
		{"container", stepClone, syscall.EPERM, with(func(f *facts) { f.Container = true }), "container", "seccomp=unconfined"},
		{"unit", stepClone, syscall.EPERM, with(func(f *facts) { f.Unit = true }), "service", "RestrictNamespaces="},
		{"uids that are not mapped", stepClone, syscall.EPERM, with(func(f *facts) { f.Root, f.UIDs = true, "700000 to 765535" }), "700000 to 765535", "uid_map"},
		{"Ubuntu at clone", stepClone, syscall.EACCES, with(func(f *facts) { f.AppArmorUserns = 1 }), "AppArmor", "apparmor_parser"},
		{"Ubuntu at the first mount", stepRoot, syscall.EACCES, with(func(f *facts) { f.AppArmorUserns = 1 }), "AppArmor", "/etc/apparmor.d/podgate"},
		{"first mount otherwise", stepRoot, syscall.EACCES, linux, "first mount", "dmesg"},
		{"proc in a container", stepProc, syscall.EPERM, with(func(f *facts) { f.Container = true }), "hides parts of /proc", "systempaths=unconfined"},
		{"proc in a unit", stepProc, syscall.EPERM, with(func(f *facts) { f.Unit = true }), "hides parts of /proc", "ProtectKernelTunables="},
		{"proc otherwise", stepProc, syscall.EPERM, linux, "Parts of /proc are hidden", "findmnt"},
		{"old kernel", stepAttr, syscall.ENOSYS, linux, "6.1.0 is too old", "5.12"},
		{"older kernel", stepSource, syscall.ENOSYS, linux, "too old", "5.12"},
		{"root without admin", stepTree, syscall.EPERM, with(func(f *facts) { f.Root, f.Admin = true, false }), "without the capability SYS_ADMIN", "--cap-add SYS_ADMIN"},
		{"a file system that cannot be bound", stepTree, syscall.EINVAL, linux, "cannot be bound", "ext4"},
		{"memory files", stepMemfd, syscall.EACCES, with(func(f *facts) { f.MemfdNoexec = 2 }), "memfd_noexec is 2", "memfd_noexec=1"},
		{"no filters", stepSeccomp, syscall.EINVAL, linux, "without seccomp", "CONFIG_SECCOMP_FILTER"},
		{"limits required", stepCgroup, 0, linux, "limits = \"require\"", "Delegate=memory pids cpu"},
		{"initial file system", stepPivot, syscall.EINVAL, linux, "initial memory file system", "Boot"},
		{"unknown", stepLoopback, syscall.EIO, linux, "«bring lo up»: input/output error (Linux 6.1.0)", "log"},
		{"unknown without number", stepAgent, 0, linux, "no error number", "log"},
	} {
		got := diagnose(c.step, c.errno, c.facts)
		if !strings.Contains(got.reason, c.reason) || !strings.Contains(got.fix, c.fix) {
			t.Errorf("%s: %+v, want %q and %q", c.name, got, c.reason, c.fix)
		}
		if strings.HasSuffix(got.reason, ".") || !strings.HasSuffix(got.fix, ".") {
			t.Errorf("%s: a reason without and a fix with a full stop make a sentence each: %+v", c.name, got)
		}
	}
}
