//go:build !linux

package agent

import (
	"errors"
	"os"
	"syscall"
)

// awaitChild cannot look without collecting here: the caller's wait does both.
func awaitChild(pid int) (int, error) {
	if pid == 0 {
		return 0, syscall.ECHILD
	}
	return pid, nil
}

func markProcess(int, mark) {}

func reserveThreads(int) {}

func markSelf(mark, *os.File) func() { return func() {} }

// killMarked has no way here to find what left its group; the group itself has
// been signalled by the caller.
func killMarked(func(mark) bool, *proc) error { return nil }

func guardInit() (*os.File, func(), error) {
	return nil, nil, errors.New("only Linux can run an agent as PID 1 of a pod")
}

func (ps *procs) measure() (memory int64, cpu float64, processes int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return 0, ps.used.Seconds(), len(ps.live)
}

func diskUse(size int64, _ any) (bytes int64, inode uint64, links uint64) { return size, 0, 1 }
