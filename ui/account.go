package ui

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/store"
	"podgate/ui/page"
)

// accountPage is the content of account.html.
type accountPage struct {
	Fault       page.Fault
	User        store.User
	Sessions    []sessionView
	Passkeys    []passkeyView
	Connections int
	MinPassword int
}

type sessionView struct {
	ID                string
	Browser, Addr     string
	Current           bool
	Created, LastUsed time.Time
}

// serveAccount is GET /account.
func (s *Server) serveAccount(w http.ResponseWriter, r *http.Request, p page.Person) error {
	return s.showAccount(w, r, p, http.StatusOK, page.Fault{})
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, p page.Person, status int, fault page.Fault) error {
	sessions, err := s.Account.Sessions(p.User.ID)
	if err != nil {
		return err
	}
	connections, err := s.Account.Connections(p.User.ID)
	if err != nil {
		return err
	}
	// The browser in front of the person comes first.
	if i := slices.IndexFunc(sessions, func(x store.Session) bool { return x.Hash == p.Session.Hash }); i > 0 {
		current := sessions[i]
		sessions = slices.Insert(slices.Delete(sessions, i, i+1), 0, current)
	}
	passkeys, err := s.Account.Passkeys(p.User.ID)
	if err != nil {
		return err
	}
	site, _ := s.site(r)
	view := accountPage{Fault: fault, User: p.User, Passkeys: passkeyViews(passkeys, site.Host), Connections: len(connections), MinPassword: account.MinPassword}
	for _, x := range sessions {
		view.Sessions = append(view.Sessions, sessionView{
			ID: x.Hash.String(), Browser: browserName(x.UserAgent), Addr: text.Line(x.Addr, 60), Current: x.Hash == p.Session.Hash,
			Created: x.Created, LastUsed: x.LastUsed,
		})
	}
	return s.render(w, r, page.Plain, status, "account", page.Frame{Title: "Account", Here: "account", Page: view})
}

// handlePassword is POST /account/password with old, password and again.
func (s *Server) handlePassword(w http.ResponseWriter, r *http.Request, p page.Person) error {
	f := r.PostForm
	if f.Get("password") != f.Get("again") {
		return s.showAccount(w, r, p, http.StatusUnprocessableEntity, page.Fault{Message: "The two new passwords differ. Nothing was changed.", Field: "again"})
	}
	ended, err := s.Account.ChangePassword(r.Context(), p.User.ID, f.Get("old"), f.Get("password"), p.Session.Hash, s.Addr(r))
	s.Record(r, p, history.AuditPassword, "", err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showAccount(w, r, p, status, fault)
	}
	s.setDevice(w, r, s.Cookie(r, page.SessionCookie)) // the old one is void
	passkeys, err := s.Account.Passkeys(p.User.ID)
	if err != nil {
		return err
	}
	notice := "password"
	if len(passkeys) > 0 { // one of them may be that of whoever had the old one
		notice = "password-passkeys"
	}
	s.SetNotice(w, notice, ended)
	return s.Redirect(w, "/account#change-password")
}

// handleEndSession is POST /account/end-session with session.
func (s *Server) handleEndSession(w http.ResponseWriter, r *http.Request, p page.Person) error {
	var hash store.Hash
	if err := hash.UnmarshalText([]byte(r.PostForm.Get("session"))); err != nil {
		return page.BadForm(err)
	}
	err := s.Account.EndSession(p.User.ID, hash)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		s.Record(r, p, history.AuditEndSession, "", nil)
		s.SetNotice(w, "session-ended", 0)
	}
	return s.Redirect(w, "/account#sessions")
}

// serveLogOutEverywhere is GET /account/log-out-everywhere: what it would end.
func (s *Server) serveLogOutEverywhere(w http.ResponseWriter, r *http.Request, p page.Person) error {
	sessions, err := s.Account.Sessions(p.User.ID)
	if err != nil {
		return err
	}
	connections, err := s.Account.Connections(p.User.ID)
	if err != nil {
		return err
	}
	ends := page.Plural(len(sessions), "session", "sessions") + ", this one included, and " + page.Plural(len(connections), "connection", "connections")
	return s.Confirm(w, r, "Log out everywhere", "account", page.Confirmation{
		Title: "Log out everywhere?", Text: "This ends " + ends + ".",
		After:  "Every browser has to sign in again, and every assistant has to be connected again. Pods go on running.",
		Action: "/account/log-out-everywhere", Button: "Log out everywhere", Back: "/account",
	})
}

// everywherePage is the content of everywhere.html.
type everywherePage struct{ Sessions, Connections, Passkeys int }

// handleLogOutEverywhere is POST /account/log-out-everywhere. The answer is the
// page itself, because nobody is signed in any more who could be told later.
func (s *Server) handleLogOutEverywhere(w http.ResponseWriter, r *http.Request, p page.Person) error {
	list, err := s.Account.Connections(p.User.ID)
	if err != nil {
		return err
	}
	sessions, connections, err := s.Account.LogOutEverywhere(p.User.ID)
	if err != nil {
		return err
	}
	passkeys, err := s.Account.Passkeys(p.User.ID)
	if err != nil {
		return err
	}
	s.Record(r, p, history.AuditEverywhere, page.Plural(sessions, "session", "sessions")+", "+page.Plural(connections, "connection", "connections"), nil)
	s.recordRevoked(r, p, history.AuditEverywhere, list)
	s.ClearCookie(w, page.SessionCookie)
	r = page.WithoutPerson(r) // nor does the page say so
	return s.render(w, r, page.Plain, http.StatusOK, "everywhere", page.Frame{Title: "Signed out everywhere", Page: everywherePage{sessions, connections, len(passkeys)}})
}

// browserName makes «Firefox on Linux» of a User-Agent, which decides nothing.
func browserName(userAgent string) string {
	find := func(list [][2]string) string {
		for _, e := range list {
			if strings.Contains(userAgent, e[0]) {
				return e[1]
			}
		}
		return ""
	}
	// The order matters: most browsers claim to be others as well.
	browser := find([][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
		{"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	})
	system := find([][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	case userAgent == "":
		return "Unknown browser"
	}
	return text.Line(userAgent, 60)
}
