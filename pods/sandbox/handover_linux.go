//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podgate/internal/handover"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/wire"
	"podgate/store"
)

// This file is how pods go over to the next program in the same process: they stay its
// children, and what the server keeps of each are some descriptors and what is written
// here.

// handedPart is the name of a runtime's part of a baton.
const handedPart = "sandbox"

// handedRuntime is what a runtime hands over. Numbers of descriptors are the baton's.
type handedRuntime struct {
	Dir      string      `json:"dir"`
	Protocol int         `json:"protocol"` // of agents and gateways that run
	Lock     int         `json:"lock"`
	Pods     []handedPod `json:"pods"`
}

// handedProcess is a child of this process, by its number and, in clock ticks since the
// machine started, its start.
type handedProcess struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"`
	Output int    `json:"output"` // what it prints
	Socket int    `json:"socket"` // to it
}

// handedPod is one pod that runs.
type handedPod struct {
	ID       store.PodID    `json:"id"`
	Process  handedProcess  `json:"process"`
	Grouped  bool           `json:"grouped"`
	Sockets  int            `json:"sockets,omitempty"` // tells about its sockets; 0: a cgroup counts them
	Apps     []int          `json:"apps,omitempty"`    // to reach its apps by
	Limits   pods.Limits    `json:"limits"`
	Started  time.Time      `json:"started"`
	Enforced []string       `json:"enforced"`
	Kills    []pods.Kill    `json:"kills,omitempty"`
	Fault    string         `json:"fault,omitempty"` // why it has no network
	Network  *handedNetwork `json:"network,omitempty"`
}

// handedNetwork is the network of a pod.
type handedNetwork struct {
	Order   gatewayOrder   `json:"order"`
	HostID  int            `json:"host_id"`
	Packets int            `json:"packets"`
	Gateway *handedProcess `json:"gateway,omitempty"` // nil: none runs
	Gate    egress.Handed  `json:"gate"`
}

// Detach implements pods.Runtime. Where Config.Next has nothing to hand over with, a pod
// ends with the server's end of its control socket.
func (r *Runtime) Detach(ctx context.Context) error {
	var next *handover.Baton
	if r.cfg.Next != nil {
		next = r.cfg.Next()
	}
	if next == nil {
		return errors.ErrUnsupported
	}
	all, first := r.shut()
	if !first {
		return nil
	}
	h := handedRuntime{Dir: r.cfg.Dir, Protocol: wire.Protocol}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		faults []error
	)
	for id, p := range all {
		wg.Go(func() {
			p.turn <- struct{}{} // and never given back; whoever has it ends in bounded time
			in := r.running(id)
			if in == nil {
				return
			}
			handed, err := in.handOver(next)
			handed.ID = id
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults = append(faults, fmt.Errorf("hand over the pod %s: %w", id, errors.Join(err, in.abandon()))) // the next server starts it anew
				return
			}
			h.Pods = append(h.Pods, handed)
		})
	}
	wg.Wait()
	r.work.Wait()
	var err error
	h.Lock, err = next.Keep(r.lock)
	return errors.Join(append(faults, err, next.Put(handedPart, h), r.self.Close(), r.lock.Close())...)
}

// handOver has the next program keep what belongs to the pod. This one serves it no more.
func (in *instance) handOver(next *handover.Baton) (h handedPod, err error) {
	in.mu.Lock()
	n, idle, meter, door := in.network, in.adopted, in.sockets, in.door
	h = handedPod{Grouped: in.group != nil, Limits: in.limits, Started: in.started, Enforced: in.enforced, Kills: slices.Clone(in.kills), Fault: in.noNetwork}
	in.mu.Unlock()
	if h.Process, err = handProcess(next, in.process, in.output, in.control.conn); err != nil {
		return h, err
	}
	if meter != nil {
		if h.Sockets, err = meter.handOver(next); err != nil {
			return h, err
		}
	}
	if h.Apps, err = door.handOver(next); err != nil {
		in.log.Warn("some connections to the pod's apps go through its agent from now on", "error", err)
	}
	if n == nil {
		n = idle
	}
	if n != nil {
		h.Network, err = n.handOver(next)
	}
	return h, err
}

