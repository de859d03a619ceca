package oauth

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

const (
	// maxRedirectURIs bounds the redirect URIs of one client.
	maxRedirectURIs = 10
	// maxRedirectURISize bounds their characters together, because anybody can
	// register. Real clients need a tenth of it.
	maxRedirectURISize = 2048

	maxNameShown  = 60  // characters of a client name on pages
	maxNameStored = 200 // characters of a client name in the store
)

// registration is what is kept of a registration request.
type registration struct {
	name         string
	redirectURIs []string
	scopes       []store.Scope
	refresh      bool  // wants refresh tokens
	dropped      int   // redirect URIs that cannot be used
	why          error // the last of them was dropped
}

// registered is the answer to a registration (RFC 7591 section 3.2.1). It has
// no member that can be null: some clients refuse the whole answer for one.
type registered struct {
	ClientID      store.ClientID `json:"client_id"`
	IssuedAt      int64          `json:"client_id_issued_at"` // seconds since 1970
	ClientName    string         `json:"client_name,omitempty"`
	RedirectURIs  []string       `json:"redirect_uris"`
	GrantTypes    []string       `json:"grant_types"`
	ResponseTypes []string       `json:"response_types"`
	AuthMethod    string         `json:"token_endpoint_auth_method"`
	Scope         string         `json:"scope"`
}

// handleRegister answers POST /api/oauth/register and POST /register.
func (s *Server) handleRegister(w http.ResponseWriter, r *http.Request) error {
	if !s.open {
		return web.Fault(http.StatusForbidden, codeAccessDenied, "This server does not let clients register themselves. Ask its administrator.", reason(history.FaultRegistrationOff))
	}
	now, addr := s.now(), s.addrKey(r)
	if wait, ok := s.limits.register.allow(web.ClientAddr(r, s.proxies), now); !ok {
		return tooMany(wait, "registrations")
	}
	if err := checkJSON(r); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	reg, err := parseRegistration(body, s.schemes)
	if err != nil {
		return err
	}
	client, err := s.register(reg, addr, now)
	if err != nil {
		return err
	}
	recordOf(r).of(client, "")
	recordOf(r).note.Detail = describeRegistration(reg)
	w.Header().Set("Cache-Control", "no-store")
	s.finish(recordOf(r))
	web.WriteJSON(w, http.StatusCreated, s.describeClient(client))
	return nil
}

// checkJSON refuses a body that says to be something else. Silence is borne.
func checkJSON(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if given == "" || err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return refuse(codeInvalidClientMetadata, history.FaultMetadata, "Send the client metadata as application/json.")
}

// parseRegistration reads client metadata (RFC 7591 section 2). Members that it
// does not know, or that have an unexpected type, are passed over; of the
// redirect URIs it keeps the usable ones, because clients offer several at
// once. What has no bearing on a public client that uses codes is not kept.
func parseRegistration(body []byte, schemes []string) (registration, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		// The cause could quote the body.
		return registration{}, refuse(codeInvalidClientMetadata, history.FaultMetadata, "The body is not a JSON object.")
	}
	var reg registration
	for _, uri := range texts(members["redirect_uris"]) {
		if _, err := parseRedirect(uri, schemes); err != nil {
			reg.why, reg.dropped = err, reg.dropped+1
		} else if !slices.Contains(reg.redirectURIs, uri) {
			reg.redirectURIs = append(reg.redirectURIs, uri)
		}
		if len(reg.redirectURIs) > maxRedirectURIs {
			return registration{}, refuse(codeInvalidRedirectURI, history.FaultRedirect, fmt.Sprintf("At most %d redirect URIs can be registered.", maxRedirectURIs))
		}
	}
	switch {
	case len(reg.redirectURIs) == 0:
		return registration{}, noRedirectURI(reg.why, schemes)
	case uriSize(reg.redirectURIs) > maxRedirectURISize:
		return registration{}, refuse(codeInvalidRedirectURI, history.FaultRedirect, fmt.Sprintf("The redirect URIs of a client can have %d characters together.", maxRedirectURISize))
	}
	reg.name = text.Line(strings.Join(texts(members["client_name"]), " "), maxNameStored)
	scope, grants := strings.Join(texts(members["scope"]), " "), texts(members["grant_types"])
	reg.scopes = knownScopes(scope)
	reg.refresh = wantsRefresh(grants, scope)
	return reg, nil
}

