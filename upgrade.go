package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/control"
	"podgate/history"
	"podgate/internal/handover"
	"podgate/pods"
	"podgate/store"
)

// This file is the side of an upgrade that hands over: see docs/design.md. takeover.go is
// the other one.

const (
	// busyTime is how long an upgrade waits for deploys and backups to end.
	busyTime = 30 * time.Second

	// handOverTime is how long requests may go on once nobody is accepted any more. Those
	// that came before have had drainTime.
	handOverTime = time.Second

	// rehearsalTime is what a program may take to say that it is fit to take over.
	rehearsalTime = 20 * time.Second
)

// upgrades is how another program takes this one's place.
type upgrades struct {
	path      string // of this program's file, where the next one is looked for
	deafen    func() bool
	rehearsal []string // the command line with which a program tries the settings
	visits    visits
	ready     chan successor // has the program that is to take over now

	one sync.Mutex // held while an upgrade goes on

	mu       sync.Mutex
	latest   *control.Upgrade // nil: none yet
	ended    map[string]int   // how many, by the state in which they ended, since podgate was started
	held     map[string]int   // what people wait for that would be lost, in words, and how often
	reloaded *string          // what the configuration file said when it was read again last; nil: it was not

	sockets     []opened // what is listened on
	entrances   []*entrance
	servers     []*http.Server
	connections connections

	// Only for the goroutine of serve, once it hands over.
	baton  *handover.Baton // nil before
	cutoff time.Time       // when what goes on is cut off
}

// opened is an address that is listened on.
type opened struct {
	address string // as it is configured
	sockets []syscall.Conn
}

func (u *upgrades) last() *control.Upgrade {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.latest == nil {
		return nil
	}
	latest := *u.latest
	return &latest
}

func (u *upgrades) reloadedText() *string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reloaded
}

func (u *upgrades) note(latest control.Upgrade) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.latest = &latest
}

// hold has upgrades wait for something, which is in words, until release is called.
func (u *upgrades) hold(what string) (release func()) {
	add := func(n int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.held == nil {
			u.held = map[string]int{}
		}
		if u.held[what] += n; u.held[what] == 0 {
			delete(u.held, what)
		}
	}
	add(1)
	return func() { add(-1) }
}

func (u *upgrades) holding() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.held))
}

// count returns how many upgrades have ended in each state.
func (u *upgrades) count() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.ended)
}

// upgraded has the audit list and the numbers know of an upgrade that is done or has failed,
// be it that it did not begin.
func (srv *server) upgraded(u control.Upgrade) {
	e := store.AuditEntry{Action: history.AuditUpgrade, ActorName: history.CommandLine, Object: "from " + u.From, Outcome: store.AuditOK}
	if u.To != "" {
		e.Object += " to " + u.To
	}
	e.Object += ", by a " + u.By
	if u.State != control.UpgradeDone {
		e.Outcome = u.Reason
	}
	srv.history.Audit(history.Visitor{}, e)
	srv.upgrades.mu.Lock()
	defer srv.upgrades.mu.Unlock()
	if srv.upgrades.ended == nil {
		srv.upgrades.ended = map[string]int{}
	}
	srv.upgrades.ended[u.State]++
}

// visits are the requests that go on, in waves: those that were there when the present
// one began are of an earlier one.
type visits struct {
	mu  sync.Mutex
	now *wave
}

type wave struct {
	open int
	late bool          // no more are added
	over chan struct{} // closed when it is late and none is open
	life context.Context
	cut  context.CancelFunc // ends those that are open
}

func newWave() *wave {
	w := &wave{over: make(chan struct{})}
	w.life, w.cut = context.WithCancel(context.Background())
	return w
}

// turn begins another wave and returns the one before.
func (v *visits) turn() *wave {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.now
	v.now = nil
	if w == nil {
		w = newWave()
	}
	w.late = true
	if w.open == 0 {
		close(w.over)
	}
	return w
}

