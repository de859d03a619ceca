package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"podgate/internal/text"
	"podgate/store"
)

// maxDocumentURIs bounds the redirect URIs that are kept of a document. Some
// name one for each port that the program may listen on.
const maxDocumentURIs = 32

// clientDocument is what is kept of a Client ID Metadata Document.
type clientDocument struct {
	name         string
	redirectURIs []string
	refresh      bool // wants refresh tokens
	scopes       []store.Scope
}

// parseDocument reads a Client ID Metadata Document
// (draft-ietf-oauth-client-id-metadata-document section 4) that was found at
// id. It negotiates and does not match: grant types, response types and
// authentication methods that are not of this server are passed over as long
// as a public client with authorization codes remains possible. The redirect
// URIs need not be on the document's host, as those of real clients are not
// (loopback, a sibling domain): the draft leaves that to the server, and a
// person is shown both hosts. The error says in words what is wrong.
func parseDocument(body []byte, id string, schemes []string) (clientDocument, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return clientDocument{}, errors.New("it is not a JSON object")
	}
	var named string
	if err := json.Unmarshal(members["client_id"], &named); err != nil || named != id {
		return clientDocument{}, errors.New("the client_id in it is not the address that it was found at")
	}
	if err := checkPublicClient(members); err != nil {
		return clientDocument{}, err
	}
	scope := strings.Join(texts(members["scope"]), " ")
	d := clientDocument{
		name:    text.Line(strings.Join(texts(members["client_name"]), " "), maxNameStored),
		refresh: wantsRefresh(texts(members["grant_types"]), scope),
		scopes:  knownScopes(scope),
	}
	if d.name == "" {
		return clientDocument{}, errors.New("it has no client_name")
	}
	var err error
	d.redirectURIs, err = documentRedirects(texts(members["redirect_uris"]), schemes)
	return d, err
}

// checkPublicClient wants what every client here needs: authorization codes,
// and none as its way to authenticate. A document is public, so it must not
// hold a secret, and one that does tells something that should not be used.
func checkPublicClient(members map[string]json.RawMessage) error {
	if secret, found := members["client_secret"]; found && string(secret) != "null" {
		return errors.New("it holds a client_secret, which everybody can read there")
	}
	if types := texts(members["grant_types"]); len(types) > 0 && !slices.Contains(types, "authorization_code") {
		return errors.New("its grant_types leave out authorization_code")
	}
	if types := texts(members["response_types"]); len(types) > 0 && !slices.Contains(types, "code") {
		return errors.New("its response_types leave out code")
	}
	// A client of a document cannot have the secret that the default of
	// RFC 7591 asks for, so silence means none.
	methods := append(texts(members["token_endpoint_auth_methods_supported"]), texts(members["token_endpoint_auth_method"])...)
	if len(methods) > 0 && !slices.Contains(methods, "none") {
		return errors.New("it does not allow none as token_endpoint_auth_method, and clients of this server have no key or secret")
	}
	return nil
}

// documentRedirects keeps the redirect URIs that a registration could have, up
// to maxDocumentURIs.
func documentRedirects(uris, schemes []string) ([]string, error) {
	var kept []string
	var why error
	for _, uri := range uris {
		if _, err := parseRedirect(uri, schemes); err != nil {
			why = err
		} else if !slices.Contains(kept, uri) && len(kept) < maxDocumentURIs {
			kept = append(kept, uri)
		}
	}
	switch {
	case len(kept) > 0:
		return kept, nil
	case why != nil:
		return nil, fmt.Errorf("none of its redirect_uris can be used: %w", why)
	}
	return nil, errors.New("it has no redirect_uris")
}
