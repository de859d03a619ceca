package store

import (
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Team owns pods. A connection belongs to exactly one team.
type Team struct {
	ID      TeamID    `json:"id"`
	Slug    string    `json:"slug"` // unique; what commands and addresses use
	Name    string    `json:"name"`
	Network Network   `json:"network,omitzero"`
	Policy  Policy    `json:"policy,omitzero"`
	Quota   Quota     `json:"quota,omitzero"`
	Created time.Time `json:"created"`
}

// Role is what a member may do in a team.
type Role string

// The roles there are. The zero Role is no role.
const (
	RoleOwner  Role = "owner"
	RoleMember Role = "member"
	RoleViewer Role = "viewer" // reads only
)

// Member joins a user to a team.
type Member struct {
	Team    TeamID    `json:"team"`
	User    UserID    `json:"user"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
}

// Membership is a team as one of its members sees it.
type Membership struct {
	Team Team
	Role Role
}

var teams = &table[Team]{
	name:    "teams",
	key:     func(t *Team) []byte { return []byte(t.ID) },
	indexes: []index[Team]{{"slug", func(t *Team) []byte { return []byte(t.Slug) }}},
	retire:  (*accessCache).retireAll,
}

var members = &table[Member]{
	name: "members",
	key:  func(m *Member) []byte { return memberKey(m.Team, m.User) },
	indexes: []index[Member]{
		{"team", func(m *Member) []byte { return join([]byte(m.Team), []byte(m.User)) }},
		{"user", func(m *Member) []byte { return join([]byte(m.User), []byte(m.Team)) }},
	},
	refs:   func(m *Member) []ref { return []ref{{"teams", []byte(m.Team)}, {"users", []byte(m.User)}} },
	retire: (*accessCache).retireAll,
}

func memberKey(team TeamID, user UserID) []byte { return join([]byte(team), []byte(user)) }

// CreateTeam inserts t with its first members. ErrTaken when the slug is in
// use, ErrNotFound when a user does not exist.
func (db *DB) CreateTeam(t Team, first ...Member) error {
	return db.update(func(tx *bolt.Tx) error {
		if err := teams.insert(tx, &t); err != nil {
			return err
		}
		for _, m := range first {
			if err := putMember(tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Team returns the team with that id, or ErrNotFound.
func (db *DB) Team(id TeamID) (t Team, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&t)(teams.get(tx, []byte(id))) })
	return t, err
}

// TeamBySlug returns the team with that slug, or ErrNotFound.
func (db *DB) TeamBySlug(slug string) (t Team, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&t)(teams.byUnique(tx, "slug", []byte(slug))) })
	return t, err
}

// Teams returns every team, in no particular order.
func (db *DB) Teams() (list []Team, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = teams.all(tx); return err })
	return list, err
}

// TeamsOf returns the teams of a user with the role held in each.
func (db *DB) TeamsOf(user UserID) (list []Membership, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		found, err := members.by(tx, "user", []byte(user))
		if err != nil {
			return err
		}
		list = nil
		for _, m := range found {
			t, err := teams.get(tx, []byte(m.Team))
			if err != nil {
				return err
			}
			list = append(list, Membership{Team: *t, Role: m.Role})
		}
		return nil
	})
	return list, err
}

// Members returns the members of a team.
func (db *DB) Members(team TeamID) (list []Member, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = members.by(tx, "team", []byte(team)); return err })
	return list, err
}

// Member returns one membership; ErrNotMember when there is none.
func (db *DB) Member(team TeamID, user UserID) (m Member, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&m)(members.get(tx, memberKey(team, user))) })
	if errors.Is(err, ErrNotFound) {
		err = ErrNotMember
	}
	return m, err
}

// PutMember adds a member or changes the role of one. ErrNotFound when the
// team or the user does not exist; ErrLastOwner as of SetRole.
func (db *DB) PutMember(m Member) error {
	return db.update(func(tx *bolt.Tx) error {
		if _, err := memberToChange(tx, m.Team, m.User, m.Role); err != nil && !errors.Is(err, ErrNotMember) {
			return err
		}
		if err := db.takesByRole(tx, m.Team, m.User); err != nil {
			return err
		}
		return putMember(tx, m)
	})
}

// SetRole changes the role of a member. ErrNotMember; ErrLastOwner when nobody would
// be left who manages the team.
func (db *DB) SetRole(team TeamID, user UserID, role Role) error {
	return db.release(func(tx *bolt.Tx) error {
		m, err := memberToChange(tx, team, user, role)
		if err != nil {
			return err
		}
		if err := db.takesByRole(tx, team, user); err != nil {
			return err
		}
		m.Role = role
		return members.put(tx, m)
	})
}

// takesByRole has those told who watch a member, or one of their connections to the
// team, of a role that changes.
func (db *DB) takesByRole(tx *bolt.Tx, team TeamID, user UserID) error {
	db.takesFrom(tx, user)
	found, err := grants.by(tx, "user", []byte(user))
	for _, g := range found {
		if g.Team == team {
			db.takes(tx, g.ID)
		}
	}
	return err
}

// memberToChange returns the membership that is to become another role, or none. Of
// a team that has owners one stays.
func memberToChange(tx *bolt.Tx, team TeamID, user UserID, role Role) (*Member, error) {
	m, err := members.get(tx, memberKey(team, user))
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotMember
	}
	if err != nil || m.Role != RoleOwner || role == RoleOwner {
		return m, err
	}
	all, err := members.by(tx, "team", []byte(team))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(all, func(o Member) bool { return o.Role == RoleOwner && o.User != user }) {
		return nil, ErrLastOwner
	}
	return m, nil
}

// Leave is RemoveMember for a member who must not leave the team without an owner:
// ErrLastOwner.
func (db *DB) Leave(team TeamID, user UserID) (revoked int, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if _, err := memberToChange(tx, team, user, ""); err != nil {
			return err
		}
		revoked, err = db.removeMember(tx, team, user)
		return err
	})
	return revoked, err
}

func putMember(tx *bolt.Tx, m Member) error {
	if _, err := teams.get(tx, []byte(m.Team)); err != nil {
		return err
	}
	if _, err := users.get(tx, []byte(m.User)); err != nil {
		return err
	}
	return members.put(tx, &m)
}

// RemoveMember takes the user out of the team and revokes the connections the
// user made for it, with the codes that could still become some, in one
// transaction. It returns how many connections were revoked; ErrNotMember when
// there is nothing to remove.
func (db *DB) RemoveMember(team TeamID, user UserID) (revoked int, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		revoked, err = db.removeMember(tx, team, user)
		return err
	})
	return revoked, err
}

func (db *DB) removeMember(tx *bolt.Tx, team TeamID, user UserID) (revoked int, err error) {
	if _, err := members.get(tx, memberKey(team, user)); err != nil {
		return 0, ErrNotMember
	}
	found, err := grants.by(tx, "user", []byte(user))
	if err != nil {
		return 0, err
	}
	for _, g := range found {
		if g.Team != team {
			continue
		}
		if err := db.revokeGrant(tx, g.ID); err != nil {
			return 0, err
		}
		revoked++
	}
	if err := revokeCodes(tx, team, user); err != nil {
		return 0, err
	}
	db.takesFrom(tx, user)
	return revoked, members.delete(tx, memberKey(team, user))
}

// revokeCodes keeps what a user approved for a team from coming into force once
// the user is a member again. The codes stay, so that a client's try can be told
// from one with a code that never was.
func revokeCodes(tx *bolt.Tx, team TeamID, user UserID) error {
	found, err := codes.by(tx, "user", []byte(user))
	for _, c := range found {
		if c.Team != team {
			continue
		}
		revoked := c
		revoked.Revoked = true
		if err := codes.replace(tx, &c, &revoked); err != nil {
			return err
		}
	}
	return err
}
