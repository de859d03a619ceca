package sandbox

import (
	"fmt"
	"syscall"
)

// The steps of a start at which the kernel may refuse.
const (
	stepMemfd    = "memory file" // copying our binary
	stepTree     = "open_tree"   // as root: taking the home for the pod
	stepClone    = "clone"       // new process in new namespaces with its id mapped
	stepCgroup   = "cgroup"      // limits
	stepSpec     = "read the specification"
	stepRoot     = "make the root"   // first mount
	stepSource   = "bind"            // taking a part of the host's files
	stepAttr     = "mount_setattr"   // making it read-only
	stepAttach   = "attach"          // putting a mount into the new root
	stepProc     = "mount proc"      //
	stepFiles    = "make files"      // generated files and folders
	stepPivot    = "pivot_root"      //
	stepLoopback = "bring lo up"     //
	stepNetwork  = "network"         // handing the device over
	stepRlimits  = "set rlimits"     //
	stepDrop     = "drop privileges" //
	stepSeccomp  = "seccomp"         //
	stepExec     = "execute"         // stage 2
	stepAgent    = "agent"           // it runs but does not answer
)

// facts are what a diagnosis looks at beside step and error number. Unknown
// numbers are -1.
type facts struct {
	OS, Arch       string
	Kernel         string // release
	Root           bool
	Admin          bool   // as root: has CAP_SYS_ADMIN
	Container      bool   // an outer container
	Unit           bool   // started by systemd
	UsernsClone    int    // kernel.unprivileged_userns_clone
	MaxUserns      int    // user.max_user_namespaces
	AppArmorUserns int    // kernel.apparmor_restrict_unprivileged_userns
	MemfdNoexec    int    // vm.memfd_noexec
	UIDs           string // the range of host uids for pods, when the kernel does not map it
}

// diagnosis is why pods cannot run and what to do, for the owner of the
// machine.
type diagnosis struct{ reason, fix string }

// diagnose names the likely cause of a start that failed at step with errno.
// It only looks at its arguments.
func diagnose(step string, errno syscall.Errno, f facts) diagnosis {
	switch {
	case f.OS != "linux":
		return diagnosis{"The embedded sandbox needs Linux, this is " + f.OS, "Run podgate on a Linux machine, or in a Linux virtual machine on this one."}
	case f.Arch != "amd64" && f.Arch != "arm64":
		return diagnosis{"The embedded sandbox has no table of system calls for " + f.Arch, "Run podgate on an amd64 or arm64 machine."}
	}
	for _, known := range []func(string, syscall.Errno, facts) (diagnosis, bool){diagnoseClone, diagnoseMounts, diagnoseRest} {
		if d, ok := known(step, errno, f); ok {
			return d
		}
	}
	return diagnosis{
		fmt.Sprintf("Starting a pod failed at the step «%s»: %s (Linux %s)", step, describe(errno), f.Kernel),
		"Look at the server's log for the lines before this one, and at the kernel's log (dmesg) for a refusal.",
	}
}

func describe(errno syscall.Errno) string {
	if errno == 0 {
		return "no error number"
	}
	return errno.Error()
}

func diagnoseClone(step string, errno syscall.Errno, f facts) (diagnosis, bool) {
	if step != stepClone {
		return diagnosis{}, false
	}
	switch errno {
	case syscall.ENOSPC, syscall.EUSERS:
		return diagnosis{
			fmt.Sprintf("The kernel allows no further user namespace (user.max_user_namespaces is %d)", f.MaxUserns),
			"Run: sysctl -w user.max_user_namespaces=15000, and keep it in /etc/sysctl.d/podgate.conf.",
		}, true
	case syscall.EINVAL:
		return diagnosis{"The kernel was built without user namespaces", "Use a kernel with CONFIG_USER_NS, as all common distributions have."}, true
	case syscall.EPERM, syscall.EACCES:
		return diagnoseCloneRefused(f), true
	}
	return diagnosis{}, false
}

