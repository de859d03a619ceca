//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// readFacts looks at the machine. What cannot be read is unknown.
func readFacts() facts {
	f := facts{
		OS: runtime.GOOS, Arch: runtime.GOARCH,
		Root:           os.Geteuid() == 0,
		Admin:          hasCapability(unix.CAP_SYS_ADMIN),
		Container:      inContainer(),
		Unit:           os.Getenv("INVOCATION_ID") != "",
		UsernsClone:    readSysctl("kernel/unprivileged_userns_clone"),
		MaxUserns:      readSysctl("user/max_user_namespaces"),
		AppArmorUserns: readSysctl("kernel/apparmor_restrict_unprivileged_userns"),
		MemfdNoexec:    readSysctl("vm/memfd_noexec"),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return f
}

func readSysctl(name string) int {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return -1
	}
	return n
}

func hasCapability(n int) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if set, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			return err == nil && bits>>n&1 == 1
		}
	}
	return false
}

func inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Lstat(mark); err == nil {
			return true
		}
	}
	return os.Getenv("container") != ""
}
