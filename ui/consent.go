package ui

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"podgate/internal/text"
	"podgate/oauth"
)

// consentView is the content of consent.html.
type consentView struct {
	oauth.Consent
	Only      bool // there is one team, so it is chosen
	Fields    limitsView
	Connected string // the name of the team Filled; empty: the client has no connection yet
	Adds      bool   // something would be new there
	Elsewhere bool   // the app is described on another site than the one that receives the code
}

// elsewhere reports whether a document is on another site than the redirect
// URI. A domain and its subdomain count as one; a program on this computer is
// on no site.
func elsewhere(c oauth.Consent) bool {
	if c.DocumentHost == "" || c.Loopback {
		return false
	}
	to, _, _ := strings.Cut(c.RedirectHost, ":")
	return to != c.DocumentHost && !strings.HasSuffix(to, "."+c.DocumentHost) && !strings.HasSuffix(c.DocumentHost, "."+to)
}

func viewConsent(c oauth.Consent) consentView {
	v := consentView{Consent: c, Only: len(c.Teams) == 1, Fields: viewLimits(c.Limits, c.LimitFault), Elsewhere: elsewhere(c)}
	for _, m := range c.Teams {
		if m.Team.ID == c.Filled {
			v.Connected = m.Team.Name
		}
	}
	v.Adds = slices.ContainsFunc(c.Scopes, func(s oauth.ConsentScope) bool { return s.New })
	return v
}

// Consent implements oauth.Pages. What it shows and in which order is laid
// down for authorization; the host that receives the code comes first, because
// it alone is proved.
func (s *Server) Consent(w http.ResponseWriter, r *http.Request, c oauth.Consent) error {
	c.ClientName = text.Line(c.ClientName, 60)
	c.RedirectHost, c.DocumentHost = text.Line(c.RedirectHost, 260), text.Line(c.DocumentHost, 255)
	status := http.StatusOK
	if c.Fault != "" {
		status = http.StatusUnprocessableEntity
	}
	name, title := "consent", "Connect "+c.RedirectHost+"?"
	if len(c.Teams) == 0 {
		name, title = "no_team", "You are in no team yet"
	}
	return s.render(w, r, consentPage, status, name, frame{Title: title, User: &c.User, Page: viewConsent(c)})
}

// authorizeErrorPage is the content of authorize_error.html.
type authorizeErrorPage struct {
	oauth.AuthorizeError
	Target template.URL // empty: there is nowhere to return to
}

// returnURL lets a client's redirect URI into a link. Registration allows
// schemes of its own besides https, which html/template would not; whatever
// runs in this page when clicked stays out.
func returnURL(raw string) template.URL {
	u, err := url.Parse(raw)
	if err != nil || raw == "" {
		return ""
	}
	switch u.Scheme {
	case "", "javascript", "data", "vbscript", "blob", "file", "about", "view-source", "filesystem":
		return ""
	}
	return template.URL(u.String())
}
