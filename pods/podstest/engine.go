package podstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"podgate/pods"
	"podgate/store"
)

// Engine is where the pods of fakes live: in this process, with their homes
// under one folder. Its pods outlive a Fake that is detached from it.
type Engine struct {
	dir    string
	deaths *pods.Deaths

	mu   sync.Mutex
	pods map[store.PodID]*env
}

// NewEngine returns an engine without pods whose homes are under dir. End it
// when nobody else does.
func NewEngine(dir string) *Engine {
	return &Engine{dir: dir, deaths: pods.NewDeaths(), pods: map[store.PodID]*env{}}
}

// Open returns a runtime on the engine, which finds what runs there.
func (e *Engine) Open() *Fake {
	f := &Fake{engine: e, outlived: true, agent: RealAgent, hung: map[string]bool{}}
	f.life, f.endLife = context.WithCancel(context.Background())
	return f
}

// End ends all pods.
func (e *Engine) End() {
	e.mu.Lock()
	all := slices.Collect(maps.Keys(e.pods))
	e.mu.Unlock()
	for _, id := range all {
		e.end(id, "")
	}
}

// env is one environment that was started; it may have ended.
type env struct {
	listener *listener
	cancel   context.CancelFunc
	done     chan struct{} // closed when the agent has returned
	started  time.Time
	exit     string // guarded by Engine.mu
}

func (e *Engine) folder(id store.PodID) string { return filepath.Join(e.dir, string(id)) }

func (e *Engine) launch(spec pods.Spec, serve AgentFunc) error {
	id := spec.ID
	home := filepath.Join(e.folder(id), "home")
	if _, err := os.Stat(home); spec.Made && errors.Is(err, fs.ErrNotExist) {
		return pods.FilesGone(home)
	}
	for _, part := range []string{"home", "tmp", "logs"} {
		if err := os.MkdirAll(filepath.Join(e.folder(id), part), 0o700); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pods[id].running() {
		return nil // another Start won
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &env{listener: newListener(), cancel: cancel, done: make(chan struct{}), started: time.Now()}
	e.pods[id] = run
	go func() {
		defer close(run.done)
		err := serve(ctx, e.folder(id), run.listener)
		run.listener.shut()
		if ctx.Err() == nil {
			e.mu.Lock()
			run.exit = fmt.Sprintf("the agent ended: %v", err)
			e.mu.Unlock()
			e.deaths.Add(pods.Death{ID: id, Reason: run.exit})
		}
	}()
	return nil
}

// running is false for nil.
func (r *env) running() bool {
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// running returns the environment of id when it runs.
func (e *Engine) running(id store.PodID) *env {
	e.mu.Lock()
	defer e.mu.Unlock()
	if run := e.pods[id]; run.running() {
		return run
	}
	return nil
}

// end ends an environment and waits until nothing of it runs.
func (e *Engine) end(id store.PodID, exit string) {
	e.mu.Lock()
	run := e.pods[id]
	if run != nil {
		run.exit = exit
	}
	e.mu.Unlock()
	if run == nil {
		return
	}
	run.cancel()
	run.listener.shut()
	<-run.done
}

func (e *Engine) status(id store.PodID) pods.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := pods.Status{ID: id}
	if run := e.pods[id]; run != nil {
		st.Running, st.Started = run.running(), run.started
		if !st.Running {
			st.Exit = run.exit
		}
	}
	return st
}

// ask has the agent behind dial answer a GET.
func ask(ctx context.Context, dial func(context.Context) (net.Conn, error), path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	res, err := agentClient(dial).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(v)
}

// agentClient is a client of the agent behind dial, with a stream a request.
func agentClient(dial func(context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}
}
