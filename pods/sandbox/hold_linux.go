//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/store"
)

var _ pods.Holder = (*Runtime)(nil)

// Hold implements pods.Holder: by the freezer of cgroup version 2, and elsewhere by
// stopping each process, as the agent of a pod that is stopped cannot start others.
func (r *Runtime) Hold(ctx context.Context, id store.PodID) (release func() bool, err error) {
	_, giveBack, err := r.take(ctx, id)
	if err != nil {
		return nil, err
	}
	thaw := func() error { return nil }
	if in := r.running(id); in != nil {
		if thaw, err = in.freeze(ctx); err != nil {
			giveBack()
			return nil, err
		}
	}
	var once sync.Once
	end := func() (first bool) {
		once.Do(func() {
			first = true
			if err := thaw(); err != nil {
				r.log.Error("a pod that was held still does not go on", "pod", id, "error", err)
			}
			giveBack()
		})
		return first
	}
	limit := time.AfterFunc(pods.HoldTime, func() { end() })
	return func() bool { limit.Stop(); return end() }, nil
}

// freeze keeps every process of the pod from running until thaw is called.
func (in *instance) freeze(ctx context.Context) (thaw func() error, err error) {
	if in.group != nil && in.group.h.version == 2 {
		return in.group.freeze(ctx)
	}
	return stopProcesses(ctx, in.process.Pid)
}

// freezePoll is the pause between two looks whether all is frozen.
const freezePoll = 2 * time.Millisecond

// freeze has the kernel freeze the group, and waits until it has.
func (g *group) freeze(ctx context.Context) (thaw func() error, err error) {
	dir := g.dirs()[0]
	thaw = func() error {
		err := g.h.fs.write(dir+"/cgroup.freeze", "0")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // the pod has ended
		}
		return err
	}
	if err := g.h.fs.write(dir+"/cgroup.freeze", "1"); err != nil {
		return nil, fmt.Errorf("freeze the pod: %w", err)
	}
	for {
		events, err := g.h.fs.read(dir + "/cgroup.events")
		if err == nil && valueOf(events, "frozen") == 1 {
			return thaw, nil
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("freeze the pod: %w", err), thaw())
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(freezePoll):
		return nil
	}
}

// stopProcesses stops a pod's first process and all below it. A child's turn comes when
// its parent rests: it cannot fork again by then, and one that waits for its child to
// begin another program (vfork) would otherwise wait for ever, neither running nor
// stopped. It looks again until it finds each of them stopped. What had been stopped
// before, as in a shell of the pod, stays so.
func stopProcesses(ctx context.Context, first int) (thaw func() error, err error) {
	var stopped []process
	known := map[process]bool{} // by process and start
	thaw = func() error {
		for _, p := range slices.Backward(stopped) { // a shell is not to see that its child was stopped
			p.signal(unix.SIGCONT)
		}
		return nil
	}
	for {
		top, err := readProcess(first)
		if err != nil {
			return thaw, nil // it has ended, and all below with it
		}
		still, resting := true, map[int]bool{top.parent: true}
		for _, p := range append([]process{top}, readProcesses().below(first)...) {
			if !resting[p.parent] {
				still = false
				continue
			}
			p = process{pid: p.pid, start: p.start}
			rests := p.rests()
			resting[p.pid] = rests
			if !known[p] && !rests {
				p.signal(unix.SIGSTOP)
				stopped = append(stopped, p)
			}
			still = still && known[p] && rests
			known[p] = true
		}
		if still {
			return thaw, nil
		}
		if err := pause(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("stop the processes of the pod: %w", err), thaw())
		}
	}
}

// rests reports whether every thread of the process is stopped or dead.
func (p process) rests() bool {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil {
		return true // gone
	}
	for _, thread := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", p.pid, thread.Name()))
		if err != nil {
			continue // gone
		}
		stat := string(b)
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if len(fields) == 0 || !strings.Contains("TtZXx", fields[0]) {
			return false
		}
	}
	return true
}
