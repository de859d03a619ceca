package store

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// sealEvery is how long one seal is in use.
const sealEvery = 10 * time.Second

// sealKey is what salts are sealed with that refreshes of ten seconds were derived
// with. It is deleted some time after their grace, and they can be read by nobody any
// more: one record goes in place of one for each refresh.
type sealKey struct {
	From time.Time `json:"from"`
	Key  []byte    `json:"key"` // 256 random bits
}

var seals = &table[sealKey]{
	name:    "seals",
	kind:    11,
	key:     func(s *sealKey) []byte { return bigTime(s.From) },
	expires: func(s *sealKey) time.Time { return s.From.Add(sealEvery + saltTTL) },
}

// seal returns the salt of a refresh token that is given out at now, sealed.
func seal(tx *bolt.Tx, token Hash, salt []byte, now time.Time) ([]byte, error) {
	from := wall(now).UTC().Truncate(sealEvery)
	s, err := seals.get(tx, bigTime(from))
	if errors.Is(err, ErrNotFound) {
		s = &sealKey{From: from, Key: make([]byte, 32)}
		_, _ = rand.Read(s.Key) // never fails; it would end the program
		err = seals.insert(tx, s)
	}
	if err != nil {
		return nil, err
	}
	if len(salt) > sha256.Size {
		return nil, fmt.Errorf("store: a salt of %d bytes", len(salt))
	}
	return masked(s.Key, token, salt), nil
}

// salt returns what the last successors were derived with; nil when there were none, or
// when nobody can read it any more.
func (g *Grant) salt(tx *bolt.Tx) ([]byte, error) {
	s, err := seals.get(tx, bigTime(g.Refresh.Rotated.Truncate(sealEvery)))
	if errors.Is(err, ErrNotFound) || len(g.Refresh.Salt) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return masked(s.Key, g.Refresh.Current, g.Refresh.Salt), nil
}

// masked seals the salt that a refresh token was derived with, or opens what is sealed.
func masked(key []byte, token Hash, salt []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(token[:])
	out := make([]byte, len(salt))
	subtle.XORBytes(out, salt, mac.Sum(nil))
	return out
}
