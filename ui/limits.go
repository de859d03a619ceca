package ui

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/page"
)

// limitsView is what the fields of limits show, on the consent page and on that
// of a connection.
type limitsView struct {
	authz.LimitFields
	Wrong string // the field that the page's fault is about: prefix or max_pods
}

// viewLimits shows fields as they were written, which need not be sound.
func viewLimits(f authz.LimitFields, wrong string) limitsView {
	f.Prefix, f.MaxPods = text.Line(f.Prefix, maxLimitField), text.Line(f.MaxPods, maxLimitField)
	return limitsView{f, wrong}
}

// Open reports whether there is something to see in the folded fields.
func (v limitsView) Open() bool { return v.Wrong != "" || v.LimitFields != authz.LimitFields{} }

// limitsPage is the content of limits.html.
type limitsPage struct {
	Fault      page.Fault
	Back       string
	Connection connectionView
	Scopes     []oauth.ConsentScope
	Limits     limitsView
}

// limitsForm is the form of that page as a person left it.
type limitsForm struct {
	scopes []store.Scope
	fields authz.LimitFields
}

// maxLimitField bounds what of a field is read, in bytes, and shown again.
const maxLimitField = 200

func parseLimits(form url.Values) limitsForm {
	f := limitsForm{fields: authz.LimitFields{
		ReadOnly: form.Get("read_only") != "", Prefix: text.Cut(form.Get("prefix"), maxLimitField), MaxPods: text.Cut(form.Get("max_pods"), maxLimitField),
	}}
	for _, s := range form["scope"] {
		if scope := store.Scope(s); !slices.Contains(f.scopes, scope) {
			f.scopes = append(f.scopes, scope)
		}
	}
	return f
}

// serveLimits is GET /connection/:id/limits.
func (s *Server) serveLimits(w http.ResponseWriter, r *http.Request, p page.Person) error {
	d, by, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	return s.showLimits(w, r, http.StatusOK, d, by, limitsForm{d.Scopes, authz.FieldsOf(d.Limits)}, page.Fault{})
}

func (s *Server) showLimits(w http.ResponseWriter, r *http.Request, status int, c store.GrantDetail, by authz.Actor, f limitsForm, fault page.Fault) error {
	view := limitsPage{Fault: fault, Back: listWith(c, by), Connection: viewConnection(account.Connection{Grant: c.Grant, Team: c.For}), Limits: viewLimits(f.fields, fault.Field)}
	for _, scope := range c.Scopes {
		view.Scopes = append(view.Scopes, oauth.ConsentScope{Scope: scope, Text: oauth.ScopeText(scope), Checked: slices.Contains(f.scopes, scope)})
	}
	return s.render(w, r, page.Plain, status, "limits", page.Frame{Title: "Limits of " + view.Connection.Host, Here: "connections", Page: view})
}

// handleLimits is POST /connection/:id/limits with scope (repeated), read_only,
// prefix and max_pods.
func (s *Server) handleLimits(w http.ResponseWriter, r *http.Request, p page.Person) error {
	c, by, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	f := parseLimits(r.PostForm)
	limits, err := f.fields.Parse()
	var field *authz.FieldFault
	if errors.As(err, &field) {
		return s.showLimits(w, r, http.StatusUnprocessableEntity, c, by, f, page.Fault{Message: field.Message, Field: field.Field})
	}
	if _, err := s.Account.LimitFor(by, c.ID, f.scopes, limits); err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showLimits(w, r, status, c, by, f, fault)
	}
	s.recordLimited(r, p, c, f.scopes, limits)
	s.SetNotice(w, "limited", 0)
	return s.Redirect(w, listWith(c, by))
}
