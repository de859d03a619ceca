package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"podgate/control"
	"podgate/internal/handover"
	"podgate/pods/ingress"
	"podgate/store"
)

// takeOverTime is what the next program may take until it serves. Then it gives all back.
const takeOverTime = 20 * time.Second

// compactMeanwhile is how much a database may hold, in bytes, to be written anew in a
// take-over, in which people wait for it. A larger one waits for a start.
const compactMeanwhile = 16 << 20

// controlAddress stands for the socket of commands among those that are listened on.
const controlAddress = "control"

// takeover is what the program before has left. Methods of nil are those of a server that was
// started.
type takeover struct {
	baton *handover.Baton
	handed
	limit *time.Timer

	mu      sync.Mutex
	outcome outcome
}

// outcome is what became of a take-over.
type outcome int

const (
	undecided outcome = iota
	serves
	givesBack
)

// prepareUpgrades takes the baton, and finds out where the next program will be.
func (srv *server) prepareUpgrades(ctx context.Context, p process, rehearsal []string, log *heldLog) (err error) {
	u := &srv.upgrades
	u.rehearsal, u.ready, u.deafen = rehearsal, make(chan successor), p.Deafen
	if u.deafen == nil {
		u.deafen = func() bool { return ctx.Err() != nil }
	}
	if p.Baton == nil {
		if u.path, err = programPath(); err != nil {
			srv.log.Warn("this program's file is not found, so no other can take over from it", "error", err)
		}
		return nil
	}
	srv.takeover = &takeover{baton: p.Baton}
	if err := p.Baton.Get("server", &srv.takeover.handed); err != nil {
		return err
	}
	u.path, u.ended = srv.takeover.Path, srv.takeover.Ended
	srv.takeover.limit = time.AfterFunc(takeOverTime, func() {
		srv.giveBack(ctx, fmt.Errorf("it did not serve within %v", takeOverTime), log)
		if srv.takeover.baton.CanGoBack() == nil { // but it could not
			os.Exit(exitFailed)
		}
	})
	if why := p.Baton.Failure(); why != "" {
		srv.log.Error("the next program did not take over, and this one goes on", "program", u.path, "error", why)
	}
	return nil
}

// decide returns what becomes of the take-over, which is what the first has wanted who
// asked, and whether this was the first.
func (t *takeover) decide(wanted outcome) (is outcome, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first = t.outcome == undecided; first {
		t.outcome = wanted
	}
	return t.outcome, first
}

// giveBack has the program before take over again. It returns when there is none, it
// cannot be, or ctx has ended.
func (srv *server) giveBack(ctx context.Context, why error, log *heldLog) {
	t := srv.takeover
	if t == nil || t.baton.CanGoBack() != nil || ctx.Err() != nil {
		return
	}
	switch is, first := t.decide(givesBack); {
	case is == serves:
		return
	case !first:
		select {} // somebody else is at it: this process executes the program before, or ends
	}
	srv.log.Error("this program cannot take over and gives back", "error", why)
	log.release()
	if err := t.unmigrate(control.DatabasePath(srv.settings.DataDir)); err != nil {
		srv.log.Error("the database from before the migration could not be put back", "error", err)
	}
	h := t.handed
	h.Stop = srv.upgrades.deafen() || h.Stop // the program before would not hear of it
	err := t.baton.Put("server", h)
	if err == nil {
		err = t.baton.Back(why.Error(), os.Args, os.Environ())
	}
	srv.log.Error("the program before cannot be executed any more", "error", err)
}

