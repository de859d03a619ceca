package ui

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"podgate/account"
	"podgate/internal/text"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/page"
)

// consentView is the content of consent.html.
type consentView struct {
	oauth.Consent
	Choices   []teamChoice
	Fields    limitsView
	Connected string // the name of the team Filled; empty: the client has no connection yet
	Adds      bool   // something would be new there
	Keeps     bool   // something that it has there is not asked for
	Replace   *replaceChoice
	Elsewhere bool // the app is described on another site than the one that receives the code
}

// replaceChoice asks whether the connections that there are give way to the new
// one.
type replaceChoice struct {
	Question, Answer string
	Chosen           bool
}

// viewReplace returns nil when there is nothing to replace. team is the one
// whose connections are meant.
func viewReplace(c oauth.Consent, team string) *replaceChoice {
	if c.Earlier.Count == 0 {
		return nil
	}
	to, since := "", c.Earlier.Since.UTC().Format("2 January 2006")
	if len(c.Teams) > 1 {
		to = " to " + team
	}
	if n := c.Earlier.Count; n > 1 {
		return &replaceChoice{fmt.Sprintf("Replace the %d connections%s since %s", n, to, since), "They end when this one begins. Untick it if another device goes on with one.", c.Earlier.Replace}
	}
	return &replaceChoice{"Replace the connection" + to + " from " + since, "It ends when this one begins. Untick it if another device goes on with it.", c.Earlier.Replace}
}

// teamChoice is one of the teams to choose from.
type teamChoice struct {
	ID     store.TeamID
	Name   string
	Slug   string // empty where the name says it
	Chosen bool
}

func viewChoices(c oauth.Consent) (list []teamChoice) {
	for _, m := range c.Teams {
		t := teamChoice{ID: m.Team.ID, Name: m.Team.Name, Slug: m.Team.Slug, Chosen: len(c.Teams) == 1 || m.Team.ID == c.Team}
		if t.Slug == account.SlugOf(t.Name) {
			t.Slug = ""
		}
		list = append(list, t)
	}
	return list
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
	v := consentView{Consent: c, Choices: viewChoices(c), Fields: viewLimits(c.Limits, c.LimitFault), Elsewhere: elsewhere(c)}
	for _, m := range c.Teams {
		if m.Team.ID == c.Filled {
			v.Connected = m.Team.Name
		}
	}
	v.Replace = viewReplace(c, v.Connected)
	v.Adds = slices.ContainsFunc(c.Scopes, func(s oauth.ConsentScope) bool { return s.New })
	v.Keeps = slices.ContainsFunc(c.Scopes, func(s oauth.ConsentScope) bool { return s.Unasked })
	return v
}

// Consent implements oauth.Pages. What it shows and in which order is laid
// down for authorization; the host that receives the code comes first, because
// it alone is proved.
func (s *Server) Consent(w http.ResponseWriter, r *http.Request, c oauth.Consent) error {
	c.ClientName = text.Line(c.ClientName, 60)
	c.DocumentCopied = text.Line(c.DocumentCopied, 600)
	c.RedirectHost, c.DocumentHost = text.Line(c.RedirectHost, 260), text.Line(c.DocumentHost, 255)
	status := http.StatusOK
	if c.Fault != "" {
		status = http.StatusUnprocessableEntity
	}
	name, title := "consent", "Connect "+c.RedirectHost+"?"
	if len(c.Teams) == 0 {
		name, title = "no_team", "You are in no team yet"
	}
	return s.render(w, r, page.Consent, status, name, page.Frame{Title: title, User: &c.User, Page: viewConsent(c)})
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
