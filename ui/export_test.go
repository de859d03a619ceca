package ui

import (
	"net/http"

	"podgate/account"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// For tests from outside: the rules that have no route of their own.
var (
	NextPath    = page.NextPath
	BrowserName = browserName
	ReturnURL   = returnURL
	Guides      = guides
)

// Browser is what a sign-in is told of the browser.
func (s *Server) Browser(r *http.Request) account.Browser { return s.browser(r) }

// Template names, so that no page goes without a test.
func (s *Server) PageNames() []string {
	return s.area.Names()
}

// HomeWith renders the home page of somebody with these pods.
func (s *Server) HomeWith(w http.ResponseWriter, r *http.Request, u store.User, team store.Membership, list []pods.Pod, fault string) error {
	connections, err := s.Account.Connections(u.ID)
	if err != nil {
		return err
	}
	v := teamView{Name: team.Team.Name, Slug: team.Team.Slug, Pods: viewPods(list), Fault: fault}
	view := homePage{Teams: []teamView{v}, Connections: len(connections), URL: s.Issuer + "/api/mcp", Guides: s.guides(s.Issuer + "/api/mcp"), Local: s.Local}
	view.Fresh = isFresh(view)
	r = page.WithPerson(r, page.Person{User: u})
	return s.render(w, r, page.Plain, http.StatusOK, "home", page.Frame{Title: "Home", Here: "home", Page: view})
}
