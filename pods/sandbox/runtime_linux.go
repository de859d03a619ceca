//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/agent"
	"podgate/pods/wire"
	"podgate/store"
)

// Runtime runs pods on this machine. It is safe for concurrent use.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	root   bool
	self   *os.File   // our binary, sealed
	lock   *os.File   // Dir is ours while this is locked
	groups *hierarchy // nil without cgroups
	spawn  *spawner
	deaths *pods.Deaths
	life   context.Context // ends with Close
	end    context.CancelFunc
	work   sync.WaitGroup // what ends with life
	recent recentTable

	measuring chan struct{} // one token each home that is being measured
	churn     churn         // of the file system that homes are on; only the watcher touches it
	patience  time.Duration // gatewayPatience, but in tests

	mu     sync.Mutex
	pods   map[store.PodID]*pod
	closed bool
}

var _ pods.Runtime = (*Runtime)(nil)

// pod is what the runtime knows of one pod. It is kept until Remove.
type pod struct {
	turn chan struct{} // holds one value while Start, Stop or Remove works
	run  *instance     // guarded by Runtime.mu; nil before the first start
}

var (
	errClosed = errors.New("the sandbox is closed")
	validID   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`) })
)

// Open prepares Dir and proves with a real pod, which it throws away, that
// pods can run here. When they cannot, the error is a [*pods.UnavailableError].
// ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Runtime, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Runtime{cfg: cfg, log: cfg.Log, root: os.Geteuid() == 0, pods: map[store.PodID]*pod{}, deaths: pods.NewDeaths(), patience: gatewayPatience, measuring: make(chan struct{}, measuresAtOnce)}
	r.life, r.end = context.WithCancel(context.Background())
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(r.explain(err), r.notOpened(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func (c Config) check() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("the pods' folder must be an absolute path, not %q", c.Dir)
	}
	switch c.LimitsMode {
	case LimitsAuto, LimitsRequire, LimitsOff:
	default:
		return fmt.Errorf("limits is %q: use %q, %q or %q", c.LimitsMode, LimitsAuto, LimitsRequire, LimitsOff)
	}
	var faults []error
	for _, path := range c.Binds {
		if err := CheckBind(path); err != nil {
			faults = append(faults, err)
		} else if within(path, c.Dir) || around(path, c.Dir) {
			faults = append(faults, fmt.Errorf("%q and the pods' folder %s overlap, which would show pods the homes of others; write another folder", path, c.Dir))
		}
	}
	return errors.Join(faults...)
}

func (r *Runtime) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return err
	}
	before, err := r.before()
	if err != nil {
		return err
	}
	if before == nil {
		r.lock, err = lockDir(r.cfg.Dir)
	} else {
		r.lock, err = r.cfg.Before.File(before.Lock, "lock")
	}
	if err != nil {
		return err
	}
	if r.self, err = sealedSelf(); err != nil {
		return err
	}
	if err := r.openGroups(); err != nil {
		return err
	}
	if before == nil {
		if err := r.sweep(); err != nil {
			return err
		}
	}
	r.spawn = newSpawner()
	r.work.Go(func() { r.watchPods(r.life) })
	// A program that comes back has proved it before.
	if before == nil || r.cfg.Before.Failure() == "" {
		if err := r.probe(ctx); err != nil {
			return err
		}
	}
	if before == nil {
		return nil
	}
	r.adopt(before)
	return r.sweep()
}

// notOpened frees what an open that failed has taken. What the program before has left
// stays for it to take again.
func (r *Runtime) notOpened(ctx context.Context) error {
	if r.cfg.Before == nil {
		return r.Close(ctx)
	}
	r.end()
	r.work.Wait()
	if r.spawn != nil {
		r.spawn.close()
	}
	closeAll([]*os.File{r.self, r.lock}) // the lock stays with the descriptor that the baton keeps
	return nil
}

// lockDir makes sure that one server only works with dir; sweeping would
// otherwise kill the other's pods.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another podgate uses %s: stop it first", dir)
	}
	return f, nil
}

// unlockDir lets go of the folder at once. Closing the file alone would not: a
// process that is being started just now holds a copy of it until it executes
// its own program.
func unlockDir(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// openGroups finds cgroups as LimitsMode wants them.
func (r *Runtime) openGroups() error {
	if r.cfg.LimitsMode == LimitsOff {
		return nil
	}
	h := fnv.New64a()
	h.Write([]byte(r.cfg.Dir))
	groups, err := findHierarchy(kernelFS{}, fmt.Sprintf("%x", h.Sum64()))
	if err != nil {
		r.log.Info("no cgroups for pods", "reason", err)
	} else {
		r.groups = groups
	}
	complete := groups.has("memory") && groups.has("pids") && groups.has("cpu")
	if r.cfg.LimitsMode == LimitsRequire && !complete {
		return &failure{Step: stepCgroup, Detail: fmt.Sprint("not all controllers can be used: ", err)}
	}
	return nil
}

// sweep ends what a server that was killed has left in the groups.
func (r *Runtime) sweep() error {
	if r.groups == nil {
		return nil
	}
	return r.groups.sweep(func(name string) bool { return r.running(store.PodID(name)) != nil })
}

// explain makes a refusal of the kernel an UnavailableError.
func (r *Runtime) explain(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	known := readFacts()
	uidMap, _ := os.ReadFile("/proc/self/uid_map") // unreadable: as if nothing were mapped
	if r.root && !mappedIDs(string(uidMap), r.cfg.FirstUID, r.cfg.UIDs) {
		known.UIDs = fmt.Sprintf("%d to %d", r.cfg.FirstUID, r.cfg.FirstUID+r.cfg.UIDs-1)
	}
	d := diagnose(f.Step, f.Errno, known)
	return &pods.UnavailableError{Reason: d.reason, Fix: d.fix, Err: err}
}

// probeID cannot be a pod's: validID wants another first character.
const probeID store.PodID = ".probe"

// probe starts and ends a pod, with the number that is nobody's. What an earlier
// one left goes first.
func (r *Runtime) probe(ctx context.Context) error {
	if err := removeTree(r.folder(probeID)); err != nil {
		return err
	}
	p := r.pod(probeID)
	err := r.start(ctx, p, pods.Spec{ID: probeID, Name: "probe", Limits: pods.Limits{Memory: 256 << 20, CPUs: 1, Processes: 64}})
	return errors.Join(err, r.remove(ctx, probeID, p))
}

func (r *Runtime) folder(id store.PodID) string { return filepath.Join(r.cfg.Dir, string(id)) }

// logs is the folder in which a pod's agent keeps its lines.
func (r *Runtime) logs(id store.PodID) string { return filepath.Join(r.folder(id), "logs") }

// pod is the record of id, made when there is none.
func (r *Runtime) pod(id store.PodID) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[id]
	if p == nil {
		p = &pod{turn: make(chan struct{}, 1)}
		r.pods[id] = p
	}
	return p
}

// running is the live instance of id, or nil.
func (r *Runtime) running(id store.PodID) *instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[id]; p != nil && p.run.alive() {
		return p.run
	}
	return nil
}

// take waits for the turn to change the pod id and returns it with what gives
// the turn back.
func (r *Runtime) take(ctx context.Context, id store.PodID) (*pod, func(), error) {
	if !validID().MatchString(string(id)) {
		return nil, nil, fmt.Errorf("%w: a pod cannot have the id %q", pods.ErrBadInput, id)
	}
	for {
		p := r.pod(id)
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		r.mu.Lock()
		current, closed := r.pods[id] == p, r.closed
		r.mu.Unlock()
		release := func() { <-p.turn }
		switch {
		case closed:
			release()
			return nil, nil, errClosed
		case current:
			return p, release, nil
		}
		release() // it was removed meanwhile
	}
}

// Start implements pods.Runtime. It takes milliseconds, and says nothing.
func (r *Runtime) Start(ctx context.Context, sp pods.Spec, _ func(string)) error {
	p, release, err := r.take(ctx, sp.ID)
	if err != nil {
		return err
	}
	defer release()
	if in := r.running(sp.ID); in != nil {
		in.resume(sp.Gate)
		return nil
	}
	return r.start(ctx, p, sp)
}

// Dial implements pods.Runtime.
func (r *Runtime) Dial(ctx context.Context, id store.PodID) (net.Conn, error) {
	in := r.running(id)
	if in == nil {
		return nil, pods.ErrNotRunning
	}
	return in.control.dial(ctx)
}

// Stop implements pods.Runtime. The agent gets a moment to end the app
// properly.
func (r *Runtime) Stop(ctx context.Context, id store.PodID) error {
	_, release, err := r.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	return r.stop(ctx, id)
}

// stop ends what runs of id. The caller has the turn.
func (r *Runtime) stop(ctx context.Context, id store.PodID) error {
	if in := r.running(id); in != nil {
		return in.end(ctx)
	}
	return nil
}

// Remove implements pods.Runtime.
func (r *Runtime) Remove(ctx context.Context, id store.PodID) error {
	p, release, err := r.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	return r.remove(ctx, id, p)
}

// remove ends the pod and deletes its folder and record. The caller has the
// turn.
func (r *Runtime) remove(ctx context.Context, id store.PodID, p *pod) error {
	if err := r.stop(ctx, id); err != nil {
		return err
	}
	// On the disk, too: once the store has forgotten the pod, nobody deletes what a power
	// cut brings back.
	if err := errors.Join(removeTree(r.folder(id)), syncDir(r.cfg.Dir)); err != nil {
		return fmt.Errorf("files of pod %s: %w", id, err)
	}
	if id != probeID {
		if err := r.shelf().Keep(id, nil); err != nil {
			return fmt.Errorf("snapshots of pod %s: %w", id, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods[id] == p {
		delete(r.pods, id)
	}
	return nil
}

// List implements pods.Runtime.
func (r *Runtime) List(context.Context) ([]pods.Status, error) {
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	var all []pods.Status
	for _, e := range entries {
		if e.IsDir() && validID().MatchString(e.Name()) {
			all = append(all, r.statusLocked(store.PodID(e.Name())))
		}
	}
	return all, nil
}

// Status implements pods.Runtime.
func (r *Runtime) Status(ctx context.Context, id store.PodID) (pods.Status, error) {
	r.mu.Lock()
	st, closed := r.statusLocked(id), r.closed
	r.mu.Unlock()
	if closed {
		return pods.Status{}, errClosed
	}
	if in := r.running(id); in != nil {
		st.Usage = r.usage(ctx, in)
	}
	return st, nil
}

func (r *Runtime) statusLocked(id store.PodID) pods.Status {
	p := r.pods[id]
	if p == nil || p.run == nil {
		return pods.Status{ID: id}
	}
	return p.run.status(id)
}

// Logs implements pods.Runtime.
func (r *Runtime) Logs(_ context.Context, id store.PodID, query url.Values) ([]wire.LogLine, error) {
	if !validID().MatchString(string(id)) {
		return nil, nil
	}
	return agent.StoredLogs(r.logs(id), query.Encode())
}

// Ended implements pods.Runtime.
func (r *Runtime) Ended(ctx context.Context) (pods.Death, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	return r.deaths.Next(ctx)
}

// shut has no pod started any more, not even those that are about to be, and returns all
// there are; first is false when that was done before.
func (r *Runtime) shut() (all map[store.PodID]*pod, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false
	}
	r.closed = true
	r.end()
	return maps.Clone(r.pods), true
}

// Close implements pods.Runtime. It ends all pods at once and waits for them.
func (r *Runtime) Close(ctx context.Context) error {
	all, first := r.shut()
	if !first {
		return nil
	}
	faults := r.stopAll(ctx, all)
	r.work.Wait()
	if r.spawn != nil {
		r.spawn.close()
	}
	if r.groups != nil {
		faults = append(faults, r.groups.close())
	}
	if r.self != nil {
		faults = append(faults, r.self.Close())
	}
	if r.lock != nil {
		faults = append(faults, unlockDir(r.lock))
	}
	return errors.Join(faults...)
}

func (r *Runtime) stopAll(ctx context.Context, all map[store.PodID]*pod) []error {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		faults []error
	)
	for id, p := range all {
		wg.Go(func() {
			p.turn <- struct{}{} // whoever has it ends in bounded time
			defer func() { <-p.turn }()
			if err := r.stop(ctx, id); err != nil {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, err)
			}
		})
	}
	wg.Wait()
	return faults
}
