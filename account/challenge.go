package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"podgate/store"
)

// challengeTTL is how long a passkey may take to answer. A sign-in page may wait a
// while before its person comes back to it.
const challengeTTL = 30 * time.Minute

// What a challenge is for, and who alone can answer it: anybody, the browser of one
// session, and that one under one handle.
const toSignIn = "sign in"

func toProve(session store.Session) string { return "prove\x00" + session.Hash.String() }

func toAdd(session store.Session, handle string) string {
	return "add\x00" + session.Hash.String() + "\x00" + handle
}

// challengeKey signs what passkeys sign (WebAuthn Level 3, section 13.4.3), so that the
// server knows its own challenges again and keeps none: a page that nobody answers
// costs no memory. That each is answered once is seen from its time, which has to be
// later than the last use of the passkey. All end with the process.
type challengeKey [32]byte

func newChallengeKey() (key challengeKey) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

const (
	challengeRandom = 16
	challengeSigned = challengeRandom + 8 // and when it was made
	challengeBytes  = challengeSigned + sha256.Size
)

// make returns a challenge for that purpose, in base64url.
func (k *challengeKey) make(purpose string, now time.Time) string {
	raw := make([]byte, challengeRandom, challengeBytes)
	_, _ = rand.Read(raw)
	raw = binary.BigEndian.AppendUint64(raw, uint64(now.UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(raw, k.sign(raw, purpose)...))
}

func (k *challengeKey) sign(raw []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write(raw)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// open reports whether a challenge, as it stands in what was signed, is one of ours for
// that purpose and may still be answered, and when it was made.
func (k *challengeKey) open(challenge, purpose string, now time.Time) (made time.Time, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	if err != nil || len(raw) != challengeBytes {
		return time.Time{}, false
	}
	signed, mac := raw[:challengeSigned], raw[challengeSigned:]
	made = time.Unix(0, int64(binary.BigEndian.Uint64(signed[challengeRandom:])))
	return made, hmac.Equal(mac, k.sign(signed, purpose)) && now.Sub(made).Abs() < challengeTTL
}
