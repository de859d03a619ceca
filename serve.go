package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"podgate/account"
	"podgate/backup"
	"podgate/certs"
	"podgate/control"
	"podgate/history"
	"podgate/internal/config"
	"podgate/internal/connlimit"
	"podgate/internal/notify"
	"podgate/internal/service"
	"podgate/internal/trace"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/ingress"
	"podgate/pods/sandbox"
	"podgate/store"
	"podgate/ui/serverpages"
)

const (
	// drainTime is how long requests may go on after the server was asked to
	// stop. A command in a pod may take longer; it is then cut off.
	drainTime = 10 * time.Second

	// upkeepEvery is how often last-used times are written and expired records
	// are taken away.
	upkeepEvery = time.Minute
)

// serve runs the server until ctx ends or it fails.
// load reads the settings again; rehearsal is the command line with which another program
// tries them.
func serve(ctx context.Context, s *config.Settings, load func() (*config.Settings, error), p process, rehearsal []string) error {
	log := holdLog(p.Stderr, longestHold)
	log.priorities = toJournal(p.Env.Lookup, p.Stderr)
	defer log.release()
	srv, err := start(ctx, s, p, load, rehearsal, log)
	if err != nil {
		return dataDirWords(err, s)
	}
	if p.Baton == nil {
		// Asked to stop while it starts, the server stops as at any other time.
		if err := srv.announce(ctx, p); err != nil && ctx.Err() == nil {
			return errors.Join(err, srv.stop())
		}
	}
	log.release()
	srv.keepAlive()
	srv.tell("ready", srv.ready())
	select {
	case <-ctx.Done():
		srv.log.Info("stopping")
		srv.tell("stopping", srv.manager.Stopping())
		return srv.stop()
	case err := <-srv.failed:
		return errors.Join(err, srv.stop())
	case next := <-srv.upgrades.ready:
		return srv.handOver(ctx, next)
	}
}

// server is what runs, with what must be undone, newest first.
type server struct {
	settings  *config.Settings
	log       *slog.Logger
	level     *slog.LevelVar // of log
	issuer    *url.URL
	listeners []net.Listener // for this machine, or for a proxy in front
	secure    []net.Listener // for https
	plain     []net.Listener // for what comes without it
	certs     *certs.Manager // nil: somebody else answers https
	accounts  *account.Service
	db        *store.DB
	database  os.FileInfo // the file of db
	history   *history.Recorder
	notify    *notify.Notifier
	pods      *pods.Service
	beyond    egress.Config       // the world that pods reach
	failed    chan error          // something that must not end has ended
	answer    http.Handler        // what answers every request
	tools     http.Handler        // the MCP endpoint, behind whatever says who calls
	front     *ingress.Ingress    // of pods
	facts     serverpages.Machine // what administrators are told
	keeper    *backup.Keeper      // makes backups every day; nil: none are wanted
	backingUp chan struct{}       // holds a value while a backup is made
	manager   service.Manager     // that started this process
	began     time.Time
	takeover  *takeover         // what the program before has left; nil: none was before
	upgrades  upgrades          // by which another program takes over
	bounds    *connlimit.Bounds // of the connections of all listeners
	numbers   *numbers          // what is counted
	traces    *trace.Tracer     // nil: none are sent
	started   chan struct{}     // closed when all of the above is there
	undo      []func() error
}

// start brings everything up or leaves nothing behind.
func start(ctx context.Context, s *config.Settings, p process, load func() (*config.Settings, error), rehearsal []string, log *heldLog) (srv *server, err error) {
	srv = &server{settings: s, manager: service.ManagerOf(p.Env.Lookup), beyond: p.Beyond, level: new(slog.LevelVar), failed: make(chan error, 8), numbers: newNumbers(), started: make(chan struct{}), backingUp: make(chan struct{}, 1), began: time.Now()}
	srv.level.Set(s.Log.SlogLevel())
	srv.log = newLogger(s.Log.Format, srv.level, log)
	defer func() {
		if p := recover(); p != nil && srv.takeover != nil {
			err = fmt.Errorf("a defect: %v", p)
		} else if p != nil {
			panic(p)
		}
		if err != nil {
			srv.giveBack(ctx, err, log)
			err = errors.Join(err, srv.stop())
		}
	}()
	srv.outlive(load)
	if err := srv.prepareUpgrades(ctx, p, rehearsal, log); err != nil {
		return srv, err
	}
	for _, w := range s.Warnings {
		srv.log.Warn(w)
	}
	for _, step := range []func(context.Context) error{srv.openStore, srv.openTraces, srv.listen, srv.listenTLS, srv.openNotify, srv.openPods, srv.openBackup, srv.serveControl, srv.openCerts, srv.serveHTTP, srv.openMetrics} {
		if err := step(ctx); err != nil {
			return srv, err
		}
	}
	srv.background(srv.sweep)
	srv.background(srv.flush)
	if p.Reloaded != nil {
		srv.apply(p.Reloaded) // it held before
	}
	if err := srv.tookOver(); err != nil {
		return srv, err
	}
	close(srv.started)
	return srv, nil
}