func handProcess(next *handover.Baton, p *os.Process, o *output, socket *net.UnixConn) (h handedProcess, err error) {
	now, err := readProcess(p.Pid)
	if err != nil {
		return h, err
	}
	h = handedProcess{PID: p.Pid, Start: now.start}
	if h.Output, err = next.Keep(o.from); err != nil {
		return h, err
	}
	if h.Socket, err = next.Keep(socket); err != nil {
		return h, err
	}
	return h, errors.Join(socket.Close(), o.from.Close()) // the next program's alone, from now on
}

// handOver stops serving the network, whose process runs on.
func (n *podNetwork) handOver(next *handover.Baton) (*handedNetwork, error) {
	packets, err := next.Keep(n.fd)
	if err != nil {
		return nil, err
	}
	h := &handedNetwork{Order: n.order, HostID: n.hostID, Packets: packets, Gate: n.was}
	g := n.earlier
	if n.gate != nil {
		n.leave()
		g, h.Gate = n.left, n.gate.HandOver()
	}
	if g == nil {
		return h, nil
	}
	handed, err := handProcess(next, g.process, g.output, g.conn)
	h.Gateway = &handed
	return h, err
}

// before is what the program before has left of this runtime; nil when it has left nothing
// that can be used.
func (r *Runtime) before() (*handedRuntime, error) {
	if r.cfg.Before == nil {
		return nil, nil
	}
	h := &handedRuntime{}
	err := r.cfg.Before.Get(handedPart, h)
	if errors.Is(err, handover.ErrNone) || err == nil && h.Dir != r.cfg.Dir {
		r.cfg.Before = nil // it had none; of another folder they end with the baton
		return nil, nil
	}
	return h, err
}

// adopt makes pods of an earlier program ours. What cannot be adopted ends, and is started
// anew by whoever wants it to run.
func (r *Runtime) adopt(h *handedRuntime) {
	for _, handed := range h.Pods {
		in, err := r.adoptPod(h, handed)
		if err != nil {
			r.log.Warn("a pod could not be taken over and ends; it is started anew", "pod", handed.ID, "error", err)
			handed.end()
			continue
		}
		p := r.pod(handed.ID)
		r.mu.Lock()
		p.run = in
		r.mu.Unlock()
		r.work.Go(func() { _, _ = in.home.measure(nil) }) // the watcher reports what is wrong with it
	}
}

var errNotOurs = errors.New("it is not a child of this process any more")

func (r *Runtime) adoptPod(all *handedRuntime, h handedPod) (in *instance, err error) {
	switch {
	case all.Protocol != wire.Protocol:
		return nil, fmt.Errorf("its agent speaks protocol %d, and this program %d", all.Protocol, wire.Protocol)
	case !validID().MatchString(string(h.ID)) || r.running(h.ID) != nil:
		return nil, errors.New("it cannot have this id")
	case h.Grouped != (r.groups != nil):
		return nil, errors.New("its limits are held in another way now")
	}
	in = r.newInstance(pods.Spec{ID: h.ID, Limits: h.Limits})
	in.started, in.enforced, in.kills, in.noNetwork, in.up = h.Started, h.Enforced, h.Kills, h.Fault, true
	if h.Grouped {
		in.group = &group{r.groups, string(h.ID)}
		if !in.group.holds(h.Process.PID) {
			return nil, errors.New("it is not in its cgroup")
		}
		in.watched.oomKills = in.group.oomKills()
	}
	g, err := r.adoptProcess(h.Process, in)
	if err != nil {
		return nil, err
	}
	in.process, in.output = g.process, g.output
	in.control = &control{conn: g.conn, turn: make(chan struct{}, 1)}
	go in.reap()
	// From here on reap frees what belongs to it.
	if h.Sockets != 0 {
		fd, err := r.cfg.Before.FD(h.Sockets)
		if err != nil {
			return nil, errors.Join(err, in.abandon())
		}
		in.setSockets(&socketMeter{fd: fd})
	}
	door, err := adoptAppDoor(r.cfg.Before, h.Apps)
	if err != nil {
		in.log.Warn("some connections to the pod's apps go through its agent from now on", "error", err)
	}
	in.setDoor(door)
	if h.Network != nil {
		if err := r.adoptNetwork(in, *h.Network); err != nil {
			return nil, errors.Join(err, in.abandon())
		}
	}
	return in, nil
}

