//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/pods/sandbox/seccomp"
)

// Dispatch must be the first call of main, and of TestMain where tests start
// pods: when this process is part of a pod it runs that part and never
// returns. Otherwise it returns at once.
func Dispatch() {
	switch os.Args[0] {
	case stage1Name:
		runStage1()
	case stage2Name:
		runStage2()
	case gatewayName:
		runGateway()
	}
}

// capabilities are what stage 1 is given in the pod's user namespace, each for
// one purpose, until it drops them: mounts, network devices, packet sockets, the
// bounding set, making folders, rlimits.
var capabilities = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SETPCAP, unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_RESOURCE}

// runStage1 builds the pod around itself and becomes stage 2. Everything
// happens on one thread: capabilities, no_new_privs and the filter belong to
// a thread, and execution keeps only those of the thread that calls it.
func runStage1() {
	runtime.LockOSThread()
	files, err := readDonated(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
	writeStatus(files.file(donatedStatus), stage1(files))
	os.Exit(1)
}

func stage1(files donated) error {
	// The belt beside the lifeline. The server starts pods from a thread that
	// lives as long as it does.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fail(stepDrop, err)
	}
	if err := unix.CloseRange(firstDonated, ^uint(0)>>1&0x7fffffff, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fail(stepSpec, err)
	}
	s, err := readSpec(files.file(donatedSpec))
	if err != nil {
		return fail(stepSpec, err)
	}
	// Only now, since the server has put this process into its cgroup before
	// it sent the specification, and that one becomes the visible root.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fail(stepClone, err)
	}
	if s.Meter {
		if err := sendDiag(files.file(donatedDiag)); err != nil {
			return fail(stepNetwork, err)
		}
	}
	if _, wanted := files[donatedApps]; wanted {
		sendAppSockets(files.file(donatedApps))
	}
	if s.Network { // first, as it needs the host's /dev and a writable /proc
		if err := network(files.file(donatedNetwork)); err != nil {
			return fail(stepNetwork, err)
		}
	}
	if s.Agent.Logs, err = buildRoot(s, files); err != nil {
		return err
	}
	if err := settle(s); err != nil {
		return err
	}
	return execAgent(s, files)
}

// settle sets what is not a file: host name, loopback, rlimits.
func settle(s spec) error {
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fail(stepLoopback, fmt.Errorf("host name: %w", err))
	}
	if err := loopbackUp(); err != nil {
		return fail(stepLoopback, err)
	}
	for _, l := range s.Rlimits {
		if err := setRlimit(l); err != nil {
			return fail(stepRlimits, fmt.Errorf("rlimit %d: %w", l.Resource, err))
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// setRlimit never raises the hard limit: that would need a capability of the
// host.
func setRlimit(l rlimit) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(l.Resource, &now); err != nil {
		return err
	}
	v := min(l.Value, now.Max)
	return syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: v, Max: v})
}

// execAgent gives up every privilege and becomes stage 2.
func execAgent(s spec, files donated) error {
	s.Agent.Control = files.number(donatedControl)
	argument, err := json.Marshal(s.Agent)
	if err != nil {
		return fail(stepExec, err)
	}
	programs, err := filters(s)
	if err != nil {
		return fail(stepSeccomp, err)
	}
	for _, kept := range []int{s.Agent.Control, s.Agent.Logs} {
		if _, err := unix.FcntlInt(uintptr(kept), unix.F_SETFD, 0); err != nil {
			return fail(stepExec, err)
		}
	}
	if err := dropPrivileges(); err != nil {
		return fail(stepDrop, err)
	}
	for _, program := range programs {
		if err := program.Install(); err != nil {
			return fail(stepSeccomp, err)
		}
	}
	// The agent's heap is small; it must stay out of the way of the app, whose
	// memory limit it shares.
	environ := []string{"GOMAXPROCS=2", "GOMEMLIMIT=24MiB"}
	path := fmt.Sprintf("/proc/self/fd/%d", files.number(donatedSelf))
	return fail(stepExec, syscall.Exec(path, []string{stage2Name, string(argument)}, environ))
}

// filters are what the pod may not call.
func filters(s spec) ([]seccomp.Program, error) {
	program, err := seccomp.Filter(runtime.GOARCH)
	if err != nil || !s.Uncounted {
		return []seccomp.Program{program}, err
	}
	more, err := seccomp.Uncounted(runtime.GOARCH)
	return []seccomp.Program{program, more}, err
}

const (
	securebitNoRoot            = 1 << 0
	securebitNoSetuidFixup     = 1 << 2
	securebitKeepCapsLocked    = 1 << 5
	securebitNoCapAmbientRaise = 1 << 6
	securebitsLocked           = securebitNoRoot<<1 | securebitNoSetuidFixup<<1 | securebitNoCapAmbientRaise<<1
	securebits                 = securebitNoRoot | securebitNoSetuidFixup | securebitKeepCapsLocked | securebitNoCapAmbientRaise | securebitsLocked
	capabilityVersion3         = 0x20080522
	highestCapability          = 63
)

// dropPrivileges empties all five sets of capabilities of this thread for good.
func dropPrivileges() error {
	for c := uintptr(0); c <= highestCapability; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break // the kernel knows no more
		} else if err != nil {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient set: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0); err != nil {
		return fmt.Errorf("secure bits: %w", err)
	}
	header := unix.CapUserHeader{Version: capabilityVersion3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}
