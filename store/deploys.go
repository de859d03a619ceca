package store

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// DeployState is how far a deploy has come.
type DeployState string

// The states of a deploy.
const (
	DeployBuilding  DeployState = "building"
	DeploySucceeded DeployState = "succeeded"
	DeployFailed    DeployState = "failed"
)

// KeptDeploys is how many deploys of a pod are remembered.
const KeptDeploys = 50

// Deploy is one time that a pod's app was made anew.
type Deploy struct {
	Pod    PodID  `json:"pod"`
	Number int    `json:"number"` // of the pod's deploys, from 1 up
	Action string `json:"action"` // deploy, reload or rollback
	Source string `json:"source"` // what it was made from, for a person
	// Release is the folder that has its app: the number of the deploy that made
	// it, or 0 for the app as it was before the first deploy.
	Release int         `json:"release"`
	Preset  string      `json:"preset,omitempty"` // what it was taken for, when it succeeded
	Commit  string      `json:"commit,omitempty"` // of git
	State   DeployState `json:"state"`
	Reason  string      `json:"reason,omitempty"` // why it failed, for a person
	Lines   []string    `json:"lines,omitempty"`  // what was printed last when it failed
	By      UserID      `json:"by,omitempty"`     // may be gone since
	Began   time.Time   `json:"began,omitzero"`
	Ended   time.Time   `json:"ended,omitzero"`
}

// App is what of a pod a deploy changes.
type App struct {
	Release int
	Preset  string
	Env     map[string]string
}

var deploys = &table[Deploy]{
	name: "deploys",
	key:  func(d *Deploy) []byte { return deployKey(d.Pod, d.Number) },
	refs: func(d *Deploy) []ref { return []ref{{"pods", []byte(d.Pod)}} },
}

func deployKey(pod PodID, number int) []byte {
	return join([]byte(pod), binary.BigEndian.AppendUint64(nil, uint64(number)))
}

// BeginDeploy notes that a deploy goes on and returns it with its number. With
// Release -1 it makes a folder of its own, which gets that number. Of more than
// KeptDeploys the oldest is forgotten. ErrNotFound when there is no such pod or
// it is being deleted.
func (db *DB) BeginDeploy(d Deploy) (Deploy, error) {
	err := db.update(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(d.Pod))
		if err != nil {
			return err
		}
		if p.Want == WantGone {
			return ErrNotFound
		}
		p.Deploys++
		d.Number, d.State = p.Deploys, DeployBuilding
		if d.Release < 0 {
			d.Release = d.Number
		}
		if err := pods.put(tx, p); err != nil {
			return err
		}
		if err := deploys.insert(tx, &d); err != nil {
			return err
		}
		return deploys.delete(tx, deployKey(d.Pod, d.Number-KeptDeploys))
	})
	return d, err
}

// EndDeploy notes how a deploy ended, and what the pod's app is since, unless
// app is nil. ErrNotFound when the deploy or its pod is gone.
func (db *DB) EndDeploy(d Deploy, app *App) error {
	return db.update(func(tx *bolt.Tx) error {
		if !deploys.has(tx, deployKey(d.Pod, d.Number)) {
			return ErrNotFound
		}
		if err := deploys.put(tx, &d); err != nil || app == nil {
			return err
		}
		p, err := pods.get(tx, []byte(d.Pod))
		if err != nil {
			return err
		}
		p.Release, p.Preset, p.Env = app.Release, app.Preset, maps.Clone(app.Env)
		return pods.put(tx, p)
	})
}

// DeploysOf returns what is remembered of a pod's deploys, the newest first.
func (db *DB) DeploysOf(id PodID) (list []Deploy, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = deploysOf(tx, id); return err })
	slices.Reverse(list)
	return list, err
}

// DeployOf returns one deploy of a pod, or ErrNotFound.
func (db *DB) DeployOf(id PodID, number int) (d Deploy, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&d)(deploys.get(tx, deployKey(id, number))) })
	return d, err
}

func deploysOf(tx *bolt.Tx, id PodID) (list []Deploy, err error) {
	prefix := append([]byte(id), 0)
	c := deploys.bucket(tx).Cursor()
	for k, raw := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		d, err := deploys.decode(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, *d)
	}
	return list, nil
}

func forgetDeploys(tx *bolt.Tx, id PodID) error {
	list, err := deploysOf(tx, id)
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := deploys.delete(tx, deploys.key(&d)); err != nil {
			return err
		}
	}
	return nil
}

// LastDeploy returns the newest deploy of a pod, or ErrNotFound when there was
// none.
func (db *DB) LastDeploy(p Pod) (d Deploy, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&d)(deploys.get(tx, deployKey(p.ID, p.Deploys))) })
	return d, err
}

// CutDeploys notes of every deploy that goes on that it failed, for a server
// that has begun none yet.
func (db *DB) CutDeploys(reason string, now time.Time) error {
	var cut []Deploy
	err := db.view(func(tx *bolt.Tx) error {
		all, err := deploys.all(tx)
		cut = slices.DeleteFunc(all, func(d Deploy) bool { return d.State != DeployBuilding })
		return err
	})
	if err != nil || len(cut) == 0 {
		return err
	}
	return db.update(func(tx *bolt.Tx) error {
		for _, d := range cut {
			d.State, d.Reason, d.Ended = DeployFailed, reason, now
			if err := deploys.put(tx, &d); err != nil {
				return err
			}
		}
		return nil
	})
}
