package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	resourcePath = "/.well-known/oauth-protected-resource"
	serverPath   = "/.well-known/oauth-authorization-server"
)

// document holds what is looked at of the two discovery documents (RFC 9728
// section 2, RFC 8414 section 2).
type document struct {
	Resource     string   `json:"resource"`
	Servers      []string `json:"authorization_servers"`
	Name         string   `json:"resource_name"`
	Issuer       string   `json:"issuer"`
	Authorize    string   `json:"authorization_endpoint"`
	Token        string   `json:"token_endpoint"`
	Register     string   `json:"registration_endpoint"`
	Revoke       string   `json:"revocation_endpoint"`
	Challenges   []string `json:"code_challenge_methods_supported"`
	AuthMethods  []string `json:"token_endpoint_auth_methods_supported"`
	Types        []string `json:"response_types_supported"`
	Grants       []string `json:"grant_types_supported"`
	Described    bool     `json:"client_id_metadata_document_supported"`
	IssParameter bool     `json:"authorization_response_iss_parameter_supported"`
}

func documentChecks() []check {
	return []check{
		{"resource document", []string{"connection", "certificate"}, checkResourceDocument},
		{"podgate", []string{"resource document"}, checkPodgate},
		{"resource", []string{"resource document"}, checkResource},
		{"server document", []string{"resource document"}, checkServerDocument},
		{"issuer", []string{"server document", "resource"}, checkIssuer},
		{"endpoints", []string{"issuer"}, checkEndpoints},
		{"abilities", []string{"server document"}, checkAbilities},
		{"caching", []string{"server document"}, checkCaching},
		{"unknown paths", []string{"resource document"}, checkUnknownPaths},
	}
}

func checkResourceDocument(ctx context.Context, p *probe) outcome {
	return p.fetchBoth(ctx, resourcePath, &p.resource)
}

func checkServerDocument(ctx context.Context, p *probe) outcome {
	return p.fetchBoth(ctx, serverPath, &p.server)
}

// fetchBoth reads a document at its root and its path form: some clients know
// only one of them, and both must be the same bytes.
func (p *probe) fetchBoth(ctx context.Context, path string, into *document) outcome {
	var bodies [][]byte
	for _, form := range []string{path + endpointPath, path} {
		got, err := p.get(ctx, form)
		if err != nil {
			return fault("GET "+form+": "+words(err), "See that the proxy passes /.well-known/ on to podgate.")
		}
		if got.status != http.StatusOK || !got.isJSON() {
			return p.astray(got)
		}
		bodies = append(bodies, got.body)
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		return fault(path+" differs from the same with "+endpointPath, "Something in front serves or keeps one of them by itself. Let both pass to podgate; empty the proxy's cache.")
	}
	if err := json.Unmarshal(bodies[0], into); err != nil {
		return fault(path+" is not the document that it should be", "Something in front changes answers. Let it pass them unchanged.")
	}
	return good("the same %d bytes at both addresses", len(bodies[0]))
}

func checkPodgate(_ context.Context, p *probe) outcome {
	if p.resource.Name != "podgate" {
		return warning("this says to be «"+p.resource.Name+"», not podgate", "What follows is about that server; some of it is no fault of another program.")
	}
	return good("it is podgate")
}

// checkResource compares what a client was given with what the server says it
// is (RFC 9728 section 3.3).
func checkResource(_ context.Context, p *probe) outcome {
	want := p.Target.Endpoint()
	switch {
	case p.resource.Resource != want:
		return fault(fmt.Sprintf("the server says to be %s, but the address is %s; clients stop here", p.resource.Resource, want),
			fmt.Sprintf("Give clients %s, or, if people are to type this one, set public_url = %q in podgate's configuration.", clean(p.resource.Resource), p.Target.Origin))
	case len(p.resource.Servers) == 0 || p.resource.Servers[0] != p.Target.Origin:
		return fault("the document names another authorization server: "+strings.Join(p.resource.Servers, ", "), "Something in front changes answers. Let it pass them unchanged.")
	}
	return good("%s, as typed", want)
}

// checkIssuer is RFC 8414 section 3.3.
func checkIssuer(_ context.Context, p *probe) outcome {
	if p.server.Issuer != p.Target.Origin {
		return fault(fmt.Sprintf("the issuer is %s, but was asked for as %s; clients stop here", p.server.Issuer, p.Target.Origin),
			fmt.Sprintf("Set public_url = %q in podgate's configuration; if it is so, something in front changes answers.", p.Target.Origin))
	}
	return good("%s", p.server.Issuer)
}

func checkEndpoints(_ context.Context, p *probe) outcome {
	named := []struct{ name, url string }{
		{"authorization_endpoint", p.server.Authorize}, {"token_endpoint", p.server.Token}, {"revocation_endpoint", p.server.Revoke},
	}
	if p.server.Register != "" {
		named = append(named, struct{ name, url string }{"registration_endpoint", p.server.Register})
	}
	for _, e := range named {
		u, err := url.Parse(e.url)
		if err != nil || u.Scheme+"://"+u.Host != p.Target.Origin {
			return fault(e.name+" is elsewhere: "+e.url, "Something in front changes answers. Let it pass them unchanged.")
		}
	}
	return good("all at %s", p.Target.Origin)
}

// checkAbilities looks for what every client insists on.
func checkAbilities(_ context.Context, p *probe) outcome {
	var lacking []string
	need := func(has bool, what string) {
		if !has {
			lacking = append(lacking, what)
		}
	}
	need(slices.Contains(p.server.Challenges, "S256"), "the challenge method S256")
	need(slices.Contains(p.server.AuthMethods, "none"), "the authentication method none")
	need(slices.Contains(p.server.Types, "code"), "the response type code")
	need(slices.Contains(p.server.Grants, "authorization_code"), "the grant type authorization_code")
	need(p.server.IssParameter, "the iss parameter")
	if len(lacking) > 0 {
		return fault("the server document lacks "+strings.Join(lacking, ", "), "Something in front changes answers, or this is not podgate.")
	}
	switch {
	case p.server.Register == "" && !p.server.Described:
		return warning("no new client may come", "That is so by podgate's configuration: registration is off, and so are metadata documents.")
	case p.server.Register == "":
		return warning("clients may not register themselves", "That is so by podgate's configuration. Only those come in that are described by a metadata document, or that connected before.")
	case !p.server.Described:
		return good("S256, public clients, iss, registration")
	}
	return good("S256, public clients, iss, registration, metadata documents")
}

// checkUnknownPaths asks for documents that podgate does not have. A page with
// 200 in their place is taken for an answer.
func checkUnknownPaths(ctx context.Context, p *probe) outcome {
	for _, path := range []string{"/.well-known/podgate-doctor", "/.well-known/openid-configuration", endpointPath + "/.well-known/oauth-protected-resource"} {
		got, err := p.get(ctx, path)
		if err != nil {
			return fault("GET "+path+": "+words(err), "Let the proxy pass it on to podgate.")
		}
		if got.status != http.StatusNotFound {
			return fault(got.describe()+" instead of 404; clients take that for a document",
				"Let the proxy pass every path of this name on to podgate, without a page of its own for those that it does not know.")
		}
		if !got.isJSON() {
			return warning(got.describe()+", and not podgate's own 404", "Harmless in itself, but something in front answers in podgate's place: let it pass all paths on.")
		}
	}
	return good("404, and no page")
}
