package agent

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"podgate/pods/wire"
)

// markEnv carries a tree's mark in the environment of every process that the
// agent starts.
const markEnv = "PODGATE_MARK"

// treeBits is how much of a mark counts trees; the rest is the agent's own.
const treeBits = 20

// mark names a tree of processes: what one start of the app or one command
// became. Marks of one agent share the bits above treeBits, so that all its
// trees can be found at once, and no two agents of a machine share them.
type mark uint64

func (m mark) String() string { return fmt.Sprintf("%016x", uint64(m)) }

func (m mark) sameAgent(o mark) bool { return m>>treeBits == o>>treeBits }

// procs starts and collects all processes of an agent. In init mode it is also
// the collector of orphans. There is no other waiting for children: each exit
// status goes to the owner of the process or, if it has none, nowhere.
type procs struct {
	init    bool
	score   *os.File // our oom_score_adj in init mode, if it could be opened
	starter *starter // starts children in init mode
	base    mark
	born    chan struct{} // holds one token when a child may exist

	starts sync.RWMutex // shared by starts; endAll has it alone

	mu     sync.Mutex // held over fork, so that a child is known before it is collected
	trees  uint64
	live   map[int]*proc
	ending chan struct{} // closed and replaced when endAll begins
	used   time.Duration // CPU of collected children
	closed bool
}

// proc is a child that the agent started: leader of its session and group.
type proc struct {
	owner   *procs
	pid     int
	mark    mark
	app     bool // belongs to the app
	started time.Time
	ending  <-chan struct{} // closed when it was to end with everything else
	done    chan struct{}
	status  syscall.WaitStatus // valid once done is closed
}

// newProcs is in init mode when st is not nil.
func newProcs(st *starter, score *os.File) *procs {
	var b [8]byte
	rand.Read(b[:])
	// 62 bits: a resource limit can carry it too, and all ones mean no limit.
	base := mark(binary.LittleEndian.Uint64(b[:])>>2) >> treeBits << treeBits
	ps := &procs{init: st != nil, score: score, starter: st, base: base, born: make(chan struct{}, 1), live: map[int]*proc{}, ending: make(chan struct{})}
	if ps.init {
		go ps.collectAll()
	}
	return ps
}

// command is what a child runs. Files are its descriptors 0, 1 and 2.
type command struct {
	path  string
	shell bool // path is a shell
	app   bool // it belongs to the app
	tty   bool // its input is a terminal, which becomes its own
	argv  []string
	dir   string
	env   []string
	files [3]*os.File
}

// start runs c as a new tree. The caller still owns the files.
func (ps *procs) start(c command) (*proc, error) {
	ps.starts.RLock()
	defer ps.starts.RUnlock()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return nil, faultf(wire.FaultFailed, "the pod is stopping")
	}
	ps.trees = (ps.trees + 1) % (1 << treeBits)
	m := ps.base | mark(ps.trees)
	attr := &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   append(c.env[:len(c.env):len(c.env)], markEnv+"="+m.String()),
		Files: []uintptr{c.files[0].Fd(), c.files[1].Fd(), c.files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: c.tty},
	}
	pid, err := ps.fork(c, attr, m)
	if err != nil {
		return nil, err
	}
	p := &proc{owner: ps, pid: pid, mark: m, app: c.app, started: time.Now(), ending: ps.ending, done: make(chan struct{})}
	ps.live[pid] = p
	if ps.init {
		ps.announce()
	} else {
		go ps.collectOne(pid)
	}
	return p, nil
}