func (srv *server) onStop(f func() error) { srv.undo = append(srv.undo, f) }

// stop undoes what start did, newest first, whatever fails on the way.
func (srv *server) stop() error {
	var all error
	for len(srv.undo) > 0 {
		last := len(srv.undo) - 1
		all = errors.Join(all, srv.undo[last]())
		srv.undo = srv.undo[:last]
	}
	return all
}

// background runs f until stop.
func (srv *server) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { f(ctx) })
	srv.onStop(func() error { cancel(); group.Wait(); return nil })
}

// newLogger writes to w in the configured form.
func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	handler := func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) }
	if format == "json" {
		handler = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) }
	}
	if held, ok := w.(*heldLog); ok && held.priorities {
		return slog.New(newPriorities(w, handler))
	}
	return slog.New(handler(w))
}

func (srv *server) openStore(ctx context.Context) error {
	dir := srv.settings.DataDir
	if err := prepareDataDir(dir, srv.log); err != nil {
		return err
	}
	db, err := srv.openDatabase(ctx)
	if err != nil {
		return err
	}
	srv.db = db
	srv.onStop(db.Close)
	if srv.database, err = os.Stat(control.DatabasePath(dir)); err != nil {
		return err
	}
	srv.background(srv.keepRoom)
	if m := db.Migrated(); m != nil {
		srv.log.Info("the database was migrated", "from", m.From, "to", m.To, "copy", m.Copy)
	}
	limit := sandbox.MemoryLimit()
	heedMemory(limit)
	if words := memoryWarning(limit); words != "" {
		srv.log.Warn(words)
	}
	srv.accounts = account.New(account.Config{DB: db, Log: srv.log, Now: time.Now, HashesAtOnce: hashesAtOnce(limit)})
	srv.history = history.New(history.Config{DB: db, Log: srv.log, Now: time.Now, TrustedProxies: srv.settings.TrustedProxies, Counted: srv.numbers.event})
	srv.background(srv.history.Run)
	return nil
}

// compactRoomy gives back the room of a database that is mostly free, if it holds no more
// than most, in bytes. Where it cannot, the server goes on with the file as it is.
func compactRoomy(db *store.DB, most int64, log *slog.Logger) error {
	roomy, err := db.Roomy()
	if err != nil || !roomy {
		return err
	}
	s, err := db.Stats()
	if err != nil {
		return err
	}
	if holds := s.Size - s.Free; holds > most {
		log.Info("the database is mostly free room and is written anew when the server starts", "bytes", s.Size, "held", holds)
		return nil
	}
	c, err := db.Compact()
	switch {
	case errors.Is(err, store.ErrNotCompacted):
		log.Warn("the database is mostly free room", "error", err)
		return nil
	case err == nil:
		log.Info("the database was mostly free room and was written anew", "bytes_before", c.Before, "bytes_after", c.After)
	}
	return err
}

// prepareDataDir makes the folder that keeps everything, for this user only. A
// folder that is there already keeps its mode, as it may not be ours to change.
func prepareDataDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w; choose another with --data", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		log.Warn("other users of this machine can look into the data folder; chmod 700 keeps them out", "folder", dir, "mode", fmt.Sprintf("%04o", mode))
	}
	return nil
}

