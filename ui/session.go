package ui

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/account"
	"podgate/internal/web"
	"podgate/store"
)

// cookieName applies the __Host- prefix where browsers honour it: over https.
// It keeps pods on sibling names from planting a session cookie here.
func (s *Server) cookieName(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for so long; 0: until the browser is closed.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
}

// setSession makes the browser hold a session. Where other programs see the
// cookie, it goes when the browser is closed.
func (s *Server) setSession(w http.ResponseWriter, r *http.Request, secret string) {
	age := store.SessionTTL
	if s.pageHost.Shared(r) {
		age = 0
	}
	s.setCookie(w, sessionCookie, secret, age)
}

// setDevice makes the browser one that is known when the session's user signs in
// the next time. Where other programs see the cookie there is none. Who has none is
// a stranger then, which is no reason to fail now.
func (s *Server) setDevice(w http.ResponseWriter, r *http.Request, secret string) {
	if s.pageHost.Shared(r) {
		return
	}
	_, user, err := s.account.Authenticate(secret)
	var device string
	if err == nil {
		device, err = s.account.Device(user.ID)
	}
	if err != nil {
		s.log.Error("a browser could not be remembered", "error", err)
		return
	}
	s.setCookie(w, deviceCookie, device, account.DeviceTTL)
}

func (s *Server) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Path: "/", MaxAge: -1,
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns the value of one of our cookies, or "".
func (s *Server) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

const (
	sessionCookie = "podgate"
	deviceCookie  = "podgate-device" // stays after signing out
	setupCookie   = "podgate-setup"
	noticeCookie  = "podgate-notice"
)

// Current implements oauth.Sessions.
func (s *Server) Current(r *http.Request) (store.Session, store.User, bool) {
	secret := s.cookie(r, sessionCookie)
	if secret == "" {
		return store.Session{}, store.User{}, false
	}
	session, user, err := s.account.Authenticate(secret)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrExpired) {
			s.log.Error("a session could not be looked up", "error", err)
		}
		return store.Session{}, store.User{}, false
	}
	return session, user, true
}

// who is the signed-in person of a request.
type who struct {
	session store.Session
	user    store.User
}

type whoKey struct{}

func signedInAs(r *http.Request) (who, bool) {
	p, ok := r.Context().Value(whoKey{}).(who)
	return p, ok
}

// signedIn lets only signed-in people through. Others are sent to sign in and
// then back, or home when they sent a form, whose fields would be lost.
func (s *Server) signedIn(h func(http.ResponseWriter, *http.Request, who) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		session, user, ok := s.Current(r)
		if !ok {
			if r.Method == http.MethodGet {
				return s.SignIn(w, r)
			}
			return s.redirect(w, "/sign-in")
		}
		p := who{session, user}
		if r.Method == http.MethodGet {
			// The cookie slides along with the session.
			s.setSession(w, r, s.cookie(r, sessionCookie))
		}
		return h(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, p)), p)
	}
}

// begin makes the browser hold a fresh session, and be known at the next sign-in.
// The session it held before ends, so that nothing which somebody else may know of
// outlives a sign-in.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, secret string) {
	if err := s.account.SignOut(s.cookie(r, sessionCookie)); err != nil {
		s.log.Error("the session before a sign-in could not be ended", "error", err)
	}
	s.setSession(w, r, secret)
	s.setDevice(w, r, secret)
}

// browser is what package account wants to know of a request.
func (s *Server) browser(r *http.Request) account.Browser {
	b := account.Browser{Addr: s.addr(r), UserAgent: r.UserAgent()}
	if !s.pageHost.Shared(r) {
		b.Device = s.cookie(r, deviceCookie)
	}
	return b
}

func (s *Server) addr(r *http.Request) netip.Addr { return web.ClientAddr(r, s.trusted) }

// redirect answers 303 to a path of ours.
func (s *Server) redirect(w http.ResponseWriter, path string) error {
	setHeaders(w, flowPage)
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// maxNext bounds where a sign-in leads: an authorization request with a long
// state fits, a header that proxies refuse does not.
const maxNext = 4096

// nextPath returns where to go after sign-in: next when it is a plain path on
// this server with an optional query, and "/" for anything else. A path may
// hold unreserved characters (RFC 3986 section 2.3) between single slashes;
// whatever a browser or proxy could read as another host is none.
func nextPath(next string) string {
	path, query, _ := strings.Cut(next, "?")
	if len(next) > maxNext || !plainPath(path) || strings.ContainsFunc(query, oddInQuery) {
		return "/"
	}
	return next
}

func plainPath(path string) bool {
	if path == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, reserved) {
			return false
		}
	}
	return true
}

func reserved(r rune) bool {
	alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alnum && !strings.ContainsRune("-._~", r)
}

// oddInQuery: what a URL holds only in percent-encoded form, and the fragment.
func oddInQuery(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"#<>\\^`{|}", r)
}

// ownPath is the path and query of a request in the form that nextPath
// accepts. Bytes that some client left unencoded are encoded, so that the
// request comes back with the same meaning.
func ownPath(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return nextPath(r.URL.Path)
	}
	var b strings.Builder
	for i := range len(r.URL.RawQuery) {
		if c := r.URL.RawQuery[i]; oddInQuery(rune(c)) {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		} else {
			b.WriteByte(c)
		}
	}
	return nextPath(r.URL.Path + "?" + b.String())
}

// SignIn implements oauth.Pages.
func (s *Server) SignIn(w http.ResponseWriter, r *http.Request) error {
	next := ownPath(r)
	if next == "/" {
		return s.redirect(w, "/sign-in")
	}
	return s.redirect(w, "/sign-in?next="+url.QueryEscape(next))
}
