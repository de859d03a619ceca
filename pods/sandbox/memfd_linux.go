//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/internal/handover"
)

// lowestSelf is above every descriptor that the start of a process shuffles
// around, so that the path /proc/self/fd/N still names our binary there.
const lowestSelf = 500

const mfdExec = 0x10 // MFD_EXEC, since Linux 6.3

// sealedSelf is a copy of the running binary in memory that nobody can change,
// opened for reading. An upgrade on disk does not disturb it, and pods cannot
// reach the file behind it.
func sealedSelf() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fail(stepMemfd, err)
	}
	defer self.Close()
	// A process forked while the copy is open for writing would hold it open,
	// and a file open for writing cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.MemfdCreate("podgate", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("podgate", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fail(stepMemfd, err)
	}
	copied := os.NewFile(uintptr(fd), "podgate")
	defer copied.Close()
	if _, err := io.Copy(copied, self); err != nil {
		return nil, fail(stepMemfd, err)
	}
	if err := handover.Seal(copied.Fd()); err != nil {
		return nil, fail(stepMemfd, err)
	}
	return reopen(copied)
}

// reopen is f opened anew for reading only, at a high descriptor.
func reopen(f *os.File) (*os.File, error) {
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fail(stepMemfd, err)
	}
	defer r.Close()
	fd, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, lowestSelf)
	if err != nil {
		return nil, fail(stepMemfd, err)
	}
	return os.NewFile(uintptr(fd), "podgate"), nil
}
