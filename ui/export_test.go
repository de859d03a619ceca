package ui

import (
	"context"
	"net/http"

	"podgate/account"
	"podgate/pods"
	"podgate/store"
)

// For tests from outside: the rules that have no route of their own.
var (
	NextPath    = nextPath
	BrowserName = browserName
	ReturnURL   = returnURL
	Guides      = guides
	Files       = files
)

// Browser is what a sign-in is told of the browser.
func (s *Server) Browser(r *http.Request) account.Browser { return s.browser(r) }

// Template names, so that no page goes without a test.
func (s *Server) PageNames() []string {
	var names []string
	for name := range s.pages.byName {
		names = append(names, name)
	}
	return names
}

// HomeWith renders the home page of somebody with these pods.
func (s *Server) HomeWith(w http.ResponseWriter, r *http.Request, u store.User, team store.Membership, list []pods.Pod, fault string) error {
	connections, err := s.account.Connections(u.ID)
	if err != nil {
		return err
	}
	v := teamView{Name: team.Team.Name, Slug: team.Team.Slug, Pods: viewPods(list), Fault: fault}
	page := homePage{Teams: []teamView{v}, Connections: connectionViews(connections), URL: s.issuer + "/api/mcp", Guides: s.guides(s.issuer + "/api/mcp"), Local: s.local}
	page.Fresh = isFresh(page)
	r = r.WithContext(context.WithValue(r.Context(), whoKey{}, who{user: u}))
	return s.render(w, r, plainPage, http.StatusOK, "home", frame{Title: "Home", Here: "home", Page: page})
}