func (r *Runtime) adoptProcess(h handedProcess, in *instance) (*gatewayProcess, error) {
	if !h.ours() {
		return nil, errNotOurs
	}
	process, err := os.FindProcess(h.PID)
	if err != nil {
		return nil, err
	}
	fd, err := r.cfg.Before.FD(h.Socket)
	if err != nil {
		return nil, err
	}
	conn, err := unixConn(fd)
	if err != nil {
		return nil, err
	}
	out, err := r.cfg.Before.File(h.Output, "output")
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &gatewayProcess{conn, process, newOutput(out, in.log)}, nil
}

func (r *Runtime) adoptNetwork(in *instance, h handedNetwork) error {
	fd, err := r.cfg.Before.FD(h.Packets)
	if err != nil {
		return err
	}
	packets, err := unpolled(fd, "packets")
	if err != nil {
		return err
	}
	n := &podNetwork{rt: r, group: in.group, hostID: h.HostID, order: h.Order, fd: packets, log: in.log, was: h.Gate}
	if h.Gateway != nil {
		if n.earlier, err = r.adoptProcess(*h.Gateway, in); err != nil {
			in.log.Warn("a pod's network could not be taken over and is started anew", "error", err)
			h.Gateway.end()
			n.was.Open = nil
		}
	}
	in.mu.Lock()
	gone := in.gone
	if !gone {
		in.adopted = n
	}
	in.mu.Unlock()
	if gone {
		n.drop()
	}
	return nil
}

// unpolled makes a file of fd, which it takes over, without Go's runtime looking at it, as
// that would wake this process for each packet. Its mode stays: the gateway shares it.
func unpolled(fd int, name string) (*os.File, error) {
	defer unix.Close(fd)
	f, err := os.Open(os.DevNull) // cannot be looked at
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(fd, int(f.Fd()), unix.O_CLOEXEC); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// resume has the network of a pod that was adopted go on, now that its gate is known.
func (in *instance) resume(gate *egress.Gate) {
	in.mu.Lock()
	n := in.adopted
	in.adopted = nil
	in.mu.Unlock()
	if n == nil {
		return
	}
	if gate == nil {
		n.drop()
		return
	}
	if err := gate.Resume(n.was); err != nil {
		in.log.Warn("not all of a pod's network could be taken over", "error", err)
	}
	n.gate = gate
	n.begin()
	in.setNetwork(n)
}

// drop ends a network that was adopted and does not go on.
func (n *podNetwork) drop() {
	if n == nil {
		return
	}
	n.fd.Close()
	if g := n.earlier; g != nil {
		g.conn.Close()
		_ = g.process.Kill() // dead already
		_, _ = g.process.Wait()
	}
}

// ours reports whether the process is a child of this one still, and no later one.
func (h handedProcess) ours() bool {
	now, err := readProcess(h.PID)
	return err == nil && now.start == h.Start && now.parent == os.Getpid()
}

// end kills what could not be adopted.
func (h handedProcess) end() {
	if !h.ours() {
		return
	}
	if p, err := os.FindProcess(h.PID); err == nil {
		_ = p.Kill() // dead already
		_, _ = p.Wait()
	}
}

func (h handedPod) end() {
	h.Process.end()
	if h.Network != nil && h.Network.Gateway != nil {
		h.Network.Gateway.end()
	}
}

// holds reports whether the process is in the group.
func (g *group) holds(pid int) bool {
	return slices.Contains(strings.Fields(g.read("cgroup.procs", "pids", "memory", "cpu")), strconv.Itoa(pid))
}

func (m *socketMeter) handOver(next *handover.Baton) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return 0, nil // the pod has just ended
	}
	fd, err := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), donatedDiag)
	defer f.Close()
	return next.Keep(f)
}
