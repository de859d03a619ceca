package store

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A table is one kind of record: a bucket by primary key, secondary indexes
// kept in step by put and delete, and, for records with a deadline, entries in
// the shared expiry bucket. Check proves all of it from the same declaration.
type table[T any] struct {
	name    string
	kind    byte // tells tables apart in the expiry bucket; never reused
	key     func(*T) []byte
	indexes []index[T]
	refs    func(*T) []ref             // records that must exist as long as this one
	expires func(*T) time.Time         // zero time: no deadline
	retire  func(*accessCache, []byte) // forgets what the record at a key decides of; nil: it decides of no access
}

// An index maps a key made from the record to its primary key. A unique index
// has one record a key; the others end in the primary key (see join).
type index[T any] struct {
	name string
	key  func(*T) []byte // nil result: not in this index
}

type ref struct {
	table string
	key   []byte
}

// join builds a composite key. Identifiers hold no NUL, so a prefix "a\x00"
// never matches a longer identifier that begins with "a".
func join(parts ...[]byte) []byte { return bytes.Join(parts, []byte{0}) }

func (t *table[T]) bucket(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(t.name)) }

func (t *table[T]) indexName(ix index[T]) []byte { return []byte(t.name + "_by_" + ix.name) }

// get decodes the record at key; ErrNotFound when there is none.
func (t *table[T]) get(tx *bolt.Tx, key []byte) (*T, error) {
	raw := t.bucket(tx).Get(key)
	if raw == nil {
		return nil, ErrNotFound
	}
	return t.decode(raw)
}

func (t *table[T]) decode(raw []byte) (*T, error) {
	v := new(T)
	err := error(nil)
	if packed, ok := any(v).(encoding.BinaryUnmarshaler); ok {
		err = packed.UnmarshalBinary(raw)
	} else {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return nil, fmt.Errorf("store: damaged record in %s: %w", t.name, err)
	}
	return v, nil
}

// encode is JSON but for the records that are written most.
func (t *table[T]) encode(v *T) ([]byte, error) {
	if packed, ok := any(v).(encoding.BinaryMarshaler); ok {
		return packed.MarshalBinary()
	}
	return json.Marshal(v)
}

// has reports whether there is a record at key.
func (t *table[T]) has(tx *bolt.Tx, key []byte) bool { return t.bucket(tx).Get(key) != nil }

// live is get, but ErrExpired at and after the record's deadline.
func (t *table[T]) live(tx *bolt.Tx, key []byte, now time.Time) (*T, error) {
	v, err := t.get(tx, key)
	if err != nil {
		return nil, err
	}
	if e := t.expires(v); !e.IsZero() && !now.Before(e) {
		return nil, ErrExpired
	}
	return v, nil
}

// insert is put for a record that must not exist yet; ErrTaken otherwise.
func (t *table[T]) insert(tx *bolt.Tx, v *T) error {
	if t.bucket(tx).Get(t.key(v)) != nil {
		return ErrTaken
	}
	return t.put(tx, v)
}

// put writes v over whatever stands at its key and moves index and expiry
// entries along. ErrTaken when a unique index key belongs to another record.
func (t *table[T]) put(tx *bolt.Tx, v *T) error {
	b, key := t.bucket(tx), t.key(v)
	var old *T
	if raw := b.Get(key); raw != nil {
		var err error
		if old, err = t.decode(raw); err != nil {
			return err
		}
	}
	return t.replace(tx, old, v)
}

// replace is put for a caller that has just read old, the record that stands
// at v's key; nil when none does.
func (t *table[T]) replace(tx *bolt.Tx, old, v *T) error {
	for _, ix := range t.indexes {
		if err := t.putIndex(tx, ix, old, v); err != nil {
			return err
		}
	}
	if err := t.putExpiry(tx, old, v); err != nil {
		return err
	}
	raw, err := t.encode(v)
	if err != nil {
		return fmt.Errorf("store: encode %s: %w", t.name, err)
	}
	key := t.key(v)
	t.retires(tx, key)
	return t.bucket(tx).Put(key, raw)
}

func (t *table[T]) putIndex(tx *bolt.Tx, ix index[T], old, v *T) error {
	b, key, want := tx.Bucket(t.indexName(ix)), t.key(v), ix.key(v)
	if old != nil {
		had := ix.key(old)
		if bytes.Equal(had, want) {
			return nil // stands there already
		}
		if had != nil {
			if err := b.Delete(had); err != nil {
				return err
			}
		}
	}
	if want == nil {
		return nil
	}
	switch holder := b.Get(want); {
	case holder == nil:
		return b.Put(want, key)
	case !bytes.Equal(holder, key):
		return ErrTaken
	}
	return nil
}

