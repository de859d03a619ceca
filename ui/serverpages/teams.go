package serverpages

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// teamsPage is the content of server_teams.html.
type teamsPage struct {
	Tabs       []tab
	Turn       turn
	Search     search
	Teams      []teamView
	Fault      page.Fault
	Name, Slug string // as they were written
}

type teamView struct {
	store.TeamWithUse
	Quota pods.Quota // in force
}

// serveTeams is GET /server/teams. Query: q, after.
func (s *Pages) serveTeams(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showTeams(w, r, o, http.StatusOK, teamsPage{})
}

func (s *Pages) showTeams(w http.ResponseWriter, r *http.Request, o opened, status int, view teamsPage) error {
	q := query(r)
	list, err := s.Account.TeamsPage(o.Actor, q)
	if err != nil {
		return oldPage(err)
	}
	view.Tabs, view.Turn, view.Search = tabs("Teams"), turnOf(r, list.Next, "q"), search{Action: "/server/teams", Words: q.Search}
	for _, t := range list.List {
		view.Teams = append(view.Teams, teamView{t, s.quota(t.Team)})
	}
	return s.render(w, r, status, "server_teams", "Teams", view)
}

// oldPage says what to do about an address whose page begins nowhere.
func oldPage(err error) error {
	if errors.Is(err, store.ErrCursor) {
		return web.Fault(http.StatusBadRequest, "invalid_request", "There is no such page of this list. Begin at its first page.", err)
	}
	return err
}

// quota is what a team may have: its own, or what the settings give every team.
func (s *Pages) quota(t store.Team) pods.Quota {
	if s.cfg.Pods == nil {
		return pods.Quota(t.Quota)
	}
	return s.cfg.Pods.QuotaOf(t)
}

// handleMakeTeam is POST /server/teams with name and slug.
func (s *Pages) handleMakeTeam(w http.ResponseWriter, r *http.Request, o opened) error {
	name, slug := text.Cut(r.PostForm.Get("name"), 400), text.Cut(strings.TrimSpace(r.PostForm.Get("slug")), 100)
	t, err := s.Account.MakeTeam(r.Context(), o.Actor, cmp.Or(slug, account.SlugOf(name)), name, o.User.ID)
	s.Audit(r, o.Person, store.AuditEntry{Action: history.AuditTeamAdd, Object: t.Slug, Outcome: page.OutcomeOf(err), Team: t.ID, TeamName: t.Slug})
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showTeams(w, r, o, status, teamsPage{Fault: fault, Name: name, Slug: slug})
	}
	s.SetNotice(w, "team-made", 0)
	return s.Redirect(w, "/server/teams")
}

// quotaPage is the content of server_quota.html.
type quotaPage struct {
	Team         store.Team
	Pods, Memory string // as they are written; empty: what the settings say
	Default      pods.Quota
	Fault        page.Fault
}

// serveQuota is GET /server/quota/:slug.
func (s *Pages) serveQuota(w http.ResponseWriter, r *http.Request, _ opened) error {
	t, err := s.team(r)
	if err != nil {
		return err
	}
	view := quotaPage{Team: t}
	if t.Quota.Pods > 0 {
		view.Pods = strconv.Itoa(t.Quota.Pods)
	}
	if t.Quota.Memory > 0 {
		view.Memory = strconv.FormatInt(t.Quota.Memory>>20, 10)
	}
	return s.showQuota(w, r, http.StatusOK, view)
}

func (s *Pages) showQuota(w http.ResponseWriter, r *http.Request, status int, view quotaPage) error {
	view.Default = s.quota(store.Team{})
	return s.render(w, r, status, "server_quota", "Quota of "+view.Team.Name, view)
}

func (s *Pages) team(r *http.Request) (store.Team, error) {
	t, err := s.Account.TeamBySlug(param(r, "slug"))
	if errors.Is(err, store.ErrNotFound) {
		return t, web.Fault(http.StatusNotFound, "not_found", "There is no such team any more.", err)
	}
	return t, err
}

// handleQuota is POST /server/quota/:slug with pods and memory, in MB; each may be
// empty.
func (s *Pages) handleQuota(w http.ResponseWriter, r *http.Request, o opened) error {
	t, err := s.team(r)
	if err != nil {
		return err
	}
	view := quotaPage{Team: t, Pods: text.Cut(strings.TrimSpace(r.PostForm.Get("pods")), 20), Memory: text.Cut(strings.TrimSpace(r.PostForm.Get("memory")), 20)}
	quota, err := view.parse()
	if err == nil {
		actor, e := s.Account.ActorIn(o.User, t)
		if err = e; err == nil {
			err = s.Account.SetTeamQuota(r.Context(), actor, quota)
		}
		s.Audit(r, o.Person, store.AuditEntry{Action: history.AuditTeamQuota, Object: view.Pods + " pods, " + view.Memory + " MB", Outcome: page.OutcomeOf(err), Team: t.ID, TeamName: t.Slug})
	}
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		view.Fault = fault
		return s.showQuota(w, r, status, view)
	}
	s.SetNotice(w, "quota-set", 0)
	return s.Redirect(w, "/server/teams")
}

// parse reads the fields; an empty one is 0.
func (v quotaPage) parse() (q store.Quota, err error) {
	number := func(s, field string) int64 {
		if s == "" {
			return 0
		}
		n, e := strconv.ParseInt(s, 10, 32)
		if e != nil || n < 1 {
			err = &account.Error{Message: "Write a whole number above 0, or leave the field empty for what the settings say.", Field: field, Err: account.ErrInvalid}
		}
		return n
	}
	q = store.Quota{Pods: int(number(v.Pods, "pods")), Memory: number(v.Memory, "memory") << 20}
	return q, err
}