// counted is next with its requests in waves. One that is cut off ends as if whoever sent
// it had left.
func (v *visits) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		mine := v.enter()
		stop := context.AfterFunc(mine.life, cancel)
		leave := sync.OnceFunc(func() { stop(); v.leave(mine) })
		defer leave()
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, lastsKey{}, leave)))
	})
}

type lastsKey struct{}

// lasts takes a request out of its wave: nobody waits for its end, and it is not cut off.
func lasts(ctx context.Context) {
	if leave, ok := ctx.Value(lastsKey{}).(func()); ok {
		leave()
	}
}

func (v *visits) enter() *wave {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now == nil {
		v.now = newWave()
	}
	v.now.open++
	return v.now
}

func (v *visits) leave(w *wave) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if w.open--; w.open == 0 && w.late {
		close(w.over)
	}
}

// programPath is where this program's file is, by the name under which it was started: a
// link is looked at anew at each upgrade. Where that leads to another file by now, it is
// the file itself.
func programPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		if p, err := handover.Open(path); err == nil {
			defer p.Close()
			if p.Running() {
				return path, nil
			}
		}
	}
	return os.Executable()
}

// rehearsed is what a program says of itself when it is asked whether it could take over.
type rehearsed struct {
	Version  string `json:"version"`
	Handover int    `json:"handover"` // the format in which it takes over
	Format   int    `json:"format"`   // of its database
	Agents   int    `json:"agents"`   // the protocol that it speaks with agents
}

func rehearsedHere() rehearsed {
	return rehearsed{version(), handover.Format, store.Format, pods.Protocol}
}

// examine opens the program that is to take over and proves that it could: it starts, knows
// the settings, takes over in our format, and can bring a copy of the database to its own.
// Nothing changes by it.
func (srv *server) examine(ctx context.Context) (*handover.Program, control.Upgrade, error) {
	u := control.Upgrade{State: control.UpgradeChecked, Program: srv.upgrades.path, From: version(), FromFormat: store.Format, Began: time.Now().UTC()}
	if err := handover.Available(); err != nil {
		return nil, u, err
	}
	p, err := handover.Open(srv.upgrades.path)
	if err != nil {
		return nil, u, fmt.Errorf("the program cannot take over: %w", err)
	}
	found, err := srv.rehearse(ctx, p)
	if err == nil && found.Format != store.Format {
		err = srv.rehearseMigration(ctx, p)
	}
	if err == nil && found.Handover != handover.Format {
		err = fmt.Errorf("it takes over in another way (%d) than this one hands over (%d); stop podgate and start it again", found.Handover, handover.Format)
	}
	if err != nil {
		return nil, u, errors.Join(fmt.Errorf("the program %s cannot take over, and all stays as it was: %w", p.Path, err), p.Close())
	}
	u.To, u.ToFormat, u.Restarts = found.Version, found.Format, found.Agents != pods.Protocol
	return p, u, nil
}

