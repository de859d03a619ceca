//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/agent"
	"podgate/store"
)

// undo is what to do when a start fails half way, last first.
type undo []func()

func (u *undo) add(f func()) { *u = append(*u, f) }

func (u undo) run() {
	for _, f := range slices.Backward(u) {
		f()
	}
}

// start makes the pod run. The caller has the pod's turn. When it fails,
// nothing of the attempt is left but the pod's folder.
func (r *Runtime) start(ctx context.Context, p *pod, sp pods.Spec) error {
	// One that was there before may start, so that somebody can clean up in it.
	if !sp.Made && sp.ID != probeID {
		if err := diskLow(r.cfg.Dir); err != nil {
			return err
		}
	}
	hostID, err := r.prepareFolder(sp)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	if r.cfg.LimitsMode == LimitsOff {
		sp.Limits = pods.Limits{}
	}
	in, h, err := r.launch(sp, hostID)
	if err != nil {
		return err
	}
	defer closeAll([]*os.File{h.status, h.network, h.diag, h.apps})
	if err := in.comesUp(ctx, h.status); err != nil {
		return errors.Join(err, in.abandon())
	}
	meter := receiveDiag(h.diag)
	in.enforced = r.enforced(sp.Limits, meter)
	in.setSockets(meter)
	in.setDoor(&appDoor{free: receiveAppSockets(h.apps)})
	if err := r.connect(in, h, sp, hostID); err != nil {
		return errors.Join(err, in.abandon())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.run != nil {
		in.remember(p.run)
	}
	p.run = in
	in.isUp()
	r.work.Go(func() { _, _ = in.home.measure(nil) }) // the watcher reports what is wrong with it
	return nil
}

// connect takes over the network that stage 1 has made, of a pod that is to have
// one.
func (r *Runtime) connect(in *instance, h *launchFiles, sp pods.Spec, hostID int) error {
	if h.network == nil {
		return nil
	}
	d, packets, err := receiveDevice(h.network)
	if err != nil {
		return fail(stepNetwork, err)
	}
	if d.Fault != "" {
		in.log.Warn("the pod has no network", "reason", d.Fault)
		in.noNetwork = d.Fault
		return nil
	}
	n := &podNetwork{rt: r, gate: sp.Gate, group: in.group, hostID: hostID, order: gatewayOrder{Device: d, Rate: sp.Limits.Network}, fd: packets, log: in.log}
	n.begin()
	in.setNetwork(n)
	return nil
}

// launch starts stage 1 and sends it its specification. What it reports comes
// out of the status and network files.
func (r *Runtime) launch(sp pods.Spec, hostID int) (_ *instance, _ *launchFiles, err error) {
	var undo undo
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	in := r.newInstance(sp)
	h, err := newLaunchFiles()
	if err != nil {
		return nil, nil, err
	}
	defer h.closeTheirs()
	undo.add(h.closeOurs)
	in.control = h.control
	s := r.specification(sp)
	if err = r.homeMounts(&s, h, sp.ID); err != nil {
		return nil, nil, err
	}
	if s.Network {
		if h.network, err = h.addSocket(donatedNetwork); err != nil {
			return nil, nil, err
		}
	}
	if s.Meter {
		if h.diag, err = h.addSocket(donatedDiag); err != nil {
			return nil, nil, err
		}
	}
	if r.wantsDoor() {
		if h.apps, err = h.addSocket(donatedApps); err != nil {
			return nil, nil, err
		}
	}
	if in.process, err = r.spawnStage1(h, hostID); err != nil {
		return nil, nil, err
	}
	in.output = newOutput(h.stderr, in.log)
	// While stage 1 comes to the point at which it waits for its specification. Before it has
	// that, it does nothing and must be in its group.
	if in.group, err = r.newGroup(sp.ID, sp.Limits); err == nil {
		err = in.confine()
	}
	go in.reap()
	if err == nil {
		err = h.send(s)
	}
	if err != nil {
		undo = undo[:0] // reap does it all
		h.closeTheirs() // it waits for the end of what the process prints
		closeAll([]*os.File{h.status, h.network, h.diag, h.apps})
		return nil, nil, errors.Join(err, in.abandon())
	}
	return in, h, nil
}

func (r *Runtime) newInstance(sp pods.Spec) *instance {
	return &instance{
		limits: sp.Limits, home: newHomeMeter(filepath.Join(r.folder(sp.ID), "home")), started: time.Now(),
		done: make(chan struct{}), log: r.log.With("pod", sp.ID), ended: func(reason string) { r.deaths.Add(pods.Death{ID: sp.ID, Reason: reason}) },
	}
}

func (r *Runtime) newGroup(id store.PodID, limits pods.Limits) (*group, error) {
	if r.groups == nil {
		return nil, nil
	}
	g, err := r.groups.create(string(id), limits)
	return g, fail(stepCgroup, err)
}

func (in *instance) confine() error {
	if in.group == nil {
		return nil
	}
	return fail(stepCgroup, in.group.add(in.process.Pid))
}

// comesUp waits until the pod's agent answers.
func (in *instance) comesUp(ctx context.Context, status *os.File) error {
	stop := context.AfterFunc(ctx, in.giveUp)
	err := readStatus(status)
	stop()
	if err == nil && ctx.Err() == nil {
		if err = in.answers(ctx); err != nil && ctx.Err() == nil {
			return fail(stepAgent, in.withLastWords(err))
		}
	}
	if ctx.Err() != nil {
		return fail(stepAgent, fmt.Errorf("the pod was not up in time: %w", ctx.Err()))
	}
	return err
}

// withLastWords adds what the agent printed when it has ended.
func (in *instance) withLastWords(err error) error {
	select {
	case <-in.done:
		in.mu.Lock()
		defer in.mu.Unlock()
		return fmt.Errorf("the agent ended (%s): %w", in.exit, err)
	case <-time.After(100 * time.Millisecond):
		return fmt.Errorf("the agent does not answer: %w", err)
	}
}

// abandon ends an instance that nobody has seen yet.
func (in *instance) abandon() error {
	in.giveUp()
	return in.kill()
}

// giveUp kills without waiting.
func (in *instance) giveUp() {
	in.mu.Lock()
	in.wanted = true
	in.mu.Unlock()
	_ = in.process.Kill() // dead already
}

// launchFiles is the descriptors between the server and a new pod.
type launchFiles struct {
	control     *control
	spec        *os.File // ours: write
	status      *os.File // ours: read
	stderr      *os.File // ours: read
	network     *os.File // ours: read; nil for a pod without one
	diag        *os.File // ours: read; nil where a cgroup counts memory
	apps        *os.File // ours: read; nil for a pod whose apps are reached through its agent
	childStderr *os.File
	theirs      donation // what is given away, and closed here then
}

func newLaunchFiles() (h *launchFiles, err error) {
	h = &launchFiles{}
	defer func() {
		if err != nil {
			h.closeTheirs()
			h.closeOurs()
		}
	}()
	var theirs *os.File
	if h.control, theirs, err = newControl(); err != nil {
		return h, err
	}
	h.theirs.add(donatedControl, theirs)
	if theirs, h.spec, err = os.Pipe(); err != nil {
		return h, err
	}
	h.theirs.add(donatedSpec, theirs)
	if h.status, theirs, err = os.Pipe(); err != nil {
		return h, err
	}
	h.theirs.add(donatedStatus, theirs)
	h.stderr, h.childStderr, err = os.Pipe()
	return h, err
}

// addSocket makes the socket over which stage 1 sends what it has made of that name,
// and returns our end.
func (h *launchFiles) addSocket(name string) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	h.theirs.add(name, os.NewFile(uintptr(fds[1]), name))
	return os.NewFile(uintptr(fds[0]), name), nil
}

