package page

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

// cookieName applies the __Host- prefix where browsers honour it: over https.
// It keeps pods on sibling names from planting a session cookie here.
func (s *Shell) cookieName(name string) string {
	if s.Secure {
		return "__Host-" + name
	}
	return name
}

// SetCookie sets a cookie for so long; 0: until the browser is closed.
func (s *Shell) SetCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// SetSession makes the browser hold a session. Where other programs see the
// cookie, it goes when the browser is closed.
func (s *Shell) SetSession(w http.ResponseWriter, r *http.Request, secret string) {
	age := store.SessionTTL
	if s.PageHost.Shared(r) {
		age = 0
	}
	s.SetCookie(w, SessionCookie, secret, age)
}

// ClearCookie takes one of our cookies away.
func (s *Shell) ClearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Path: "/", MaxAge: -1,
		HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// Cookie returns the value of one of our cookies, or "".
func (s *Shell) Cookie(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// The cookies that all pages know of.
const (
	SessionCookie = "podgate"
	noticeCookie  = "podgate-notice"
)

// Current implements oauth.Sessions.
func (s *Shell) Current(r *http.Request) (store.Session, store.User, bool) {
	secret := s.Cookie(r, SessionCookie)
	if secret == "" {
		return store.Session{}, store.User{}, false
	}
	session, user, err := s.Account.Authenticate(secret)
	return session, user, s.found(err)
}

// StillSignedIn reports whether the session of a request goes on. Unlike Current it is no use
// of it, so that what a page leaves open does not keep its session.
func (s *Shell) StillSignedIn(r *http.Request) bool {
	return s.found(s.Account.CheckSession(s.Cookie(r, SessionCookie)))
}

// found reports whether a session was looked up without an error.
func (s *Shell) found(err error) bool {
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrExpired) {
		s.Log.Error("a session could not be looked up", "error", err)
	}
	return err == nil
}

// Person is the signed-in person of a request.
type Person struct {
	Session store.Session
	User    store.User
}

type personKey struct{}

// SignedInAs returns the person of a request that passed [Shell.SignedIn].
func SignedInAs(r *http.Request) (Person, bool) {
	p, ok := r.Context().Value(personKey{}).(Person)
	return p, ok
}

// SignedIn lets only signed-in people through. Others are sent to sign in and
// then back, or home when they sent a form, whose fields would be lost.
func (s *Shell) SignedIn(h func(http.ResponseWriter, *http.Request, Person) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		session, user, ok := s.Current(r)
		if !ok {
			if r.Method == http.MethodGet {
				return s.SignIn(w, r)
			}
			return s.Redirect(w, "/sign-in")
		}
		p := Person{session, user}
		if r.Method == http.MethodGet {
			// The cookie slides along with the session.
			s.SetSession(w, r, s.Cookie(r, SessionCookie))
		}
		return h(w, WithPerson(r, p), p)
	}
}

// Addr is where a request came from.
func (s *Shell) Addr(r *http.Request) netip.Addr { return web.ClientAddr(r, s.trusted) }

// Redirect answers 303 to a path of ours.
func (s *Shell) Redirect(w http.ResponseWriter, path string) error {
	SetHeaders(w, Flow)
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// maxNext bounds where a sign-in leads: an authorization request with a long
// state fits, a header that proxies refuse does not.
const maxNext = 4096

// NextPath returns where to go after sign-in: next when it is a plain path on
// this server with an optional query, and "/" for anything else. A path may
// hold unreserved characters (RFC 3986 section 2.3) between single slashes;
// whatever a browser or proxy could read as another host is none.
func NextPath(next string) string {
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

// ownPath is the path and query of a request in the form that NextPath
// accepts. Bytes that some client left unencoded are encoded, so that the
// request comes back with the same meaning.
func ownPath(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return NextPath(r.URL.Path)
	}
	var b strings.Builder
	for i := range len(r.URL.RawQuery) {
		if c := r.URL.RawQuery[i]; oddInQuery(rune(c)) {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		} else {
			b.WriteByte(c)
		}
	}
	return NextPath(r.URL.Path + "?" + b.String())
}

// SignIn implements oauth.Pages.
func (s *Shell) SignIn(w http.ResponseWriter, r *http.Request) error {
	next := ownPath(r)
	if next == "/" {
		return s.Redirect(w, "/sign-in")
	}
	return s.Redirect(w, "/sign-in?next="+url.QueryEscape(next))
}

// WithoutPerson is the request as if nobody had signed in.
func WithoutPerson(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), personKey{}, nil))
}

// WithPerson is the request of a person who is signed in.
func WithPerson(r *http.Request, p Person) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), personKey{}, p))
}

// CookieSafe drops what a cookie cannot hold; no token of ours has any of it.
func CookieSafe(token string) string {
	return text.Cut(strings.Map(func(r rune) rune {
		if reserved(r) {
			return -1
		}
		return r
	}, token), 128)
}