// wantsRefresh reports whether client metadata ask for refresh tokens. Silence
// would mean codes alone (RFC 7591 section 2), but clients that are silent
// refresh all the same, and people are spared signing in again.
func wantsRefresh(grants []string, scope string) bool {
	return len(grants) == 0 || slices.Contains(grants, grantRefresh) || asksOffline(scope)
}

func uriSize(uris []string) (n int) {
	for _, uri := range uris {
		n += len(uri)
	}
	return n
}

// texts reads a member that is a string or an array of strings; anything else
// in it is passed over.
func texts(member json.RawMessage) []string {
	var text string
	if json.Unmarshal(member, &text) == nil && text != "" {
		return []string{text}
	}
	var items []json.RawMessage
	if json.Unmarshal(member, &items) != nil {
		return nil
	}
	var list []string
	for _, item := range items {
		var text string
		if json.Unmarshal(item, &text) == nil && text != "" {
			list = append(list, text)
		}
	}
	return list
}

// noRedirectURI says what is allowed, and why the last one was not.
func noRedirectURI(why error, schemes []string) error {
	message := "Register at least one redirect URI: https, or http on localhost, 127.0.0.1 or [::1]"
	if len(schemes) > 0 {
		message += ", or the scheme " + strings.Join(schemes, ", ")
	}
	if why == nil {
		return refuse(codeInvalidRedirectURI, history.FaultRedirect, message+".")
	}
	return refuse(codeInvalidRedirectURI, history.FaultRedirect, message+". The one sent cannot be used: "+why.Error()+".")
}

// register stores a client. The same metadata from the same address again
// within a few minutes gets the same client: some programs register twice a
// second apart and then mix the two up.
func (s *Server) register(reg registration, addr string, now time.Time) (store.Client, error) {
	key := reg.key(addr)
	// The two may also come at once.
	v, err, _ := s.registering.Do(key.String(), func() (any, error) { return s.registerOnce(reg, key, now) })
	if err != nil {
		return store.Client{}, err
	}
	return v.(store.Client), nil
}

func (s *Server) registerOnce(reg registration, key store.Hash, now time.Time) (store.Client, error) {
	if id, ok := s.recent.get(key, now); ok {
		if c, err := s.db.Client(id); err == nil {
			return c, nil
		}
	}
	c := store.Client{
		ID: store.ClientID(store.NewID()), Name: reg.name, RedirectURIs: reg.redirectURIs, GrantTypes: grantTypeNames(reg.refresh),
		Scopes: reg.scopes, Created: now, Expires: now.Add(store.ClientUnusedTTL),
	}
	if err := s.db.CreateClient(c); err != nil {
		return store.Client{}, fmt.Errorf("register client: %w", err)
	}
	s.recent.put(key, c.ID, now)
	s.log.Info("client registered", "client", c.ID, "name", c.Name, "redirect_uris", len(c.RedirectURIs))
	return c, nil
}

func (reg registration) key(addr string) store.Hash {
	// Cleaned names and checked URIs hold no control character, so a line
	// feed cannot stand in any part.
	parts := append([]string{addr, reg.name, joinScopes(reg.scopes), strings.Join(grantTypeNames(reg.refresh), " ")}, reg.redirectURIs...)
	return store.HashSecret(strings.Join(parts, "\n"))
}

// describeClient names the grant types that the client registered and this
// server has. The record keeps what was registered: the server may have refresh
// tokens one day.
func (s *Server) describeClient(c store.Client) registered {
	return registered{
		ClientID: c.ID, IssuedAt: c.Created.Unix(), ClientName: c.Name, RedirectURIs: c.RedirectURIs,
		GrantTypes:    grantTypeNames(s.givesRefresh(c, false)),
		ResponseTypes: []string{"code"}, AuthMethod: "none", Scope: joinScopes(c.Scopes),
	}
}

const (
	recentTTL  = 5 * time.Minute
	maxRecents = 1000
)
