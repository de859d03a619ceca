package store

import (
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

// Access looks an access token up and follows it to connection, membership
// and team in one read transaction. ErrNotFound for an unknown or revoked
// token, ErrExpired, ErrNotMember.
//
// The result is remembered until the next commit that could change it, so the
// usual call reads no page at all.
func (db *DB) Access(hash Hash, now time.Time) (*Access, error) {
	// The generation is read before the transaction begins: a commit between
	// the two makes the entry stale at once instead of fresh for ever.
	generation := db.generation.Load()
	a := db.access.get(hash, generation)
	if a == nil {
		var err error
		if a, err = db.readAccess(hash); err != nil {
			return nil, err
		}
		db.access.put(hash, a, generation)
	}
	if !now.Before(a.Token.Expires) {
		return nil, ErrExpired
	}
	return a, nil
}

func (db *DB) readAccess(hash Hash) (*Access, error) {
	a := new(Access)
	err := db.view(func(tx *bolt.Tx) error {
		if err := load(&a.Token)(tokens.get(tx, hash[:])); err != nil {
			return err
		}
		if err := load(&a.Grant)(grants.get(tx, []byte(a.Token.Grant))); err != nil {
			return err
		}
		m, err := members.get(tx, memberKey(a.Grant.Team, a.Grant.User))
		if err != nil {
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

// accessCacheSize bounds the cache; past it the cache starts anew, which costs
// each active token one read.
const accessCacheSize = 4096

// accessCache holds the accesses read in one generation of the store.
type accessCache struct {
	mu         sync.RWMutex
	generation uint64
	entries    map[Hash]*Access
}

func (c *accessCache) get(hash Hash, generation uint64) *Access {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.generation != generation {
		return nil
	}
	return c.entries[hash]
}

func (c *accessCache) put(hash Hash, a *Access, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation < c.generation {
		return // read before a commit that another reader has seen
	}
	if generation > c.generation || c.entries == nil || len(c.entries) >= accessCacheSize {
		c.generation, c.entries = generation, make(map[Hash]*Access)
	}
	c.entries[hash] = a
}
