package ui

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A notice is one line about what a form did, shown on the next page. The
// browser carries only a word and a number, so nobody can make podgate say
// something.
type notice struct {
	word  string
	count int
}

func (s *Server) setNotice(w http.ResponseWriter, n notice) {
	s.setCookie(w, noticeCookie, n.word+"."+strconv.Itoa(n.count), time.Minute)
}

// takeNotice returns the notice that waits, or the zero notice, and removes it.
func (s *Server) takeNotice(w http.ResponseWriter, r *http.Request) notice {
	value := s.cookie(r, noticeCookie)
	if value == "" {
		return notice{}
	}
	s.clearCookie(w, noticeCookie)
	word, number, _ := strings.Cut(value, ".")
	count, err := strconv.Atoi(number)
	if err != nil || count < 0 || count > 1_000_000 {
		return notice{}
	}
	return notice{word, count}
}

// text is the notice in words; empty for a word that is none of ours.
func (n notice) text() string {
	switch n.word {
	case "welcome":
		return "This server is set up. Connect an assistant to give it its first pod."
	case "signed-out":
		return "You are signed out."
	case "revoked":
		return "The connection is revoked. The assistant can do nothing here any more."
	case "limited":
		return "The limits are changed. They hold at once."
	case "session-ended":
		return "The session is ended. That browser has to sign in again."
	case "password":
		if n.count == 0 {
			return "Your password is changed."
		}
		return "Your password is changed, and " + plural(n.count, "other session was", "other sessions were") + " ended."
	}
	return ""
}

// place is the page and its section that a notice is about.
func (n notice) place() (page, section string) {
	switch n.word {
	case "revoked", "limited":
		return "home", "connections"
	case "session-ended":
		return "account", "sessions"
	case "password":
		return "account", "change-password"
	}
	return "", ""
}

// NoticeAt returns the words that belong into that section of the page, beside
// what was pressed. The section «top» has what is about no section of it.
func (f frame) NoticeAt(section string) string {
	page, at := f.notice.place()
	if page != f.name {
		at = "top"
	}
	if at != section {
		return ""
	}
	return f.notice.text()
}