func diagnoseCloneRefused(f facts) diagnosis {
	switch {
	case f.UsernsClone == 0 && !f.Root:
		return diagnosis{
			"Ordinary users may not make user namespaces here (kernel.unprivileged_userns_clone is 0)",
			"Run: sysctl -w kernel.unprivileged_userns_clone=1, and keep it in /etc/sysctl.d/podgate.conf; or run podgate as root.",
		}
	case f.AppArmorUserns == 1 && !f.Root:
		return appArmor()
	case f.UIDs != "":
		return diagnosis{
			"The host uids " + f.UIDs + " that pods should run as do not exist in the user namespace podgate runs in",
			"Set the range of pod uids to one that /proc/self/uid_map lists, or run podgate as an ordinary user.",
		}
	case f.Container:
		return diagnosis{
			"The container podgate runs in does not let it make user namespaces",
			"Start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, and as root also with --cap-add SYS_ADMIN; or run podgate outside a container.",
		}
	case f.Unit:
		return diagnosis{
			"The kernel refused a user namespace to this service",
			"Take RestrictNamespaces=, SystemCallFilter= and a CapabilityBoundingSet= without CAP_SETUID, CAP_SETGID and CAP_SETFCAP out of the unit.",
		}
	}
	return diagnosis{
		"The kernel refused a user namespace with a mapped id",
		"A security module or a missing capability (SETUID, SETGID, SETFCAP) is in the way: look at dmesg, or run podgate as an ordinary user.",
	}
}

func appArmor() diagnosis {
	return diagnosis{
		"AppArmor keeps programs without a profile from using user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
		"Install the profile from docs/sandbox.md as /etc/apparmor.d/podgate and run: apparmor_parser -r /etc/apparmor.d/podgate.",
	}
}

func diagnoseMounts(step string, errno syscall.Errno, f facts) (diagnosis, bool) {
	refused := errno == syscall.EPERM || errno == syscall.EACCES
	switch {
	case errno == syscall.ENOSYS && (step == stepAttr || step == stepRoot || step == stepSource || step == stepTree):
		return diagnosis{
			"The kernel " + f.Kernel + " is too old to make bound folders read-only (mount_setattr came with 5.12)",
			"Use Linux 5.12 or newer.",
		}, true
	case step == stepTree && refused && !f.Admin:
		return diagnosis{
			"podgate is root without the capability SYS_ADMIN, so it cannot hand a home to its pod",
			"Give it CAP_SYS_ADMIN (in a container: --cap-add SYS_ADMIN), or run it as an ordinary user.",
		}, true
	case step == stepRoot && refused && f.AppArmorUserns == 1:
		return appArmor(), true
	case step == stepRoot && refused:
		return diagnosis{
			"The kernel refused the first mount in the pod's own namespace",
			"A security module is in the way: look at dmesg; in a container add --security-opt apparmor=unconfined --security-opt label=disable.",
		}, true
	case step == stepProc && refused:
		return diagnoseProc(f), true
	case (step == stepSource || step == stepTree || step == stepAttr) && (errno == syscall.EINVAL || errno == syscall.EPERM || errno == syscall.EOPNOTSUPP):
		return diagnosis{
			"A file system of the host cannot be bound into a pod",
			"Keep the data folder on an ordinary local file system (ext4, xfs, btrfs, zfs), and leave network file systems out of the extra binds.",
		}, true
	}
	return diagnosis{}, false
}

func diagnoseProc(f facts) diagnosis {
	switch {
	case f.Container:
		return diagnosis{
			"The container podgate runs in hides parts of /proc, and then the kernel gives pods no /proc of their own",
			"Start the container with --security-opt systempaths=unconfined (Podman: --security-opt unmask=ALL).",
		}
	case f.Unit:
		return diagnosis{
			"The service hides parts of /proc, and then the kernel gives pods no /proc of their own",
			"Take ProtectKernelTunables=, ProtectKernelLogs=, ProtectProc= and ProcSubset= out of the unit.",
		}
	}
	return diagnosis{
		"Parts of /proc are hidden, and then the kernel gives pods no /proc of their own",
		"Look for mounts below /proc (findmnt -R /proc) and take them away for podgate.",
	}
}

func diagnoseRest(step string, errno syscall.Errno, f facts) (diagnosis, bool) {
	switch {
	case step == stepMemfd && f.MemfdNoexec == 2:
		return diagnosis{
			"The kernel lets no memory file be executed (vm.memfd_noexec is 2)",
			"Run: sysctl -w vm.memfd_noexec=1, and keep it in /etc/sysctl.d/podgate.conf.",
		}, true
	case step == stepSeccomp && (errno == syscall.EINVAL || errno == syscall.ENOSYS):
		return diagnosis{"The kernel was built without seccomp filters", "Use a kernel with CONFIG_SECCOMP_FILTER, as all common distributions have."}, true
	case step == stepCgroup:
		return diagnosis{
			"limits = \"require\" is set, but podgate has no cgroup of its own for memory, cpus and processes",
			"Put Delegate=memory pids cpu into the [Service] part of the unit, run podgate as root, or write limits = \"auto\" below [[region]].",
		}, true
	case step == stepPivot && errno == syscall.EINVAL:
		return diagnosis{"The machine runs from its initial memory file system, which cannot be exchanged for a pod's root", "Boot it from a disk or a real root file system."}, true
	}
	return diagnosis{}, false
}
