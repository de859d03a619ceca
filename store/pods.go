package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Want is what a pod should be; what it is, only its runtime knows.
type Want string

// The states a pod can be wanted in.
const (
	WantRunning Want = "running"
	WantStopped Want = "stopped"
	WantGone    Want = "gone" // deleted: invisible; its name is still taken unless Deleted is set
)

// Pod is an isolated app environment of a team.
type Pod struct {
	ID        PodID             `json:"id"`
	Name      string            `json:"name"` // a DNS label, unique on the server
	Team      TeamID            `json:"team"`
	Preset    string            `json:"preset"`
	Plan      string            `json:"plan"`
	Region    string            `json:"region"`
	Env       map[string]string `json:"env,omitempty"`
	Network   Network           `json:"network,omitzero"`
	Want      Want              `json:"want"`
	CreatedBy UserID            `json:"created_by,omitempty"` // may be gone since
	Created   time.Time         `json:"created"`

	// Number tells the pod from all others of its region, for a runtime that needs
	// such a thing. CreatePod chooses it, from 1 up, and a deleted pod's comes again.
	Number int `json:"number"`
	// Made is true once the pod ran: from then on its files must be there.
	Made bool `json:"made,omitempty"`

	Release int `json:"release,omitempty"` // the folder of its app; see Deploy
	Deploys int `json:"deploys,omitempty"` // the number of its last deploy

	// Told is when its owners were told that it failed; zero: not since it ran well.
	Told time.Time `json:"told,omitzero"`

	// Deleted is set in a pod that is WantGone and whose files are kept until Until, so
	// that it can be brought back. It has no name and is not counted. It has its number, as
	// its files and what may still run of it belong to that.
	Deleted time.Time `json:"deleted,omitzero"`
	Until   time.Time `json:"until,omitzero"`

	// CopyOf is the pod whose files are still being copied to this one.
	CopyOf PodID `json:"copy_of,omitempty"`
	// Restore is what takes the place of its files before it starts again.
	Restore *Restore `json:"restore,omitempty"`
}

// Restore is the exchange of a pod's files for a copy of a snapshot, until it is done.
type Restore struct {
	From SnapshotID `json:"from"`
	Old  SnapshotID `json:"old"` // what the files become that are there before
	By   UserID     `json:"by,omitempty"`
	Note string     `json:"note,omitempty"` // of Old
}

// Reservation keeps the name of a deleted pod for its team for a while, so
// that nobody else can answer at an address that people still have.
type Reservation struct {
	Name    string    `json:"name"`
	Team    TeamID    `json:"team"`
	Expires time.Time `json:"expires"`
}

var pods = &table[Pod]{
	name: "pods",
	key:  func(p *Pod) []byte { return []byte(p.ID) },
	indexes: []index[Pod]{
		{"name", func(p *Pod) []byte { return ifThere(p, []byte(p.Name)) }},
		{"team", func(p *Pod) []byte { return ifThere(p, join([]byte(p.Team), []byte(p.ID))) }},
		{"number", func(p *Pod) []byte { return numberKey(p.Region, p.Number) }},
		{"deleted", func(p *Pod) []byte {
			if p.Deleted.IsZero() {
				return nil
			}
			return join([]byte(p.Team), []byte(p.ID))
		}},
	},
	refs: func(p *Pod) (all []ref) {
		if p.Deleted.IsZero() {
			all = append(all, ref{"teams", []byte(p.Team)})
		}
		if p.Restore != nil {
			all = append(all, ref{"snapshots", []byte(p.Restore.From)})
		}
		return all
	},
}

// ifThere is a key of a pod that is not kept to be brought back.
func ifThere(p *Pod, key []byte) []byte {
	if p.Deleted.IsZero() {
		return key
	}
	return nil
}

var reservations = &table[Reservation]{
	name:    "reservations",
	kind:    8,
	key:     func(r *Reservation) []byte { return []byte(r.Name) },
	refs:    func(r *Reservation) []ref { return []ref{{"teams", []byte(r.Team)}} },
	expires: func(r *Reservation) time.Time { return r.Expires },
}

// numberKey is the key of a number in a region.
func numberKey(region string, number int) []byte {
	return join([]byte(region), binary.BigEndian.AppendUint64(nil, uint64(number)))
}

// freeNumber is the smallest that no pod of the region has.
func freeNumber(tx *bolt.Tx, region string) int {
	number := 1
	c := tx.Bucket([]byte("pods_by_number")).Cursor()
	for k, _ := c.Seek(numberKey(region, number)); bytes.Equal(k, numberKey(region, number)); k, _ = c.Next() {
		number++
	}
	return number
}

