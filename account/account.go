package account

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"time"

	"podgate/internal/ratelimit"
	"podgate/store"
)

// Config is what a Service needs. Only DB is required.
type Config struct {
	DB  *store.DB
	Log *slog.Logger
	Now func() time.Time
	// HashesAtOnce bounds how many passwords are checked at the same time, each in
	// 32 MiB; 0: two.
	HashesAtOnce int
}

// Service is the rules about people. Its methods are safe for concurrent use.
type Service struct {
	db        *store.DB
	log       *slog.Logger
	now       func() time.Time
	hashing   *semaphore
	throttle  *loginThrottle
	addresses signInAddresses

	challenges  challengeKey       // of passkeys
	invitations *ratelimit.Limiter // looks at them, by address
}

// New returns a service over cfg.DB.
func New(cfg Config) *Service {
	s := &Service{db: cfg.DB, log: cfg.Log, now: cfg.Now, hashing: newSemaphore(cmp.Or(cfg.HashesAtOnce, hashesAtOnce), hashesWaiting, hashPatience), throttle: newLoginThrottle(), addresses: signInAddresses{last: map[string]time.Time{}}, challenges: newChallengeKey(), invitations: newInvitationLimit()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// The prefixes tell secrets apart in a leak report, and keep one kind from
// ever being taken for another.
const (
	sessionPrefix = "pgs_"
	setupPrefix   = "pgsetup_"

	invitationPrefix = "pginv_"
)

// newSecret returns prefix and 256 random bits, safe in cookies and URLs.
func newSecret(prefix string) string {
	raw := make([]byte, 32)
	// crypto/rand.Read never returns an error; it ends the program instead.
	_, _ = rand.Read(raw)
	return prefix + base64.RawURLEncoding.EncodeToString(raw)
}

// public strips a user record of what nobody outside needs.
func public(u store.User) store.User {
	u.Password = ""
	return u
}