// rehearse starts the program as a child that only tries.
func (srv *server) rehearse(ctx context.Context, p *handover.Program, more ...string) (found rehearsed, err error) {
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	var out, errs bounded
	cmd := exec.CommandContext(ctx, p.Argument(), append(srv.upgrades.rehearsal[:len(srv.upgrades.rehearsal):len(srv.upgrades.rehearsal)], more...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = handover.Without(os.Environ()), &out, &errs, time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return found, fmt.Errorf("it did not answer within %v", rehearsalTime)
	case err != nil:
		return found, fmt.Errorf("%w: %s", err, lastLine(errs.String()))
	}
	return found, readRehearsed(out.Bytes(), &found)
}

// rehearseMigration has the program migrate and check a copy of the database.
func (srv *server) rehearseMigration(ctx context.Context, p *handover.Program) (err error) {
	dir, err := os.MkdirTemp(srv.settings.DataDir, rehearsalFolder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := control.DatabasePath(dir)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = srv.db.Snapshot(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	_, err = srv.rehearse(ctx, p, "--database", path)
	return err
}

// rehearsalFolder begins the name of a folder in the data folder with a copy of the
// database, which an earlier server may have left.
const rehearsalFolder = ".rehearsal-"

func removeRehearsals(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, rehearsalFolder+"*")) // the pattern is one
	for _, path := range left {
		_ = os.RemoveAll(path) // it takes room, and nothing else
	}
}

// upgrade answers a command.
func (srv *server) upgrade(ctx context.Context, check bool) (control.Upgrade, error) {
	return srv.beginUpgrade(ctx, control.UpgradeByCommand, check)
}

func (srv *server) beginUpgrade(ctx context.Context, by string, check bool) (control.Upgrade, error) {
	if !srv.hasStarted(ctx) {
		return control.Upgrade{}, ctx.Err()
	}
	if !srv.upgrades.one.TryLock() {
		return control.Upgrade{}, errors.New("another upgrade goes on; «podgate status» says how it ends")
	}
	p, u, err := srv.examine(ctx)
	u.By = by
	if err != nil && !check {
		u.State, u.Reason = control.UpgradeFailed, err.Error()
		srv.upgraded(u)
	}
	if err != nil || check {
		srv.upgrades.one.Unlock()
		if p != nil {
			err = errors.Join(err, p.Close())
		}
		return u, err
	}
	u.ID, u.State = store.NewID(), control.UpgradeGoing
	srv.upgrades.note(u)
	srv.tell("reloading", srv.manager.Reloading())
	go func() {
		if err := srv.makeWay(p); err != nil {
			defer srv.upgrades.one.Unlock() // else there is nothing more to upgrade
			u.State, u.Reason = control.UpgradeFailed, err.Error()
			srv.upgrades.note(u)
			srv.upgraded(u)
			srv.tell("ready", srv.ready())
			srv.log.Error("the program was not replaced, and all goes on", "program", u.Program, "error", err)
		}
	}()
	return u, nil
}

// upgradeIfReplaced is what a hangup does beside reading the configuration. It reports
// whether another program is to take over.
func (srv *server) upgradeIfReplaced(ctx context.Context) bool {
	p, err := handover.Open(srv.upgrades.path)
	if err != nil {
		return false // there is none, or it cannot be looked at: it was only asked to read
	}
	same := p.Running()
	if err := p.Close(); err != nil || same {
		return false
	}
	if _, err := srv.beginUpgrade(ctx, control.UpgradeBySignal, false); err != nil {
		srv.log.Error("the program's file was replaced, and the one that runs goes on", "error", err)
		return false
	}
	return true
}

// successor is a program that is to take over, with what it takes over by.
type successor struct {
	program *handover.Program
	baton   *handover.Baton
	handed  handed
}

// makeWay waits until what goes on has ended, while the server serves, and has serve hand
// over. It returns an error when the server goes on.
func (srv *server) makeWay(p *handover.Program) (err error) {
	next := successor{program: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
		if err != nil && next.baton != nil {
			next.baton.Drop()
		}
	}()
	if next.baton, next.handed, err = srv.newBaton(); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	srv.log.Info("another program takes over as soon as the requests that go on have ended", "program", p.Path, "most", drainTime)
	srv.pods.Rest(true)
	defer func() {
		if err != nil {
			srv.pods.Rest(false)
		}
	}()
	var before []*wave
	for limit := time.Now().Add(busyTime); ; {
		if err := srv.awaitWork(limit); err != nil {
			return err
		}
		w := srv.upgrades.visits.turn()
		before = append(before, w)
		select {
		case <-w.over:
		case <-time.After(drainTime):
			srv.log.Warn("some requests did not end in time and are cut off")
		}
		if len(srv.working()) == 0 { // nothing else has begun meanwhile
			break
		}
	}
	for _, w := range before {
		w.cut()
	}
	select {
	case srv.upgrades.ready <- next:
		return nil
	case <-time.After(drainTime):
		return errors.New("the server stops") // or has failed
	}
}

// awaitWork waits until nothing goes on that would be lost.
func (srv *server) awaitWork(limit time.Time) error {
	for said := ""; ; {
		busy := srv.working()
		if len(busy) == 0 {
			return nil
		}
		if words := strings.Join(busy, ", "); words != said {
			said = words
			srv.log.Info("an upgrade waits for what goes on", "work", words)
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s; try again when that has ended", strings.Join(busy, ", "))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// working is what goes on that would be lost, in words.
func (srv *server) working() []string {
	busy := append(srv.pods.Working(), srv.upgrades.holding()...)
	if len(srv.backingUp) > 0 {
		busy = append(busy, "a backup is made")
	}
	return busy
}

// handed is what the server itself hands over. Numbers are of descriptors.
type handed struct {
	Upgrade   control.Upgrade  `json:"upgrade"`
	Path      string           `json:"path"`               // of the program's file
	Settings  string           `json:"settings"`           // what stood in the configuration file at the start
	Reloaded  *string          `json:"reloaded,omitempty"` // what it said when it was read again last
	DataDir   string           `json:"data_dir"`
	Control   int              `json:"control"`
	Addresses map[string][]int `json:"addresses"` // by address, as configured
	Regions   []string         `json:"regions"`   // where pods can run
	Ended     map[string]int   `json:"ended"`     // upgrades before this one, by state
	Silent    time.Time        `json:"silent"`    // since when nobody is answered
	Stop      bool             `json:"stop"`      // it was asked to end meanwhile
}

// newBaton is a baton with the sockets that are listened on.
func (srv *server) newBaton() (*handover.Baton, handed, error) {
	h := handed{Path: srv.upgrades.path, Settings: srv.settings.Text, Reloaded: srv.upgrades.reloadedText(), Addresses: map[string][]int{}}
	baton, err := handover.New()
	if err != nil {
		return nil, h, err
	}
	if h.DataDir, err = filepath.Abs(srv.settings.DataDir); err == nil {
		err = srv.keepSockets(baton, &h)
	}
	for _, r := range srv.pods.RegionStates() {
		if r.Err == nil {
			h.Regions = append(h.Regions, r.Name)
		}
	}
	return baton, h, err
}

// handOver lets everything go as stop does, but for what the next program takes over, and
// executes that. If it cannot be executed, this one is executed anew. So it returns only
// when neither can be, and then all has ended.
func (srv *server) handOver(ctx context.Context, next successor) error {
	baton, h := next.baton, next.handed
	h.Silent = time.Now()
	srv.upgrades.baton, srv.upgrades.cutoff = baton, h.Silent.Add(handOverTime)
	signal.Ignore(syscall.SIGHUP)
	_ = withTimeout(handOverTime, func(ctx context.Context) error { srv.shut(ctx); return nil }) // what is not answered by then is cut off
	faults := baton.Put("visitors", srv.front.HandOver(baton))
	if err := errors.Join(faults, srv.stop()); err != nil {
		srv.log.Warn("not all could be let go in good order before another program takes over", "error", err)
	}
	// A signal that asked to stop goes over; from here on one ends the process.
	h.Stop, h.Upgrade, h.Ended = srv.upgrades.deafen(), *srv.upgrades.last(), srv.upgrades.count()
	if err := baton.Put("server", h); err != nil {
		return err
	}
	err := baton.Pass(next.program, os.Args, os.Environ())
	return baton.Back(err.Error(), os.Args, os.Environ())
}

func (srv *server) keepSockets(baton *handover.Baton, h *handed) (err error) {
	for _, o := range srv.upgrades.sockets {
		for _, s := range o.sockets {
			n, err := baton.Keep(s)
			if err != nil {
				return err
			}
			if o.address == controlAddress {
				h.Control = n
			} else {
				h.Addresses[o.address] = append(h.Addresses[o.address], n)
			}
		}
	}
	return nil
}

// patience is how long what goes on may take when the server stops.
func (srv *server) patience() time.Duration {
	if srv.upgrades.baton == nil {
		return drainTime
	}
	return max(0, time.Until(srv.upgrades.cutoff))
}

// hasStarted waits until the server does what it is there for; false when ctx ends before.
func (srv *server) hasStarted(ctx context.Context) bool {
	select {
	case <-srv.started:
		return true
	case <-ctx.Done():
		return false
	}
}
