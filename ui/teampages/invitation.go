package teampages

import (
	"errors"
	"net/http"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// invitationCookie holds the secret of an invitation until it is accepted.
const invitationCookie = "podgate-invitation"

// invitationTime is how long a browser keeps it: to sign in, or to look for a
// password.
const invitationTime = time.Hour

// invitationPage is the content of invitation.html.
type invitationPage struct {
	Closed      string // why it cannot be accepted; empty when it can
	Shown       string // which invitation it is
	Fault       page.Fault
	Team, By    string
	Role        roleView
	Bound       string // the only address that may accept; empty: any
	User        *store.User
	Other       bool // who is signed in may not: it is for another address
	Expires     time.Time
	Name, Email string // as they were written
	MinPassword int
}

// serveInvitation is GET /invitation. The secret moves from the address into a
// cookie at once.
func (s *Pages) serveInvitation(w http.ResponseWriter, r *http.Request) error {
	if token := r.URL.Query().Get("token"); token != "" {
		s.SetCookie(w, invitationCookie, page.CookieSafe(token), invitationTime)
		return s.Redirect(w, "/invitation")
	}
	return s.showInvitation(w, r, http.StatusOK, invitationPage{})
}

// showInvitation fills in what the invitation says, and shows it.
func (s *Pages) showInvitation(w http.ResponseWriter, r *http.Request, status int, view invitationPage) error {
	if p, ok := page.SignedInAs(r); ok {
		view.User = &p.User
	} else if _, u, ok := s.Current(r); ok {
		view.User = &u
	}
	view.MinPassword = account.MinPassword
	secret := s.Cookie(r, invitationCookie)
	if secret == "" {
		view.Closed = "Open the link of an invitation as you got it. If this is where it led, cookies are off or it was opened more than an hour ago: open it again."
		status = http.StatusNotFound
	} else if i, err := s.Account.Invitation(secret, s.Addr(r)); err != nil {
		fault, wrong, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		view.Closed, status = fault.Message, wrong
	} else {
		view.Team, view.By, view.Role = i.Team.Name, text.Line(i.By.Email, 254), roleOf(i.Role)
		view.Bound, view.Expires, view.Shown = i.Email, i.Expires, shown(secret)
		view.Other = view.User != nil && i.Email != "" && i.Email != view.User.Email
	}
	f := page.Frame{Title: "Invitation", Here: "team", Page: view, User: view.User}
	return s.area.Render(w, r, page.Plain, status, "invitation", f)
}

// shown names an invitation in the form that accepts it. Any page can open a link, and
// put another invitation in the place of the one that a person is looking at.
func shown(secret string) string { return store.HashSecret(secret).String() }

// asShown is a handler of a form that accepts the invitation which was shown with it;
// where there is another by now, that one is shown.
func (s *Pages) asShown(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if secret := s.Cookie(r, invitationCookie); secret != "" && r.PostForm.Get("shown") != shown(secret) {
			return s.showInvitation(w, r, http.StatusConflict, invitationPage{Fault: page.Fault{Message: "Another invitation was opened meanwhile. This is it: look whether you want to accept it."}})
		}
		return h(w, r)
	}
}

// handleAccept is POST /invitation/accept with shown.
func (s *Pages) handleAccept(w http.ResponseWriter, r *http.Request, p page.Person) error {
	i, err := s.Account.AcceptInvitation(r.Context(), s.Cookie(r, invitationCookie), p.User.ID, s.Addr(r))
	if err != nil {
		return s.unaccepted(w, r, err, invitationPage{})
	}
	s.accepted(w, r, p, i)
	return s.Redirect(w, "/team/"+i.Team.Slug)
}

func (s *Pages) accepted(w http.ResponseWriter, r *http.Request, p page.Person, i store.Invited) {
	s.ClearCookie(w, invitationCookie)
	s.Audit(r, p, store.AuditEntry{
		Action: history.AuditInviteAccept, Object: string(i.Role), Outcome: store.AuditOK, Team: i.Team.ID, TeamName: i.Team.Slug,
	})
	s.SetNotice(w, "joined", 0)
}

// unaccepted shows the page again, with what was wrong.
func (s *Pages) unaccepted(w http.ResponseWriter, r *http.Request, err error, view invitationPage) error {
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return err
	}
	view.Fault = fault
	return s.showInvitation(w, r, status, view)
}

// handleJoin is POST /invitation/join with shown, email, name and password: an account,
// the membership and a session in one step.
func (s *Pages) handleJoin(w http.ResponseWriter, r *http.Request) error {
	f := r.PostForm
	view := invitationPage{Email: text.Cut(f.Get("email"), 254), Name: text.Cut(f.Get("name"), 200)}
	session, i, u, err := s.Account.AcceptInvitationAs(r.Context(), s.Cookie(r, invitationCookie), f.Get("email"), f.Get("name"), f.Get("password"), s.cfg.Browser(r))
	if err != nil {
		return s.unaccepted(w, r, err, view)
	}
	s.cfg.Begin(w, r, session)
	made, _, err := s.Account.Authenticate(session)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Log.Error("the session of a new account could not be looked up", "error", err)
	}
	s.accepted(w, r, page.Person{Session: made, User: u}, i)
	return s.Redirect(w, "/team/"+i.Team.Slug)
}

// handleSignInFirst is POST /invitation/sign-in: whoever is signed in with the
// wrong account leaves it, and comes back with the right one.
func (s *Pages) handleSignInFirst(w http.ResponseWriter, r *http.Request) error {
	session, user, signedIn := s.Current(r)
	if err := s.Account.SignOut(s.Cookie(r, page.SessionCookie)); err != nil {
		return err
	}
	if signedIn {
		s.Record(r, page.Person{Session: session, User: user}, history.AuditSignOut, "", nil)
	}
	s.ClearCookie(w, page.SessionCookie)
	return s.Redirect(w, "/sign-in?next=%2Finvitation")
}
