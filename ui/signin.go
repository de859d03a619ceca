package ui

import (
	"net/http"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/ui/page"
)

// signInPage is the content of sign_in.html.
type signInPage struct {
	Fault      page.Fault
	Email      string
	Next       string
	Connecting bool // a client waits behind the sign-in
	NeedsSetup bool
	Accounts   bool        // there is somebody who can sign in
	Passkey    *askPasskey // nil: there can be none here
}

func newSignInPage(next string) signInPage {
	next = page.NextPath(next)
	path, _, _ := strings.Cut(next, "?")
	return signInPage{Next: next, Accounts: true, Connecting: path == "/oauth/authorize" || path == "/authorize"}
}

// serveSignIn is GET /sign-in. The query parameter next says where to go after.
func (s *Server) serveSignIn(w http.ResponseWriter, r *http.Request) error {
	view := newSignInPage(r.URL.Query().Get("next"))
	if _, _, ok := s.Current(r); ok {
		return s.Redirect(w, view.Next)
	}
	var err error
	if view.NeedsSetup, err = s.Account.NeedsSetup(); err != nil {
		return err
	}
	if view.Accounts, err = s.hasAccounts(view.NeedsSetup); err != nil {
		return err
	}
	return s.renderSignIn(w, r, http.StatusOK, view)
}

func (s *Server) renderSignIn(w http.ResponseWriter, r *http.Request, status int, view signInPage) error {
	view.Passkey = s.signInPasskey(r)
	return s.render(w, r, page.Flow, status, "sign_in", page.Frame{Title: "Sign in", Page: view, Scripts: []string{passkeyScript}})
}

// handleSignIn is POST /sign-in with email, password and next.
func (s *Server) handleSignIn(w http.ResponseWriter, r *http.Request) error {
	view := newSignInPage(r.PostForm.Get("next"))
	email := r.PostForm.Get("email")
	secret, user, err := s.Account.SignIn(r.Context(), email, r.PostForm.Get("password"), s.browser(r))
	s.recordSignIn(r, view.Next, email, user, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		view.Fault, view.Email = fault, text.Cut(email, 254)
		return s.renderSignIn(w, r, status, view)
	}
	s.begin(w, r, secret)
	return s.Redirect(w, view.Next)
}

// handleSignOut is POST /sign-out.
func (s *Server) handleSignOut(w http.ResponseWriter, r *http.Request) error {
	session, user, signedIn := s.Current(r)
	if err := s.Account.SignOut(s.Cookie(r, page.SessionCookie)); err != nil {
		return err
	}
	if signedIn {
		s.Record(r, page.Person{Session: session, User: user}, history.AuditSignOut, "", nil)
	}
	s.ClearCookie(w, page.SessionCookie)
	s.SetNotice(w, "signed-out", 0)
	return s.Redirect(w, "/sign-in")
}

// setupPage is the content of setup.html.
type setupPage struct {
	Fault             page.Fault
	Closed            string // why there is no form; empty when there is one
	NeedsLink         bool   // what helps is another setup link
	Accounts          bool   // there is somebody who can sign in
	Email, Name, Team string
	MinPassword       int
	LinkTTL           time.Duration
}

// serveSetup is GET /setup. The link's token moves from the address into a
// cookie at once, so that it stays out of the history, of what is copied from
// the address bar and of screenshots.
func (s *Server) serveSetup(w http.ResponseWriter, r *http.Request) error {
	if token := r.URL.Query().Get("token"); token != "" {
		s.SetCookie(w, setupCookie, page.CookieSafe(token), account.SetupTTL)
		return s.Redirect(w, "/setup")
	}
	view := setupPage{MinPassword: account.MinPassword, LinkTTL: account.SetupTTL}
	status, err := s.setupOpen(w, r, &view)
	if err != nil {
		return err
	}
	return s.render(w, r, page.Plain, status, "setup", page.Frame{Title: "Set up this server", Page: view})
}

// setupOpen fills in why there is no form, if there is none.
func (s *Server) setupOpen(w http.ResponseWriter, r *http.Request, view *setupPage) (int, error) {
	token := s.Cookie(r, setupCookie)
	err := s.Account.CheckSetup(token)
	if err == nil {
		return http.StatusOK, nil
	}
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return 0, err
	}
	if view.Closed = fault.Message; token == "" && status == http.StatusNotFound {
		view.Closed = "This server has no administrator yet. Open the setup link that it printed when it started, or run «podgate setup-link» on the server to get a new one."
	}
	return status, s.setupHelp(view)
}

// setupHelp fills in what helps somebody for whom there is no form.
func (s *Server) setupHelp(view *setupPage) (err error) {
	if view.NeedsLink, err = s.Account.NeedsSetup(); err != nil {
		return err
	}
	view.Accounts, err = s.hasAccounts(view.NeedsLink)
	return err
}

// hasAccounts reports whether somebody could sign in. Commands can add people
// before the setup; after it there is always an administrator.
func (s *Server) hasAccounts(needsSetup bool) (bool, error) {
	if !needsSetup {
		return true, nil
	}
	users, err := s.Account.Users()
	return len(users) > 0, err
}

// handleSetup is POST /setup with email, name, password and team.
func (s *Server) handleSetup(w http.ResponseWriter, r *http.Request) error {
	f := r.PostForm
	view := setupPage{
		MinPassword: account.MinPassword, LinkTTL: account.SetupTTL,
		Email: text.Cut(f.Get("email"), 254), Name: text.Cut(f.Get("name"), 200), Team: text.Cut(f.Get("team"), 200),
	}
	secret, err := s.Account.CompleteSetup(r.Context(), s.Cookie(r, setupCookie), f.Get("email"), f.Get("name"), f.Get("password"), f.Get("team"), r.UserAgent())
	if err == nil {
		s.recordSetup(r, secret)
		s.begin(w, r, secret)
		s.ClearCookie(w, setupCookie)
		s.SetNotice(w, "welcome", 0)
		return s.Redirect(w, "/")
	}
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return err
	}
	if view.Fault = fault; fault.Field == "" && status < 429 {
		view.Closed = fault.Message // the link itself is the trouble
		if err := s.setupHelp(&view); err != nil {
			return err
		}
	}
	return s.render(w, r, page.Plain, status, "setup", page.Frame{Title: "Set up this server", Page: view})
}
