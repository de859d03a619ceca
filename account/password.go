package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"podgate/store"
)

// cost is how dear one argon2id hash is (RFC 9106).
type cost struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// defaultCost was chosen by measurement on a small virtual machine with two
// cores: 19 MiB and two passes, the least that OWASP advises, took 30 to 35 ms;
// 32 MiB and two passes 45 to 50; 64 MiB and one pass close to 100. A sign-in
// may cost about 50 ms, and memory is what makes guessing with special hardware
// dear, so it is the middle one. One lane, because two people who sign in at
// once should share two cores rather than wait for one another. The benchmark
// in this package measures it anew.
var defaultCost = cost{memory: 32 << 10, passes: 2, threads: 1}

const (
	saltBytes = 16
	keyBytes  = 32

	// What a stored hash may ask for. It bounds what a damaged or tampered
	// file can make a sign-in cost.
	maxMemory  = 256 << 10 // KiB
	maxPasses  = 16
	maxThreads = 16

	// MinPassword is in characters, MaxPassword in bytes.
	MinPassword = 10
	MaxPassword = 1024
)

var b64 = base64.RawStdEncoding

// hash returns the PHC string of a password:
// $argon2id$v=19$m=32768,t=2,p=1$SALT$KEY.
func (c cost) hash(password string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.threads, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.passes, c.threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// phc is a stored password hash, taken apart.
type phc struct {
	cost
	salt, key []byte
}

// parsePHC reads what hash writes. Anything else, also argon2id with costs
// beyond the bounds above, is an error.
func parsePHC(s string) (p phc, err error) {
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, fmt.Errorf("account: not an argon2id hash")
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.threads); err != nil || fields[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.passes, p.threads) {
		return phc{}, fmt.Errorf("account: bad argon2id parameters")
	}
	if p.memory < 8*uint32(p.threads) || p.memory > maxMemory || p.passes < 1 || p.passes > maxPasses || p.threads < 1 || p.threads > maxThreads {
		return phc{}, fmt.Errorf("account: argon2id parameters out of bounds")
	}
	if p.salt, err = b64.Strict().DecodeString(fields[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return phc{}, fmt.Errorf("account: bad argon2id salt")
	}
	if p.key, err = b64.Strict().DecodeString(fields[5]); err != nil || len(p.key) < 16 || len(p.key) > 64 {
		return phc{}, fmt.Errorf("account: bad argon2id key")
	}
	return p, nil
}

// matches computes the hash of password and compares it in constant time.
func (p phc) matches(password string) bool {
	key := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1
}

// noAccount is what a password is checked against when there is no account or
// no password: the same work, and no password ever matches.
func noAccount() phc {
	return phc{cost: defaultCost, salt: make([]byte, saltBytes), key: make([]byte, keyBytes)}
}

// hashPassword checks a new password and hashes it. Strangers have nothing to set
// one with, so it does not wait behind them.
func (s *Service) hashPassword(ctx context.Context, password, email, name string) (string, error) {
	if err := checkPassword(password, email, name); err != nil {
		return "", err
	}
	release, err := s.hashing.acquire(ctx, place{known: "new password of " + email})
	if err != nil {
		return "", err
	}
	defer release()
	return defaultCost.hash(password), nil
}

// verify checks a password against a user, or against the zero User when there
// is no such account, and takes as long either way. It replaces the hash, in
// the store and in u, when the cost has changed since. at is the caller's place in
// the semaphore. The error is about waiting, not about the password.
func (s *Service) verify(ctx context.Context, u *store.User, password string, at place) (bool, error) {
	stored, err := parsePHC(u.Password)
	if err != nil {
		if u.Password != "" {
			s.log.Error("a stored password hash is damaged; set the password again", "user", u.ID, "error", err)
		}
		stored = noAccount()
	}
	release, refused := s.hashing.acquire(ctx, at)
	if refused != nil {
		return false, refused
	}
	defer release()
	if !stored.matches(password) || u.Password == "" || err != nil {
		return false, nil
	}
	if stored.cost != defaultCost {
		s.rehash(u, password)
	}
	return true, nil
}

func (s *Service) rehash(u *store.User, password string) {
	phc := defaultCost.hash(password)
	if err := s.db.RehashPassword(u.ID, u.Password, phc); err != nil {
		s.log.Warn("a password could not be hashed anew", "user", u.ID, "error", err)
		return
	}
	u.Password = phc
}

// checkPassword says why a new password will not do. There are no rules about
// kinds of characters: length is what counts (NIST SP 800-63B section 3.1.1).
func checkPassword(password, email, name string) error {
	local, _, _ := strings.Cut(email, "@")
	plain := strings.ToLower(strings.TrimSpace(password))
	switch {
	case !utf8.ValidString(password):
		return invalid("password", "The password is not valid text. Type it again.")
	case utf8.RuneCountInString(password) < MinPassword:
		return invalid("password", "The password is too short. Use at least %d characters; a few words are fine.", MinPassword)
	case len(password) > MaxPassword:
		return invalid("password", "The password is too long. Use at most %d bytes.", MaxPassword)
	case plain == email, plain == local, name != "" && plain == strings.ToLower(name):
		return invalid("password", "The password is your own address or name, which is the first thing that anybody would try. Choose another.")
	case oneCharacter(plain):
		return invalid("password", "The password is one character over and over. Choose another.")
	}
	return nil
}

func oneCharacter(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return strings.Trim(s, string(first)) == ""
}
