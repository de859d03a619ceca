//go:build linux && (amd64 || arm64)

package sandbox

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/internal/mainthread"
)

// spawner starts processes from one thread that lives as long as the runtime:
// the signal that a child gets when its parent dies is tied to the thread that
// started it, and Go ends threads as it likes. That is the first of the process,
// which another program takes over, and in tests one of its own.
type spawner struct {
	orders chan spawnOrder // nil: the first thread starts them
	done   chan struct{}
}

type spawnOrder struct {
	path  string
	argv  []string
	attr  *os.ProcAttr
	reply chan spawned
}

type spawned struct {
	process *os.Process
	err     error
}

func newSpawner() *spawner {
	if mainthread.Serves() {
		return &spawner{}
	}
	s := &spawner{orders: make(chan spawnOrder), done: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		defer close(s.done)
		for o := range s.orders {
			p, err := os.StartProcess(o.path, o.argv, o.attr)
			o.reply <- spawned{p, err}
		}
	}()
	return s
}

func (s *spawner) start(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	if s.orders == nil {
		var r spawned
		mainthread.Do(func() { r.process, r.err = os.StartProcess(path, argv, attr) })
		return r.process, r.err
	}
	reply := make(chan spawned, 1)
	s.orders <- spawnOrder{path, argv, attr, reply}
	r := <-reply
	return r.process, r.err
}

// close ends the thread. No start may follow, and all that was started has
// ended.
func (s *spawner) close() {
	if s.orders == nil {
		return
	}
	close(s.orders)
	<-s.done
}

// isolation is how stage 1 and the gateway are started. hostID is the pod's uid
// and gid on the host, capabilities what the process has in its own namespaces.
func isolation(hostID int, root bool, capabilities []uintptr) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: podUID, HostID: hostID, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: podUID, HostID: hostID, Size: 1}},
		AmbientCaps: capabilities,
	}
	if root {
		attr.GidMappingsEnableSetgroups = true // to be able to drop root's groups
		attr.Credential = &syscall.Credential{Uid: podUID, Gid: podUID}
	} else {
		attr.GidMappings[0].HostID = os.Getegid()
	}
	return attr
}
