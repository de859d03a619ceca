package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"podgate/internal/text"
	"podgate/pods/egress"
	"podgate/pods/wire"
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
	// Egress is the world outside for pods; the zero Config is the real one.
	Egress    egress.Config
	NameLists map[string][]egress.Rule // that a setting can name as @NAME
	Alarm     Alarm                    // nil: nobody is told
	Evicted   func(Evicted)            // hears what went for good to make room; nil: nobody
	Log       *slog.Logger
	Now       func() time.Time
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

// Preset is a kind of app environment, and whether it is to be had here.
type Preset struct {
	Name        string
	Description string
	Port        int
	Available   bool         // in one region at least
	Reason      string       // why it is available in none and what to do about it
	Regions     []PresetHere // in each region, where there are several
}

// PresetHere is a preset in one region.
type PresetHere struct {
	Region string
	Reason string // why it is not available there; empty when it is
}

// Pod is a pod as people and tools see it.
type Pod struct {
	ID      store.PodID // for our own code; not shown
	Name    string
	Team    store.TeamID
	Status  string // creating, starting, running, failing (it dies again and again), stopping, stopped, failed
	Reason  string // when failed, or when the app does not answer
	Tail    []wire.LogLine
	URL     string
	Preset  string
	Plan    string
	Region  string
	Created time.Time
	// LastDeploy is how its app was made last; nil when it never was but by its
	// first page.
	LastDeploy *Deploy
	Port       int
	Limits     Limits
	Env        []string // the names of its environment variables
	// The rest is known only of a pod that runs and answers.
	Started  time.Time // of the app
	LastExit Kill      // how the app or the pod ended last when nobody had asked for it; the zero one if it has not
	Restarts int
	deaths   int // in a row
	Command  string
	Workers  []wire.Worker // what runs beside the app
	Crons    []wire.Cron
	Usage
	Enforced []string
	// Network is what it may reach: none, names or internet; NetworkNames are those
	// names, and Refused is what it was refused lately, with the reasons.
	Network      string
	NetworkNames []string
	Refused      []string
}

// Progress hears what a long call is doing, as it happens: a line of text (the
// stream is then "status"), or output. It may be nil. It is called from one
// goroutine at a time and must not keep data.
type Progress func(stream string, data []byte)

func (p Progress) say(stream string, data []byte) {
	if p != nil && len(data) > 0 {
		p(text.Line(stream, 20), data)
	}
}

func (p Progress) status(line string) { p.say("status", []byte(line+"\n")) }

// Service is the rules and the life cycle of pods. Its methods take the actor,
// check what it may do, and return errors that wrap the words of errors.go.
// It is safe for concurrent use.
type Service struct {
	cfg        Config
	busyWait   time.Duration      // for another operation on the same pod
	purgePause time.Duration      // purgePause, but in tests
	ctx        context.Context    // ends with Close
	cancel     context.CancelFunc // ends ctx
	regions    []*region
	rules      atomic.Pointer[rules]

	links     links     // through which files come and go
	terminals terminals // that are open
	board     *board
	records   records
	listings  listings

	mu       sync.Mutex
	closed   bool
	rests    bool // no operation begins
	pods     map[store.PodID]*live
	measured map[store.PodID]int64     // what deleted pods take, as far as somebody has asked
	dueSince map[store.PodID]time.Time // since when deleted pods are seen due to go, by a clock that nobody sets
	work     sync.WaitGroup            // operations; only added to under mu while not closed
}

var _ io.Closer = (*Service)(nil)

// New returns a service, or says what is wrong with the configuration. Call
// Open to open its regions, and Run to keep pods as they should be.
func New(cfg Config) (*Service, error) {
	cfg = withDefaults(cfg)
	if err := checkConfig(cfg); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{cfg: cfg, busyWait: 20 * time.Second, ctx: ctx, cancel: cancel, board: newBoard(), pods: map[store.PodID]*live{}, dueSince: map[store.PodID]time.Time{}, purgePause: purgePause}
	for _, r := range cfg.Regions {
		s.regions = append(s.regions, newRegion(r))
	}
	s.rules.Store(rulesOf(cfg))
	return s, nil
}