func (h *launchFiles) closeTheirs() {
	closeAll(append(slices.Clip(h.theirs.files), h.childStderr))
}

func (h *launchFiles) closeOurs() {
	if h.control != nil {
		h.control.Close()
	}
	closeAll([]*os.File{h.spec, h.status, h.stderr, h.network, h.diag, h.apps})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// send gives stage 1 its specification.
func (h *launchFiles) send(s spec) error {
	err := json.NewEncoder(h.spec).Encode(s)
	return fail(stepSpec, errors.Join(err, h.spec.Close()))
}

func (r *Runtime) spawnStage1(h *launchFiles, hostID int) (*os.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	given := h.theirs.with(donatedSelf, r.self)
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1", "GOGC=off"}, // it lives for milliseconds
		Files: append([]*os.File{null, h.childStderr, h.childStderr}, given.files...),
		Sys:   isolation(hostID, r.root, capabilities),
	}
	process, err := r.spawn.start(fmt.Sprintf("/proc/self/fd/%d", r.self.Fd()), []string{stage1Name, given.argument()}, attr)
	return process, fail(stepClone, err)
}

// specification is what stage 1 does for this pod, but for its home.
func (r *Runtime) specification(sp pods.Spec) spec {
	limits := sp.Limits
	s := spec{Hostname: hostname(sp), Rlimits: rlimits(limits), Scratch: limits.Memory / 2, Meter: limits.Memory > 0, Network: sp.Gate != nil}
	if limits.Memory > 0 && !r.groups.has("memory") {
		s.Uncounted = true
		s.Agent.Data = uint64(max(2*limits.Memory, limits.Memory+256<<20)) + agent.ReservedData
	}
	for _, path := range r.cfg.Binds {
		s.Binds = append(s.Binds, bind{Source: path, Target: path, Optional: true})
	}
	return s
}

