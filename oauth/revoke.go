package oauth

import (
	"fmt"
	"net/http"

	"podgate/store"
)

// handleRevoke answers POST /api/oauth/revoke (RFC 7009 section 2). The answer
// is 200 for every token, known or not, so that it tells nothing; another
// client's token stays alive. token_type_hint is not needed: a token says
// itself what it is.
func (s *Server) handleRevoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	id, err := parseClient(form, r.Header.Values("Authorization"))
	if err != nil {
		return err
	}
	token, err := required(form, "token")
	if err != nil {
		return err
	}
	client, err := s.knownClient(id)
	if err != nil {
		return err
	}
	grant, known := s.connectionOf(token)
	if err := s.revoke(token, client.ID); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	if known && grant.Client == client.ID {
		s.revokedBy(r, grant)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revoke ends an access token alone, and with a refresh token everything that
// its connection has.
func (s *Server) revoke(token string, client store.ClientID) error {
	if sent, ok := accessToken(token); ok {
		return s.db.RevokeToken(sent, client)
	}
	if _, family, ok := refreshFamily(token); ok {
		return s.db.RevokeRefresh(family, client)
	}
	return nil
}
