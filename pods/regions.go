package pods

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/egress"
)

// Region is a place where pods run, as it is configured.
type Region struct {
	Name string
	Kind string // sandbox, …
	// Network is what its pods may reach at most.
	Network egress.Policy
	// Open makes its runtime ready. As long as it fails, usually with an
	// *UnavailableError, it is called again after a pause. ctx bounds the
	// opening only.
	Open func(ctx context.Context) (Runtime, error)
}

// RegionState is a region as it stands now.
type RegionState struct {
	Name, Kind string
	Err        error // why pods cannot run there; nil when they can
}

const (
	openTimeout   = time.Minute // of one try
	maxOpenPause  = time.Minute // between two
	maxCloseTime  = time.Minute
	callTimeout   = 15 * time.Second // of a question to a runtime
	changeTimeout = time.Minute      // of a stop or removal
)

var errNotOpened = errors.New("the region was not opened yet")

// region is a configured region and what has become of it.
type region struct {
	Region
	wakeup  chan struct{} // holds a value when a round is asked for
	opened  chan struct{} // closed when it is open
	opening sync.Mutex    // held by who tries to open it

	mu      sync.Mutex
	runtime Runtime // nil until it is open
	err     error   // why it is not
	fails   int
	retry   time.Time // no try before
}

func newRegion(r Region) *region {
	return &region{Region: r, wakeup: make(chan struct{}, 1), opened: make(chan struct{}), err: errNotOpened}
}

// get returns the runtime, or why there is none.
func (r *region) get() (Runtime, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runtime, r.err
}

// wake asks Run for a round in the region soon.
func (r *region) wake() {
	select {
	case r.wakeup <- struct{}{}:
	default:
	}
}

// untilRetry is how long until the next try to open the region is due, and
// whether it is waited for at all.
func (r *region) untilRetry(now time.Time) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.retry.Sub(now)), r.runtime == nil
}

// Open notes what an earlier server left half done, and opens the regions, side by
// side. Those that fail are opened by Run or
// Reconcile when they can be; RegionStates says why.
func (s *Service) Open(ctx context.Context) {
	if err := s.cfg.DB.CutDeploys("it was cut off before it ended", s.cfg.Now()); err != nil {
		s.cfg.Log.Error("deploys that were cut off could not be noted", "error", err)
	}
	if err := s.warnOfPlans(); err != nil {
		s.cfg.Log.Error("pods could not be looked through", "error", err)
	}
	var all sync.WaitGroup
	for _, r := range s.regions {
		all.Go(func() { s.openRegion(ctx, r) })
	}
	all.Wait()
}

// openRegion tries to open a region that is not open, when it is time to.
func (s *Service) openRegion(ctx context.Context, r *region) {
	if !r.opening.TryLock() {
		return // somebody is at it
	}
	defer r.opening.Unlock()
	if wait, closed := r.untilRetry(s.cfg.Now()); !closed || wait > 0 || !s.beginWork() {
		return
	}
	defer s.work.Done()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	runtime, err := r.Open(ctx)
	if err != nil {
		s.notOpened(r, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		s.cfg.Log.Info("pods can run here now", "region", r.Name)
	}
	r.runtime, r.err = runtime, nil
	s.board.turn.Add(1)
	close(r.opened)
}

// notOpened says why once, not at every try.
func (s *Service) notOpened(r *region, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err.Error() != err.Error() {
		s.cfg.Log.Warn("pods cannot run here", "region", r.Name, "error", err)
	}
	r.fails++
	r.err, r.retry = err, s.cfg.Now().Add(min(backoff(r.fails), maxOpenPause))
}

// beginWork counts something that Close waits for, unless it has begun.
func (s *Service) beginWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// region returns the region of that name, the first when name is empty.
func (s *Service) region(name string) (*region, error) {
	if name == "" {
		return s.regions[0], nil
	}
	i := slices.IndexFunc(s.regions, func(r *region) bool { return r.Name == name })
	if i < 0 {
		return nil, refuse(ErrUnknownRegion, "%q; choose one of %s", text.Short(name, maxSnippet), names(s.regions, func(r *region) string { return r.Name }))
	}
	return s.regions[i], nil
}

// runtime returns the runtime of a region, or an ErrUnavailable that says why
// pods cannot run there.
func (s *Service) runtime(region string) (Runtime, error) {
	r, err := s.region(region)
	if err != nil {
		return nil, err
	}
	runtime, err := r.get()
	if err != nil {
		return nil, unavailable(err)
	}
	return runtime, nil
}

// unavailable is what a region that cannot run pods answers. Only an
// *UnavailableError is written for people; other causes go to the log.
func unavailable(cause error) error {
	var u *UnavailableError
	switch {
	case errors.As(cause, &u):
		return &fault{word: ErrUnavailable, text: u.Error(), cause: cause}
	case errors.Is(cause, errNotOpened):
		return &fault{word: ErrUnavailable, text: "the server has only just started; try again in a moment", cause: cause}
	}
	return &fault{word: ErrUnavailable, text: "the log of the server says why; the person who runs it can look there", cause: cause}
}

// RegionStates says for the owner of the machine where pods can run; the first
// is the default.
func (s *Service) RegionStates() []RegionState {
	var list []RegionState
	for _, r := range s.regions {
		_, err := r.get()
		list = append(list, RegionState{r.Name, r.Kind, err})
	}
	return list
}

// Regions says where pods can run; the first is the default. Err of one that
// is not there is an ErrUnavailable fit to be shown.
func (s *Service) Regions(a authz.Actor) ([]RegionState, error) {
	if err := a.Allow(authz.SeeCatalogue, a.Team.ID); err != nil {
		return nil, err
	}
	list := s.RegionStates()
	for i := range list {
		if list[i].Err != nil {
			list[i].Err = unavailable(list[i].Err)
		}
	}
	return list, nil
}

// closeRegions lets every runtime go, side by side. Pods that can live without
// this server do, all others end.
func (s *Service) closeRegions() error {
	ctx, cancel := context.WithTimeout(context.Background(), maxCloseTime)
	defer cancel()
	errs := make([]error, len(s.regions))
	var all sync.WaitGroup
	for i, r := range s.regions {
		runtime, err := r.get()
		if err != nil {
			continue
		}
		all.Go(func() {
			if errs[i] = runtime.Detach(ctx); errors.Is(errs[i], errors.ErrUnsupported) {
				errs[i] = runtime.Close(ctx)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
