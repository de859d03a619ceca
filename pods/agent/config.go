package agent

import (
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Where the protocol's paths are rooted, whatever Config says about the disk.
const (
	podHome = "/home/pod"
	podTmp  = "/tmp"
	podApp  = podHome + "/app"
)

// Config says where and how an agent works. The zero value fits a pod.
type Config struct {
	Home   string // real folder behind /home/pod; default /home/pod
	Tmp    string // real folder behind /tmp; default /tmp
	LogDir string // default .podgate/logs in Home
	User   string // $USER and $LOGNAME; default pod
	Shell  string // runs commands with -c; default /bin/sh

	// Environ is the base environment of the app and of commands, as KEY=value.
	// PATH, HOME, USER, LOGNAME, SHELL, LANG and TERM are added where missing.
	Environ []string

	// Init says that this process is PID 1 of the pod: it collects every
	// orphan, ignores signals from inside and ends the whole pod with Serve.
	Init bool

	// Confine, in init mode, is called once on the thread that starts all that runs
	// in the pod, and shuts in what is started from it, not the agent. nil: nothing.
	Confine func() error

	Self      string           // the path that starts our own binary again; default /proc/self/exe
	Now       func() time.Time // default time.Now
	GraceStop time.Duration    // between SIGTERM and SIGKILL of the app; default 5 s
	ErrorLog  io.Writer        // what goes wrong in the agent itself; default: nowhere
}

func (c Config) withDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.Home, podHome)
	def(&c.Tmp, podTmp)
	def(&c.LogDir, filepath.Join(c.Home, ".podgate", "logs"))
	def(&c.User, "pod")
	def(&c.Shell, "/bin/sh")
	def(&c.Self, ownPath())
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.GraceStop <= 0 {
		c.GraceStop = 5 * time.Second
	}
	if c.ErrorLog == nil {
		c.ErrorLog = io.Discard
	}
	c.Environ = c.baseEnviron()
	return c
}

func (c Config) baseEnviron() []string {
	env := newEnviron(c.Environ)
	env.setDefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	env.setDefault("HOME", c.Home)
	env.setDefault("USER", c.User)
	env.setDefault("LOGNAME", c.User)
	env.setDefault("SHELL", c.Shell)
	env.setDefault("LANG", "C.UTF-8")
	env.setDefault("TERM", "dumb")
	if c.Tmp != podTmp {
		env.setDefault("TMPDIR", c.Tmp)
	}
	return env.list()
}

func (c Config) logger() *log.Logger { return log.New(c.ErrorLog, "agent: ", 0) }

func ownPath() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	if p, err := os.Executable(); err == nil {
		return p
	}
	return os.Args[0]
}

// environ is an environment in which each name occurs once; order is that of
// first mention, so that the result is the same every time.
type environ struct {
	names  []string
	values map[string]string
}

func newEnviron(list []string) *environ {
	e := &environ{values: make(map[string]string, len(list)+8)}
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			e.set(k, v)
		}
	}
	return e
}

func (e *environ) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environ) setDefault(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.set(name, value)
	}
}

func (e *environ) setAll(m map[string]string) {
	for _, name := range sortedKeys(m) {
		e.set(name, m[name])
	}
}

func (e *environ) get(name string) string { return e.values[name] }

func (e *environ) list() []string {
	out := make([]string, 0, len(e.names))
	for _, n := range e.names {
		out = append(out, n+"="+e.values[n])
	}
	return out
}
