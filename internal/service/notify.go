package service

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Manager is the service manager that started this process, as sd_notify(3) describes
// it. The zero Manager is none, and hears nothing.
type Manager struct {
	socket string
	// Watchdog is after how long without a word from [Manager.Alive] it takes this process
	// for hung; 0: never.
	Watchdog time.Duration
}

// ManagerOf finds the manager in the environment.
func ManagerOf(lookup func(name string) (string, bool)) Manager {
	var m Manager
	m.socket, _ = lookup("NOTIFY_SOCKET")
	pid, one := lookup("WATCHDOG_PID")
	usec, ok := lookup("WATCHDOG_USEC")
	if !ok || one && pid != strconv.Itoa(os.Getpid()) {
		return m
	}
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 && m.socket != "" {
		m.Watchdog = time.Duration(n) * time.Microsecond
	}
	return m
}

// Ready says that this process does what it is there for, at first or again, and in a
// line how it is.
func (m Manager) Ready(status string) error { return m.tell("READY=1", "STATUS="+status) }

// Reloading says that the configuration is read, or another program takes over; Ready
// ends it.
func (m Manager) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return m.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
}

// Stopping says that this process ends.
func (m Manager) Stopping() error { return m.tell("STOPPING=1") }

// Alive says that this process is not hung.
func (m Manager) Alive() error { return m.tell("WATCHDOG=1") }

func (m Manager) tell(lines ...string) error {
	if m.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: m.socket}) // «@»: abstract, for net as for systemd
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(strings.Join(lines, "\n") + "\n"))
	return err
}
