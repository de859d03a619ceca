package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"podgate/internal/errorpage"
)

// ClientName is what consent pages show of the command line.
const ClientName = "podgate command line"

// Origin returns a server's address as it is compared: its origin. What is typed may
// lack the scheme and may be that of the MCP endpoint. Without https only this
// machine is trusted.
func Origin(typed string) (string, error) {
	typed = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(typed), "/"), endpointPath)
	if !strings.Contains(typed, "://") {
		typed = "https://" + typed
	}
	u, err := url.Parse(typed)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("write the server's address as a browser shows it, such as https://pods.example.com")
	case u.Scheme == "http" && isLocalName(u.Hostname()):
		// A browser finds the pages there without asking anybody (RFC 6761 section 6.3);
		// here the network would be asked who that is.
		return strings.TrimSuffix("http://localhost:"+u.Port(), ":"), nil
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return strings.ToLower(u.Scheme + "://" + u.Host), nil
	case u.Scheme == "http":
		return "", errors.New("a server that is not on this machine must be asked over https, since tokens would be read on the way")
	}
	return "", fmt.Errorf("%s is no address of a server; write https://", u.Scheme)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && a.IsLoopback()
}

func isLocalName(host string) bool { return strings.HasSuffix(strings.ToLower(host), ".localhost") }

// site is what a server says of itself as an authorization server.
type site struct {
	Issuer    string `json:"issuer"`
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	Register  string `json:"registration_endpoint"`
	Revoke    string `json:"revocation_endpoint"`
}

// discover walks from the endpoint's 401 (RFC 9728 section 5.1) over its resource's
// document to that of its authorization server (RFC 8414). Both must be the server
// itself, as they are with podgate: nobody else is to be sent a code or a token.
func (l *Logins) discover(ctx context.Context, origin string) (site, error) {
	var s site
	document, err := l.challenge(ctx, origin)
	if err != nil {
		return s, err
	}
	var resource struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := l.ask(ctx, http.MethodGet, document, "", "", &resource); err != nil {
		return s, fmt.Errorf("read what the server says of itself: %w", err)
	}
	if resource.Resource != origin+endpointPath || len(resource.Servers) != 1 || resource.Servers[0] != origin {
		if own, err := Origin(resource.Resource); err == nil && own != origin {
			return s, fmt.Errorf("the server at %s calls itself %s; log in to it under that name", origin, own)
		}
		return s, fmt.Errorf("the server at %s says that it is another", origin)
	}
	if err := l.ask(ctx, http.MethodGet, origin+"/.well-known/oauth-authorization-server", "", "", &s); err != nil {
		return s, fmt.Errorf("read how to log in: %w", err)
	}
	if s.Issuer != origin {
		return s, fmt.Errorf("the server at %s says that it is another", origin)
	}
	for _, endpoint := range []string{s.Authorize, s.Token, s.Register, s.Revoke} {
		if !strings.HasPrefix(endpoint, origin+"/") {
			return s, fmt.Errorf("the server at %s names addresses that are not its own, or lets no program register itself", origin)
		}
	}
	return s, nil
}

var metadataOf = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)\bresource_metadata="([^"\\]+)"`) })

// challenge returns the address of the resource's document.
func (l *Logins) challenge(ctx context.Context, origin string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, origin+endpointPath, strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.Way.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("reach %s: %w", origin, err)
	}
	defer resp.Body.Close()
	found := metadataOf().FindStringSubmatch(strings.Join(resp.Header.Values("WWW-Authenticate"), ", "))
	if resp.StatusCode != http.StatusUnauthorized || found == nil {
		return "", fmt.Errorf("there is no podgate at %s: it answered %d where a podgate asks for a login", origin, resp.StatusCode)
	}
	if !strings.HasPrefix(found[1], origin+"/") {
		if own, err := url.Parse(found[1]); err == nil && own.Host != "" {
			return "", fmt.Errorf("the server at %s calls itself %s://%s; log in to it under that name", origin, own.Scheme, own.Host)
		}
		return "", fmt.Errorf("the server at %s says that it is another", origin)
	}
	return found[1], nil
}

// Attempt is a login that waits for a person's decision in a browser.
type Attempt struct {
	Address string // to open in a browser
	logins  *Logins
	site    site
	client  string
	state   string
	proof   string // the code verifier (RFC 7636)
	back    string // the redirect URI
	answers chan answer
	server  *http.Server
}

// answer is what came back of a browser.
type answer struct {
	code string
	err  error
}

