package agent

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"podgate/pods/wire"

	"github.com/julienschmidt/httprouter"
)

// agent is one pod's agent while it serves.
type agent struct {
	cfg     Config
	ctx     context.Context // ends when the agent should
	log     *log.Logger
	folders *folders
	logs    *logs
	procs   *procs
	app     *supervisor
	jobs    *jobs
	disk    *diskMeter
	drains  drains

	execs    chan struct{} // one token a running command
	dials    chan struct{} // one token an open connection to the app
	follows  chan struct{} // one token a stream that follows
	walks    chan struct{} // one token a walk through files
	shells   chan struct{} // one token an open terminal
	installs installs
	imports  sync.Mutex // held while the home is replaced
	uploads  uploads
	// unfinished is the release that was made when an earlier life of the pod ended; 0: none.
	unfinished int
	finishing  sync.Once
	requests   requests
}

// Serve answers the protocol of wire.go on l until ctx ends or l is closed,
// then ends everything that it started and returns: nil when ctx ended, else
// why it could not go on. In init mode the caller must be PID 1 of the pod and
// must exit when Serve returns.
func Serve(ctx context.Context, cfg Config, l net.Listener) error {
	defer l.Close()
	cfg = cfg.withDefaults()
	var (
		score *os.File
		st    *starter
	)
	if cfg.Init {
		if pid := os.Getpid(); pid != 1 {
			return fmt.Errorf("agent: init mode is for PID 1 only, this is %d", pid)
		}
		f, undo, err := guardInit()
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		defer undo()
		score = f
		if st, err = newStarter(cfg.Confine); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := newAgent(ctx, cfg, st, score)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return a.serve(cancel, l)
}

func newAgent(ctx context.Context, cfg Config, st *starter, score *os.File) (*agent, error) {
	f, err := openFolders(cfg.Home, cfg.Tmp)
	if err != nil {
		return nil, err
	}
	l, err := openLogs(cfg.LogDir, cfg.Now)
	if err != nil {
		f.Close()
		return nil, err
	}
	j, err := openJobs(filepath.Join(cfg.LogDir, "jobs"), cfg.Now)
	if err != nil {
		l.Close()
		f.Close()
		return nil, err
	}
	a := &agent{
		cfg: cfg, ctx: ctx, jobs: j, log: cfg.logger(), folders: f, logs: l,
		procs: newProcs(st, score),
		disk:  &diskMeter{dir: cfg.Home, ctx: ctx},
		execs: make(chan struct{}, maxExecs),
		dials: make(chan struct{}, maxDials), follows: make(chan struct{}, maxFollows), walks: make(chan struct{}, maxWalks),
		shells: make(chan struct{}, wire.MaxTerminals),
	}
	a.app = newSupervisor(a, cfg.Now)
	a.clearUnplaced()
	a.unfinished = a.inTheMaking()
	if err := a.ensureFolders(); err != nil {
		a.log.Printf("the app folder: %v", err) // for the person in the pod to mend
	}
	return a, nil
}

// serve runs until the listener or ctx ends. What is undone then goes from the
// outside in: first no new requests, then no processes, then no files.
func (a *agent) serve(cancel context.CancelFunc, l net.Listener) error {
	srv := &http.Server{
		Handler:           a.handler(),
		BaseContext:       func(net.Listener) context.Context { return a.ctx },
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          a.log,
	}
	go a.jobs.sweepNowAndThen(a.ctx)
	stop := context.AfterFunc(a.ctx, func() { l.Close() })
	defer stop()
	err := srv.Serve(l)
	if a.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	cancel()
	srv.Close()
	a.app.Close()
	if kerr := a.procs.close(); kerr != nil {
		err = errors.Join(err, fmt.Errorf("agent: %w", kerr))
	}
	a.requests.close()
	a.jobs.close()
	a.drains.close()
	a.disk.walks.Wait()
	a.logs.Close()
	a.folders.Close()
	return err
}

// handler is a route that answers or says why not.
type handler func(http.ResponseWriter, *http.Request) error

func (a *agent) handler() http.Handler {
	rt := httprouter.New()
	rt.RedirectTrailingSlash = false
	rt.RedirectFixedPath = false
	rt.HandleOPTIONS = false
	rt.NotFound = a.route(func(http.ResponseWriter, *http.Request) error {
		return faultf(wire.FaultNotFound, "no such address")
	})
	rt.MethodNotAllowed = a.route(func(_ http.ResponseWriter, r *http.Request) error {
		return badRequest("method %s is not for this address", r.Method)
	})
	rt.Handler("GET", wire.PathState, a.route(a.serveState))
	rt.Handler("POST", wire.PathApp, a.route(a.serveApp))
	rt.Handler("PUT", wire.PathRelease, a.route(a.serveRelease))
	rt.Handler("POST", wire.PathDeploy, a.route(a.serveDeploy))
	rt.Handler("POST", wire.PathExec, a.route(a.serveExec))
	rt.Handler("POST", wire.PathJob, a.route(a.serveStartJob))
	rt.Handler("GET", wire.PathJob, a.route(a.serveJob))
	rt.Handler("DELETE", wire.PathJob, a.route(a.serveStopJob))
	rt.Handler("GET", wire.PathJobs, a.route(a.serveJobs))
	rt.Handler("PUT", wire.PathFile, a.route(a.serveWrite))
	rt.Handler("GET", wire.PathFile, a.route(a.serveRead))
	rt.Handler("DELETE", wire.PathFile, a.route(a.serveDelete))
	rt.Handler("POST", wire.PathMove, a.route(a.serveMove))
	rt.Handler("POST", wire.PathEdit, a.route(a.serveEdit))
	rt.Handler("GET", wire.PathHome, a.route(a.serveExport))
	rt.Handler("PUT", wire.PathHome, a.route(a.serveImport))
	rt.Handler("GET", wire.PathUpload, a.route(a.serveReceived))
	rt.Handler("PUT", wire.PathUpload, a.route(a.serveReceive))
	rt.Handler("POST", wire.PathUpload, a.route(a.serveFinish))
	rt.Handler("DELETE", wire.PathUpload, a.route(a.serveDrop))
	rt.Handler("GET", wire.PathTar, a.route(a.serveTar))
	rt.Handler("GET", wire.PathDir, a.route(a.serveDir))
	rt.Handler("PUT", wire.PathDir, a.route(a.serveMakeDir))
	rt.Handler("GET", wire.PathSearch, a.route(a.serveSearch))
	rt.Handler("GET", wire.PathLogs, a.route(a.serveLogs))
	rt.Handler("GET", wire.PathUsage, a.route(a.serveUsage))
	rt.Handler("GET", wire.PathDial, a.route(a.serveDial))
	rt.Handler("POST", wire.PathTerminal, a.route(a.serveTerminal))
	return rt
}

// route is where every refusal is written.
func (a *agent) route(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.requests.enter() {
			writeFault(w, faultf(wire.FaultFailed, "the pod is stopping"))
			return
		}
		defer a.requests.running.Done()
		if err := h(w, r); err != nil {
			writeFault(w, asFault(err))
		}
	})
}

// requests counts those under way, so that nothing is closed under them.
type requests struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.running.Add(1)
	}
	return !q.closed
}

// close refuses further requests and waits for those under way.
func (q *requests) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.running.Wait()
}
