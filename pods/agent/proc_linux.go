package agent

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	killPatience = 10 * time.Second // until a tree that will not die is reported
	killLook     = 20 * time.Millisecond
	oomScore     = 500 // the kernel should take an app before the agent

	// ReservedThreads is how many of the pod's processes and threads are the
	// agent's alone: a Go program that cannot start a thread dies, and with it
	// would the pod, whenever an app has used up its processes.
	ReservedThreads = 32

	// ReservedData is how many bytes more than an app the agent may have in
	// private memory (RLIMIT_DATA), where that is limited at all. It counts
	// addresses rather than pages: the stack of each thread that the C library
	// starts is 8 MiB of them, and the race detector adds hundreds.
	ReservedData = 1 << 30
)

// reserved are the limits of the agent that are lower, by so much, for what it
// starts.
var reserved = []struct {
	resource int
	amount   uint64
}{{unix.RLIMIT_NPROC, ReservedThreads}, {unix.RLIMIT_DATA, ReservedData}}

// awaitChild waits until the child pid, or any when pid is 0, is dead, and
// leaves it to be collected.
func awaitChild(pid int) (int, error) {
	kind := unix.P_PID
	if pid == 0 {
		kind = unix.P_ALL
	}
	var info unix.Siginfo
	if err := unix.Waitid(kind, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	if pid == 0 {
		pid = siginfoPID(&info)
	}
	return pid, nil
}

// The second mark survives a cleared environment: it is the soft limit of file
// locks, which the kernel inherits and shows but has not used since Linux 2.4.

// markProcess gives a child the second mark.
func markProcess(pid int, m mark) {
	var lim unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &lim) == nil && lim.Max >= uint64(m) {
		lim.Cur = uint64(m)
		unix.Prlimit(pid, unix.RLIMIT_LOCKS, &lim, nil)
	}
}

// markSelf makes this process one whose children carry the second mark and are
// the first to go when memory runs out, until undo is called. score is
// oom_score_adj of this process; nil leaves that out.
func markSelf(m mark, score *os.File) (undo func()) {
	var was unix.Rlimit
	marked := unix.Getrlimit(unix.RLIMIT_LOCKS, &was) == nil && was.Max >= uint64(m)
	if marked {
		unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: uint64(m), Max: was.Max})
	}
	old := swapScore(score, strconv.Itoa(oomScore))
	return func() {
		swapScore(score, old)
		if marked {
			unix.Setrlimit(unix.RLIMIT_LOCKS, &was)
		}
	}
}

// swapScore writes oom_score_adj and returns what it was.
func swapScore(score *os.File, to string) (was string) {
	if score == nil || to == "" {
		return ""
	}
	var b [16]byte
	n, _ := score.ReadAt(b[:], 0)
	score.WriteAt([]byte(to), 0)
	return strings.TrimSpace(string(b[:n]))
}

// lowerLimits gives a fresh child, and so all it starts, the agent's limits less
// what is reserved. The kernel counts processes together but looks at the limit
// of the one that starts another. What the child has started before it got its
// limit has the agent's, so that is looked for until there is none. The agent
// cannot lower its own meanwhile: a thread that its runtime misses at that
// moment would end it.
func lowerLimits(pid int) {
	for _, r := range reserved {
		var lim unix.Rlimit
		if unix.Getrlimit(r.resource, &lim) != nil || lim.Cur == unix.RLIM_INFINITY || lim.Cur <= r.amount {
			continue
		}
		lim.Cur -= r.amount
		lim.Max = lim.Cur
		unix.Prlimit(pid, r.resource, &lim, nil)
		const passes = 100 // each is a moment, and what forks in all of them is met by the pod's own limit
		for range passes {
			if !lowerOthers(r.resource, lim) {
				break
			}
		}
	}
}

// lowerOthers gives every other process of the pod at most the limit, and
// reports whether one had more.
func lowerOthers(resource int, lim unix.Rlimit) (found bool) {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1) // what cannot be read is not there
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		var has unix.Rlimit
		if err != nil || pid == os.Getpid() || unix.Prlimit(pid, resource, nil, &has) != nil || has.Max <= lim.Max {
			continue
		}
		found = unix.Prlimit(pid, resource, &lim, nil) == nil || found
	}
	return found
}

// entryOf is one process as /proc shows it.
type entryOf struct {
	pid, ppid, session int
	state              byte
	ticks              uint64 // user and system time, also of collected children
	start              string // ticks after boot; with pid it names a process for good
}

func (e entryOf) dead() bool { return e.state == 'Z' || e.state == 'X' }

// readProcess reads /proc/PID/stat.
func readProcess(pid int) (entryOf, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return entryOf{}, false
	}
	return parseStat(pid, b)
}

// parseStat reads the fields of proc(5). The name in parentheses may hold
// anything, also parentheses and spaces, so the last ")" ends it.
func parseStat(pid int, b []byte) (entryOf, bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return entryOf{}, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return entryOf{}, false
	}
	e := entryOf{pid: pid, state: f[0][0], start: f[19]}
	e.ppid, _ = strconv.Atoi(f[1])
	e.session, _ = strconv.Atoi(f[3])
	for _, s := range f[11:15] {
		n, _ := strconv.ParseUint(s, 10, 64)
		e.ticks += n
	}
	return e, true
}

