package teampages

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/oauth"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// settingsPage is the content of team_settings.html.
type settingsPage struct {
	head
	Use                                     useView
	Rename, Policy, Network, Remove, Forbid bool // what the reader may change; Forbid: nothing
	Fault                                   page.Fault
	At                                      string // the section that the fault is in
	Name, Slug                              string
	Scopes                                  []oauth.ConsentScope
	Limits                                  limitsView
	Held                                    []string // what the policy takes away, in words
	Net                                     networkView
}

type useView struct {
	store.TeamUse
	Quota  pods.Quota
	Memory int64 // of the pods' plans
}

// limitsView is what the fields of limits show.
type limitsView struct {
	authz.LimitFields
	Wrong string
}

type networkView struct {
	Mode    string // empty: what the server lets
	Names   string // one a line
	Regions []regionView
}

type regionView struct{ Name, Words string }

// serveSettings is GET /team/:slug/settings.
func (s *Pages) serveSettings(w http.ResponseWriter, r *http.Request, o opened) error {
	view, err := s.settings(o)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "team_settings", "Settings · "+o.Team.Name, view)
}

func (s *Pages) settings(o opened) (settingsPage, error) {
	h, err := s.head(o, "settings")
	if err != nil {
		return settingsPage{}, err
	}
	view := settingsPage{
		head: h, Name: o.Team.Name, Slug: o.Team.Slug, Limits: limitsView{LimitFields: authz.FieldsOf(o.Team.Policy.Limits)}, Held: policyWords(o.Team.Policy),
		Rename: o.may(authz.RenameTeam), Policy: o.may(authz.ChangePolicy), Network: o.may(authz.ChangeNetwork), Remove: o.may(authz.RemoveTeam),
	}
	view.Forbid = !view.Rename && !view.Policy && !view.Network && !view.Remove
	for _, scope := range authz.Scopes() {
		ticked := len(o.Team.Policy.Scopes) == 0 || slices.Contains(o.Team.Policy.Scopes, scope)
		view.Scopes = append(view.Scopes, oauth.ConsentScope{Scope: scope, Text: oauth.ScopeText(scope), Checked: ticked})
	}
	view.Net = networkView{Mode: o.Team.Network.Mode, Names: strings.Join(o.Team.Network.Names, "\n"), Regions: s.regions(o.Team)}
	if view.Use.TeamUse, err = s.Account.TeamUse(o.Actor); err != nil || s.cfg.Pods == nil {
		return view, err
	}
	view.Use.Quota = s.cfg.Pods.QuotaOf(o.Team)
	used, err := s.cfg.Pods.UsedBy(o.Team.ID)
	view.Use.Memory = used.Memory
	return view, err
}

// regions says what pods may reach at most, region by region.
func (s *Pages) regions(t store.Team) []regionView {
	if s.cfg.Pods == nil {
		return nil
	}
	var views []regionView
	for _, n := range s.cfg.Pods.NetworksOf(store.Team{ID: t.ID}) {
		views = append(views, regionView{n.Region, networkWords(string(n.Mode), n.Names)})
	}
	return views
}

// shownNames bounds how many names a line lists.
const shownNames = 12

func networkWords(mode string, names []string) string {
	switch mode {
	case "none":
		return "nothing"
	case "internet":
		return "the public internet"
	case "names":
		shown := slices.Compact(slices.Sorted(slices.Values(names)))
		if more := len(shown) - shownNames; more > 0 {
			return strings.Join(shown[:shownNames], ", ") + " and " + page.Plural(more, "other name", "other names")
		}
		return strings.Join(shown, ", ")
	}
	return mode
}

// policyWords says what a policy takes away.
func policyWords(p store.Policy) []string {
	var words []string
	if len(p.Scopes) > 0 {
		var names []string
		for _, scope := range p.Scopes {
			names = append(names, oauth.ScopeText(scope))
		}
		words = append(words, "only: "+strings.Join(names, "; "))
	}
	return append(words, authz.LimitWords(p.Limits)...)
}

// wrong shows the settings again, with what was wrong in a section.
func (s *Pages) wrong(w http.ResponseWriter, r *http.Request, o opened, at string, err error, change func(*settingsPage)) error {
	fault, status, err := page.ForPerson(w, err)
	if err != nil {
		return err
	}
	view, err := s.settings(o)
	if err != nil {
		return err
	}
	view.Fault, view.At = fault, at
	if change != nil {
		change(&view)
	}
	return s.render(w, r, status, "team_settings", "Settings · "+o.Team.Name, view)
}

// handleRename is POST /team/:slug/rename with name and slug.
func (s *Pages) handleRename(w http.ResponseWriter, r *http.Request, o opened) error {
	name, slug := text.Cut(r.PostForm.Get("name"), 400), text.Cut(strings.TrimSpace(r.PostForm.Get("slug")), 100)
	err := s.Account.RenameTeam(r.Context(), o.Actor, slug, name)
	s.record(r, o, history.AuditTeamRename, slug, err)
	if err != nil {
		return s.wrong(w, r, o, "name", err, func(v *settingsPage) { v.Name, v.Slug = name, slug })
	}
	s.SetNotice(w, "team-renamed", 0)
	return s.Redirect(w, "/team/"+slug+"/settings#name")
}

