//go:build !linux

package agent

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// awaitChild cannot look without collecting here: the caller's wait does both.
func awaitChild(pid int) (int, error) {
	if pid == 0 {
		return 0, syscall.ECHILD
	}
	return pid, nil
}

func markProcess(int, mark) {}

func lowerLimits(int) {}

func markSelf(mark, *os.File) func() { return func() {} }

// entryOf is nothing here: there is no way to find what left its group. The
// group itself is signalled by who would look for the rest.
type entryOf struct{}

func (p *proc) tree() ([]entryOf, error)                    { return nil, nil }
func (ps *procs) started() ([]entryOf, error)               { return nil, nil }
func (ps *procs) others([]*proc) ([]entryOf, error)         { return nil, nil }
func askAll(func() ([]entryOf, error), time.Duration) error { return nil }
func killAll(func() ([]entryOf, error)) error               { return nil }

func guardInit() (*os.File, func(), error) {
	return nil, nil, errors.New("only Linux can run an agent as PID 1 of a pod")
}

func (ps *procs) measure() (memory int64, cpu float64, processes int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return 0, ps.used.Seconds(), len(ps.live)
}

func syncDisk(*os.Root) {}

func diskUse(size int64, _ any) (bytes int64, inode uint64, links uint64) { return size, 0, 1 }

func listeningPorts() []int { return nil }
