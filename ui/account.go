package ui

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/store"
)

// accountPage is the content of account.html.
type accountPage struct {
	Fault       formFault
	User        store.User
	Sessions    []sessionView
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
func (s *Server) serveAccount(w http.ResponseWriter, r *http.Request, p who) error {
	return s.showAccount(w, r, p, http.StatusOK, formFault{})
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, p who, status int, fault formFault) error {
	sessions, err := s.account.Sessions(p.user.ID)
	if err != nil {
		return err
	}
	connections, err := s.account.Connections(p.user.ID)
	if err != nil {
		return err
	}
	// The browser in front of the person comes first.
	if i := slices.IndexFunc(sessions, func(x store.Session) bool { return x.Hash == p.session.Hash }); i > 0 {
		current := sessions[i]
		sessions = slices.Insert(slices.Delete(sessions, i, i+1), 0, current)
	}
	page := accountPage{Fault: fault, User: p.user, Connections: len(connections), MinPassword: account.MinPassword}
	for _, x := range sessions {
		page.Sessions = append(page.Sessions, sessionView{
			ID: x.Hash.String(), Browser: browserName(x.UserAgent), Addr: text.Line(x.Addr, 60), Current: x.Hash == p.session.Hash,
			Created: x.Created, LastUsed: x.LastUsed,
		})
	}
	return s.render(w, r, plainPage, status, "account", frame{Title: "Account", Here: "account", Page: page})
}

// handlePassword is POST /account/password with old, password and again.
func (s *Server) handlePassword(w http.ResponseWriter, r *http.Request, p who) error {
	f := r.PostForm
	if f.Get("password") != f.Get("again") {
		return s.showAccount(w, r, p, http.StatusUnprocessableEntity, formFault{"The two new passwords differ. Nothing was changed.", "again"})
	}
	ended, err := s.account.ChangePassword(r.Context(), p.user.ID, f.Get("old"), f.Get("password"), p.session.Hash, s.addr(r))
	s.record(r, p, history.AuditPassword, "", err)
	if err != nil {
		fault, status, err := forPerson(w, err)
		if err != nil {
			return err
		}
		return s.showAccount(w, r, p, status, fault)
	}
	s.setDevice(w, r, s.cookie(r, sessionCookie)) // the old one is void
	s.setNotice(w, notice{"password", ended})
	return s.redirect(w, "/account#change-password")
}

// handleEndSession is POST /account/end-session with session.
func (s *Server) handleEndSession(w http.ResponseWriter, r *http.Request, p who) error {
	var hash store.Hash
	if err := hash.UnmarshalText([]byte(r.PostForm.Get("session"))); err != nil {
		return badForm(err)
	}
	err := s.account.EndSession(p.user.ID, hash)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		s.record(r, p, history.AuditEndSession, "", nil)
		s.setNotice(w, notice{word: "session-ended"})
	}
	return s.redirect(w, "/account#sessions")
}

// serveLogOutEverywhere is GET /account/log-out-everywhere: what it would end.
func (s *Server) serveLogOutEverywhere(w http.ResponseWriter, r *http.Request, p who) error {
	sessions, err := s.account.Sessions(p.user.ID)
	if err != nil {
		return err
	}
	connections, err := s.account.Connections(p.user.ID)
	if err != nil {
		return err
	}
	ends := plural(len(sessions), "session", "sessions") + ", this one included, and " + plural(len(connections), "connection", "connections")
	return s.render(w, r, plainPage, http.StatusOK, "confirm", frame{Title: "Log out everywhere", Here: "account", Page: confirmPage{
		Title: "Log out everywhere?", Text: "This ends " + ends + ".",
		After:  "Every browser has to sign in again, and every assistant has to be connected again. Pods go on running.",
		Action: "/account/log-out-everywhere", Button: "Log out everywhere", Back: "/account",
	}})
}

// everywherePage is the content of everywhere.html.
type everywherePage struct{ Sessions, Connections int }

// handleLogOutEverywhere is POST /account/log-out-everywhere. The answer is the
// page itself, because nobody is signed in any more who could be told later.
func (s *Server) handleLogOutEverywhere(w http.ResponseWriter, r *http.Request, p who) error {
	list, err := s.account.Connections(p.user.ID)
	if err != nil {
		return err
	}
	sessions, connections, err := s.account.LogOutEverywhere(p.user.ID)
	if err != nil {
		return err
	}
	s.record(r, p, history.AuditEverywhere, plural(sessions, "session", "sessions")+", "+plural(connections, "connection", "connections"), nil)
	s.recordRevoked(r, p, history.AuditEverywhere, list)
	s.clearCookie(w, sessionCookie)
	r = r.WithContext(context.WithValue(r.Context(), whoKey{}, nil)) // nor does the page say so
	return s.render(w, r, plainPage, http.StatusOK, "everywhere", frame{Title: "Signed out everywhere", Page: everywherePage{sessions, connections}})
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
