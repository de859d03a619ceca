package oauth

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"podgate/internal/webtest"
)

// TestOfficialClient lets the official Go SDK's own OAuth client find its way
// from a 401 to a token: challenge, both documents, registration, PKCE, state,
// iss, exchange. Nothing of it was written here.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	f, server := serveFixture(t)
	for name, change := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
		"registering": func(c *auth.AuthorizationCodeHandlerConfig) {},
		"preregistered": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.DynamicClientRegistrationConfig = nil
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: string(f.register())}
		},
		"with a metadata document": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: appURL}
		},
		"wanting refresh tokens": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.RequestRefreshToken = true
			c.DynamicClientRegistrationConfig.Metadata.GrantTypes = []string{"authorization_code", "refresh_token"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := &auth.AuthorizationCodeHandlerConfig{
				Client: server.Client(), RedirectURL: testRedirect, AuthorizationCodeFetcher: approveAs(f, "alice", "red"),
				DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
					Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "SDK", RedirectURIs: []string{testRedirect}},
				},
			}
			change(config)
			handler, err := auth.NewAuthorizationCodeHandler(config)
			f.must(err)
			if got := callAs(t, handler, server, f.resource); !strings.HasPrefix(got, "user alice team red") {
				t.Errorf("the resource says %q", got)
			}
		})
	}
}

// TestOfficialClientRefreshes lets the same client renew its access by itself:
// it takes a token with a few seconds left for expired, so it refreshes before
// each request.
func TestOfficialClientRefreshes(t *testing.T) {
	t.Parallel()
	f, server := serveFixture(t, func(c *Config) { c.AccessTTL = 5 * time.Second })
	asked := 0
	approve := approveAs(f, "alice", "red")
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		Client: server.Client(), RedirectURL: testRedirect, RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			asked++
			return approve(ctx, args)
		},
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "SDK", RedirectURIs: []string{testRedirect}},
		},
	})
	f.must(err)
	seen := map[string]bool{}
	for range 5 {
		if got := callAs(t, handler, server, f.resource); !strings.HasPrefix(got, "user alice team red") {
			t.Errorf("the resource says %q", got)
		}
		source, err := handler.TokenSource(t.Context())
		f.must(err)
		token, err := source.Token()
		f.must(err)
		if seen[token.AccessToken] || seen[token.RefreshToken] {
			t.Error("a token came twice")
		}
		seen[token.AccessToken], seen[token.RefreshToken] = true, true
	}
	if asked != 1 {
		t.Errorf("the person was asked %d times, want once", asked)
	}
}

// serveFixture serves on a loopback port, with that as the public URL.
func serveFixture(t *testing.T, change ...func(*Config)) (*fixture, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	n := newInternet(t)
	n.publish(appURL, appDocument(`redirect_uris=["`+testRedirect+`"]`))
	f := newFixture(t, append(change, online(n), func(c *Config) { c.Issuer = issuer; c.Now = time.Now })...)
	f.clock.advance(time.Until(f.clock.Now()))
	server.Config.Handler = f.handler
	server.Start()
	t.Cleanup(server.Close)
	return f, server
}

// callAs makes a request, and once more after the handler has authorized.
func callAs(t *testing.T, handler *auth.AuthorizationCodeHandler, server *httptest.Server, resource string) string {
	t.Helper()
	ctx := t.Context()
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, "POST", resource, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if source, err := handler.TokenSource(ctx); err == nil && source != nil {
			token, err := source.Token()
			if err != nil {
				t.Fatal(err)
			}
			token.SetAuthHeader(req)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusUnauthorized {
			if err := handler.Authorize(ctx, req, resp); err != nil {
				t.Fatal(err)
			}
			continue
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	t.Fatal("401 again after authorization")
	return ""
}

// approveAs is the person and the browser: it opens the page, approves, and
// reads the answer out of the redirect.
func approveAs(f *fixture, user, team string) auth.AuthorizationCodeFetcher {
	transport, pages := webtest.Transport(), f.pageHost.Address()
	f.Cleanup(transport.CloseIdleConnections)
	browser := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	send := func(ctx context.Context, method, target, body string) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		req.AddCookie(&http.Cookie{Name: "session", Value: user})
		req.Header.Set("Origin", pages)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := browser.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(resp.Body)
		return resp, string(raw), err
	}
	return func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
		resp, page, err := send(ctx, "GET", strings.Replace(args.URL, f.issuer, pages, 1), "")
		if err != nil {
			return nil, err
		}
		handle := f.handle(answer{resp.StatusCode, resp.Header, page})
		resp, page, err = send(ctx, "POST", pages+"/oauth/authorize", approval(handle, team).Encode())
		if err != nil {
			return nil, err
		}
		var q url.Values = f.location(answer{resp.StatusCode, resp.Header, page})
		return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
	}
}
