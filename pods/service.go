package pods

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"podgate/internal/authz"
	"podgate/pods/agent"
	"podgate/store"
)

// Config is what a Service needs. All fields but DB are optional.
type Config struct {
	DB      *store.DB
	Regions []Region // at least one; the first is the default
	Plans   []Plan   // empty: DefaultPlans
	Quota   Quota    // zero: DefaultQuota
	// URL gives the address of a pod from its name, such as
	// http://NAME.localhost:8080.
	URL func(name string) string
	Log *slog.Logger
	Now func() time.Time
}

// Region is a place where pods run: one configured runtime, or the reason why
// it is not there.
type Region struct {
	Name    string
	Kind    string // sandbox, …
	Runtime Runtime
	Err     error // set instead of Runtime; usually an *UnavailableError
}

// Plan is a named set of limits.
type Plan struct {
	Name   string
	Limits Limits
}

// Quota bounds what one team may have.
type Quota struct {
	Pods   int
	Memory int64 // sum of the plans' memory, bytes
}

// Preset is a kind of app environment.
type Preset struct {
	Name        string
	Description string
	Port        int
	Available   bool
	Reason      string // why it is not available here and what to install
}

// Pod is a pod as people and tools see it.
type Pod struct {
	ID      store.PodID // for our own code; not shown
	Name    string
	Team    store.TeamID
	Status  string // creating, starting, running, stopping, stopped, failed
	Reason  string // when failed, or when the app does not answer
	Tail    []agent.LogLine
	URL     string
	Preset  string
	Plan    string
	Region  string
	Created time.Time
	// The rest is known only of a running pod and only to Get and the methods
	// that change a pod; List leaves it zero.
	Started   time.Time // of the app
	Restarts  int
	Command   string
	Port      int
	Memory    int64   // bytes used
	CPU       float64 // seconds used
	Disk      int64   // bytes used
	Processes int
	Limits    Limits
	Enforced  []string
}

// Service is the rules and the life cycle of pods. Its methods take the actor,
// check what it may do, and return errors that wrap the words of errors.go.
type Service struct{ cfg Config }

// New returns a service. Call Run to keep pods as they should be.
func New(cfg Config) (*Service, error) { return &Service{cfg}, nil }

var errUnbuilt = errors.New("not built yet")

// Run reconciles at once and then on a timer until ctx ends.
func (s *Service) Run(ctx context.Context) error { return errUnbuilt }

// Close stops what Service does in the background and closes its runtimes.
func (s *Service) Close() error { return errUnbuilt }

// List returns the pods of the actor's team by name.
func (s *Service) List(ctx context.Context, a authz.Actor) ([]Pod, error) { return nil, errUnbuilt }

// Get returns one pod with all that is known of it.
func (s *Service) Get(ctx context.Context, a authz.Actor, name string) (Pod, error) {
	return Pod{}, errUnbuilt
}

// CreateRequest asks for a new pod. Plan and Region may be empty.
type CreateRequest struct {
	Name, Preset, Plan, Region string
	Env                        map[string]string
}

// Progress hears what a long call is doing, as it happens: a line of text, or
// output. It may be nil. It is called from one goroutine at a time.
type Progress func(stream string, data []byte)

// Create makes a pod and returns when its first page answers.
func (s *Service) Create(ctx context.Context, a authz.Actor, r CreateRequest, p Progress) (Pod, error) {
	return Pod{}, errUnbuilt
}

// Start, Stop, Restart and Reload change what the pod's app does and return
// the pod after it.
func (s *Service) Start(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return Pod{}, errUnbuilt
}
func (s *Service) Stop(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return Pod{}, errUnbuilt
}
func (s *Service) Restart(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return Pod{}, errUnbuilt
}
func (s *Service) Reload(ctx context.Context, a authz.Actor, name string, p Progress) (Pod, error) {
	return Pod{}, errUnbuilt
}

// Delete removes the pod and everything in it. confirm must be its name.
func (s *Service) Delete(ctx context.Context, a authz.Actor, name, confirm string) error {
	return errUnbuilt
}

// ExecRequest is one command.
type ExecRequest struct {
	Command   string
	Dir       string        // default: the app folder
	Timeout   time.Duration // 0: 60 s; at most agent.MaxExecTimeout
	Stdin     []byte
	MaxOutput int // bytes kept a stream; 0: 100,000
}

// ExecResult is how it ended. With ErrTimedOut it holds what was printed.
type ExecResult struct {
	Code                         int
	Signal                       string
	Stdout, Stderr               []byte
	DroppedStdout, DroppedStderr int64 // bytes beyond MaxOutput
	Duration                     time.Duration
}

// Exec runs a command in a running pod.
func (s *Service) Exec(ctx context.Context, a authz.Actor, name string, r ExecRequest, p Progress) (ExecResult, error) {
	return ExecResult{}, errUnbuilt
}

// WriteFile writes content to path. mode 0 means 0644, or what the file has.
func (s *Service) WriteFile(ctx context.Context, a authz.Actor, name, path string, content []byte, mode uint32) (agent.FileInfo, error) {
	return agent.FileInfo{}, errUnbuilt
}

// FileContent is a part of a file.
type FileContent struct {
	Info    agent.FileInfo
	Offset  int64
	Content []byte
	More    bool // the file goes on after Content
}

// ReadFile reads at most limit bytes (0: agent.MaxRead) from offset.
func (s *Service) ReadFile(ctx context.Context, a authz.Actor, name, path string, offset, limit int64) (FileContent, error) {
	return FileContent{}, errUnbuilt
}

// ListFiles lists a folder; empty path: the app folder.
func (s *Service) ListFiles(ctx context.Context, a authz.Actor, name, path string) (agent.Listing, error) {
	return agent.Listing{}, errUnbuilt
}

// LogQuery selects log lines.
type LogQuery struct {
	Lines  int // 0: 100; at most agent.MaxLines
	Since  time.Time
	Grep   string
	Source string // app, agent, install; empty: all
}

// Logs returns the newest lines that match, oldest first.
func (s *Service) Logs(ctx context.Context, a authz.Actor, name string, q LogQuery) ([]agent.LogLine, error) {
	return nil, errUnbuilt
}

// Presets, Plans and Regions say what this server offers.
func (s *Service) Presets(a authz.Actor) ([]Preset, error) { return nil, errUnbuilt }
func (s *Service) Plans(a authz.Actor) ([]Plan, error)     { return nil, errUnbuilt }
func (s *Service) Regions(a authz.Actor) ([]Region, error) { return nil, errUnbuilt }

// DialApp opens a stream to the port of a pod's app, for the ingress, which
// has no actor: a pod's address is public. The pod's state comes along for the
// page that is shown when nothing answers.
func (s *Service) DialApp(ctx context.Context, name string) (net.Conn, Pod, error) {
	return nil, Pod{}, errUnbuilt
}

var _ io.Closer = (*Service)(nil)
