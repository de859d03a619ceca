package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"podgate/store"
)

// A token is a prefix, by which a scanner for leaked secrets can tell it from
// noise; the id of its connection, which says where to look and proves nothing; and
// a secret. In refresh tokens the first part of the secret is what its whole family
// shares (132 random bits). It shows that a token is of that connection even when it
// was replaced long ago; it is a secret too, because it is enough to end the
// connection. Tokens that were given out before format 17 of the database lack the id.
const (
	accessPrefix  = "pgat_"
	refreshPrefix = "pgrt_"
	grantLen      = 26 // of store.NewID
	familyLen     = 22
)

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

// newAccessToken returns an access token of that connection.
func newAccessToken(id store.GrantID) string { return accessPrefix + string(id) + newSecret() }

// newRefreshToken returns the first token of a new family of that connection.
func newRefreshToken(id store.GrantID) string {
	return refreshPrefix + string(id) + newSecret()[:familyLen] + newSecret()
}

// accessToken reads an access token. Anything that has not the form of one is refused
// without a look at the store.
func accessToken(token string) (c store.Credential, ok bool) {
	id, _, ok := cutToken(token, accessPrefix, secretLen)
	if !ok {
		return store.Credential{}, false
	}
	return store.Credential{Grant: id, Hash: store.HashSecret(token)}, true
}

// refreshFamily reads what a refresh token shares with its family, in clear and as the
// store knows it; false for what cannot be a refresh token.
func refreshFamily(token string) (family string, c store.Credential, ok bool) {
	id, secret, ok := cutToken(token, refreshPrefix, familyLen+secretLen)
	if !ok {
		return "", store.Credential{}, false
	}
	family = secret[:familyLen]
	return family, store.Credential{Grant: id, Hash: store.HashSecret(family)}, true
}

// cutToken takes a token apart whose secret has that length. The id is empty where the
// token names no connection.
func cutToken(token, prefix string, length int) (id store.GrantID, secret string, ok bool) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != length && len(rest) != grantLen+length || !isBase64URL(rest) {
		return "", "", false
	}
	named := rest[:len(rest)-length]
	if strings.Trim(named, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", "", false
	}
	return store.GrantID(named), rest[len(named):], true
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
