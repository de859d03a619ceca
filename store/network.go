package store

import (
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Network is what an owner lets pods reach, in the words of package egress. It
// may only take away from what stands above it. The zero Network takes nothing
// away.
type Network struct {
	Mode  string   `json:"mode,omitempty"`  // none, names, internet
	Names []string `json:"names,omitempty"` // of names
}

// IsZero reports whether nothing is taken away.
func (n Network) IsZero() bool { return n.Mode == "" && len(n.Names) == 0 }

// setting is the commit of a change to n: to shut the way out works on a full
// disk as well.
func (db *DB) setting(n Network) func(func(*bolt.Tx) error) error {
	if n.Mode == "none" {
		return db.release
	}
	return db.update
}

// SetTeamNetwork changes what the pods of a team may reach. ErrNotFound when
// there is no such team.
func (db *DB) SetTeamNetwork(id TeamID, n Network) error {
	return db.setting(n)(func(tx *bolt.Tx) error {
		t, err := teams.get(tx, []byte(id))
		if err != nil {
			return err
		}
		t.Network = Network{Mode: n.Mode, Names: slices.Clone(n.Names)}
		return teams.put(tx, t)
	})
}

// SetPodNetwork changes what one pod may reach. ErrNotFound when there is no
// such pod.
func (db *DB) SetPodNetwork(id PodID, n Network) error {
	return db.setting(n)(func(tx *bolt.Tx) error {
		p, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		p.Network = Network{Mode: n.Mode, Names: slices.Clone(n.Names)}
		return pods.put(tx, p)
	})
}
