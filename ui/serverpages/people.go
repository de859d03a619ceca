package serverpages

import (
	"net/http"
	"slices"
	"strings"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// peoplePage is the content of server_people.html.
type peoplePage struct {
	page.Part
	Tabs        []tab
	Search      search
	People      []personView
	Fault       page.Fault
	Name, Email string // as they were written
	MinPassword int
}

type personView struct {
	store.User
	You bool
}

// servePeople is GET /server/people. Query: q, page.
func (s *Pages) servePeople(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showPeople(w, r, o, http.StatusOK, peoplePage{})
}

func (s *Pages) showPeople(w http.ResponseWriter, r *http.Request, o opened, status int, view peoplePage) error {
	all, err := s.Account.Users()
	if err != nil {
		return err
	}
	q := query(r)
	view.Tabs, view.Search, view.MinPassword = tabs("People"), search{Action: "/server/people", Words: q.Search}, account.MinPassword
	all = slices.DeleteFunc(all, func(u store.User) bool { return !q.Finds(u.Email, u.Name) })
	all, view.Part = page.Cut(r, all, "q")
	for _, u := range all {
		u.Name, u.Email = text.Line(u.Name, 80), text.Line(u.Email, 254)
		view.People = append(view.People, personView{u, u.ID == o.User.ID})
	}
	return s.render(w, r, status, "server_people", "People", view)
}

// handleAdd is POST /server/people with email, name and password. Administrators are
// made of people who are there, by handleMakeAdmin.
func (s *Pages) handleAdd(w http.ResponseWriter, r *http.Request, o opened) error {
	f := r.PostForm
	u, err := s.Account.AddUser(r.Context(), account.AddUser{Email: f.Get("email"), Name: f.Get("name"), Password: f.Get("password")})
	s.record(r, o, history.AuditUserAdd, u.Email, u.ID, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showPeople(w, r, o, status, peoplePage{Fault: fault, Name: text.Cut(f.Get("name"), 200), Email: text.Cut(f.Get("email"), 254)})
	}
	s.SetNotice(w, "person-added", 0)
	return s.Redirect(w, "/server/people")
}

// handleNoAdmin is POST /server/people/no-admin with user.
func (s *Pages) handleNoAdmin(w http.ResponseWriter, r *http.Request, o opened) error {
	u, err := s.person(store.UserID(r.PostForm.Get("user")))
	if err != nil {
		return err
	}
	err = s.Account.SetAdmin(r.Context(), o.Actor, u.ID, false)
	s.record(r, o, history.AuditAdmin, u.Email, u.ID, err)
	if err != nil {
		return s.peopleAgain(w, r, o, err)
	}
	s.SetNotice(w, "person-no-admin", 0)
	if u.ID == o.User.ID {
		return s.Redirect(w, "/")
	}
	return s.Redirect(w, "/server/people")
}

// adminPage is the content of server_admin.html.
type adminPage struct {
	User  store.User
	Fault page.Fault
}

// serveMakeAdmin is GET /server/person/:user/admin.
func (s *Pages) serveMakeAdmin(w http.ResponseWriter, r *http.Request, _ opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "server_admin", "Make an administrator", adminPage{User: u})
}

// handleMakeAdmin is POST /server/person/:user/admin with own, which is the
// administrator's password.
func (s *Pages) handleMakeAdmin(w http.ResponseWriter, r *http.Request, o opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	err = s.Account.MakeAdmin(r.Context(), o.Session, r.PostForm.Get("own"), u.ID, s.Addr(r))
	s.record(r, o, history.AuditAdmin, u.Email, u.ID, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.render(w, r, status, "server_admin", "Make an administrator", adminPage{User: u, Fault: fault})
	}
	s.SetNotice(w, "person-admin", 0)
	return s.Redirect(w, "/server/people")
}

func (s *Pages) peopleAgain(w http.ResponseWriter, r *http.Request, o opened, err error) error {
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return err
	}
	fault.Field = "list"
	return s.showPeople(w, r, o, status, peoplePage{Fault: fault})
}

func (s *Pages) person(id store.UserID) (store.User, error) {
	all, err := s.Account.Users()
	if err != nil {
		return store.User{}, err
	}
	for _, u := range all {
		if u.ID == id {
			return u, nil
		}
	}
	return store.User{}, web.Fault(http.StatusNotFound, "not_found", "That account is gone.", nil)
}

// passwordPage is the content of server_password.html.
type passwordPage struct {
	User        store.User
	Fault       page.Fault
	MinPassword int
}

// servePassword is GET /server/person/:user/password.
func (s *Pages) servePassword(w http.ResponseWriter, r *http.Request, _ opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "server_password", "Set a password", passwordPage{User: u, MinPassword: account.MinPassword})
}

// handlePassword is POST /server/person/:user/password with own, which is
// the administrator's, and password.
func (s *Pages) handlePassword(w http.ResponseWriter, r *http.Request, o opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	err = s.Account.SetPasswordOf(r.Context(), o.Session, r.PostForm.Get("own"), u.Email, r.PostForm.Get("password"), s.Addr(r))
	s.record(r, o, history.AuditUserPassword, u.Email, u.ID, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.render(w, r, status, "server_password", "Set a password", passwordPage{User: u, Fault: fault, MinPassword: account.MinPassword})
	}
	s.SetNotice(w, "person-password", 0)
	return s.Redirect(w, "/server/people")
}

// serveRemove is GET /server/person/:user/remove.
func (s *Pages) serveRemove(w http.ResponseWriter, r *http.Request, _ opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	connections, err := s.Account.Connections(u.ID)
	if err != nil {
		return err
	}
	teams, err := s.Account.TeamsOf(u.ID)
	if err != nil {
		return err
	}
	owned, err := s.Account.OnlyOwnerOf(u.ID)
	if err != nil {
		return err
	}
	ownerless := ""
	if len(owned) > 0 {
		var names []string
		for _, t := range owned {
			names = append(names, text.Line(t.Name, 80))
		}
		ownerless = " Nobody will own " + strings.Join(names, ", ") + " then: make somebody else an owner first, or later on the team's page."
	}
	return s.Confirm(w, r, "Remove "+u.Email, "server", page.Confirmation{
		Title: "Remove " + u.Email + "?",
		Text:  "This ends every session, " + page.Plural(len(teams), "membership", "memberships") + " and " + page.Plural(len(connections), "connection", "connections") + ".",
		After: "Pods belong to teams and stay, also in a team that has nobody else then." + ownerless + " This cannot be taken back.", Action: "/server/person/" + string(u.ID) + "/remove", Button: "Remove", Back: "/server/people",
	})
}

// handleRemove is POST /server/person/:user/remove.
func (s *Pages) handleRemove(w http.ResponseWriter, r *http.Request, o opened) error {
	u, err := s.person(store.UserID(param(r, "user")))
	if err != nil {
		return err
	}
	err = s.Account.RemoveUser(r.Context(), u.Email)
	s.record(r, o, history.AuditUserRemove, u.Email, "", err)
	if err != nil {
		return s.peopleAgain(w, r, o, err)
	}
	s.SetNotice(w, "person-removed", 0)
	return s.Redirect(w, "/server/people")
}
