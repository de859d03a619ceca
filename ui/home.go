package ui

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// homePage is the content of home.html.
type homePage struct {
	Fresh       bool // nothing is here yet, so what to do comes first
	Teams       []teamView
	Outages     []string // regions where pods cannot run, and how to mend it
	Connections int
	URL         string // of the MCP endpoint: what people type
	Guides      []guide
	Local       bool
	Admin       bool
	Email       string
}

type teamView struct {
	Name, Slug string
	Pods       []podView
	Fault      string // why the pods cannot be shown
}

type podView struct {
	Name, Status, Reason, Preset string
	URL                          string // empty unless http or https
	Memory                       string
	Since                        string // a verb: started, created
	At                           time.Time
}

// serveHome is GET /.
func (s *Server) serveHome(w http.ResponseWriter, r *http.Request) error {
	if _, _, ok := s.Current(r); !ok {
		needs, err := s.Account.NeedsSetup()
		if err != nil {
			return err
		}
		if needs {
			return s.Redirect(w, "/setup")
		}
	}
	return s.SignedIn(s.home)(w, r)
}

func (s *Server) home(w http.ResponseWriter, r *http.Request, p page.Person) error {
	connections, err := s.Account.Connections(p.User.ID)
	if err != nil {
		return err
	}
	memberships, err := s.Account.TeamsOf(p.User.ID)
	if err != nil {
		return err
	}
	endpoint := s.Issuer + "/api/mcp"
	view := homePage{
		Connections: len(connections), URL: endpoint, Guides: s.guides(endpoint),
		Local: s.Local, Admin: p.User.Admin, Email: p.User.Email,
	}
	for _, m := range memberships {
		view.Teams = append(view.Teams, s.team(r.Context(), p.User.ID, m))
	}
	view.Fresh = isFresh(view)
	if len(memberships) > 0 {
		view.Outages = s.outages(authz.Person(p.User.ID, memberships[0]))
	}
	return s.render(w, r, page.Plain, http.StatusOK, "home", page.Frame{Title: "Home", Here: "home", Page: view})
}

// isFresh reports whether somebody who could has connected nothing and made
// nothing yet.
func isFresh(view homePage) bool {
	used := func(t teamView) bool { return len(t.Pods) > 0 || t.Fault != "" }
	return len(view.Teams) > 0 && view.Connections == 0 && !slices.ContainsFunc(view.Teams, used)
}

// outages says where pods cannot run and why. The words of the runtimes are
// made for the person who owns the machine.
func (s *Server) outages(actor authz.Actor) []string {
	if s.pods == nil {
		return nil
	}
	regions, err := s.pods.Regions(actor)
	if err != nil {
		return nil // the list of pods says what is wrong
	}
	var list []string
	for _, region := range regions {
		if region.Err != nil {
			list = append(list, "Region "+text.Line(region.Name, 40)+": "+text.Line(region.Err.Error(), 600))
		}
	}
	return list
}

// podPatience bounds what one team's pods may hold the home page up. What is
// not known by then is left out.
const podPatience = 3 * time.Second

// team asks for the pods of a team. Trouble with pods is shown in their place:
// the rest of the page must stay of use.
func (s *Server) team(ctx context.Context, user store.UserID, m store.Membership) teamView {
	v := teamView{Name: m.Team.Name, Slug: m.Team.Slug}
	if s.pods == nil {
		v.Fault = "This server has no place for pods to run."
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	actor := authz.Person(user, m)
	list, err := s.pods.List(ctx, actor)
	if err != nil {
		s.Log.Error("the pods of a team could not be listed", "team", m.Team.Slug, "error", err)
		v.Fault = podsFault(err)
		return v
	}
	v.Pods = viewPods(list)
	return v
}

// viewPods has what needs somebody first, and keeps the order else.
func viewPods(list []pods.Pod) []podView {
	var views []podView
	for _, p := range list {
		views = append(views, viewPod(p))
	}
	trouble := func(v podView) int {
		switch {
		case v.Status == "failed":
			return 0
		case v.Reason != "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(views, func(a, b podView) int { return trouble(a) - trouble(b) })
	return views
}

// podsFault says why pods cannot be listed. Only the words of the pods service
// are made for people.
func podsFault(err error) string {
	switch {
	case errors.Is(err, pods.ErrUnavailable):
		return "Pods cannot be listed: " + text.Line(err.Error(), 400)
	case errors.Is(err, context.DeadlineExceeded):
		return "Pods cannot be listed: they took too long to answer. Load the page again."
	}
	return "Pods cannot be listed at this moment. The server's log says why."
}

func viewPod(p pods.Pod) podView {
	v := podView{
		Name: text.Line(p.Name, 63), Status: text.Line(p.Status, 20), Reason: text.Line(p.Reason, 300),
		Preset: text.Line(p.Preset, 40), Memory: memoryWords(p), Since: "created", At: p.Created,
	}
	if strings.HasPrefix(p.URL, "https://") || strings.HasPrefix(p.URL, "http://") {
		v.URL = p.URL
	}
	if p.Status == "running" && !p.Started.IsZero() {
		v.Since, v.At = "started", p.Started
	}
	return v
}

// memoryWords: «12 MB of 256 MB» for a running pod, «up to 256 MB» otherwise.
func memoryWords(p pods.Pod) string {
	switch {
	case p.Memory > 0 && p.Limits.Memory > 0:
		return page.BytesWords(p.Memory) + " of " + page.BytesWords(p.Limits.Memory)
	case p.Memory > 0:
		return page.BytesWords(p.Memory)
	case p.Limits.Memory > 0:
		return "up to " + page.BytesWords(p.Limits.Memory)
	}
	return ""
}
