package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install puts the program on the calling thread and what it starts, for good.
// The thread must have no_new_privs set.
func (p Program) Install() error { return p.install(0) }

// InstallAll puts it on all threads of the process, with no_new_privs if the
// calling one has that.
func (p Program) InstallAll() error { return p.install(unix.SECCOMP_FILTER_FLAG_TSYNC) }

func (p Program) install(flags uintptr) error {
	prog := struct {
		length uint16
		filter *instruction
	}{uint16(len(p)), &p[0]}
	other, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	if errno != 0 {
		return errno
	}
	if other != 0 {
		return fmt.Errorf("thread %d cannot take the filter", other)
	}
	return nil
}
