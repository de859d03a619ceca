package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"

	"podgate/internal/authz"
)

// serverDocument is the authorization server metadata of RFC 8414 section 2,
// with the members of RFC 9207 section 3 and
// draft-ietf-oauth-client-id-metadata-document section 6.
type serverDocument struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported"`
	ClientDocuments       bool     `json:"client_id_metadata_document_supported"`
	Documentation         string   `json:"service_documentation,omitempty"`
}

// resourceDocument is the protected resource metadata of RFC 9728 section 2.
type resourceDocument struct {
	Resource      string   `json:"resource"`
	Servers       []string `json:"authorization_servers"`
	Scopes        []string `json:"scopes_supported"`
	BearerMethods []string `json:"bearer_methods_supported"`
	Name          string   `json:"resource_name"`
	Documentation string   `json:"resource_documentation,omitempty"`
}

func (s *Server) describeServer(issuer, docs string) serverDocument {
	d := serverDocument{
		Issuer:                issuer,
		AuthorizationEndpoint: issuer + "/oauth/authorize",
		TokenEndpoint:         issuer + "/api/oauth/token",
		RevocationEndpoint:    issuer + "/api/oauth/revoke",
		Scopes:                serverScopes(s.refreshes()),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query"},
		GrantTypes:            grantTypeNames(s.refreshes()),
		TokenAuthMethods:      []string{"none"},
		RevocationAuthMethods: []string{"none"},
		ChallengeMethods:      []string{"S256"},
		IssParameter:          true,
		ClientDocuments:       !s.documents.off,
		Documentation:         docs,
	}
	if s.open {
		d.RegistrationEndpoint = issuer + "/api/oauth/register"
	}
	return d
}

// serverScopes are the scopes that a client may name. offline_access belongs
// to the server alone: it asks for a refresh token and opens nothing.
func serverScopes(refresh bool) []string {
	scopes := scopeStrings(authz.Scopes())
	if refresh {
		scopes = append(scopes, scopeOffline)
	}
	return scopes
}

func describeResource(id *identity, docs string) resourceDocument {
	return resourceDocument{
		Resource:      id.resource,
		Servers:       []string{id.issuer},
		Scopes:        scopeStrings(authz.Scopes()),
		BearerMethods: []string{"header"},
		Name:          "podgate",
		Documentation: docs,
	}
}

func encodeMetadata(document any) []byte {
	raw, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("oauth: metadata does not encode: %v", err)) // our own types; a bug
	}
	return append(raw, '\n')
}

// serveResourceMetadata answers GET /.well-known/oauth-protected-resource and
// the same with /api/mcp (RFC 9728 section 3).
func (s *Server) serveResourceMetadata(w http.ResponseWriter, r *http.Request) error {
	return writeMetadata(w, s.audience.at(r).resourceMetadata)
}

// serveServerMetadata answers GET /.well-known/oauth-authorization-server and
// the same with /api/mcp (RFC 8414 section 3).
func (s *Server) serveServerMetadata(w http.ResponseWriter, r *http.Request) error {
	return writeMetadata(w, s.audience.at(r).serverMetadata)
}

func writeMetadata(w http.ResponseWriter, document []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(document) // a failure means that the client is gone
	return nil
}
