package pods

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"podgate/internal/authz"
	"podgate/pods/egress"
	"podgate/store"
)

// counted is what a pod's counters, which begin anew with each start, stood at last.
type counted struct {
	cpu     float64
	in, out int64
}

// since is by how much a counter has grown; one that is lower than it was began anew.
func since(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

// measure notes once in a step what each running pod uses, as its runtime and its way
// out count it from outside, until ctx ends.
func (s *Service) measure(ctx context.Context) {
	last := map[store.PodID]counted{}
	for ctx.Err() == nil {
		next, err := s.measureAll(ctx, last)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("what pods use could not be noted", "error", err)
		}
		last = next
		sleep(ctx, store.UsageStep)
	}
}

// measureAll is one step. It returns the counters for the next.
func (s *Service) measureAll(ctx context.Context, last map[store.PodID]counted) (map[store.PodID]counted, error) {
	records, err := s.cfg.DB.Pods()
	if err != nil {
		return last, err
	}
	samples, counters := make([]store.UsageSample, len(records)), make([]counted, len(records))
	var asked errgroup.Group
	asked.SetLimit(listWidth)
	for i, rec := range records {
		if rec.Want != store.WantRunning {
			continue
		}
		asked.Go(func() error {
			st := s.seen(ctx, rec)
			if !st.Running {
				return nil
			}
			now, before := s.countersOf(rec, st), last[rec.ID]
			cpu := since(int64(now.cpu*1000), int64(before.cpu*1000))
			if _, known := last[rec.ID]; !known {
				cpu = 0 // it may have run for long before anybody measured
			}
			counters[i] = now
			samples[i] = store.UsageSample{Pod: rec.ID, At: s.cfg.Now(), UsagePoint: store.UsagePoint{
				Known: true, Memory: st.Usage.Memory, CPU: cpu, In: since(now.in, before.in), Out: since(now.out, before.out),
			}}
			return nil
		})
	}
	err = asked.Wait()
	next := map[store.PodID]counted{}
	var known []store.UsageSample
	for i, sample := range samples {
		if sample.Known {
			next[sample.Pod] = counters[i]
			known = append(known, sample)
		}
	}
	return next, errors.Join(err, s.cfg.DB.PutUsage(known))
}

func (s *Service) countersOf(rec store.Pod, st Status) counted {
	c := counted{cpu: st.Usage.CPU}
	for _, e := range s.ledgerOf(rec) {
		c.in, c.out = c.in+e.Received, c.out+e.Sent
	}
	return c
}

func (s *Service) ledgerOf(rec store.Pod) []egress.Entry {
	l := s.of(rec)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate == nil {
		return nil
	}
	return l.gate.Ledger()
}

// Used returns what a pod used during the last day, in steps of [store.UsageStep].
func (s *Service) Used(a authz.Actor, name string) (store.Usage, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return store.Usage{}, err
	}
	return s.cfg.DB.Usage(rec.ID)
}
