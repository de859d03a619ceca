package ui

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/store"
	"podgate/ui/page"
)

const passkeyScript = "passkey.js"

// site is where the browser has the pages. ok is false at a bare address: passkeys
// belong to names.
func (s *Server) site(r *http.Request) (at account.Site, ok bool) {
	origin := s.PageHost.Origin(r)
	u, err := url.Parse(origin)
	if err != nil {
		return account.Site{}, false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return account.Site{Host: u.Hostname(), Origin: origin}, err != nil
}

// askPasskey is what a page's form asks a passkey for.
type askPasskey struct {
	Host, Challenge string
	IDs             []string // of those that may answer; empty: whichever is there
}

// signInPasskey is the passkey form of a sign-in page; nil where there can be none.
func (s *Server) signInPasskey(r *http.Request) *askPasskey {
	site, ok := s.site(r)
	if !ok {
		return nil
	}
	return &askPasskey{Host: site.Host, Challenge: s.Account.PasskeyToSignIn()}
}

// handlePasskeySignIn is POST /sign-in/passkey with answer and next.
func (s *Server) handlePasskeySignIn(w http.ResponseWriter, r *http.Request) error {
	view := newSignInPage(r.PostForm.Get("next"))
	site, ok := s.site(r)
	if !ok {
		return page.Absent()
	}
	secret, user, passkey, err := s.Account.SignInWithPasskey(r.Context(), site, []byte(r.PostForm.Get("answer")), s.browser(r))
	s.recordPasskeySignIn(r, view.Next, user, passkey, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		view.Fault = fault
		return s.renderSignIn(w, r, status, view)
	}
	s.begin(w, r, secret)
	return s.Redirect(w, view.Next)
}

// provePage is the content of prove.html.
type provePage struct {
	Fault   page.Fault
	Email   string
	Next    string
	Passkey *askPasskey // nil: they have none for this site
}

// serveProve is GET /account/prove: the person proves anew who they are, and goes on
// to the page that wants it, which next names.
func (s *Server) serveProve(w http.ResponseWriter, r *http.Request, p page.Person) error {
	return s.showProve(w, r, p, http.StatusOK, page.Fault{}, r.URL.Query().Get("next"))
}

func (s *Server) showProve(w http.ResponseWriter, r *http.Request, p page.Person, status int, fault page.Fault, next string) error {
	view := provePage{Fault: fault, Email: p.User.Email, Next: page.NextPath(next)}
	if site, ok := s.site(r); ok {
		challenge, ids, err := s.Account.PasskeyToProve(p.Session, site)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			view.Passkey = &askPasskey{site.Host, challenge, ids}
		}
	}
	f := page.Frame{Title: "Is it you?", Here: "account", Page: view, Scripts: []string{passkeyScript}}
	return s.render(w, r, page.Plain, status, "prove", f)
}

// handleProve is POST /account/prove with password, or answer, and next.
func (s *Server) handleProve(w http.ResponseWriter, r *http.Request, p page.Person) error {
	var err error
	how := "with the password"
	if answer := r.PostForm.Get("answer"); answer != "" {
		site, ok := s.site(r)
		if !ok {
			return page.Absent()
		}
		how, err = "with a passkey", s.Account.ProveWithPasskey(p.Session, site, []byte(answer))
	} else {
		err = s.Account.ProveWithPassword(r.Context(), p.Session, r.PostForm.Get("password"), s.Addr(r))
	}
	s.Record(r, p, history.AuditProve, how, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showProve(w, r, p, status, fault, r.PostForm.Get("next"))
	}
	return s.Redirect(w, page.NextPath(r.PostForm.Get("next")))
}

const passkeysPath = "/account/passkeys"

// fresh is for pages that change with what people sign in: it sends on who has not
// proved lately who they are.
func (s *Server) fresh(h func(http.ResponseWriter, *http.Request, page.Person) error) func(http.ResponseWriter, *http.Request, page.Person) error {
	return func(w http.ResponseWriter, r *http.Request, p page.Person) error {
		if s.Account.Fresh(p.Session) {
			return h(w, r, p)
		}
		next := passkeysPath
		if r.Method == http.MethodGet {
			next = page.NextPath(r.URL.RequestURI())
		}
		return s.Redirect(w, "/account/prove?next="+url.QueryEscape(next))
	}
}

// passkeysPage is the content of passkeys.html.
type passkeysPage struct {
	Fault    page.Fault
	Email    string
	Name     string // proposed for a new one
	Passkeys []passkeyView
	New      *account.NewPasskey // nil: none can be made here
	Host     string
}

type passkeyView struct {
	Key, Name         string
	Elsewhere         string // the host that it is for, when that is another one
	Synced            bool
	Created, LastUsed time.Time
}

func passkeyViews(list []store.Passkey, here string) (views []passkeyView) {
	for _, p := range list {
		v := passkeyView{Key: store.PasskeyKey(p.ID).String(), Name: p.Name, Synced: p.Synced, Created: p.Created, LastUsed: p.LastUsed}
		if p.Site != here {
			v.Elsewhere = p.Site
		}
		views = append(views, v)
	}
	return views
}

// servePasskeys is GET /account/passkeys.
func (s *Server) servePasskeys(w http.ResponseWriter, r *http.Request, p page.Person) error {
	return s.showPasskeys(w, r, p, http.StatusOK, page.Fault{}, browserName(p.Session.UserAgent))
}