// listen opens the address, after which the public URL is known.
func (srv *server) listen(ctx context.Context) error {
	listeners, err := srv.listenAt(ctx, srv.settings.Listen)
	if err != nil {
		return err
	}
	srv.listeners = listeners
	for _, ln := range listeners {
		srv.onStop(func() error { return ignoreClosed(ln.Close()) })
		srv.log.Info("listening", "address", ln.Addr().String())
	}
	srv.issuer, err = url.Parse(srv.settings.Issuer(portOf(listeners[0])))
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (srv *server) serveControl(context.Context) error {
	handler := control.NewHandler(control.Config{
		DB: srv.db, Accounts: srv.accounts, History: srv.history, Issuer: srv.issuer.String(), Log: srv.log, Now: time.Now, Networks: srv.pods, Undelete: srv.pods,
		Tools: http.HandlerFunc(srv.serveTools), Mail: srv.mailInvitation, Status: srv.status, Backup: srv.writeBackup, Upgrade: srv.upgrade, PodFiles: podFiles{srv},
	})
	socket, err := srv.controlSocket()
	if err != nil {
		return err
	}
	s := control.Serve(socket, srv.enter(socket.Listener), srv.upgrades.visits.counted(handler), srv.upgrades.connections.state, srv.log)
	srv.onStop(func() error {
		if srv.upgrades.baton != nil {
			return withTimeout(srv.patience(), s.Leave)
		}
		return withTimeout(drainTime, s.Close)
	})
	return nil
}

// mailInvitation sends an invitation, where a mail server is configured.
func (srv *server) mailInvitation(ctx context.Context, to, team, inviter, link string) (bool, error) {
	if !srv.notify.SendsMail() {
		return false, nil
	}
	err := srv.notify.Invitation(ctx, to, team, inviter, link)
	return err == nil, err
}

// serveTools answers a command that calls a tool, as soon as the server has come up.
func (srv *server) serveTools(w http.ResponseWriter, r *http.Request) {
	select {
	case <-srv.started:
		srv.tools.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

func withTimeout(d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return f(ctx)
}

// localControl answers commands while no server runs.
func localControl(s *config.Settings) func(*store.DB) (http.Handler, error) {
	log := slog.New(slog.DiscardHandler) // whoever gave the command reads the outcome itself
	return func(db *store.DB) (http.Handler, error) {
		networks, err := localNetworks(s, db)
		if err != nil {
			return nil, err
		}
		return control.NewHandler(control.Config{
			DB: db, Accounts: account.New(account.Config{DB: db, Log: log, Now: time.Now}),
			History: history.New(history.Config{DB: db, Log: log, Now: time.Now}),
			Issuer:  s.ConfiguredIssuer(), Log: log, Now: time.Now, Networks: networks,
		}), nil
	}
}

// serveHTTP begins to answer requests.
func (srv *server) serveHTTP(context.Context) error {
	handler, err := srv.handler()
	if err != nil {
		return err
	}
	srv.answer = handler
	bounds := connectionBounds(srv.settings.TrustedProxies)
	bounds.Log = srv.log
	srv.bounds = bounds
	handler = srv.upgrades.visits.counted(handler)
	s := srv.httpServer(handler, bounds)
	srv.serveOn(s, bounds, srv.listeners, s.Serve)
	if srv.certs != nil {
		secure, plain := srv.httpServer(handler, bounds), srv.httpServer(srv.servePlain(), bounds)
		secure.TLSConfig = srv.certs.TLSConfig()
		srv.serveOn(secure, bounds, srv.secure, func(ln net.Listener) error { return secure.ServeTLS(ln, "", "") })
		srv.serveOn(plain, bounds, srv.plain, plain.Serve)
	}
	return nil
}

func (srv *server) httpServer(handler http.Handler, bounds *connlimit.Bounds) *http.Server {
	return &http.Server{
		Handler: connlimit.Deadlines(handler), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: readHeader,
		ConnState: func(c net.Conn, state http.ConnState) {
			bounds.ConnState(c, state)
			srv.upgrades.connections.state(c, state)
		},
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 100}, // of one connection, as browsers expect
		ErrorLog: slog.NewLogLogger(srv.log.Handler(), slog.LevelDebug),
	}
}

// connectionBounds are for all ports together. This machine and trusted proxies
// bring the connections of many people, so only the whole bounds them.
func connectionBounds(proxies []netip.Prefix) *connlimit.Bounds {
	return &connlimit.Bounds{All: 2048, Each: 128, Shared: func(a netip.Addr) bool {
		return a.IsLoopback() || slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}}
}

// serveOn answers on the listeners until stop, which lets requests end.
func (srv *server) serveOn(s *http.Server, bounds *connlimit.Bounds, listeners []net.Listener, serve func(net.Listener) error) {
	var group sync.WaitGroup
	srv.upgrades.servers = append(srv.upgrades.servers, s)
	for _, ln := range listeners {
		ln = bounds.Listener(srv.enter(ln))
		group.Go(func() {
			if err := serve(ln); !errors.Is(err, http.ErrServerClosed) {
				srv.failed <- fmt.Errorf("serve on %s: %w", ln.Addr(), err)
			}
		})
	}
	srv.onStop(func() error {
		err := withTimeout(srv.patience(), s.Shutdown)
		if errors.Is(err, context.DeadlineExceeded) {
			srv.log.Warn("some requests did not end in time and were cut off")
			err = s.Close()
		}
		group.Wait()
		return err
	})
}

// sweep takes expired records away. That may take minutes, as it gives way to requests.
func (srv *server) sweep(ctx context.Context) {
	for tick := time.Tick(upkeepEvery); ; {
		n, err := srv.db.Sweep(ctx, time.Now())
		srv.numbers.swept.Add(n)
		switch {
		case err != nil:
			srv.log.Error("expired records could not be removed", "error", err)
		case n > 0:
			srv.log.Debug("removed expired records", "count", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

// flush writes last-used times.
func (srv *server) flush(ctx context.Context) {
	for tick := time.Tick(upkeepEvery); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if err := srv.db.Flush(); err != nil {
			srv.log.Error("last-used times could not be written", "error", err)
		}
	}
}

// dataDirWords says what to do about an error of the data folder.
func dataDirWords(err error, s *config.Settings) error {
	dir := s.DataDir
	if abs, absErr := filepath.Abs(dir); absErr == nil {
		dir = abs
	}
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("another podgate is using the data folder %s; stop it first, or choose another folder with --data", dir)
	case errors.Is(err, control.ErrNoDatabase):
		return fmt.Errorf("there is no podgate database in %s; start «podgate» once, or name the right folder with --data", dir)
	}
	return err
}

// inWords returns the text of an error for the person at the terminal.
func inWords(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return strings.TrimPrefix(err.Error(), "store: ")
}
