package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// UsageStep is the time between two points of what a pod used.
	UsageStep = 5 * time.Minute
	// UsagePoints is how many are kept: a day.
	UsagePoints = int(24 * time.Hour / UsageStep)
)

// UsagePoint is what a pod used in one step.
type UsagePoint struct {
	Known  bool // false: nobody measured, as it did not run
	Memory int64
	CPU    int64 // milliseconds
	In     int64 // bytes from outside
	Out    int64
}

// Usage is what a pod used during the last day, the oldest first. The last of
// Points is of the step that begins at Newest.
type Usage struct {
	Newest time.Time
	Points []UsagePoint
}

// UsageSample is a point of one pod.
type UsageSample struct {
	Pod PodID
	At  time.Time // within the step that it is of
	UsagePoint
}

// usageRecord is Usage as it stands in the file: each point is a zero byte, or a one
// and four unsigned varints.
type usageRecord struct {
	Pod    PodID     `json:"pod"`
	Newest time.Time `json:"newest"`
	Points []byte    `json:"points"`
}

var usages = &table[usageRecord]{
	name: "usage",
	key:  func(u *usageRecord) []byte { return []byte(u.Pod) },
	refs: func(u *usageRecord) []ref { return []ref{{"pods", []byte(u.Pod)}} },
}

// PutUsage adds points, in one transaction for any number of pods. A second point of
// a step takes the place of the first, one that is older than the newest is left out,
// and so is one of a pod that is gone.
func (db *DB) PutUsage(samples []UsageSample) error {
	if len(samples) == 0 {
		return nil
	}
	return db.update(func(tx *bolt.Tx) error {
		for _, s := range samples {
			if !pods.has(tx, []byte(s.Pod)) {
				continue
			}
			u, err := usageOf(tx, s.Pod)
			if err != nil {
				return err
			}
			if !u.add(s) {
				continue
			}
			if err := usages.put(tx, &usageRecord{Pod: s.Pod, Newest: u.Newest, Points: u.encode()}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Usage returns what a pod used; the zero Usage when nothing is known.
func (db *DB) Usage(id PodID) (u Usage, err error) {
	err = db.view(func(tx *bolt.Tx) error { u, err = usageOf(tx, id); return err })
	return u, err
}

func usageOf(tx *bolt.Tx, id PodID) (Usage, error) {
	r, err := usages.get(tx, []byte(id))
	if errors.Is(err, ErrNotFound) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, err
	}
	return r.decode()
}

// add puts a point at the end, with what nobody measured before it.
func (u *Usage) add(s UsageSample) bool {
	step := s.At.UTC().Truncate(UsageStep)
	s.Known = true
	ahead := int64(1)
	if len(u.Points) > 0 {
		ahead = int64(step.Sub(u.Newest) / UsageStep)
	}
	switch {
	case ahead < 0:
		return false
	case ahead == 0:
		u.Points[len(u.Points)-1] = s.UsagePoint
		return true
	case ahead >= int64(UsagePoints):
		u.Points, ahead = nil, 1
	}
	u.Points = append(u.Points, make([]UsagePoint, ahead-1)...)
	u.Points = append(u.Points, s.UsagePoint)
	u.Points = u.Points[max(0, len(u.Points)-UsagePoints):]
	u.Newest = step
	return true
}

func (u *Usage) encode() (raw []byte) {
	for _, p := range u.Points {
		if !p.Known {
			raw = append(raw, 0)
			continue
		}
		raw = append(raw, 1)
		for _, n := range []int64{p.Memory, p.CPU, p.In, p.Out} {
			raw = binary.AppendUvarint(raw, uint64(max(n, 0)))
		}
	}
	return raw
}

func (r *usageRecord) decode() (Usage, error) {
	u := Usage{Newest: r.Newest}
	for raw := r.Points; len(raw) > 0; {
		p := UsagePoint{Known: raw[0] == 1}
		raw = raw[1:]
		for _, n := range []*int64{&p.Memory, &p.CPU, &p.In, &p.Out} {
			if !p.Known {
				break
			}
			v, size := binary.Uvarint(raw)
			if size <= 0 {
				return Usage{}, fmt.Errorf("store: damaged record in usage: %s", r.Pod)
			}
			*n, raw = int64(v), raw[size:]
		}
		u.Points = append(u.Points, p)
	}
	return u, nil
}