// fork starts the process so that it carries the second mark before it can do
// anything. PID 1 marks itself for the moment, since only it forks here. Any
// other process could hand the mark to a child of someone else that way: there
// a shell waits at a pipe until it has been marked.
func (ps *procs) fork(c command, attr *syscall.ProcAttr, m mark) (int, error) {
	if ps.init {
		unmark := markSelf(m, ps.score)
		defer unmark()
		pid, err := ps.starter.start(c.path, c.argv, attr)
		if err == nil {
			lowerLimits(pid)
		}
		return pid, err
	}
	if !c.shell {
		return syscall.ForkExec(c.path, c.argv, attr)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	defer w.Close()
	attr.Files = append(attr.Files, r.Fd())
	argv := append([]string{"sh", "-c", `read -r _ <&3; exec "$@" 3<&-`, "sh", c.path}, c.argv[1:]...)
	pid, err := syscall.ForkExec(c.path, argv, attr)
	if err == nil {
		markProcess(pid, m)
	}
	return pid, err
}

func (ps *procs) announce() {
	select {
	case ps.born <- struct{}{}:
	default:
	}
}

// collectAll is the reaper of init mode.
func (ps *procs) collectAll() {
	for {
		pid, err := awaitChild(0)
		switch {
		case err == nil:
			ps.collect(pid)
		case err == syscall.EINTR:
		default: // no child at all
			if _, ok := <-ps.born; !ok {
				return
			}
		}
	}
}

func (ps *procs) collectOne(pid int) {
	for {
		if _, err := awaitChild(pid); err != syscall.EINTR {
			ps.collect(pid)
			return
		}
	}
}

// collect takes the exit status of a dead child. Until then its pid cannot be
// used again, and signals are sent under the same lock, so none can meet a
// stranger.
func (ps *procs) collect(pid int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var status syscall.WaitStatus
	var use syscall.Rusage
	for {
		if _, err := syscall.Wait4(pid, &status, 0, &use); err != syscall.EINTR {
			break
		}
	}
	p := ps.live[pid]
	if p == nil {
		return
	}
	delete(ps.live, pid)
	ps.used += time.Duration(use.Utime.Nano() + use.Stime.Nano())
	p.status = status
	close(p.done)
}

// signalGroup sends sig to the group of p, as long as p itself is there.
func (p *proc) signalGroup(sig syscall.Signal) {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	if _, ok := p.owner.live[p.pid]; ok {
		syscall.Kill(-p.pid, sig)
	}
}

// leads reports whether p still occupies its pid.
func (p *proc) leads() bool {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	_, ok := p.owner.live[p.pid]
	return ok
}

// exited reports whether p is over.
func (p *proc) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// mustEnd reports whether p was there when everything was to end.
func (p *proc) mustEnd() bool {
	select {
	case <-p.ending:
		return true
	default:
		return false
	}
}

// killTree ends p and everything it started and returns when that is gone.
func (p *proc) killTree() error {
	p.signalGroup(syscall.SIGKILL)
	err := killAll(p.tree)
	<-p.done
	return err
}

// endAll ends everything in the pod but the agent, in init mode whoever started
// it, and on request but what belongs to the app. What has not ended when it was asked to and
// grace is over is killed. Nothing is started meanwhile.
func (ps *procs) endAll(grace time.Duration, spareApp bool) error {
	ps.starts.Lock()
	defer ps.starts.Unlock()
	ps.mu.Lock()
	close(ps.ending)
	ps.ending = make(chan struct{})
	var spared []*proc
	for _, p := range ps.live {
		if spareApp && p.app {
			spared = append(spared, p)
		}
	}
	ps.mu.Unlock()
	find := func() ([]entryOf, error) { return ps.others(spared) }
	if err := askAll(find, grace); err != nil {
		return err
	}
	ps.killGroups(spared)
	return killAll(find)
}

// killGroups ends the groups of all children but spared, and returns those.
func (ps *procs) killGroups(spared []*proc) []*proc {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var killed []*proc
	for pid, p := range ps.live {
		if !slices.Contains(spared, p) {
			syscall.Kill(-pid, syscall.SIGKILL)
			killed = append(killed, p)
		}
	}
	return killed
}

// close ends everything this agent started, and in init mode all else in the
// pod. Nothing can be started afterwards.
func (ps *procs) close() error {
	ps.mu.Lock()
	if ps.closed {
		ps.mu.Unlock()
		return nil
	}
	ps.closed = true
	ps.mu.Unlock()
	left := ps.killGroups(nil)
	if ps.init {
		// Everything but ourselves: a pid namespace has no one else.
		syscall.Kill(-1, syscall.SIGKILL)
	}
	err := killAll(ps.started)
	for _, p := range left {
		<-p.done
	}
	close(ps.born)
	ps.starter.close()
	return err
}

// exitCode is how a shell would count the end of a process.
func exitCode(s syscall.WaitStatus) (code int, signal string) {
	if s.Signaled() {
		return 128 + int(s.Signal()), signalName(s.Signal())
	}
	return s.ExitStatus(), ""
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL",
	syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE",
	syscall.SIGKILL: "SIGKILL", syscall.SIGUSR1: "SIGUSR1", syscall.SIGSEGV: "SIGSEGV", syscall.SIGUSR2: "SIGUSR2",
	syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM", syscall.SIGTERM: "SIGTERM", syscall.SIGXCPU: "SIGXCPU",
	syscall.SIGXFSZ: "SIGXFSZ", syscall.SIGVTALRM: "SIGVTALRM", syscall.SIGPROF: "SIGPROF", syscall.SIGSYS: "SIGSYS",
}

func signalName(s syscall.Signal) string {
	if n := signalNames[s]; n != "" {
		return n
	}
	return fmt.Sprintf("SIG%d", int(s))
}

// describeExit says how a process ended, for a person.
func describeExit(s syscall.WaitStatus) string {
	code, sig := exitCode(s)
	switch {
	case sig == "SIGKILL":
		return "was killed (SIGKILL)"
	case sig != "":
		return "was ended by " + sig
	}
	return fmt.Sprintf("exited with code %d", code)
}