// maxLimitField bounds what of a field is read, in bytes.
const maxLimitField = 200

// handlePolicy is POST /team/:slug/policy with scope (repeated), read_only, prefix
// and max_pods.
func (s *Pages) handlePolicy(w http.ResponseWriter, r *http.Request, o opened) error {
	f := r.PostForm
	fields := authz.LimitFields{ReadOnly: f.Get("read_only") != "", Prefix: text.Cut(f.Get("prefix"), maxLimitField), MaxPods: text.Cut(f.Get("max_pods"), maxLimitField)}
	var policy store.Policy
	for _, scope := range f["scope"] {
		policy.Scopes = append(policy.Scopes, store.Scope(scope))
	}
	again := func(v *settingsPage) {
		v.Limits = limitsView{fields, v.Fault.Field}
		for i := range v.Scopes {
			v.Scopes[i].Checked = slices.Contains(policy.Scopes, v.Scopes[i].Scope)
		}
	}
	if len(policy.Scopes) == 0 {
		return s.wrong(w, r, o, "policy", invalid("", "Leave at least one thing ticked. To keep every assistant out, remove the members' connections instead."), again)
	}
	var err error
	if policy.Limits, err = fields.Parse(); err != nil {
		var field *authz.FieldFault
		if errors.As(err, &field) {
			err = invalid(field.Field, field.Message)
		}
		return s.wrong(w, r, o, "policy", err, again)
	}
	err = s.Account.SetTeamPolicy(r.Context(), o.Actor, policy)
	s.record(r, o, history.AuditTeamPolicy, strings.Join(policyWords(policy), ", "), err)
	if err != nil {
		return s.wrong(w, r, o, "policy", err, again)
	}
	s.SetNotice(w, "policy-changed", 0)
	return s.Redirect(w, o.path("/settings#policy"))
}

// handleNetwork is POST /team/:slug/network with mode, which is empty for what
// the server lets, and names.
func (s *Pages) handleNetwork(w http.ResponseWriter, r *http.Request, o opened) error {
	n := store.Network{Mode: text.Cut(r.PostForm.Get("mode"), 20)}
	if n.Mode == "names" {
		n.Names = strings.Fields(strings.ReplaceAll(r.PostForm.Get("names"), ",", " "))
	}
	again := func(v *settingsPage) {
		v.Net.Mode, v.Net.Names = n.Mode, strings.Join(n.Names, "\n")
	}
	if s.cfg.Pods == nil {
		return s.wrong(w, r, o, "network", invalid("", "This server has no place for pods to run."), again)
	}
	if n.Mode == "names" && len(n.Names) == 0 {
		return s.wrong(w, r, o, "network", invalid("names", "Write the names that may be reached, one a line, or choose “Nothing”."), again)
	}
	err := s.cfg.Pods.SetTeamNetwork(o.Actor, n)
	s.record(r, o, history.AuditTeamNetwork, strings.TrimSpace(cmp.Or(n.Mode, "inherit")+" "+strings.Join(n.Names, " ")), err)
	if errors.Is(err, pods.ErrBadInput) {
		err = invalid("names", sentence(err.Error()))
	}
	if err != nil {
		return s.wrong(w, r, o, "network", err, again)
	}
	s.SetNotice(w, "network-changed", 0)
	return s.Redirect(w, o.path("/settings#network"))
}

// serveRemoveTeam is GET /team/:slug/remove.
func (s *Pages) serveRemoveTeam(w http.ResponseWriter, r *http.Request, o opened) error {
	use, err := s.Account.TeamUse(o.Actor)
	if err != nil {
		return err
	}
	if use.Pods+use.Deleting > 0 {
		return s.wrong(w, r, o, "remove", invalid("", "The team has "+page.Plural(use.Pods+use.Deleting, "pod", "pods")+". Delete them first: a team is removed only when none is left."), nil)
	}
	return s.Confirm(w, r, "Remove "+o.Team.Name, "team", page.Confirmation{
		Title: "Remove the team " + o.Team.Name + "?",
		Text:  "This ends " + page.Plural(use.Members, "membership", "memberships") + ", " + page.Plural(use.Connections, "connection", "connections") + " and " + page.Plural(use.Invitations, "invitation", "invitations") + ".",
		After: "People keep their accounts and their other teams. The team's pods are gone already. This cannot be taken back.", Action: o.path("/remove"), Button: "Remove the team", Back: o.path("/settings"),
	})
}

// handleRemoveTeam is POST /team/:slug/remove.
func (s *Pages) handleRemoveTeam(w http.ResponseWriter, r *http.Request, o opened) error {
	_, err := s.Account.RemoveTeam(r.Context(), o.Actor)
	s.record(r, o, history.AuditTeamRemove, "", err)
	if err != nil {
		return s.wrong(w, r, o, "remove", err, nil)
	}
	s.SetNotice(w, "team-removed", 0)
	return s.Redirect(w, "/team")
}
