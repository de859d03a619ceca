package store

import (
	"errors"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Why there is a snapshot.
const (
	SnapshotByHand  = "manual"
	SnapshotDeploy  = "deploy"  // as it was before one
	SnapshotRestore = "restore" // as it was before another took its place
)

// Snapshot is a copy of a pod's files that its runtime keeps, with what of its record
// belongs to them.
type Snapshot struct {
	ID      SnapshotID `json:"id"`
	Pod     PodID      `json:"pod"`
	Why     string     `json:"why"`
	Note    string     `json:"note,omitempty"` // of a person
	By      UserID     `json:"by,omitempty"`   // may be gone since
	Created time.Time  `json:"created"`
	Bytes   int64      `json:"bytes"` // as a plan counts them
	LeftOut int        `json:"left_out,omitempty"`
	Moving  bool       `json:"moving,omitempty"` // it is not of one moment
	Release int        `json:"release,omitempty"`
	Preset  string     `json:"preset"`
}

var snapshots = &table[Snapshot]{
	name:    "snapshots",
	key:     func(s *Snapshot) []byte { return []byte(s.ID) },
	indexes: []index[Snapshot]{{"pod", func(s *Snapshot) []byte { return join([]byte(s.Pod), []byte(s.ID)) }}},
	refs:    func(s *Snapshot) []ref { return []ref{{"pods", []byte(s.Pod)}} },
}

// Keep says which of a pod's other snapshots, the oldest first, have to go for a new
// one, or refuses with an error of its own. It is called inside the transaction.
type Keep func([]Snapshot) (drop []SnapshotID, err error)

// AddSnapshot notes a snapshot whose files are there, forgets those that keep names,
// and returns these. ErrNotFound when there is no such pod or it is deleted.
func (db *DB) AddSnapshot(s Snapshot, keep Keep) (dropped []SnapshotID, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		if _, err := podThere(tx, s.Pod); err != nil {
			return err
		}
		dropped, err = addSnapshot(tx, s, keep)
		return err
	})
	return dropped, err
}

func addSnapshot(tx *bolt.Tx, s Snapshot, keep Keep) ([]SnapshotID, error) {
	others, err := snapshotsOf(tx, s.Pod)
	if err != nil {
		return nil, err
	}
	if err := snapshots.insert(tx, &s); err != nil {
		return nil, err
	}
	drop, err := keep(others)
	if err != nil {
		return nil, err
	}
	for _, id := range drop {
		if err := snapshots.delete(tx, []byte(id)); err != nil {
			return nil, err
		}
	}
	return drop, nil
}

// podThere is a pod that is not deleted.
func podThere(tx *bolt.Tx, id PodID) (*Pod, error) {
	p, err := pods.get(tx, []byte(id))
	if err == nil && p.Want == WantGone {
		return nil, ErrNotFound
	}
	return p, err
}

func snapshotsOf(tx *bolt.Tx, id PodID) ([]Snapshot, error) {
	list, err := snapshots.by(tx, "pod", []byte(id))
	slices.SortStableFunc(list, func(a, b Snapshot) int { return a.Created.Compare(b.Created) })
	return list, err
}

// SnapshotsOf returns the snapshots of a pod, the oldest first.
func (db *DB) SnapshotsOf(id PodID) (list []Snapshot, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = snapshotsOf(tx, id); return err })
	return list, err
}

// Snapshots returns those of all pods, the oldest first.
func (db *DB) Snapshots() (list []Snapshot, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = snapshots.all(tx); return err })
	slices.SortStableFunc(list, func(a, b Snapshot) int { return a.Created.Compare(b.Created) })
	return list, err
}

// ForgetSnapshot deletes the record of a snapshot; nil when there is none. ErrTaken
// when its pod waits to be restored from it.
func (db *DB) ForgetSnapshot(id SnapshotID) error {
	return db.release(func(tx *bolt.Tx) error {
		s, err := snapshots.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if p, err := pods.get(tx, []byte(s.Pod)); err == nil && p.Restore != nil && p.Restore.From == id {
			return ErrTaken
		}
		return snapshots.delete(tx, []byte(id))
	})
}