// rules is what of the configuration can change while the service runs.
type rules struct {
	plans    []Plan
	quota    Quota
	lists    map[string][]egress.Rule
	networks map[string]egress.Policy // by region
}

func rulesOf(cfg Config) *rules {
	r := &rules{plans: cfg.Plans, quota: cfg.Quota, lists: cfg.NameLists, networks: map[string]egress.Policy{}}
	for _, region := range cfg.Regions {
		r.networks[region.Name] = region.Network
	}
	return r
}

// Reconfigure takes plans, quota, name lists and the networks of regions from
// cfg. They count for what is created, started or connected from then on; what a
// network does not allow any more is cut. The rest of cfg is checked and left.
func (s *Service) Reconfigure(cfg Config) error {
	cfg.DB = s.cfg.DB
	cfg = withDefaults(cfg)
	if err := checkConfig(cfg); err != nil {
		return err
	}
	next := rulesOf(cfg)
	for region, policy := range s.rules.Load().networks {
		if _, ok := next.networks[region]; !ok {
			next.networks[region] = policy // it is there until the next start
		}
	}
	s.rules.Store(next)
	return errors.Join(s.warnOfPlans(), s.NetworkChanged())
}

func withDefaults(cfg Config) Config {
	if len(cfg.Plans) == 0 {
		cfg.Plans = DefaultPlans()
	}
	if cfg.Quota == (Quota{}) {
		cfg.Quota = DefaultQuota()
	}
	if cfg.Evicted == nil {
		cfg.Evicted = func(Evicted) {}
	}
	if cfg.URL == nil {
		cfg.URL = func(string) string { return "" }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Egress.Now == nil {
		cfg.Egress.Now = cfg.Now
	}
	cfg.Egress = cfg.Egress.Shared()
	return cfg
}

// checkConfig reports all faults at once.
func checkConfig(cfg Config) error {
	var faults []error
	if cfg.DB == nil {
		faults = append(faults, errors.New("pods: no store"))
	}
	if len(cfg.Regions) == 0 {
		faults = append(faults, errors.New("pods: no region; at least one is needed"))
	}
	seen := map[string]bool{}
	for _, r := range cfg.Regions {
		if !wire.Label(r.Name) || seen[r.Name] {
			faults = append(faults, fmt.Errorf("pods: region %q: names are DNS labels and differ", r.Name))
		}
		if r.Open == nil {
			faults = append(faults, fmt.Errorf("pods: region %q cannot be opened", r.Name))
		}
		seen[r.Name] = true
	}
	seen = map[string]bool{}
	for _, p := range cfg.Plans {
		l := p.Limits
		if !wire.Label(p.Name) || seen[p.Name] {
			faults = append(faults, fmt.Errorf("pods: plan %q: names are DNS labels and differ", p.Name))
		}
		if l.Memory <= 0 || l.CPUs <= 0 || l.Disk <= 0 || l.Processes <= 0 {
			faults = append(faults, fmt.Errorf("pods: plan %q: memory, cpus, disk and processes must be more than 0", p.Name))
		}
		if l.Network < 0 {
			faults = append(faults, fmt.Errorf("pods: plan %q: network must not be negative", p.Name))
		}
		seen[p.Name] = true
	}
	if cfg.Quota.Pods < 0 || cfg.Quota.Memory < 0 {
		faults = append(faults, errors.New("pods: the quota must not be negative"))
	}
	return errors.Join(faults...)
}

// Close ends the operations that go on, waits for them, and lets go of the
// runtimes: each hands its pods over to the next server if it can (Runtime.Detach), and
// otherwise ends them (Runtime.Close). What pods should be stays in the store.
func (s *Service) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	all := make([]*live, 0, len(s.pods))
	for _, l := range s.pods {
		all = append(all, l)
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	if !first {
		return nil
	}
	for _, l := range all {
		l.client.close()
	}
	return s.closeRegions()
}
