//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	startTimeout = 20 * time.Second // until the agent answers
	stopGrace    = 8 * time.Second  // for the agent to end the app properly; it takes 5 s before it kills
)

// instance is one run of a pod.
type instance struct {
	process   *os.Process
	control   *control
	group     *group // nil without cgroups
	limits    pods.Limits
	enforced  []string
	started   time.Time
	home      *homeMeter
	output    *output
	log       *slog.Logger
	ended     func(reason string) // is told when the pod ends by itself
	watched   watched
	noNetwork string // why it has none, though it was to have one

	mu      sync.Mutex
	network *podNetwork  // nil without
	adopted *podNetwork  // of a pod that was adopted, until its gate is known
	sockets *socketMeter // nil where a cgroup counts
	door    *appDoor     // to its apps; nil: through the agent only
	gone    bool         // its first process has ended
	up      bool         // Start has succeeded, so that ending is news
	wanted  bool         // Stop was called, so that it is none
	blame   string       // why the watcher killed it
	kills   []pods.Kill  // for limits, of this and earlier runs, the newest last
	exit    string       // set before done is closed
	done    chan struct{}
}

// alive is false for nil.
func (in *instance) alive() bool {
	if in == nil {
		return false
	}
	select {
	case <-in.done:
		return false
	default:
		return true
	}
}

func (in *instance) status(id store.PodID) pods.Status {
	s := pods.Status{ID: id, Running: in.alive(), Started: in.started}
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Kills = slices.Clone(in.kills)
	if s.Running {
		s.Enforced, s.NoNetwork = in.enforced, in.noNetwork
	} else {
		s.Exit = in.exit
	}
	return s
}

// reap waits for the pod's first process, with which the kernel ends all
// others, and frees what belongs to the run.
func (in *instance) reap() {
	state, err := in.process.Wait()
	in.control.Close()
	in.endNetwork()
	in.output.wait()
	oom := false
	if in.group != nil {
		oom = in.group.oomKills() > 0
		if err := in.group.remove(); err != nil {
			in.log.Warn("a pod's cgroup stays behind", "error", err)
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.wanted {
		in.exit = in.reason(state, err, oom)
		in.noteKillLocked("the pod's environment ended by itself: " + in.exit)
	}
	close(in.done)
	in.tellLocked()
}

// setNetwork keeps n until the pod ends, which may have happened.
func (in *instance) setNetwork(n *podNetwork) {
	in.mu.Lock()
	gone := in.gone
	in.network = n
	in.mu.Unlock()
	if gone {
		n.end()
	}
}

// setSockets keeps m until the pod ends, which may have happened.
func (in *instance) setSockets(m *socketMeter) {
	in.mu.Lock()
	gone := in.gone
	in.sockets = m
	in.mu.Unlock()
	if gone {
		m.close()
	}
}

// socketsHold is what waits in the pod's sockets, in bytes, as far as no cgroup
// counts it.
func (in *instance) socketsHold() int64 {
	sum, _ := in.meter().used(counted...) // what could be read counts
	return sum
}

func (in *instance) meter() *socketMeter {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.sockets
}

// gateway is the process that takes the pod's packets; 0 while there is none.
func (in *instance) gateway() int {
	in.mu.Lock()
	n := in.network
	in.mu.Unlock()
	if n == nil {
		return 0
	}
	return int(n.pid.Load())
}

// endNetwork ends the network with the pod.
func (in *instance) endNetwork() {
	in.mu.Lock()
	in.gone = true
	n, m, idle, door := in.network, in.sockets, in.adopted, in.door
	in.adopted = nil
	in.mu.Unlock()
	n.end()
	idle.drop()
	m.close()
	door.close()
}

// maxKills is how many of the last kills are remembered.
const maxKills = 16

// killed notes that something of the pod is killed for a limit. What is killed
// within a moment for one reason is noted once.
func (in *instance) killed(why string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.noteKillLocked(why)
}

// remember takes over what an earlier run was killed for.
func (in *instance) remember(earlier *instance) {
	kills := earlier.status("").Kills
	in.mu.Lock()
	defer in.mu.Unlock()
	in.kills = append(kills, in.kills...)
}

func (in *instance) noteKillLocked(why string) {
	now := time.Now()
	if n := len(in.kills); n > 0 && in.kills[n-1].Reason == why && now.Sub(in.kills[n-1].At) < time.Second {
		return
	}
	in.kills = append(in.kills[max(0, len(in.kills)+1-maxKills):len(in.kills):len(in.kills)], pods.Kill{At: now, Reason: why})
}

// isUp is called once, when Start succeeds.
func (in *instance) isUp() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.up = true
	in.tellLocked()
}

// tellLocked tells of a death that nobody asked for, when both it and the
// success of Start have happened.
func (in *instance) tellLocked() {
	if in.up && in.exit != "" {
		in.ended(in.exit)
	}
}

func (in *instance) reason(state *os.ProcessState, err error, oom bool) string {
	if in.blame != "" {
		return in.blame
	}
	if err != nil {
		return err.Error()
	}
	words := state.String()
	if oom && state.Sys().(syscall.WaitStatus).Signaled() {
		words = in.outOfMemory()
	}
	if last := in.output.last(); last != "" {
		words += ": " + last
	}
	return words
}

// end lets go of the lifeline, gives the agent a moment and then kills.
// Nothing of the pod runs when it returns nil.
func (in *instance) end(ctx context.Context) error {
	in.mu.Lock()
	in.wanted = true
	in.mu.Unlock()
	in.control.Close()
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-in.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	return in.kill()
}

// kill ends the pod at once. The kernel does not let a killed process go on,
// so the wait is short, whatever became of the caller's context.
func (in *instance) kill() error {
	_ = in.process.Kill() // dead already
	select {
	case <-in.done:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("a killed pod does not end: a process of it waits in the kernel")
	}
}

// answers waits until the agent answers over the control socket.
func (in *instance) answers(ctx context.Context) error {
	conn, err := in.control.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, "GET "+wire.PathState+" HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 64<<10)), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent answers %s", response.Status)
	}
	return nil
}

// output reads what a pod's first process prints before and beside its
// logs: into the server's log, a bounded number of lines, and keeps the last
// one for errors.
type output struct {
	from *os.File
	done chan struct{}
	mu   sync.Mutex
	text string
}

const (
	maxOutputLine  = 2 << 10 // bytes
	maxOutputLines = 100     // of one run; the rest is read and dropped
)

// newOutput takes over r.
func newOutput(r *os.File, log *slog.Logger) *output {
	o := &output{from: r, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		defer r.Close()
		lines := bufio.NewReaderSize(r, maxOutputLine)
		for n := 0; ; {
			line, _, err := lines.ReadLine()
			if err != nil {
				return
			}
			text := strings.ToValidUTF8(string(line), "?")
			o.mu.Lock()
			o.text = text
			o.mu.Unlock()
			if n < maxOutputLines {
				n++
				log.Warn("the agent of a pod says", "line", text)
			}
		}
	}()
	return o
}

func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// wait returns when nothing more can come.
func (o *output) wait() { <-o.done }
