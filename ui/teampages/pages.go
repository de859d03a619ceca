package teampages

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"net/http"
	"slices"

	"github.com/julienschmidt/httprouter"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// Mailer sends the link of an invitation. Its errors say why it did not, to whoever
// invites.
type Mailer interface {
	Invitation(ctx context.Context, to, team, inviter, link string) error
}

// Config is what Pages need beside the shell.
type Config struct {
	Pods    *pods.Service // nil: this server has none
	Mailer  Mailer        // nil: no mail is sent
	Browser func(*http.Request) account.Browser
	Begin   func(w http.ResponseWriter, r *http.Request, session string) // makes the browser hold a new session
}

// Pages serves the pages of teams.
type Pages struct {
	*page.Shell
	cfg  Config
	area *page.Area
}

//go:embed templates
var files embed.FS

// New returns the pages of teams.
func New(shell *page.Shell, cfg Config) (*Pages, error) {
	s := &Pages{Shell: shell, cfg: cfg}
	var err error
	s.area, err = shell.NewArea(files, notices)
	return s, err
}

// notices are what these pages' forms say afterwards.
var notices = map[string]page.Notice{
	"role-changed":         page.Says("team", "members", "The role is changed. It holds at once, for connections too."),
	"invitation-withdrawn": page.Says("team", "invitations", "The invitation is withdrawn. Its link is of no use any more."),
	"joined":               page.Says("", "", "Welcome to the team."),
	"team-renamed":         page.Says("team_settings", "name", "The team is renamed."),
	"policy-changed":       page.Says("team_settings", "policy", "The policy is changed. It holds at once, for connections that there are too."),
	"network-changed":      page.Says("team_settings", "network", "What pods may reach is changed. It holds at once, for pods that run too."),
	"team-removed":         page.Says("", "", "The team is removed."),
	"member-removed": {Page: "team", Section: "members", Text: func(ended int) string {
		return "They are out of the team" + endedWords(ended)
	}},
	"team-left": {Text: func(ended int) string { return "You left the team" + endedWords(ended) }},
}

func endedWords(ended int) string {
	if ended == 0 {
		return "."
	}
	return ", and " + page.Plural(ended, "connection", "connections") + " ended."
}

// Names are the names of the pages, so that none goes without a test.
func (s *Pages) Names() []string { return s.area.Names() }

// Routes returns every route of these pages.
func (s *Pages) Routes() []web.Route {
	get, post := s.Get, s.Post
	return []web.Route{
		get("/team", s.SignedIn(s.serveTeams)),
		get("/team/:slug", s.inTeam(authz.SeeTeam, s.serveTeam)),
		post("/team/:slug/invite", s.inTeam(authz.ChangeMembers, s.handleInvite)),
		post("/team/:slug/withdraw", s.inTeam(authz.ChangeMembers, s.handleWithdraw)),
		post("/team/:slug/role", s.inTeam(authz.ChangeMembers, s.handleRole)),
		get("/team/:slug/member/:user/remove", s.inTeam(authz.ChangeMembers, s.serveRemoveMember)),
		post("/team/:slug/member/:user/remove", s.inTeam(authz.ChangeMembers, s.handleRemoveMember)),
		get("/team/:slug/leave", s.inTeam(authz.LeaveTeam, s.serveLeave)),
		post("/team/:slug/leave", s.inTeam(authz.LeaveTeam, s.handleLeave)),
		get("/team/:slug/settings", s.inTeam(authz.SeeTeam, s.serveSettings)),
		post("/team/:slug/rename", s.inTeam(authz.RenameTeam, s.handleRename)),
		post("/team/:slug/policy", s.inTeam(authz.ChangePolicy, s.handlePolicy)),
		post("/team/:slug/network", s.inTeam(authz.ChangeNetwork, s.handleNetwork)),
		get("/team/:slug/remove", s.inTeam(authz.RemoveTeam, s.serveRemoveTeam)),
		post("/team/:slug/remove", s.inTeam(authz.RemoveTeam, s.handleRemoveTeam)),
		get("/invitation", s.serveInvitation),
		post("/invitation/accept", s.asShown(s.SignedIn(s.handleAccept))),
		post("/invitation/join", s.asShown(s.handleJoin)),
		post("/invitation/sign-in", s.handleSignInFirst),
	}
}

