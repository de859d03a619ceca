package agent

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/pods/wire"
)

// openPTY opens a new pseudoterminal: our side, and that of the shell. The second
// is taken from the first and not by its name, which whoever runs in the pod could
// have led elsewhere.
func openPTY(size wire.Size) (pty, tty *os.File, err error) {
	pty, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	err = onFile(pty, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return fmt.Errorf("open the other side: %w", errno)
		}
		tty = os.NewFile(peer, "tty")
		return takesUTF8(fd)
	})
	if err == nil {
		err = setSize(pty, size)
	}
	if err != nil {
		pty.Close()
		tty.Close()
		return nil, nil, err
	}
	return pty, tty, nil
}

// takesUTF8 has the line editor of the kernel erase characters rather than bytes.
func takesUTF8(fd int) error {
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Iflag |= unix.IUTF8
	return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
}

// setSize makes the terminal so large, and has the kernel tell what runs there.
func setSize(pty *os.File, size wire.Size) error {
	return onFile(pty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Columns), Row: uint16(size.Rows)})
	})
}

// onFile leaves the file in the hands of the runtime's poller, unlike Fd.
func onFile(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
