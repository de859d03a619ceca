package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// accessPrefix marks access tokens, so that a scanner for leaked secrets can
// tell them from noise.
const accessPrefix = "pgat_"

// secretLen is the length of newSecret in characters.
const secretLen = 43

// newSecret returns 256 random bits as 43 characters of base64url.
func newSecret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails; it would end the program
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// challengeOf is the S256 transformation of RFC 7636 section 4.2.
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// isChallenge reports whether s can be the S256 transformation of anything.
func isChallenge(s string) bool { return len(s) == secretLen && isBase64URL(s) }

// isVerifier reports whether s is a code verifier of RFC 7636 section 4.1:
// 43 to 128 unreserved characters.
func isVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(c rune) bool {
		return !isAlphanumeric(c) && !strings.ContainsRune("-._~", c)
	})
}

// isAccessToken reports whether s has the form of an access token, so that
// anything else is refused without a look at the store.
func isAccessToken(s string) bool {
	return len(s) == len(accessPrefix)+secretLen && s[:len(accessPrefix)] == accessPrefix && isBase64URL(s[len(accessPrefix):])
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		if c := rune(s[i]); !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
