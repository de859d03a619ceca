package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// endpointPath is where a server answers calls of tools.
const endpointPath = "/api/mcp"

const (
	// early is how long before its end a token is renewed.
	early = 30 * time.Second
	// patience bounds one request of the OAuth flow.
	patience = 30 * time.Second
	// maxDocument bounds one answer of it, in bytes.
	maxDocument = 1 << 20
)

// Client returns a client of the login's server, which sends and renews its tokens.
func (l *Logins) Client(one Login, version string) *Client {
	return &Client{Address: one.Server + endpointPath, Way: &bearer{logins: l, server: one.Server, token: one.secret}, Version: version}
}

// bearer lets requests in with the tokens of a login. It follows no redirect, so a
// token goes to its own server only.
type bearer struct {
	logins *Logins
	server string
	token  secret
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if b.logins.Now().After(b.token.Expires.Add(-early)) {
		if err := b.renew(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := b.send(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || b.token.Refresh == "" || req.GetBody == nil {
		return resp, err
	}
	_ = resp.Body.Close() // the token was ended early: once more with another
	if err := b.renew(ctx); err != nil {
		return nil, err
	}
	again := req.Clone(ctx)
	if again.Body, err = req.GetBody(); err != nil {
		return nil, err
	}
	return b.send(again)
}

func (b *bearer) send(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token.Access)
	return b.logins.Way.RoundTrip(req)
}

// renew gets a new access token for the one at hand. Only one process does at a time:
// each use replaces the refresh token, and the server ends the connection of one that
// it sees twice. What another has renewed meanwhile is taken from the file.
func (b *bearer) renew(ctx context.Context) error {
	return b.logins.change(ctx, func(f *file) error {
		for i, r := range f.Logins {
			if r.Server != b.server {
				continue
			}
			if r.Secret.Access == b.token.Access {
				next, err := b.logins.refresh(ctx, r.Secret)
				if err != nil {
					return fmt.Errorf("renew the login to %s: %w", b.server, err)
				}
				f.Logins[i].Secret = next
			}
			b.token = f.Logins[i].Secret
			return nil
		}
		return fmt.Errorf("%w to %s any more", ErrNoLogin, b.server)
	})
}

// refresh exchanges a refresh token (RFC 6749 section 6).
func (l *Logins) refresh(ctx context.Context, s secret) (secret, error) {
	if s.Refresh == "" {
		return s, &HTTPError{Status: http.StatusUnauthorized, Message: "it has run out"}
	}
	next, err := l.token(ctx, s, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.Refresh}, "client_id": {s.Client}})
	var refused *HTTPError
	if errors.As(err, &refused) && refused.Code == "invalid_grant" {
		refused.Status = http.StatusUnauthorized
	}
	return next, err
}

// token asks the token endpoint (RFC 6749 section 3.2) for what comes after s.
func (l *Logins) token(ctx context.Context, s secret, form url.Values) (secret, error) {
	var answer struct {
		Access  string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires int64  `json:"expires_in"`
		Refresh string `json:"refresh_token"`
	}
	if err := l.post(ctx, s.Token, "application/x-www-form-urlencoded", form.Encode(), &answer); err != nil {
		return s, err
	}
	if !isToken(answer.Access) || answer.Refresh != "" && !isToken(answer.Refresh) || !strings.EqualFold(answer.Type, "Bearer") {
		return s, errors.New("the server's answer holds no token of the kind that was asked for")
	}
	s.Access, s.Refresh = answer.Access, cmp.Or(answer.Refresh, s.Refresh)
	s.Expires = l.Now().Add(time.Duration(min(max(answer.Expires, 0), 365*24*3600)) * time.Second)
	return s, nil
}

// isToken accepts what can stand in a header (RFC 6750 section 2.1).
func isToken(s string) bool {
	return s != "" && len(s) <= 4096 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// Logout ends a login at its server (RFC 7009) and forgets it here, also when the
// server cannot be told.
func (l *Logins) Logout(ctx context.Context, one Login) error {
	return errors.Join(l.forget(ctx, one.Server), l.revoke(ctx, one.secret))
}

func (l *Logins) revoke(ctx context.Context, s secret) error {
	return l.post(ctx, s.Revoke, "application/x-www-form-urlencoded", url.Values{"token": {cmp.Or(s.Refresh, s.Access)}, "client_id": {s.Client}}.Encode(), nil)
}

// post sends a body and reads the JSON of the answer into out; nil: there is none.
func (l *Logins) post(ctx context.Context, address, contentType, body string, out any) error {
	return l.ask(ctx, http.MethodPost, address, contentType, body, out)
}

func (l *Logins) ask(ctx context.Context, method, address, contentType, body string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := l.Way.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := io.LimitReader(resp.Body, maxDocument)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s is not understood: %w", address, err)
	}
	return nil
}