// Begin looks at a server, registers the command line there and opens a port of this
// machine for the browser to come back to. Close the attempt. readOnly asks for the
// right to read alone.
func (l *Logins) Begin(ctx context.Context, origin string, readOnly bool) (*Attempt, error) {
	s, err := l.discover(ctx, origin)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a port for the browser to come back to: %w", err)
	}
	a := &Attempt{
		logins: l, site: s, state: rand.Text(), proof: rand.Text() + rand.Text(), answers: make(chan answer, 1),
		back: "http://" + listener.Addr().String() + "/callback",
	}
	a.server = &http.Server{Handler: http.HandlerFunc(a.comeBack), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = a.server.Serve(listener) }() // ends with Close
	if err := a.register(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	query := url.Values{
		"response_type": {"code"}, "client_id": {a.client}, "redirect_uri": {a.back}, "state": {a.state}, "resource": {origin + endpointPath},
		"code_challenge": {challengeOf(a.proof)}, "code_challenge_method": {"S256"},
	}
	if readOnly {
		query.Set("scope", "pods:read")
	}
	a.Address = s.Authorize + "?" + query.Encode()
	return a, nil
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// register makes the command line known to the server (RFC 7591).
func (a *Attempt) register(ctx context.Context) error {
	body, err := json.Marshal(map[string]any{
		"client_name": ClientName, "redirect_uris": []string{a.back}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
	})
	if err != nil {
		return err
	}
	var registered struct {
		ID string `json:"client_id"`
	}
	if err := a.logins.post(ctx, a.site.Register, "application/json", string(body), &registered); err != nil {
		return fmt.Errorf("register with the server: %w", err)
	}
	if registered.ID == "" {
		return errors.New("the server registered nothing")
	}
	a.client = registered.ID
	return nil
}

// Close ends the waiting. A page that is being sent goes out.
func (a *Attempt) Close() error {
	const longest = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if a.server.Shutdown(ctx) == nil {
		return nil
	}
	return a.server.Close()
}

// comeBack answers the browser that brings the decision. What does not know the
// state was sent by somebody else and changes nothing.
func (a *Attempt) comeBack(w http.ResponseWriter, r *http.Request) {
	page := errorpage.Page{Status: http.StatusNotFound, Title: "Nothing here", Text: "This address waits for one login of podgate's command line."}
	if r.Method == http.MethodGet && r.URL.Path == "/callback" {
		got, ours := a.read(r.URL.Query())
		page = errorpage.Page{Status: http.StatusBadRequest, Title: "Not this login", Text: "This answer belongs to no login that waits here. Type the command again."}
		if ours {
			page = errorpage.Page{Status: http.StatusOK, Title: "Back to the command line", Text: "It has its answer. You can close this window."}
			a.offer(got)
		}
	}
	page.Write(w, r)
}

// offer hands over the first answer; there is no use for more.
func (a *Attempt) offer(got answer) {
	select {
	case a.answers <- got:
	default:
	}
}

// read takes the decision out of a redirect (RFC 6749 section 4.1.2, RFC 9207). ours is
// whether it belongs to this attempt.
func (a *Attempt) read(q url.Values) (got answer, ours bool) {
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) != 1 || q.Get("iss") != a.site.Issuer {
		return got, false
	}
	switch code, fault := q.Get("code"), q.Get("error"); {
	case fault == "access_denied":
		return answer{err: errors.New("it was denied in the browser")}, true
	case fault != "" || code == "":
		return answer{err: fmt.Errorf("the server refused: %s", fault)}, true
	default:
		return answer{code: code}, true
	}
}

// Paste takes the address that a browser on another machine could not open, as a
// person copied it.
func (a *Attempt) Paste(address string) error {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || !strings.HasPrefix(u.String(), a.back+"?") {
		return fmt.Errorf("that is not the address; it begins with %s?", a.back)
	}
	got, ours := a.read(u.Query())
	if !ours {
		return errors.New("that address belongs to another login")
	}
	a.offer(got)
	return nil
}

// Finish waits for the decision, redeems the code and keeps the login. One that there
// was to the same server ends.
func (a *Attempt) Finish(ctx context.Context, version string) (Login, error) {
	var got answer
	select {
	case got = <-a.answers:
	case <-ctx.Done():
		return Login{}, ctx.Err()
	}
	if got.err != nil {
		return Login{}, got.err
	}
	l := a.logins
	s, err := l.token(ctx, secret{Client: a.client, Token: a.site.Token, Revoke: a.site.Revoke}, url.Values{
		"grant_type": {"authorization_code"}, "code": {got.code}, "client_id": {a.client}, "redirect_uri": {a.back}, "code_verifier": {a.proof},
		"resource": {a.site.Issuer + endpointPath},
	})
	if err != nil {
		return Login{}, fmt.Errorf("redeem the code: %w", err)
	}
	before, had := l.Find(a.site.Issuer)
	one := Login{Server: a.site.Issuer, Since: l.Now().UTC(), Default: true, secret: s}
	if err := l.keep(ctx, one); err != nil {
		return one, err
	}
	if had == nil {
		_ = l.revoke(ctx, before.secret) // it may have ended long ago
	}
	one.Team = teamOf(ctx, l.Client(one, version))
	return one, l.change(ctx, func(f *file) error {
		for i := range f.Logins {
			if f.Logins[i].Server == one.Server {
				f.Logins[i].Team = one.Team
			}
		}
		return nil
	})
}

// teamOf asks for which team a login is; "" when it may not even read.
func teamOf(ctx context.Context, c *Client) string {
	r, err := c.Call(ctx, "list_pods", struct{}{}, nil)
	var list struct {
		Team struct {
			Slug string `json:"slug"`
		} `json:"team"`
	}
	if err != nil || json.Unmarshal(r.Data, &list) != nil {
		return ""
	}
	return list.Team.Slug
}
