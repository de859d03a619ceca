package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

const (
	installTime = 15 * time.Minute
	probeTime   = time.Second
	// lastWords is how long output is read after everything that could write
	// it has been killed.
	lastWords = 500 * time.Millisecond
)

// presetOf is the preset of an app that checkSpec has seen.
func presetOf(spec wire.AppSpec) preset.Preset {
	p, _ := preset.Find(spec.Preset)
	return p
}

// addAppEnv adds what the app in dir is told. The pod's own settings win over
// those of the spec: an app that listens elsewhere could not be reached.
func (a *agent) addAppEnv(env *environ, dir string, spec wire.AppSpec) {
	env.setAll(spec.Env)
	env.set("PORT", strconv.Itoa(spec.Port))
	env.setDefault("HOST", "127.0.0.1")
	env.set("PODGATE_NAME", spec.Name)
	env.set("PODGATE_DATA", filepath.Join(a.cfg.Home, dataName))
	if spec.URL != "" {
		env.set("PODGATE_URL", spec.URL)
	}
	p := presetOf(spec)
	for _, name := range sortedKeys(p.Env) {
		env.setDefault(name, p.Env[name])
	}
	if p.Bin != "" {
		env.set("PATH", filepath.Join(dir, p.Bin)+":"+env.get("PATH"))
	}
}

func (a *agent) appDir() string { return filepath.Join(a.cfg.Home, "app") }

func (a *agent) appEnv(dir string, spec wire.AppSpec) []string {
	env := newEnviron(a.cfg.Environ)
	a.addAppEnv(env, dir, spec)
	return env.list()
}

// installEnv is the environment of the install step. What a pod sets itself wins.
func (a *agent) installEnv(dir string, spec wire.AppSpec) []string {
	env := newEnviron(a.appEnv(dir, spec))
	more := presetOf(spec).InstallEnv
	for _, name := range sortedKeys(more) {
		env.setDefault(name, more[name])
	}
	return env.list()
}

// Launch implements launcher.
func (a *agent) Launch(spec wire.AppSpec) (child, string, error) {
	if err := a.findApp(); err != nil {
		return nil, "", err
	}
	return a.launch(a.appDir(), spec)
}

// launch starts the app in dir.
func (a *agent) launch(dir string, spec wire.AppSpec) (child, string, error) {
	env := a.appEnv(dir, spec)
	p := presetOf(spec)
	start, err := p.Start(preset.App{Dir: dir, Path: newEnviron(env).get("PATH")})
	if err != nil {
		return nil, "", faultf(wire.FaultFailed, "%v", err)
	}
	if start.Idle {
		return idle{}, start.String(), nil
	}
	c := command{app: true, path: a.cfg.Shell, shell: true, argv: []string{"sh", "-c", start.Shell}, dir: dir, env: env}
	if start.Static {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(spec.Port))
		c.path, c.shell, c.argv = a.cfg.Self, false, []string{roleStatic, dir, start.Built, addr}
	}
	app, err := a.spawn(c, sourceApp, nil)
	if err != nil {
		return nil, "", err
	}
	return app, start.String(), nil
}

