package store

import (
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Policy is what a team lets its connections do at most, whatever their people
// approved. internal/authz decides by it. The zero Policy takes nothing away.
type Policy struct {
	Scopes []Scope `json:"scopes,omitempty"` // empty: any
	Limits Limits  `json:"limits,omitzero"`  // of each connection, beside its own
}

// IsZero reports whether nothing is taken away.
func (p Policy) IsZero() bool { return len(p.Scopes) == 0 && p.Limits == Limits{} }

// Quota is what a team may have in place of what the server's settings give every
// team. A zero member leaves what they say.
type Quota struct {
	Pods   int   `json:"pods,omitempty"`
	Memory int64 `json:"memory,omitempty"` // sum of the plans' memory, bytes
}

// changeTeam changes the record of a team. ErrNotFound when there is none.
func changeTeam(tx *bolt.Tx, id TeamID, change func(*Team)) error {
	t, err := teams.get(tx, []byte(id))
	if err != nil {
		return err
	}
	change(t)
	return teams.put(tx, t)
}

// SetTeamPolicy changes what a team lets its connections do. It counts for what
// they are doing, too. ErrNotFound when there is no such team.
func (db *DB) SetTeamPolicy(id TeamID, p Policy) error {
	return db.release(func(tx *bolt.Tx) error {
		for _, key := range grants.keysBy(tx, "team", []byte(id)) {
			db.takes(tx, GrantID(key))
		}
		return changeTeam(tx, id, func(t *Team) { t.Policy = Policy{Scopes: slices.Clone(p.Scopes), Limits: p.Limits} })
	})
}

// SetTeamQuota changes what a team may have. ErrNotFound when there is no such team.
func (db *DB) SetTeamQuota(id TeamID, q Quota) error {
	return db.update(func(tx *bolt.Tx) error { return changeTeam(tx, id, func(t *Team) { t.Quota = q }) })
}

// RenameTeam gives a team another name and slug. ErrTaken when another has the slug,
// ErrNotFound when there is no such team.
func (db *DB) RenameTeam(id TeamID, slug, name string) error {
	return db.update(func(tx *bolt.Tx) error { return changeTeam(tx, id, func(t *Team) { t.Slug, t.Name = slug, name }) })
}

// TeamUse is what a team has.
type TeamUse struct {
	Pods        int // not those that are being deleted
	Deleting    int // pods
	Members     int
	Connections int
	Invitations int
}

// TeamUse counts what a team has. ErrNotFound when there is no such team.
func (db *DB) TeamUse(id TeamID) (u TeamUse, err error) {
	err = db.view(func(tx *bolt.Tx) error { u, err = useOfTeam(tx, id); return err })
	return u, err
}

func useOfTeam(tx *bolt.Tx, id TeamID) (u TeamUse, err error) {
	if !teams.has(tx, []byte(id)) {
		return u, ErrNotFound
	}
	list, err := pods.by(tx, "team", []byte(id))
	for _, p := range list {
		if p.Want == WantGone {
			u.Deleting++
		} else {
			u.Pods++
		}
	}
	u.Members = len(members.keysBy(tx, "team", []byte(id)))
	u.Connections = len(grants.keysBy(tx, "team", []byte(id)))
	u.Invitations = len(invitations.keysBy(tx, "team", []byte(id)))
	return u, err
}

// RemoveTeam deletes a team with its memberships, connections, codes, invitations
// and reserved names, and returns what it had. ErrHasPods, with what there is, when
// it has pods, also such as are being deleted; ErrNotFound. Deleted pods that could be
// brought back are due to go.
func (db *DB) RemoveTeam(id TeamID) (u TeamUse, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if u, err = useOfTeam(tx, id); err != nil {
			return err
		}
		if u.Pods+u.Deleting > 0 {
			return ErrHasPods
		}
		list, err := members.by(tx, "team", []byte(id))
		if err != nil {
			return err
		}
		for _, m := range list {
			if _, err := db.removeMember(tx, id, m.User); err != nil {
				return err
			}
		}
		if _, err := invitations.deleteBy(tx, "team", []byte(id)); err != nil {
			return err
		}
		if err := deleteOf(tx, codes, func(c *Code) bool { return c.Team == id }); err != nil {
			return err
		}
		if err := deleteOf(tx, reservations, func(r *Reservation) bool { return r.Team == id }); err != nil {
			return err
		}
		kept, err := pods.by(tx, "deleted", []byte(id))
		if err != nil {
			return err
		}
		for _, p := range kept {
			p.Until = time.Time{}
			if err := pods.put(tx, &p); err != nil {
				return err
			}
		}
		return teams.delete(tx, []byte(id))
	})
	return u, err
}

// deleteOf deletes the records that are wanted, of a table that is small because
// its records do not live for long.
func deleteOf[T any](tx *bolt.Tx, t *table[T], want func(*T) bool) error {
	all, err := t.all(tx)
	if err != nil {
		return err
	}
	for _, v := range all {
		if !want(&v) {
			continue
		}
		if err := t.delete(tx, t.key(&v)); err != nil {
			return err
		}
	}
	return nil
}