// CreatePod inserts p with a number of its own. ErrTaken when a pod has the name, ErrReserved when
// another team's deleted pod had it not long ago, ErrNotFound when the team is
// gone. allow sees the team's pods, those being deleted included, inside the
// same transaction and may refuse with an error of its own (a quota).
func (db *DB) CreatePod(p Pod, now time.Time, allow func([]Pod) error) error {
	return db.update(func(tx *bolt.Tx) error {
		if pods.has(tx, []byte(p.ID)) {
			return ErrTaken
		}
		p.Number = 0
		return putNew(tx, &p, now, allow)
	})
}

// putNew writes a pod that takes a name and a place in its team, and a number if it has
// none.
func putNew(tx *bolt.Tx, p *Pod, now time.Time, allow func([]Pod) error) error {
	if _, err := teams.get(tx, []byte(p.Team)); err != nil {
		return err
	}
	if r, err := reservations.live(tx, []byte(p.Name), now); err == nil && r.Team != p.Team {
		return ErrReserved
	}
	mine, err := pods.by(tx, "team", []byte(p.Team))
	if err != nil {
		return err
	}
	if err := allow(mine); err != nil {
		return err
	}
	if p.Number == 0 {
		p.Number = freeNumber(tx, p.Region)
	}
	if err := pods.put(tx, p); err != nil {
		return err
	}
	return reservations.delete(tx, []byte(p.Name))
}

// Pod returns the pod with that id, or ErrNotFound.
func (db *DB) Pod(id PodID) (p Pod, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&p)(pods.get(tx, []byte(id))) })
	return p, err
}

// PodByName returns the pod with that name, or ErrNotFound.
func (db *DB) PodByName(name string) (p Pod, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&p)(pods.byUnique(tx, "name", []byte(name))) })
	return p, err
}

// PodsOf returns the pods of a team, those being deleted included.
func (db *DB) PodsOf(team TeamID) (list []Pod, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = pods.by(tx, "team", []byte(team)); return err })
	return list, err
}

// Pods returns every pod, those that are deleted included.
func (db *DB) Pods() (list []Pod, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = pods.all(tx); return err })
	return list, err
}

// SetWant changes what the pod should be. ErrNotFound when there is no such
// pod, and when it is being deleted: nothing brings it back.
func (db *DB) SetWant(id PodID, want Want) error {
	commit := db.release
	if want == WantRunning {
		commit = db.update
	}
	return commit(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if p.Want == WantGone && want != WantGone {
			return ErrNotFound
		}
		p.Want = want
		return pods.put(tx, p)
	})
}

// SetMade notes that a pod ran, so that it has files. ErrNotFound when there is
// no such pod.
func (db *DB) SetMade(id PodID) error {
	return db.update(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		p.Made = true
		return pods.put(tx, p)
	})
}

// SetEnv changes a pod's environment variables and returns the pod after it.
// change gets those that it has, never nil, inside the transaction, and may refuse
// with an error of its own. ErrNotFound when there is no such pod, and when it is
// being deleted.
func (db *DB) SetEnv(id PodID, change func(env map[string]string) error) (p Pod, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if found.Want == WantGone {
			return ErrNotFound
		}
		if found.Env == nil {
			found.Env = map[string]string{}
		}
		if err := change(found.Env); err != nil {
			return err
		}
		p = *found
		return pods.put(tx, found)
	})
	return p, err
}

// MarkTold notes that the owners of a pod are told that it failed; false when they
// were already. ErrNotFound when there is no such pod or it is being deleted.
func (db *DB) MarkTold(id PodID, now time.Time) (first bool, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		first = false
		p, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if p.Want == WantGone {
			return ErrNotFound
		}
		if !p.Told.IsZero() {
			return nil
		}
		p.Told, first = now, true
		return pods.put(tx, p)
	})
	return first, err
}

// ClearTold notes that a pod runs well, so that they are told of its next failure.
// It writes nothing when that is so already.
func (db *DB) ClearTold(id PodID) error {
	p, err := db.Pod(id)
	if errors.Is(err, ErrNotFound) || err == nil && p.Told.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	return db.update(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		p.Told = time.Time{}
		return pods.put(tx, p)
	})
}

// ForgetPod deletes the record of a pod whose environment is gone, and
// reserves its name for its team until the given time, unless that was done when it
// was deleted; nil when forgotten.
func (db *DB) ForgetPod(id PodID, until time.Time) error {
	return db.release(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if err == ErrNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := snapshots.deleteBy(tx, "pod", []byte(id)); err != nil {
			return err
		}
		if err := errors.Join(forgetDeploys(tx, id), usages.delete(tx, []byte(id)), pods.delete(tx, []byte(id))); err != nil {
			return err
		}
		if !p.Deleted.IsZero() {
			return nil
		}
		return reservations.put(tx, &Reservation{Name: p.Name, Team: p.Team, Expires: until})
	})
}
