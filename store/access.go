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

// Access looks an access token up in its connection and follows that to membership
// and team in one read transaction. ErrNotFound for an unknown or revoked
// token, ErrExpired, ErrNotMember.
//
// The result is remembered until a commit writes or deletes one of the three records.
func (db *DB) Access(c Credential, now time.Time) (*Access, error) {
	if c.Grant == "" { // it has to be read who it is of, for as long as there are such
		err := db.view(func(tx *bolt.Tx) (err error) { c, err = c.named(tx); return err })
		if err != nil {
			return nil, err
		}
	}
	// What is retired meanwhile may be what is read.
	a, retired := db.access.get(c)
	if a == nil {
		var err error
		if a, err = db.readAccess(c); err != nil {
			return nil, err
		}
		db.access.put(a, retired)
	}
	if !now.Before(a.Token.Expires) {
		return nil, ErrExpired
	}
	return a, nil
}

func (db *DB) readAccess(c Credential) (*Access, error) {
	a, m := &Access{}, Member{}
	err := db.view(func(tx *bolt.Tx) error {
		g, t, err := ofToken(tx, c)
		if err != nil {
			return err
		}
		a.Grant, a.Token = *g, *t
		if err := load(&m)(members.get(tx, memberKey(a.Grant.Team, a.Grant.User))); err != nil {
			return ErrNotMember
		}
		a.Role = m.Role
		return load(&a.Team)(teams.get(tx, []byte(a.Grant.Team)))
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// accessCacheSize bounds the cache in connections (about a KiB a token that is in
// use). Past it any one makes room: with twice as many in use, half of the checks
// still find theirs.
const accessCacheSize = 4096

// accessCache remembers the accesses that were read.
type accessCache struct {
	mu      sync.RWMutex
	grants  map[GrantID][]*Access // one for each token that was used
	retired uint64                // how often anything was
}

// get returns what is remembered, and what to hand to put for what is read in its place.
func (c *accessCache) get(of Credential) (a *Access, retired uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, a := range c.grants[of.Grant] {
		if a.Token.Hash.is(of.Hash) {
			return a, c.retired
		}
	}
	return nil, c.retired
}

// put remembers what was read, unless something was retired since: it may be older.
func (c *accessCache) put(a *Access, retired uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.grants[a.Grant.ID]
	if c.retired != retired || slices.ContainsFunc(list, func(had *Access) bool { return had.Token.Hash == a.Token.Hash }) {
		return
	}
	if c.grants == nil {
		c.grants = map[GrantID][]*Access{}
	}
	if list == nil && len(c.grants) >= accessCacheSize {
		for other := range c.grants {
			delete(c.grants, other)
			break
		}
	}
	c.grants[a.Grant.ID] = append(list, a)
}

// retire is for what a commit has changed: which says what to forget.
func (c *accessCache) retire(which func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired++
	which()
}

func (c *accessCache) retireGrant(key []byte) {
	c.retire(func() { delete(c.grants, GrantID(key)) })
}

// retireAll is for what changes seldom.
func (c *accessCache) retireAll([]byte) { c.retire(func() { clear(c.grants) }) }

// caches are those of the open databases. Tables know of a write only its transaction.
var caches sync.Map // *bolt.DB to *accessCache

// retires has what was remembered of a record forgotten, once tx is committed and before
// the writer hears of it, so that a revocation that was answered is in force.
func (t *table[T]) retires(tx *bolt.Tx, key []byte) {
	if t.retire == nil {
		return
	}
	if cache, ok := caches.Load(tx.DB()); ok {
		key = bytes.Clone(key)
		tx.OnCommit(func() { t.retire(cache.(*accessCache), key) })
	}
}
