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
// The result is remembered until a commit writes or deletes one of the four records.
func (db *DB) Access(hash Hash, now time.Time) (*Access, error) {
	// What is retired meanwhile may be what is read.
	a, retired := db.access.get(hash)
	if a == nil {
		var err error
		if a, err = db.readAccess(hash); err != nil {
			return nil, err
		}
		db.access.put(hash, a, retired)
	}
	if !now.Before(a.Token.Expires) {
		return nil, ErrExpired
	}
	return a, nil
}

func (db *DB) readAccess(hash Hash) (*Access, error) {
	a, m := &Access{}, Member{}
	err := db.view(func(tx *bolt.Tx) error {
		if err := load(&a.Token)(tokens.get(tx, hash[:])); err != nil {
			return err
		}
		if err := load(&a.Grant)(grants.get(tx, []byte(a.Token.Grant))); err != nil {
			return err
		}
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

// accessCacheSize bounds the cache (about a KiB an entry). Past it any one
// entry makes room: with twice as many tokens in use, half of the checks still
// find theirs.
const accessCacheSize = 4096

// accessCache remembers the accesses that were read.
type accessCache struct {
	mu      sync.RWMutex
	entries map[Hash]*Access
	grants  map[GrantID][]Hash // of the entries
	retired uint64             // how often anything was
}

// get returns what is remembered, and what to hand to put for what is read in its place.
func (c *accessCache) get(hash Hash) (a *Access, retired uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[hash], c.retired
}

// put remembers what was read, unless something was retired since: it may be older.
func (c *accessCache) put(hash Hash, a *Access, retired uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired != retired || c.entries[hash] != nil {
		return
	}
	if c.entries == nil {
		c.entries, c.grants = map[Hash]*Access{}, map[GrantID][]Hash{}
	}
	if len(c.entries) >= accessCacheSize {
		for other := range c.entries {
			c.forgetLocked(other)
			break
		}
	}
	c.entries[hash] = a
	c.grants[a.Grant.ID] = append(c.grants[a.Grant.ID], hash)
}

func (c *accessCache) forgetLocked(hash Hash) {
	a := c.entries[hash]
	if a == nil {
		return
	}
	delete(c.entries, hash)
	rest := slices.DeleteFunc(c.grants[a.Grant.ID], func(h Hash) bool { return h == hash })
	if c.grants[a.Grant.ID] = rest; len(rest) == 0 {
		delete(c.grants, a.Grant.ID)
	}
}

// retire is for what a commit has changed: which says what to forget.
func (c *accessCache) retire(which func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired++
	which()
}

func (c *accessCache) retireToken(key []byte) {
	c.retire(func() {
		if len(key) == len(Hash{}) {
			c.forgetLocked(Hash(key))
		}
	})
}

func (c *accessCache) retireGrant(key []byte) {
	c.retire(func() {
		for _, hash := range slices.Clone(c.grants[GrantID(key)]) {
			c.forgetLocked(hash)
		}
	})
}

// retireAll is for what changes seldom.
func (c *accessCache) retireAll([]byte) {
	c.retire(func() { clear(c.entries); clear(c.grants) })
}

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
