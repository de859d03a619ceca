package store

import (
	"errors"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TeamPods is a team as one of its members sees it, with its pods by name. Those
// being deleted are left out.
type TeamPods struct {
	Membership
	Pods    []PodDeployed
	Deleted int // pods that can be brought back
}

// PodDeployed is a pod with how its app was made last; nil when nobody did.
type PodDeployed struct {
	Pod
	Last *Deploy
}

// PodsFor returns the teams of a user with all their pods, and how many connections
// the user has, as they are at one instant.
func (db *DB) PodsFor(user UserID, now time.Time) (list []TeamPods, connections int, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		list, connections = nil, 0
		found, err := members.by(tx, "user", []byte(user))
		if err != nil {
			return err
		}
		for _, m := range found {
			t, err := teams.get(tx, []byte(m.Team))
			if err != nil {
				return err
			}
			mine, err := podsDeployed(tx, m.Team)
			if err != nil {
				return err
			}
			gone, err := pods.by(tx, "deleted", []byte(m.Team))
			if err != nil {
				return err
			}
			gone = slices.DeleteFunc(gone, func(p Pod) bool { return !now.Before(p.Until) })
			list = append(list, TeamPods{Membership{Team: *t, Role: m.Role}, mine, len(gone)})
		}
		held, err := grants.by(tx, "user", []byte(user))
		for _, g := range held {
			if now.Before(g.Expires) {
				connections++
			}
		}
		return err
	})
	return list, connections, err
}

func podsDeployed(tx *bolt.Tx, team TeamID) (list []PodDeployed, err error) {
	found, err := pods.by(tx, "team", []byte(team))
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		if p.Want == WantGone {
			continue
		}
		last, err := deploys.get(tx, deployKey(p.ID, p.Deploys))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		list = append(list, PodDeployed{p, last})
	}
	slices.SortFunc(list, func(a, b PodDeployed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// PodsOfTeams returns the pods of some teams, those being deleted left out, with
// their last deploys, as they are at one instant.
func (db *DB) PodsOfTeams(ids []TeamID) (list []PodDeployed, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		list = nil
		for _, id := range ids {
			mine, err := podsDeployed(tx, id)
			if err != nil {
				return err
			}
			list = append(list, mine...)
		}
		return nil
	})
	return list, err
}

// Version grows with every commit, so that who has read something can tell whether
// it may have changed since.
func (db *DB) Version() (version int, err error) {
	err = db.view(func(tx *bolt.Tx) error { version = tx.ID(); return nil })
	return version, err
}

// Reads returns how many reading transactions have begun.
func (db *DB) Reads() int {
	stats := db.bolt.Stats()
	return stats.TxN
}