func (s *Server) showPasskeys(w http.ResponseWriter, r *http.Request, p page.Person, status int, fault page.Fault, name string) error {
	list, err := s.Account.Passkeys(p.User.ID)
	if err != nil {
		return err
	}
	site, ok := s.site(r)
	if !ok {
		site.Host = ""
	}
	view := passkeysPage{Fault: fault, Email: p.User.Email, Name: name, Host: site.Host, Passkeys: passkeyViews(list, site.Host)}
	if ok && len(list) < store.MaxPasskeys {
		made, err := s.Account.PasskeyToAdd(p.Session, site)
		if err != nil {
			return err
		}
		view.New = &made
	}
	f := page.Frame{Title: "Passkeys", Here: "account", Page: view, Scripts: []string{passkeyScript}}
	return s.render(w, r, page.Plain, status, "passkeys", f)
}

// handleAddPasskey is POST /account/passkeys with name, handle and answer.
func (s *Server) handleAddPasskey(w http.ResponseWriter, r *http.Request, p page.Person) error {
	site, ok := s.site(r)
	if !ok {
		return page.Absent()
	}
	f := r.PostForm
	made, err := s.Account.AddPasskey(p.Session, site, f.Get("name"), f.Get("handle"), []byte(f.Get("answer")))
	s.Record(r, p, history.AuditPasskeyAdd, made.Name, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showPasskeys(w, r, p, status, fault, text.Cut(f.Get("name"), 200))
	}
	s.SetNotice(w, "passkey-added", 0)
	return s.Redirect(w, passkeysPath)
}

// passkeyIn is the passkey of the person that a form or an address names.
func (s *Server) passkeyIn(p page.Person, key string) (store.Hash, store.Passkey, error) {
	var hash store.Hash
	if hash.UnmarshalText([]byte(key)) == nil {
		list, err := s.Account.Passkeys(p.User.ID)
		if err != nil {
			return store.Hash{}, store.Passkey{}, err
		}
		for _, have := range list {
			if store.PasskeyKey(have.ID) == hash {
				return hash, have, nil
			}
		}
	}
	return store.Hash{}, store.Passkey{}, page.Absent()
}

// handleNamePasskey is POST /account/passkeys/name with passkey and name.
func (s *Server) handleNamePasskey(w http.ResponseWriter, r *http.Request, p page.Person) error {
	key, _, err := s.passkeyIn(p, r.PostForm.Get("passkey"))
	if err != nil {
		return err
	}
	name, err := s.Account.NamePasskey(p.User.ID, key, r.PostForm.Get("name"))
	if errors.Is(err, store.ErrNotFound) {
		return page.Absent()
	}
	s.Record(r, p, history.AuditPasskeyName, name, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showPasskeys(w, r, p, status, fault, browserName(p.Session.UserAgent))
	}
	s.SetNotice(w, "passkey-named", 0)
	return s.Redirect(w, passkeysPath)
}

// serveRemovePasskey is GET /account/passkeys/remove?passkey=KEY: the question.
func (s *Server) serveRemovePasskey(w http.ResponseWriter, r *http.Request, p page.Person) error {
	_, have, err := s.passkeyIn(p, r.URL.Query().Get("passkey"))
	if err != nil {
		return err
	}
	return s.Confirm(w, r, "Remove a passkey", "account", page.Confirmation{
		Title: "Remove «" + have.Name + "»?", Text: "Nobody can sign in with it any more.",
		After:  "Sessions and connections that are there go on. The device keeps the passkey until you delete it there.",
		Action: passkeysPath + "/remove?passkey=" + store.PasskeyKey(have.ID).String(), Button: "Remove", Back: passkeysPath,
	})
}

// handleRemovePasskey is POST /account/passkeys/remove?passkey=KEY.
func (s *Server) handleRemovePasskey(w http.ResponseWriter, r *http.Request, p page.Person) error {
	key, _, err := s.passkeyIn(p, r.URL.Query().Get("passkey"))
	if err != nil {
		return err
	}
	gone, err := s.Account.RemovePasskey(p.Session, key)
	if errors.Is(err, store.ErrNotFound) {
		return page.Absent()
	}
	if err != nil {
		return err
	}
	s.Record(r, p, history.AuditPasskeyRemove, gone.Name, nil)
	s.SetNotice(w, "passkey-removed", 0)
	return s.Redirect(w, passkeysPath)
}

// recordPasskeySignIn is recordSignIn for a passkey. Of one that was refused there is a
// person only where the passkey is theirs beyond doubt.
func (s *Server) recordPasskeySignIn(r *http.Request, next string, user store.User, passkey store.Passkey, failed error) {
	from := s.History.Visitor(r)
	e := store.AuditEntry{Action: history.AuditSignIn, Actor: user.ID, ActorName: user.Email, Object: strings.TrimSpace("passkey " + passkey.Name), Outcome: page.OutcomeOf(failed)}
	if failed != nil {
		e.Actor, e.ActorName, e.Concerns = "", "", user.ID
		if user.Email != "" {
			e.Object += " of " + user.Email
		}
	}
	s.History.Audit(from, e)
	fault := ""
	if failed != nil {
		fault = history.FaultCredentials
	}
	if client, ok := waitingClient(next); ok {
		s.History.SignedIn(from, client, user.ID, fault)
	}
}
