package pods

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"podgate/internal/authz"
	"podgate/store"
)

// traffic counts the bytes that came into a pod and went out of it, since they were
// taken last.
type traffic struct{ in, out atomic.Int64 }

// visit is a visitor's way to an app, and counts what it carries.
type visit struct {
	net.Conn
	*traffic
}

// Read implements net.Conn.
func (v visit) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	v.out.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (v visit) Write(p []byte) (int, error) {
	n, err := v.Conn.Write(p)
	v.in.Add(int64(n))
	return n, err
}

// NetConn returns the connection below.
func (v visit) NetConn() net.Conn { return v.Conn }

// CloseWrite ends our half, or says that the connection cannot do that.
func (v visit) CloseWrite() error {
	if half, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// carried is bytes into a pod and out of it.
type carried struct{ in, out int64 }

// traffic returns what visitors and the pod's own connections have carried since the
// server began to keep the pod.
func (l *live) traffic() carried {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.carried.in += l.visits.in.Swap(0)
	l.carried.out += l.visits.out.Swap(0)
	if l.gate != nil {
		sent, received := l.gate.TakeCarried()
		l.carried.in, l.carried.out = l.carried.in+received, l.carried.out+sent
	}
	return l.carried
}

// takeTraffic returns what was carried since the last call.
func (l *live) takeTraffic() (in, out int64) {
	now := l.traffic()
	l.mu.Lock()
	defer l.mu.Unlock()
	in, out = now.in-l.noted.in, now.out-l.noted.out
	l.noted = now
	return in, out
}

// measure notes once in a step what each running pod uses, as its runtime, its way out
// and the way in count it from outside, until ctx ends.
func (s *Service) measure(ctx context.Context) {
	last := map[store.PodID]float64{}
	for ctx.Err() == nil {
		next, err := s.measureAll(ctx, last)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("what pods use could not be noted", "error", err)
		}
		last = next
		sleep(ctx, store.UsageStep)
	}
}

// measureAll is one step. last and the map that it returns, for the next step, are the
// seconds of CPU of each pod since its start.
func (s *Service) measureAll(ctx context.Context, last map[store.PodID]float64) (map[store.PodID]float64, error) {
	records, err := s.cfg.DB.Pods()
	if err != nil {
		return last, err
	}
	samples, cpus := make([]store.UsageSample, len(records)), make([]float64, len(records))
	var asked errgroup.Group
	asked.SetLimit(listWidth)
	for i, rec := range records {
		if rec.Want == store.WantGone {
			continue
		}
		// Also of a pod that has ended: what it carried is not of its next start.
		in, out := s.of(rec).takeTraffic()
		if rec.Want != store.WantRunning {
			continue
		}
		asked.Go(func() error {
			st := s.seen(ctx, rec)
			if !st.Running {
				return nil
			}
			cpus[i] = st.Usage.CPU
			samples[i] = store.UsageSample{Pod: rec.ID, At: s.cfg.Now(), UsagePoint: store.UsagePoint{
				Known: true, Memory: st.Usage.Memory, CPU: cpuSince(last, rec.ID, st.Usage.CPU), In: in, Out: out,
			}}
			return nil
		})
	}
	err = asked.Wait()
	next := map[store.PodID]float64{}
	var known []store.UsageSample
	for i, sample := range samples {
		if sample.Known {
			next[sample.Pod] = cpus[i]
			known = append(known, sample)
		}
	}
	return next, errors.Join(err, s.cfg.DB.PutUsage(known))
}

// cpuSince returns the milliseconds since the last step. A counter that is lower than
// it was began anew, and one that nobody knew may have run for long.
func cpuSince(last map[store.PodID]float64, id store.PodID, now float64) int64 {
	before, known := last[id]
	switch {
	case !known:
		return 0
	case now < before:
		before = 0
	}
	return int64((now - before) * 1000)
}

// Used returns what a pod used during the last day, in steps of [store.UsageStep].
func (s *Service) Used(a authz.Actor, name string) (store.Usage, error) {
	rec, err := s.find(a, authz.ReadPod, name)
	if err != nil {
		return store.Usage{}, err
	}
	return s.cfg.DB.Usage(rec.ID)
}