// unmigrate puts the copy from before a migration in the place of the database at path,
// if this program has made one. Nobody has been served with what came after it; had the
// migration not ended yet, the copy is what the file is.
func (t *takeover) unmigrate(path string) error {
	if t.Upgrade.FromFormat == store.Format {
		return nil
	}
	before := store.CopyPath(path, t.Upgrade.FromFormat)
	info, err := os.Stat(before)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.ModTime().Before(t.Silent.Add(-time.Minute)) { // of another time
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Rename(before, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openDatabase opens it. Where another program hands over, something else may have it for
// a moment.
func (srv *server) openDatabase(ctx context.Context) (*store.DB, error) {
	dir := srv.settings.DataDir
	db, err := control.OpenDatabase(dir, true)
	for srv.takeover != nil && errors.Is(err, store.ErrLocked) && ctx.Err() == nil { // each waits
		db, err = control.OpenDatabase(dir, true)
	}
	if err != nil {
		return nil, err
	}
	removeRehearsals(dir)
	most := int64(math.MaxInt64)
	if srv.takeover != nil {
		most = compactMeanwhile
	}
	if err := compactRoomy(db, most, srv.log); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// listenAt opens an address, or takes over what the program before has listened on there.
func (srv *server) listenAt(ctx context.Context, address string) (list []net.Listener, err error) {
	if t := srv.takeover; t != nil {
		list, err = t.listeners(address)
	}
	if list == nil && err == nil {
		list, err = listen(ctx, address)
	}
	if err != nil {
		return nil, err
	}
	o := opened{address: address}
	for _, ln := range list {
		if c, ok := ln.(syscall.Conn); ok {
			o.sockets = append(o.sockets, c)
		}
	}
	srv.upgrades.sockets = append(srv.upgrades.sockets, o)
	return list, nil
}

func (t *takeover) listeners(address string) (list []net.Listener, err error) {
	for _, n := range t.Addresses[address] {
		f, err := t.baton.File(n, address)
		if err != nil {
			return nil, err
		}
		ln, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("take %s over: %w", address, err)
		}
		if _, ok := ln.Addr().(*net.TCPAddr); !ok {
			return nil, errors.Join(fmt.Errorf("take %s over: it is another socket", address), ln.Close())
		}
		list = append(list, ln)
	}
	return list, nil
}

// controlSocket is where commands come.
func (srv *server) controlSocket() (s *control.Socket, err error) {
	dir := srv.settings.DataDir
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if t := srv.takeover; t != nil && t.DataDir == abs {
		f, err := t.baton.File(t.Control, "the socket for commands")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if s, err = control.Adopt(dir, f); err != nil {
			return nil, err
		}
	} else if s, err = control.Listen(dir); err != nil {
		return nil, err
	}
	srv.upgrades.sockets = append(srv.upgrades.sockets, opened{controlAddress, []syscall.Conn{s}})
	return s, nil
}

// before is what the program before has left of its runtime; nil: none was before, or
// this server has started already.
func (srv *server) before() *handover.Baton {
	if srv.takeover == nil {
		return nil
	}
	select {
	case <-srv.started:
		return nil // a region that could not be opened at first
	default:
		return srv.takeover.baton
	}
}

// podsTaken returns why pods cannot run any more, which is no reason not to start, but one
// not to take over.
func (srv *server) podsTaken(ctx context.Context) error {
	if srv.takeover == nil || ctx.Err() != nil || len(srv.takeover.Regions) == 0 {
		return nil
	}
	for _, r := range srv.pods.RegionStates() {
		if r.Err != nil && slices.Contains(srv.takeover.Regions, r.Name) {
			return fmt.Errorf("pods cannot run in the region %s: %w", r.Name, r.Err)
		}
	}
	return nil
}

// tookOver is the moment from which this program serves, and cannot give back any more.
func (srv *server) tookOver() error {
	t := srv.takeover
	if t == nil {
		return nil
	}
	if is, _ := t.decide(serves); is == givesBack {
		select {} // as above
	}
	t.limit.Stop()
	u := t.Upgrade
	u.State, u.Took = control.UpgradeDone, time.Since(t.Silent).Milliseconds()
	if why := t.baton.Failure(); why != "" {
		u.State, u.Reason = control.UpgradeFailed, why
	}
	srv.upgrades.note(u)
	srv.upgraded(u)
	var visitors []ingress.Handed
	err := t.baton.Get("visitors", &visitors)
	if err == nil {
		err = srv.front.Resume(t.baton, visitors, srv.bounds.Take)
	}
	if err != nil {
		srv.log.Warn("not all connections of visitors go on", "error", err)
	}
	t.baton.Drop()
	srv.log.Info("took over from the program before", "from", u.From, "version", version(), "milliseconds", u.Took)
	if t.Stop {
		return syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	return nil
}