func listProcesses() ([]entryOf, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []entryOf
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		if e, ok := readProcess(pid); ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// marks finds the marks that a process carries, in its environment and in its
// limit.
func marks(pid int) []mark {
	var found []mark
	dir := "/proc/" + strconv.Itoa(pid)
	if env, err := os.ReadFile(dir + "/environ"); err == nil {
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if v, ok := bytes.CutPrefix(kv, []byte(markEnv+"=")); ok {
				if n, err := strconv.ParseUint(string(v), 16, 64); err == nil {
					found = append(found, mark(n))
				}
			}
		}
	}
	if lim, err := os.ReadFile(dir + "/limits"); err == nil {
		if _, rest, ok := bytes.Cut(lim, []byte("Max file locks")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				if n, err := strconv.ParseUint(string(f[0]), 10, 64); err == nil {
					found = append(found, mark(n))
				}
			}
		}
	}
	return found
}

// members lists the living processes that carry a mark which match accepts,
// that are of leader's session while leader still holds its pid, and all their
// descendants. The agent itself is never among them.
func members(match func(mark) bool, leader *proc) ([]entryOf, error) {
	all, err := listProcesses()
	if err != nil {
		return nil, err
	}
	session := 0
	if leader != nil && leader.leads() {
		session = leader.pid
	}
	in := map[int]bool{}
	for _, e := range all {
		if session != 0 && e.session == session {
			in[e.pid] = true
			continue
		}
		for _, m := range marks(e.pid) {
			in[e.pid] = in[e.pid] || match(m)
		}
	}
	self := os.Getpid()
	delete(in, self)
	for grew := true; grew; {
		grew = false
		for _, e := range all {
			if in[e.ppid] && !in[e.pid] && e.pid != self {
				in[e.pid], grew = true, true
			}
		}
	}
	var out []entryOf
	for _, e := range all {
		if in[e.pid] && !e.dead() {
			out = append(out, e)
		}
	}
	return out, nil
}

// tree lists what p became.
func (p *proc) tree() ([]entryOf, error) {
	return members(func(m mark) bool { return m == p.mark }, p)
}

// started lists all that this agent's starts became.
func (ps *procs) started() ([]entryOf, error) { return members(ps.base.sameAgent, nil) }

// others lists what runs beside the agent, in init mode in the whole pod, and
// beside what spared became. In init mode it lists also what
// is dead and not collected yet, as that counts for the limit of processes.
func (ps *procs) others(spared []*proc) ([]entryOf, error) {
	all, err := ps.started()
	if ps.init {
		all, err = listProcesses()
	}
	if err != nil {
		return nil, err
	}
	except := map[int]bool{os.Getpid(): true}
	for _, p := range spared {
		tree, err := p.tree()
		if err != nil {
			return nil, err
		}
		for _, e := range tree {
			except[e.pid] = true
		}
	}
	return slices.DeleteFunc(all, func(e entryOf) bool {
		// The dead of the spared trees are for it to collect.
		return except[e.pid] || e.dead() && len(spared) > 0
	}), nil
}

// askAll asks what find finds to end, and returns when it has or when grace is
// over.
func askAll(find func() ([]entryOf, error), grace time.Duration) error {
	deadline := time.Now().Add(grace)
	asked := false
	for pause := time.Millisecond; ; pause = min(2*pause, killLook) {
		found, err := find()
		if err != nil || len(found) == 0 || time.Now().After(deadline) {
			return err
		}
		if !asked {
			for _, e := range found {
				signalProcess(e, syscall.SIGTERM)
			}
			asked = true
		}
		time.Sleep(pause)
	}
}

// killAll ends what find finds and returns when it finds nothing any more. All
// of it is stopped first, so that a tree that forks faster than we look cannot
// win.
func killAll(find func() ([]entryOf, error)) error {
	deadline := time.Now().Add(killPatience)
	pause := time.Millisecond
	for {
		found, err := find()
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		for _, e := range found {
			signalProcess(e, syscall.SIGSTOP)
		}
		if more, err := find(); err == nil {
			found = more
		}
		for _, e := range found {
			signalProcess(e, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			return errors.New("processes are left that cannot be killed")
		}
		time.Sleep(pause)
		pause = min(2*pause, killLook)
	}
}

// signalProcess signals the process that e describes, not one that got its pid
// since: a pidfd is taken first, then the pid's owner is compared.
func signalProcess(e entryOf, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(e.pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if now, ok := readProcess(e.pid); !ok || now.start != e.start {
		return
	}
	if err != nil || unix.PidfdSendSignal(fd, sig, nil, 0) != nil {
		syscall.Kill(e.pid, sig)
	}
}

// guardInit makes this process fit to be PID 1 of a pod: its memory and
// descriptors are closed to the pod (PR_SET_DUMPABLE), and signals from inside
// do not end it. Handlers, unlike ignored signals, are not inherited. It returns
// our own oom_score_adj: that must be opened while the file is still ours, so
// before anything else runs in the pod.
func guardInit() (score *os.File, undo func(), err error) {
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	score, _ = os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, nil, err
	}
	sigs := make([]os.Signal, 0, 31)
	for s := syscall.Signal(1); s <= 31; s++ {
		switch s {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG:
		default:
			sigs = append(sigs, s)
		}
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, sigs...)
	return score, func() {
		signal.Stop(c)
		score.Close()
	}, nil
}

// siginfoPID reads si_pid, which x/sys/unix leaves unnamed: the first field of
// the union, aligned to a word after three ints.
func siginfoPID(info *unix.Siginfo) int {
	word := unsafe.Sizeof(uintptr(0))
	offset := (3*unsafe.Sizeof(int32(0)) + word - 1) / word * word
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