// TrimSnapshots forgets those of a pod's snapshots that keep names, and returns these;
// none while one of them is being restored, or when there is no such pod.
func (db *DB) TrimSnapshots(id PodID, keep Keep) (dropped []SnapshotID, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		dropped = nil
		p, err := pods.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) || err == nil && p.Restore != nil {
			return nil
		}
		if err != nil {
			return err
		}
		list, err := snapshotsOf(tx, id)
		if err != nil {
			return err
		}
		if dropped, err = keep(list); err != nil {
			return err
		}
		for _, id := range dropped {
			if err := snapshots.delete(tx, []byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dropped, nil
}

// BeginRestore notes that a copy of a snapshot is to take the place of the pod's files.
// ErrNotFound when pod or snapshot are not there, ErrTaken when that goes on already.
func (db *DB) BeginRestore(id PodID, r Restore) (p Pod, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := podThere(tx, id)
		if err != nil {
			return err
		}
		from, err := snapshots.get(tx, []byte(r.From))
		if err != nil || from.Pod != id {
			return ErrNotFound
		}
		if found.Restore != nil {
			return ErrTaken
		}
		found.Restore = &r
		p = *found
		return pods.put(tx, found)
	})
	return p, err
}

// EndRestore notes that the exchange is done: the pod has what belongs to the files,
// and old is the snapshot of those before; nil: there were none. It returns what keep
// names, which is forgotten.
func (db *DB) EndRestore(id PodID, old *Snapshot, keep Keep) (p Pod, dropped []SnapshotID, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if found.Restore == nil {
			return ErrNotFound
		}
		from, err := snapshots.get(tx, []byte(found.Restore.From))
		if err != nil {
			return err
		}
		found.Release, found.Preset, found.Made, found.Restore = from.Release, from.Preset, true, nil
		if err := pods.put(tx, found); err != nil {
			return err
		}
		if p = *found; old == nil {
			return nil
		}
		dropped, err = addSnapshot(tx, *old, keep)
		return err
	})
	return p, dropped, err
}

// DropRestore takes back what BeginRestore noted; nil when there is nothing.
func (db *DB) DropRestore(id PodID) error {
	return db.release(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if err != nil || p.Restore == nil {
			return err
		}
		p.Restore = nil
		return pods.put(tx, p)
	})
}

// EndCopy notes that the files of a pod that is a copy are there, and that it is to
// run. ErrNotFound when there is none that waits for them.
func (db *DB) EndCopy(id PodID) (p Pod, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := podThere(tx, id)
		if err != nil {
			return err
		}
		if found.CopyOf == "" {
			return ErrNotFound
		}
		found.CopyOf, found.Made, found.Want = "", true, WantRunning
		p = *found
		return pods.put(tx, found)
	})
	return p, err
}

// DeletePod makes a pod one that is deleted and can be brought back until the given
// time, for which its name is its team's. ErrNotFound when there is no such pod or it
// is deleted.
func (db *DB) DeletePod(id PodID, now, until time.Time) error {
	return db.release(func(tx *bolt.Tx) error {
		p, err := podThere(tx, id)
		if err != nil {
			return err
		}
		p.Want, p.Deleted, p.Until = WantGone, now, until
		if err := pods.put(tx, p); err != nil {
			return err
		}
		return reservations.put(tx, &Reservation{Name: p.Name, Team: p.Team, Expires: until})
	})
}

// DeletedOf returns the pods of a team that can be brought back at now, the newest
// deleted first.
func (db *DB) DeletedOf(team TeamID, now time.Time) (list []Pod, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = pods.by(tx, "deleted", []byte(team)); return err })
	list = slices.DeleteFunc(list, func(p Pod) bool { return !now.Before(p.Until) })
	slices.SortStableFunc(list, func(a, b Pod) int { return b.Deleted.Compare(a.Deleted) })
	return list, err
}

// GiveUpPod has a deleted pod be due to go for good; nil when it is not deleted.
func (db *DB) GiveUpPod(id PodID) error {
	return db.release(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) || err == nil && (p.Deleted.IsZero() || p.Until.IsZero()) {
			return nil
		}
		if err != nil {
			return err
		}
		p.Until = time.Time{}
		return pods.put(tx, p)
	})
}

// UndeletePod brings a deleted pod back, under a name.
// ErrNotFound when it cannot be brought back at now; otherwise as of CreatePod.
func (db *DB) UndeletePod(id PodID, name string, now time.Time, allow func([]Pod) error) (p Pod, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if found.Deleted.IsZero() || !now.Before(found.Until) {
			return ErrNotFound
		}
		back := *found
		back.Env = maps.Clone(found.Env)
		back.Name, back.Want, back.Deleted, back.Until = name, WantRunning, time.Time{}, time.Time{}
		if err := putNew(tx, &back, now, allow); err != nil {
			return err
		}
		p = back
		return nil
	})
	return p, err
}
