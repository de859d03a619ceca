package store

import (
	"bytes"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Access is what an access token opens: its connection, the team and the role
// its user holds there now. It is shared between callers; do not change it.
type Access struct {
	Token Token
	Grant Grant
	Team  Team
	Role  Role
}

// Scopes returns what the token allows: all that the connection has, or the
// part of it that a refresh narrowed the token to.
func (a *Access) Scopes() []Scope {
	if len(a.Token.Scopes) == 0 {
		return a.Grant.Scopes
	}
	return slices.DeleteFunc(slices.Clone(a.Token.Scopes), func(s Scope) bool { return !slices.Contains(a.Grant.Scopes, s) })
}

// Access looks an access token up and follows it to connection, membership
// and team in one read transaction. ErrNotFound for an unknown or revoked
// token, ErrExpired, ErrNotMember.
//
// The result is remembered. Until the next commit it is used as it is; after
// one, the records are read again but decoded only when their bytes changed.
func (db *DB) Access(hash Hash, now time.Time) (*Access, error) {
	// The generation is read before the transaction begins: a commit between
	// the two makes the entry stale at once instead of fresh for ever.
	generation := db.generation.Load()
	e := db.access.get(hash)
	if e == nil || e.generation != generation {
		fresh, err := db.readAccess(hash, e)
		if err != nil {
			if e != nil {
				db.access.drop(hash)
			}
			return nil, err
		}
		fresh.generation = generation
		db.access.put(hash, fresh)
		e = fresh
	}
	if !now.Before(e.access.Token.Expires) {
		return nil, ErrExpired
	}
	return &e.access, nil
}

// accessEntry is one remembered Access with the records as they stood on disk.
// It is never changed once it can be seen by others.
type accessEntry struct {
	generation uint64
	access     Access
	member     Member
	raw        accessRecords
}

type accessRecords struct{ token, grant, member, team []byte }

// readAccess reads the four records; what equals the old entry, which may be
// nil, is taken from it.
func (db *DB) readAccess(hash Hash, old *accessEntry) (*accessEntry, error) {
	if old == nil {
		old = &accessEntry{}
	}
	e := &accessEntry{access: old.access, member: old.member, raw: old.raw}
	err := db.view(func(tx *bolt.Tx) error {
		a := &e.access
		if err := refresh(tx, tokens, hash[:], &e.raw.token, &a.Token); err != nil {
			return err
		}
		if err := refresh(tx, grants, []byte(a.Token.Grant), &e.raw.grant, &a.Grant); err != nil {
			return err
		}
		if err := refresh(tx, members, memberKey(a.Grant.Team, a.Grant.User), &e.raw.member, &e.member); err != nil {
			return ErrNotMember
		}
		a.Role = e.member.Role
		return refresh(tx, teams, []byte(a.Grant.Team), &e.raw.team, &a.Team)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// refresh brings raw and v up to date with the record at key.
func refresh[T any](tx *bolt.Tx, t *table[T], key []byte, raw *[]byte, v *T) error {
	found := t.bucket(tx).Get(key)
	if found == nil {
		return ErrNotFound
	}
	if bytes.Equal(found, *raw) {
		return nil
	}
	*raw = slices.Clone(found) // found is the file's memory, gone with the transaction
	return load(v)(t.decode(*raw))
}

// accessCacheSize bounds the cache (about 1.5 KiB an entry). Past it any one
// entry makes room: with twice as many tokens in use, half of the checks still
// find theirs.
const accessCacheSize = 4096

// accessCache remembers the accesses that were read.
type accessCache struct {
	mu      sync.RWMutex
	entries map[Hash]*accessEntry
}

func (c *accessCache) get(hash Hash) *accessEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[hash]
}

func (c *accessCache) put(hash Hash, e *accessEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if had := c.entries[hash]; had != nil && had.generation > e.generation {
		return // another reader saw a later commit
	}
	if c.entries == nil {
		c.entries = make(map[Hash]*accessEntry)
	}
	if _, there := c.entries[hash]; !there && len(c.entries) >= accessCacheSize {
		for other := range c.entries {
			delete(c.entries, other)
			break
		}
	}
	c.entries[hash] = e
}

func (c *accessCache) drop(hash Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, hash)
}
