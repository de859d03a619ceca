package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
)

// Identifiers of different records do not mix: passing a UserID where a TeamID
// is wanted does not compile. All are made by NewID, but for the ClientID of a
// document, which is its URL.
type (
	UserID     string
	TeamID     string
	ClientID   string
	GrantID    string
	PodID      string
	SnapshotID string
)

// Scope is one OAuth scope token (RFC 6749 section 3.3). The scopes that exist
// and what they allow are defined in internal/authz.
type Scope string

// NewID returns a fresh random identifier of 26 lower-case letters and digits
// (130 bits). It is safe in file names, URLs and DNS labels.
func NewID() string { return strings.ToLower(rand.Text()) }

// Hash is the SHA-256 of a secret. The store knows secrets only by it, so a
// stolen file gives nobody access.
type Hash [sha256.Size]byte

// HashSecret hashes a secret with 128 or more random bits. It is not for
// passwords, which need a slow hash.
func HashSecret(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// is reports whether both are the same, in a time that does not say how far they are.
func (h Hash) is(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// String returns the unpadded base64url form, as it stands in the file.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("not a hash: %q", text)
	}
	copy(h[:], raw)
	return nil
}