// Answers implements launcher.
func (a *agent) Answers(port int) bool {
	conn, err := dialPort(context.Background(), port, probeTime)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Listening implements launcher. Outside a pod of its own there is no telling
// whose ports are open.
func (a *agent) Listening() []int {
	if !a.cfg.Init {
		return nil
	}
	return listeningPorts()
}

// EndAll implements launcher.
func (a *agent) EndAll() { a.endAll(false) }

func (a *agent) endAll(spareApp bool) {
	if err := a.procs.endAll(a.cfg.GraceStop, spareApp); err != nil {
		a.log.Printf("end everything: %v", err)
	}
}

// Remark implements launcher.
func (a *agent) Remark(format string, args ...any) { a.logs.remark(format, args...) }

// Tail implements launcher.
func (a *agent) Tail(lines int) []wire.LogLine {
	return a.logs.find(logQuery{Lines: lines, Source: sourceApp})
}

// logged is a process whose output goes to the log.
type logged struct {
	*proc
	grace   time.Duration
	agent   *agent
	outputs [2]*os.File
	readers sync.WaitGroup
}

// spawn starts c with its output going to the log under source, and to tap.
func (a *agent) spawn(c command, source string, tap func([]byte)) (*logged, error) {
	return a.spawnLabelled(c, source, source, "", tap)
}

// spawnLabelled is spawn with a part of the log and a label before each line there.
func (a *agent) spawnLabelled(c command, part, source, label string, tap func([]byte)) (*logged, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	l := &logged{agent: a, grace: a.cfg.GraceStop}
	c.files[0] = null
	for i := range l.outputs {
		r, w, err := os.Pipe()
		if err != nil {
			l.closeOutputs()
			return nil, err
		}
		defer w.Close()
		l.outputs[i], c.files[1+i] = r, w
	}
	if l.proc, err = a.procs.start(c); err != nil {
		l.closeOutputs()
		return nil, err
	}
	for i, stream := range []string{"stdout", "stderr"} {
		l.readers.Go(func() {
			readLines(l.outputs[i], func(lines []string) { a.logs.addTo(part, source, stream, labelled(label, lines)...) }, tap)
		})
	}
	return l, nil
}

func (l *logged) closeOutputs() {
	for _, f := range l.outputs {
		if f != nil {
			f.Close()
		}
	}
}

func (l *logged) PID() int              { return l.pid }
func (l *logged) Done() <-chan struct{} { return l.done }

func (l *logged) End() string { return describeExit(l.status) }

// Stop implements child.
func (l *logged) Stop() {
	if !l.exited() {
		l.signalGroup(syscall.SIGTERM)
		t := time.NewTimer(l.grace)
		select {
		case <-l.done:
		case <-t.C:
		}
		t.Stop()
	}
	l.finish()
}

// finish kills what is left and reads the last output.
func (l *logged) finish() {
	if err := l.killTree(); err != nil {
		l.agent.log.Printf("app: %v", err)
	}
	t := time.AfterFunc(lastWords, l.closeOutputs)
	l.readers.Wait()
	t.Stop()
}

// install makes what lies in dir ready to start, if that takes anything. The app goes
// on as it was meanwhile, and also when it fails; everything else in the pod ends
// first, since it may have used up what the install needs.
func (a *agent) install(ctx context.Context, dir string, spec wire.AppSpec, tap func([]byte)) error {
	steps, err := a.steps(dir, spec)
	if err != nil || len(steps) == 0 {
		return err
	}
	ctx, end := a.installs.begin(ctx)
	defer end()
	a.endAll(true)
	done := a.app.Preparing()
	err = a.runSteps(ctx, steps, tap)
	done(err)
	return err
}

// steps are what makes the app in dir ready: the preset's install, then the release
// line of its Procfile, which has the environment that the app gets.
func (a *agent) steps(dir string, spec wire.AppSpec) (steps []step, err error) {
	p, app := presetOf(spec), preset.App{Dir: dir}
	install, err := p.Install(app)
	if err != nil {
		return nil, err
	}
	release, err := p.Release(app)
	if err != nil {
		return nil, err
	}
	if install != "" {
		steps = append(steps, step{name: "the install", shell: install, dir: dir, env: a.installEnv(dir, spec)})
	}
	if release != "" {
		steps = append(steps, step{name: "the release line of the Procfile", shell: release, dir: dir, env: a.appEnv(dir, spec)})
	}
	return steps, nil
}

// runSteps runs steps one after the other, up to one that fails.
func (a *agent) runSteps(ctx context.Context, steps []step, tap func([]byte)) error {
	for _, s := range steps {
		if err := a.runStep(ctx, s, tap); err != nil {
			return err
		}
	}
	return nil
}

// step is one command of what makes an app ready.
type step struct {
	name  string // for a person
	say   string // what the log and a failure call it; empty: shell
	shell string
	dir   string
	env   []string
}

// runStep runs a step to its end. A failure carries the last lines of its output.
func (a *agent) runStep(ctx context.Context, s step, tap func([]byte)) error {
	if s.say == "" {
		s.say = s.shell
	}
	a.Remark("install: %s", s.say)
	began := a.cfg.Now()
	c := command{path: a.cfg.Shell, shell: true, argv: []string{"sh", "-c", s.shell}, dir: s.dir, env: s.env}
	l, err := a.spawn(c, sourceInstall, tap)
	if err != nil {
		return err
	}
	failed := ""
	select {
	case <-l.done:
		if code, _ := exitCode(l.status); code != 0 {
			failed = fmt.Sprintf("%s (%s) %s; the app was left as it was. See the logs with source install", s.name, s.say, describeExit(l.status))
		}
	case <-ctx.Done():
		failed = fmt.Sprintf("%s was cancelled or took over %v; the app was left as it was", s.name, installTime)
	}
	l.finish() // so that its last lines are in the log
	if failed == "" {
		return nil
	}
	fault := faultf(wire.FaultFailed, "%s", failed)
	fault.Lines = a.logs.find(logQuery{Lines: tailLines, Source: sourceInstall, Since: began})
	return fault
}

// installs lets one install run at a time; a newer one, or cancel, ends the
// one that runs.
type installs struct {
	mu   sync.Mutex
	stop context.CancelFunc
	turn sync.Mutex
}

func (i *installs) begin(ctx context.Context) (context.Context, func()) {
	i.cancel()
	i.turn.Lock()
	ctx, stop := context.WithTimeout(ctx, installTime)
	i.mu.Lock()
	i.stop = stop
	i.mu.Unlock()
	return ctx, func() {
		stop()
		i.turn.Unlock()
	}
}

func (i *installs) cancel() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stop != nil {
		i.stop()
	}
}

// clear ends the install or deploy that goes on, and returns when it is over: one whose
// caller went away may still be bringing back what ran before.
func (i *installs) clear() {
	i.cancel()
	i.turn.Lock()
	defer i.turn.Unlock()
}

// dialPort connects to the pod's own loopback. Servers told to listen on
// «localhost» may have taken ::1 only, so that is tried second.
func dialPort(ctx context.Context, port int, wait time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: wait}
	conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, "tcp", fmt.Sprintf("[::1]:%d", port)); err6 == nil {
		return conn, nil
	}
	return nil, err
}