// expiryKeyLen is that of the shortest entry: a deadline, a kind and a key.
const expiryKeyLen = 8 + 1 + 1

func (t *table[T]) expiryKey(v *T) []byte {
	if t.expires == nil {
		return nil
	}
	at := t.expires(v)
	if at.IsZero() {
		return nil
	}
	return append(append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), t.kind), t.key(v)...)
}

func (t *table[T]) putExpiry(tx *bolt.Tx, old, v *T) error {
	b, want := tx.Bucket(bucketExpiry), t.expiryKey(v)
	if old != nil {
		had := t.expiryKey(old)
		if bytes.Equal(had, want) {
			return nil // stands there already
		}
		if had != nil {
			if err := b.Delete(had); err != nil {
				return err
			}
		}
	}
	if want == nil {
		return nil
	}
	return b.Put(want, nil)
}

// delete removes the record at key with all its entries; nil when absent.
func (t *table[T]) delete(tx *bolt.Tx, key []byte) error {
	raw := t.bucket(tx).Get(key)
	if raw == nil {
		return nil
	}
	v, err := t.decode(raw)
	if err != nil {
		return err
	}
	for _, ix := range t.indexes {
		if k := ix.key(v); k != nil {
			if err := tx.Bucket(t.indexName(ix)).Delete(k); err != nil {
				return err
			}
		}
	}
	if k := t.expiryKey(v); k != nil {
		if err := tx.Bucket(bucketExpiry).Delete(k); err != nil {
			return err
		}
	}
	t.retires(tx, key)
	return t.bucket(tx).Delete(key)
}

// byUnique finds the one record that the named unique index has at key.
func (t *table[T]) byUnique(tx *bolt.Tx, name string, key []byte) (*T, error) {
	primary := tx.Bucket([]byte(t.name + "_by_" + name)).Get(key)
	if primary == nil {
		return nil, ErrNotFound
	}
	return t.get(tx, primary)
}

// keysBy returns the primary keys under owner in the named index. They are
// copies, so the caller may delete while walking them.
func (t *table[T]) keysBy(tx *bolt.Tx, name string, owner []byte) [][]byte {
	prefix := append(slices.Clone(owner), 0)
	var keys [][]byte
	c := tx.Bucket([]byte(t.name + "_by_" + name)).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		keys = append(keys, slices.Clone(v))
	}
	return keys
}

// by returns the records under owner in the named index, in key order.
func (t *table[T]) by(tx *bolt.Tx, name string, owner []byte) ([]T, error) {
	var out []T
	for _, k := range t.keysBy(tx, name, owner) {
		v, err := t.get(tx, k)
		if err != nil {
			return nil, fmt.Errorf("store: index %s_by_%s: %w", t.name, name, err)
		}
		out = append(out, *v)
	}
	return out, nil
}

// deleteBy deletes the records under owner and returns how many there were.
func (t *table[T]) deleteBy(tx *bolt.Tx, name string, owner []byte) (int, error) {
	keys := t.keysBy(tx, name, owner)
	for _, k := range keys {
		if err := t.delete(tx, k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// all returns every record in key order.
func (t *table[T]) all(tx *bolt.Tx) ([]T, error) {
	var out []T
	err := t.bucket(tx).ForEach(func(_, raw []byte) error {
		v, err := t.decode(raw)
		if err != nil {
			return err
		}
		out = append(out, *v)
		return nil
	})
	return out, err
}

// anyTable is what open, the sweeper and Check need of a table.
type anyTable interface {
	buckets() []string
	expiryKind() byte
	delete(tx *bolt.Tx, key []byte) error
	check(tx *bolt.Tx, report func(string, ...any))
	ownsExpiry(tx *bolt.Tx, entry, key []byte) bool
	reindex(tx *bolt.Tx) error
}

// tables lists every kind of record there is.
var tables = []anyTable{users, sessions, passkeys, teams, members, clients, authRequests, codes, grants, legacyTokens, seals, pods, snapshots, deploys, usages, reservations, setups, invitations, blocks, attempts, audits}

func (t *table[T]) buckets() []string {
	names := []string{t.name}
	for _, ix := range t.indexes {
		names = append(names, string(t.indexName(ix)))
	}
	return names
}

func (t *table[T]) expiryKind() byte { return t.kind }
