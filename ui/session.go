package ui

import (
	"net/http"

	"podgate/account"
	"podgate/ui/page"
)

// deviceCookie stays after signing out.
const deviceCookie = "podgate-device"

// setupCookie holds the secret of the setup link.
const setupCookie = "podgate-setup"

// setDevice makes the browser one that is known when the session's user signs in
// the next time. Where other programs see the cookie there is none. Who has none is
// a stranger then, which is no reason to fail now.
func (s *Server) setDevice(w http.ResponseWriter, r *http.Request, secret string) {
	if s.PageHost.Shared(r) {
		return
	}
	_, user, err := s.Account.Authenticate(secret)
	var device string
	if err == nil {
		device, err = s.Account.Device(user.ID)
	}
	if err != nil {
		s.Log.Error("a browser could not be remembered", "error", err)
		return
	}
	s.SetCookie(w, deviceCookie, device, account.DeviceTTL)
}

// begin makes the browser hold a fresh session, and be known at the next sign-in.
// The session it held before ends, so that nothing which somebody else may know of
// outlives a sign-in.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, secret string) {
	if err := s.Account.SignOut(s.Cookie(r, page.SessionCookie)); err != nil {
		s.Log.Error("the session before a sign-in could not be ended", "error", err)
	}
	s.SetSession(w, r, secret)
	s.setDevice(w, r, secret)
}

// browser is what package account wants to know of a request.
func (s *Server) browser(r *http.Request) account.Browser {
	b := account.Browser{Addr: s.Addr(r), UserAgent: r.UserAgent()}
	if !s.PageHost.Shared(r) {
		b.Device = s.Cookie(r, deviceCookie)
	}
	return b
}