func hostname(sp pods.Spec) string {
	if sp.Name == "" {
		return "pod"
	}
	return sp.Name[:min(len(sp.Name), 63)]
}

// rlimits are the limits that every process of the pod has.
func rlimits(l pods.Limits) []rlimit {
	all := []rlimit{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 65536}, {unix.RLIMIT_MEMLOCK, 8 << 20}}
	if l.Processes > 0 {
		all = append(all, rlimit{unix.RLIMIT_NPROC, uint64(l.Processes + agent.ReservedThreads)})
	}
	if l.Disk > 0 {
		all = append(all, rlimit{unix.RLIMIT_FSIZE, uint64(l.Disk)})
	}
	return all
}

// enforced is Status.Enforced of a pod with these limits, whose sockets m counts.
func (r *Runtime) enforced(l pods.Limits, m *socketMeter) []string {
	var all []string
	if l.Memory > 0 {
		var sockets error
		how := "summed twice a second, and RLIMIT_DATA for each process; buffers of pipes, and what the kernel keeps for open files, are bounded each, not in all"
		if r.groups.has("memory") {
			how = r.groups.how()
		} else {
			sockets = m.tells(counted...)
		}
		netlink := m.tells(unix.AF_NETLINK)
		switch {
		case sockets != nil:
			how += "; sockets are not counted, or not all, as this kernel does not tell about them"
		case netlink != nil:
			how += "; netlink sockets are not counted, as this kernel does not tell about them"
		}
		all = append(all, "memory ("+how+")")
	}
	if l.CPUs > 0 && r.groups.has("cpu") {
		all = append(all, "cpus ("+r.groups.how()+")")
	}
	if l.Processes > 0 {
		how := "RLIMIT_NPROC"
		if r.groups.has("pids") {
			how = r.groups.how()
		}
		all = append(all, "processes ("+how+")")
	}
	if l.Disk > 0 {
		all = append(all, "disk (measured, and RLIMIT_FSIZE for each file)")
	}
	return all
}

// homeMounts adds home and logs to s. As root they go as detached mounts,
// because the pod's uid may not pass the folders above them.
func (r *Runtime) homeMounts(s *spec, h *launchFiles, id store.PodID) error {
	s.Binds = append([]bind{{Source: filepath.Join(r.folder(id), "home"), Target: home, Writable: true}}, s.Binds...)
	s.Logs = bind{Source: r.logs(id), Target: logDir, Writable: true, NoExec: true}
	if !r.root {
		return nil
	}
	kept := s.Binds[:0]
	for _, b := range s.Binds {
		err := h.handTree(&b)
		if errors.Is(err, unix.ENOENT) && b.Optional {
			continue
		}
		if err != nil {
			return err
		}
		kept = append(kept, b)
	}
	s.Binds = kept
	return h.handTree(&s.Logs)
}

// handTree makes b a detached mount that is handed over.
func (h *launchFiles) handTree(b *bind) error {
	fd, err := cloneTree(b.Source)
	if err != nil {
		return fail(stepTree, fmt.Errorf("%s: %w", b.Source, err))
	}
	h.theirs.add(b.Target, os.NewFile(uintptr(fd), b.Source))
	b.Source = ""
	return nil
}
