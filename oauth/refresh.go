package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"podgate/history"
	"podgate/internal/trace"
	"podgate/internal/web"
	"podgate/store"
)

// successors derives what replaces a refresh token. The same token and salt
// always give the same two, so that an answer can be repeated that nobody kept;
// without the token the salt is worth nothing.
func successors(id store.GrantID, token, family string, salt []byte) (refresh, access string) {
	derive := func(label string) string {
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write(salt)
		mac.Write([]byte(label))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	return refreshPrefix + string(id) + family + derive("refresh"), accessPrefix + string(id) + derive("access")
}

// newSalt returns 128 random bits.
func newSalt() []byte {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails; it would end the program
	return salt
}

// givesRefresh reports whether a connection of the client gets a refresh token:
// it registered for them, or asks with offline_access.
func (s *Server) givesRefresh(c store.Client, asked bool) bool {
	return s.refreshes() && (asked || slices.Contains(c.GrantTypes, grantRefresh))
}

// refreshShown is what the consent page says about how long access lasts.
func (s *Server) refreshShown(req store.AuthRequest) time.Duration {
	if !req.Offline {
		return 0
	}
	return s.refreshTTL
}

// firstRefresh makes the refresh token of a new connection, which the store
// takes if the authorization asked for one. Both results are empty when this
// server has none.
func (s *Server) firstRefresh(id store.GrantID, now time.Time) (*store.NewRefresh, string) {
	if !s.refreshes() {
		return nil, ""
	}
	token := newRefreshToken(id)
	_, family, _ := refreshFamily(token)
	return &store.NewRefresh{Family: family.Hash, Token: store.HashSecret(token), Expires: now.Add(s.refreshTTL)}, token
}

// parseRefresh reads what a refresh token needs (RFC 6749 section 6).
func parseRefresh(form url.Values, t *tokenRequest) (err error) {
	if t.refresh, err = required(form, "refresh_token"); err != nil {
		return err
	}
	scope, err := optional(form, "scope")
	if err != nil {
		return err
	}
	t.scopes = narrowedScopes(scope)
	return nil
}

// redeemRefresh exchanges a refresh token (RFC 6749 section 6) for its
// successor and an access token. Package store decides what the token is worth.
func (s *Server) redeemRefresh(ctx context.Context, t tokenRequest, client store.Client) (tokenAnswer, error) {
	family, shared, ok := refreshFamily(t.refresh)
	if !ok {
		return tokenAnswer{}, deadRefresh(history.FaultUnknownRefresh)
	}
	if shared.Grant == "" { // its successors name the connection
		g, err := s.db.FamilyGrant(shared)
		if err != nil {
			return tokenAnswer{}, s.refuseRefresh(err, client.ID, g)
		}
		shared.Grant = g.ID
	}
	now, salt := s.now(), newSalt()
	next, access := successors(shared.Grant, t.refresh, family, salt)
	rotation := store.Rotation{
		Family: shared, Token: store.HashSecret(t.refresh), Client: client.ID, Resources: t.resources, Scopes: t.scopes,
		Salt: salt, Next: store.HashSecret(next), NextExpires: now.Add(s.refreshTTL),
		Access: store.HashSecret(access), AccessExpires: now.Add(s.accessTTL),
	}
	out, err := trace.Do(ctx, "store rotate_refresh", func() (store.Rotated, error) { return s.db.RotateRefresh(rotation, now) })
	if err != nil {
		return tokenAnswer{}.about(out.Grant), s.refuseRefresh(err, client.ID, out.Grant)
	}
	next, access = successors(shared.Grant, t.refresh, family, out.Salt) // other ones when the store has answered this before
	s.log.Debug("connection refreshed", "connection", out.Grant.ID, "client", client.ID)
	opened := store.Access{Token: out.Access, Grant: out.Grant}
	return newAnswer(access, out.Access.Expires.Sub(now), next, opened.Scopes()).about(out.Grant), nil
}

// deadRefresh refuses a refresh token that is worth nothing. The client does
// not hear why.
func deadRefresh(fault string) *web.Error {
	return refuse(codeInvalidGrant, fault, "The refresh token is unknown, expired, used or revoked. Start the authorization again.")
}

// refuseRefresh puts the store's reasons in the words of RFC 6749 section 5.2.
func (s *Server) refuseRefresh(err error, client store.ClientID, g store.Grant) error {
	var mismatch *store.MismatchError
	switch {
	case errors.As(err, &mismatch):
		return refuseNarrowing(mismatch)
	case errors.Is(err, store.ErrSpent):
		s.log.Warn("refresh token used twice; its connection is revoked", "connection", g.ID, "client", client, "user", g.User, "team", g.Team)
		return deadRefresh(history.FaultReusedRefresh)
	case errors.Is(err, store.ErrNotMember):
		return deadRefresh(history.FaultNotMember)
	case errors.Is(err, store.ErrExpired):
		return deadRefresh(history.FaultExpiredRefresh)
	case errors.Is(err, store.ErrNotFound):
		return deadRefresh(history.FaultUnknownRefresh)
	}
	return fmt.Errorf("rotate refresh token: %w", err)
}

func refuseNarrowing(m *store.MismatchError) error {
	if m.Field == "scope" {
		return refuse(codeInvalidScope, history.FaultScope, "The scope is more than was granted. Leave it out, or start the authorization again to ask for more.")
	}
	return wrongResource()
}
