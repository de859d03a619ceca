package seccomp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install puts the program on the calling thread and what it starts, for good.
// The thread must have no_new_privs set.
func (p Program) Install() error {
	prog := struct {
		length uint16
		filter *instruction
	}{uint16(len(p)), &p[0]}
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	if errno != 0 {
		return errno
	}
	return nil
}
