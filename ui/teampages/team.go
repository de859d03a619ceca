package teampages

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// teamPage is the content of team.html.
type teamPage struct {
	head
	Members     []memberView
	page.Part        // of the members
	Manage      bool // the reader may invite, change and remove members
	Leave       bool // the reader may leave
	Invitations []invitationView
	Open        page.Part // of the invitations
	Roles       []roleView
	Mail        bool // invitations are sent
	Fault       page.Fault
	Form        inviteForm
}

type memberView struct {
	ID          store.UserID
	Name, Email string
	Role        store.Role
	You         bool
}

type roleView struct {
	Role  store.Role
	Words string
}

type invitationView struct {
	ID      string
	Email   string // empty: whoever has the link
	Role    store.Role
	By      string
	Created time.Time
	Expires time.Time
}

// inviteForm is that form as a person left it.
type inviteForm struct {
	Email string
	Role  store.Role
}

// serveTeam is GET /team/:slug. Query: page, invited.
func (s *Pages) serveTeam(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showTeam(w, r, o, http.StatusOK, inviteForm{Role: store.RoleMember}, page.Fault{})
}

func (s *Pages) showTeam(w http.ResponseWriter, r *http.Request, o opened, status int, form inviteForm, fault page.Fault) error {
	h, err := s.head(o, "people")
	if err != nil {
		return err
	}
	view := teamPage{head: h, Manage: o.may(authz.ChangeMembers), Leave: o.may(authz.LeaveTeam), Mail: s.cfg.Mailer != nil, Fault: fault, Form: form}
	members, err := s.Account.MembersOf(o.Actor)
	if err != nil {
		return err
	}
	members, view.Part = page.Cut(r, members, "invited")
	for _, m := range members {
		view.Members = append(view.Members, memberView{m.User.ID, text.Line(m.User.Name, 80), text.Line(m.User.Email, 254), m.Role, m.User.ID == o.User.ID})
	}
	for _, role := range account.Roles() {
		view.Roles = append(view.Roles, roleView{role, authz.RoleWords(role)})
	}
	if view.Manage {
		all, err := s.invitations(o)
		if err != nil {
			return err
		}
		view.Invitations, view.Open = page.CutBy(r, "invited", "#invitations", all, "page")
	}
	return s.render(w, r, status, "team", o.Team.Name, view)
}

func (s *Pages) invitations(o opened) ([]invitationView, error) {
	list, err := s.Account.Invitations(o.Actor)
	var views []invitationView
	for _, i := range list {
		views = append(views, invitationView{i.Hash.String(), text.Line(i.Email, 254), i.Role, text.Line(i.By.Email, 254), i.Created, i.Expires})
	}
	return views, err
}

// handleRole is POST /team/:slug/role with user and role.
func (s *Pages) handleRole(w http.ResponseWriter, r *http.Request, o opened) error {
	user, role := store.UserID(r.PostForm.Get("user")), store.Role(r.PostForm.Get("role"))
	m, err := s.member(o, user)
	if err != nil {
		return err
	}
	err = s.Account.SetRole(r.Context(), o.Actor, user, role)
	s.record(r, o, history.AuditRole, m.User.Email+" "+string(role), err)
	if err != nil {
		return s.again(w, r, o, err)
	}
	s.SetNotice(w, "role-changed", 0)
	return s.Redirect(w, o.path("#members"))
}

// again shows the page of the team with what was wrong.
func (s *Pages) again(w http.ResponseWriter, r *http.Request, o opened, err error) error {
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return err
	}
	fault.Field = "members"
	return s.showTeam(w, r, o, status, inviteForm{Role: store.RoleMember}, fault)
}

// member finds a member of the team by id.
func (s *Pages) member(o opened, user store.UserID) (account.Member, error) {
	list, err := s.Account.MembersOf(o.Actor)
	if err != nil {
		return account.Member{}, err
	}
	for _, m := range list {
		if m.User.ID == user {
			return m, nil
		}
	}
	return account.Member{}, web.Fault(http.StatusNotFound, "not_found", "That person is not in this team any more.", nil)
}

// serveRemoveMember is GET /team/:slug/member/:user/remove.
func (s *Pages) serveRemoveMember(w http.ResponseWriter, r *http.Request, o opened) error {
	m, err := s.member(o, store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	return s.Confirm(w, r, "Remove from "+o.Team.Name, "team", page.Confirmation{
		Title: "Remove " + m.User.Email + " from " + o.Team.Name + "?", Text: m.User.Name + " can then do nothing with the team's pods.",
		After:  "The connections that they made for this team end at once, and what these are doing is broken off. Pods, files and the account itself stay.",
		Action: o.path("/member/" + string(m.User.ID) + "/remove"), Button: "Remove", Back: o.path(""),
	})
}

// handleRemoveMember is POST /team/:slug/member/:user/remove.
func (s *Pages) handleRemoveMember(w http.ResponseWriter, r *http.Request, o opened) error {
	m, err := s.member(o, store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	ended, err := s.Account.EndMembership(r.Context(), o.Actor, m.User.ID)
	s.record(r, o, history.AuditMemberRemove, m.User.Email, err)
	if err != nil {
		return s.again(w, r, o, err)
	}
	s.SetNotice(w, "member-removed", ended)
	return s.Redirect(w, o.path("#members"))
}

// serveLeave is GET /team/:slug/leave.
func (s *Pages) serveLeave(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.Confirm(w, r, "Leave "+o.Team.Name, "team", page.Confirmation{
		Title: "Leave " + o.Team.Name + "?", Text: "You can then do nothing with the team's pods.",
		After:  "Your connections to this team end at once. Pods and files stay with the team. To come back, an owner has to invite you.",
		Action: o.path("/leave"), Button: "Leave", Back: o.path(""),
	})
}

// handleLeave is POST /team/:slug/leave.
func (s *Pages) handleLeave(w http.ResponseWriter, r *http.Request, o opened) error {
	ended, err := s.Account.EndMembership(r.Context(), o.Actor, o.User.ID)
	s.record(r, o, history.AuditLeave, "", err)
	if err != nil {
		return s.again(w, r, o, err)
	}
	s.SetNotice(w, "team-left", ended)
	return s.Redirect(w, "/team")
}

// record puts what a person did to the team into the audit list.
func (s *Pages) record(r *http.Request, o opened, action store.AuditAction, object string, failed error) {
	outcome := page.OutcomeOf(failed)
	if errors.Is(failed, account.ErrForbidden) {
		outcome = "not allowed"
	}
	s.Audit(r, o.Person, store.AuditEntry{Action: action, Object: strings.TrimSpace(object), Outcome: outcome, Team: o.Team.ID, TeamName: o.Team.Slug})
}
