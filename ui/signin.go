package ui

import (
	"net/http"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
)

// signInPage is the content of sign_in.html.
type signInPage struct {
	Fault      formFault
	Email      string
	Next       string
	Connecting bool // a client waits behind the sign-in
	NeedsSetup bool
	Accounts   bool // there is somebody who can sign in
}

func newSignInPage(next string) signInPage {
	next = nextPath(next)
	path, _, _ := strings.Cut(next, "?")
	return signInPage{Next: next, Accounts: true, Connecting: path == "/oauth/authorize" || path == "/authorize"}
}

// serveSignIn is GET /sign-in. The query parameter next says where to go after.
func (s *Server) serveSignIn(w http.ResponseWriter, r *http.Request) error {
	page := newSignInPage(r.URL.Query().Get("next"))
	if _, _, ok := s.Current(r); ok {
		return s.redirect(w, page.Next)
	}
	var err error
	if page.NeedsSetup, err = s.account.NeedsSetup(); err != nil {
		return err
	}
	if page.Accounts, err = s.hasAccounts(page.NeedsSetup); err != nil {
		return err
	}
	return s.render(w, r, flowPage, http.StatusOK, "sign_in", frame{Title: "Sign in", Page: page})
}

// handleSignIn is POST /sign-in with email, password and next.
func (s *Server) handleSignIn(w http.ResponseWriter, r *http.Request) error {
	page := newSignInPage(r.PostForm.Get("next"))
	email := r.PostForm.Get("email")
	secret, user, err := s.account.SignIn(r.Context(), email, r.PostForm.Get("password"), s.browser(r))
	s.recordSignIn(r, page.Next, email, user, err)
	if err != nil {
		fault, status, err := forPerson(w, err)
		if err != nil {
			return err
		}
		page.Fault, page.Email = fault, text.Cut(email, 254)
		return s.render(w, r, flowPage, status, "sign_in", frame{Title: "Sign in", Page: page})
	}
	s.begin(w, r, secret)
	return s.redirect(w, page.Next)
}

// handleSignOut is POST /sign-out.
func (s *Server) handleSignOut(w http.ResponseWriter, r *http.Request) error {
	session, user, signedIn := s.Current(r)
	if err := s.account.SignOut(s.cookie(r, sessionCookie)); err != nil {
		return err
	}
	if signedIn {
		s.record(r, who{session, user}, history.AuditSignOut, "", nil)
	}
	s.clearCookie(w, sessionCookie)
	s.setNotice(w, notice{word: "signed-out"})
	return s.redirect(w, "/sign-in")
}

// setupPage is the content of setup.html.
type setupPage struct {
	Fault             formFault
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
		s.setCookie(w, setupCookie, cookieSafe(token), account.SetupTTL)
		return s.redirect(w, "/setup")
	}
	page := setupPage{MinPassword: account.MinPassword, LinkTTL: account.SetupTTL}
	status, err := s.setupOpen(w, r, &page)
	if err != nil {
		return err
	}
	return s.render(w, r, plainPage, status, "setup", frame{Title: "Set up this server", Page: page})
}

// setupOpen fills in why there is no form, if there is none.
func (s *Server) setupOpen(w http.ResponseWriter, r *http.Request, page *setupPage) (int, error) {
	token := s.cookie(r, setupCookie)
	err := s.account.CheckSetup(token)
	if err == nil {
		return http.StatusOK, nil
	}
	fault, status, err := forPerson(w, err)
	if err != nil {
		return 0, err
	}
	if page.Closed = fault.Message; token == "" && status == http.StatusNotFound {
		page.Closed = "This server has no administrator yet. Open the setup link that it printed when it started, or run «podgate setup-link» on the server to get a new one."
	}
	return status, s.setupHelp(page)
}

// setupHelp fills in what helps somebody for whom there is no form.
func (s *Server) setupHelp(page *setupPage) (err error) {
	if page.NeedsLink, err = s.account.NeedsSetup(); err != nil {
		return err
	}
	page.Accounts, err = s.hasAccounts(page.NeedsLink)
	return err
}

// hasAccounts reports whether somebody could sign in. Commands can add people
// before the setup; after it there is always an administrator.
func (s *Server) hasAccounts(needsSetup bool) (bool, error) {
	if !needsSetup {
		return true, nil
	}
	users, err := s.account.Users()
	return len(users) > 0, err
}

// cookieSafe drops what a cookie cannot hold; no token of ours has any of it.
func cookieSafe(token string) string {
	return text.Cut(strings.Map(func(r rune) rune {
		if reserved(r) {
			return -1
		}
		return r
	}, token), 128)
}

// handleSetup is POST /setup with email, name, password and team.
func (s *Server) handleSetup(w http.ResponseWriter, r *http.Request) error {
	f := r.PostForm
	page := setupPage{
		MinPassword: account.MinPassword, LinkTTL: account.SetupTTL,
		Email: text.Cut(f.Get("email"), 254), Name: text.Cut(f.Get("name"), 200), Team: text.Cut(f.Get("team"), 200),
	}
	secret, err := s.account.CompleteSetup(r.Context(), s.cookie(r, setupCookie), f.Get("email"), f.Get("name"), f.Get("password"), f.Get("team"), r.UserAgent())
	if err == nil {
		s.recordSetup(r, secret)
		s.begin(w, r, secret)
		s.clearCookie(w, setupCookie)
		s.setNotice(w, notice{word: "welcome"})
		return s.redirect(w, "/")
	}
	fault, status, err := forPerson(w, err)
	if err != nil {
		return err
	}
	if page.Fault = fault; fault.Field == "" && status < 429 {
		page.Closed = fault.Message // the link itself is the trouble
		if err := s.setupHelp(&page); err != nil {
			return err
		}
	}
	return s.render(w, r, plainPage, status, "setup", frame{Title: "Set up this server", Page: page})
}