// opened is a team in the hands of a person.
type opened struct {
	page.Person
	Actor authz.Actor
	Team  store.Team
}

func (o opened) may(action authz.Action) bool { return o.Actor.Allow(action, o.Team.ID) == nil }

func (o opened) path(rest string) string { return "/team/" + o.Team.Slug + rest }

// head is what all pages of one team begin with.
type head struct {
	Team   store.Team
	Tabs   []tab
	Others bool // there are teams beside this one to go to
	Role   store.Role
}

type tab struct {
	Name, Href string
	Here       bool
}

func (s *Pages) head(o opened, here string) (head, error) {
	teams, err := s.Account.TeamsOf(o.User.ID)
	tabs := []tab{{"People", o.path(""), here == "people"}, {"Settings", o.path("/settings"), here == "settings"}}
	return head{Team: o.Team, Tabs: tabs, Others: len(teams) > 1 || len(teams) == 1 && teams[0].Team.ID != o.Team.ID, Role: o.Actor.Role}, err
}

// inTeam is the handler of a page below /team/:slug, for those who may do that.
// Those who may not see the team are told what they would be told of one that is
// not there.
func (s *Pages) inTeam(action authz.Action, h func(http.ResponseWriter, *http.Request, opened) error) web.Handler {
	return s.SignedIn(func(w http.ResponseWriter, r *http.Request, p page.Person) error {
		o, err := s.open(r, p)
		if err != nil {
			return err
		}
		if !o.may(action) {
			return web.Fault(http.StatusForbidden, "forbidden", "Your role in this team does not allow that. An owner of the team can do it.", nil)
		}
		return h(w, r, o)
	})
}

func (s *Pages) open(r *http.Request, p page.Person) (opened, error) {
	t, err := s.Account.TeamBySlug(param(r, "slug"))
	if errors.Is(err, store.ErrNotFound) {
		return opened{}, noTeam(err)
	}
	if err != nil {
		return opened{}, err
	}
	actor, err := s.Account.ActorIn(p.User, t)
	if err != nil {
		return opened{}, err
	}
	o := opened{p, actor, t}
	if !o.may(authz.SeeTeam) {
		return opened{}, noTeam(nil)
	}
	return o, nil
}

func noTeam(cause error) error {
	return web.Fault(http.StatusNotFound, "not_found", "You are in no team of that name. It may have been renamed or removed.", cause)
}

func param(r *http.Request, name string) string {
	return httprouter.ParamsFromContext(r.Context()).ByName(name)
}

func (s *Pages) render(w http.ResponseWriter, r *http.Request, status int, name, title string, view any) error {
	return s.area.Render(w, r, page.Plain, status, name, page.Frame{Title: title, Here: "team", Page: view, Wide: true})
}

// teamsPage is the content of teams.html.
type teamsPage struct {
	Teams []store.Membership
	page.Part
	Email string
	Admin bool
}

// serveTeams is GET /team: the only team, or the list of them. Query: all, page.
func (s *Pages) serveTeams(w http.ResponseWriter, r *http.Request, p page.Person) error {
	list, err := s.Account.TeamsOf(p.User.ID)
	if err != nil {
		return err
	}
	if len(list) == 1 && r.URL.Query().Get("all") == "" {
		return s.Redirect(w, "/team/"+list[0].Team.Slug)
	}
	slices.SortStableFunc(list, func(a, b store.Membership) int { return cmp.Compare(a.Team.Name, b.Team.Name) })
	list, part := page.Cut(r, list, "all")
	return s.render(w, r, http.StatusOK, "teams", "Teams", teamsPage{list, part, p.User.Email, p.User.Admin})
}
