package oauth

import (
	"fmt"
	"slices"

	"podgate/internal/authz"
	"podgate/store"
)

// An offer is what the consent form says for one team before a person changes
// it. Ticked is what the client asks for and nothing else. A client that lacks a
// scope comes back to consent and may ask for nothing but that scope (MCP
// authorization, step-up), so what the same user granted the same client for the
// team stands beside it, to be kept by ticking it, and the limits it was granted
// under are filled in. Nobody is given any of it who does not approve the form.
type offer struct {
	team    store.TeamID  // whose connection it is taken from; empty: from the request alone
	asked   []store.Scope // by the client, now
	held    []store.Scope // by connections that it has there
	scopes  []store.Scope // that are offered: both, in the order of authz.Scopes
	limits  store.Limits
	earlier []store.Grant // that the new connection can take the place of
}

// offer makes the offer for a team. It is the newest connection whose limits
// count, as the latest word of that person about the client.
func (v review) offer(team store.TeamID) offer {
	o := offer{asked: v.request.Scopes, earlier: v.request.Earlier(v.live, team, v.target.host)}
	for _, g := range v.live {
		if g.Team != team {
			continue
		}
		if o.team == "" {
			o.team, o.limits = team, g.Limits
		}
		o.held = append(o.held, g.Scopes...)
	}
	o.scopes = slices.DeleteFunc(authz.Scopes(), func(s store.Scope) bool {
		return !slices.Contains(o.asked, s) && !slices.Contains(o.held, s)
	})
	return o
}

// firstOffer is the offer for the team that the newest connection is for:
// nothing has been chosen yet.
func (v review) firstOffer() offer {
	if len(v.live) == 0 {
		return v.offer("")
	}
	return v.offer(v.live[0].Team)
}

// same reports whether a form that was filled in with o can stand for p, which
// is for another team: it offers the same, and there is nothing to replace that
// the person has not been asked about.
func (o offer) same(p offer) bool {
	return o.team == p.team || o.limits == p.limits && slices.Equal(o.scopes, p.scopes) && len(p.earlier) == 0
}

// form is the consent form as it comes filled in.
func (o offer) form(handle string, team store.TeamID) form {
	return form{handle: handle, team: team, filled: o.team, scopes: o.asked, fields: authz.FieldsOf(o.limits), replace: len(o.earlier) > 0}
}

// replaceable is what the page says about earlier connections.
func (o offer) replaceable(chosen bool) Earlier {
	e := Earlier{Count: len(o.earlier), Replace: chosen}
	for _, g := range o.earlier {
		if e.Since.IsZero() || g.Created.Before(e.Since) {
			e.Since = g.Created
		}
	}
	return e
}

// otherTeam returns the form to show again, and why, when the person chose a
// team for which it ought to have come filled in otherwise. Without that, a
// connection's limits would be lost, or one team's rights be taken for
// another's, by the choice of the other team.
func (v review) otherTeam(f form) (again form, why string) {
	i := slices.IndexFunc(v.teams, func(m store.Membership) bool { return m.Team.ID == f.team })
	had, want := v.offer(f.filled), v.offer(f.team)
	if i < 0 || had.same(want) {
		return form{}, ""
	}
	name := v.teams[i].Team.Name
	why = fmt.Sprintf("For %s the form now says what the app asks for. Check it and approve again.", name)
	if want.team != "" {
		why = fmt.Sprintf("The app is connected to %s already, and the form now says with what. Check it and approve again.", name)
	}
	return want.form(f.handle, f.team), why
}

// faultyField names the field of the limits that the words are about, if they
// are.
func (f form) faultyField(words string) string {
	if f.fault == nil || f.fault.Message != words {
		return ""
	}
	return f.fault.Field
}

// place is the membership that the form is for, as far as it is known: chosen, the one
// that it came filled in from, or the only one.
func (v review) place(f form) (store.Membership, bool) {
	for _, id := range []store.TeamID{f.team, f.filled} {
		if i := slices.IndexFunc(v.teams, func(m store.Membership) bool { return m.Team.ID == id }); i >= 0 {
			return v.teams[i], true
		}
	}
	if len(v.teams) == 1 {
		return v.teams[0], true
	}
	return store.Membership{}, false
}

// withhold takes out of an offer what nobody may give the client in the team that the
// form is for, and says what that is and why, and how the team limits connections.
func (v review) withhold(o *offer, f form) (list []Withheld, limits []string) {
	m, ok := v.place(f)
	if !ok {
		return nil, nil
	}
	for _, scope := range missingFrom(authz.Offered(m), o.scopes) {
		list = append(list, Withheld{ScopeText(scope), whyNot(m, scope)})
	}
	o.scopes = slices.DeleteFunc(slices.Clone(o.scopes), func(s store.Scope) bool { return !slices.Contains(authz.Offered(m), s) })
	return list, authz.LimitWords(m.Team.Policy.Limits)
}

// missingFrom returns those of scopes that are not in offered.
func missingFrom(offered, scopes []store.Scope) []store.Scope {
	return slices.DeleteFunc(slices.Clone(scopes), func(s store.Scope) bool { return slices.Contains(offered, s) })
}

// whyNot says to a person why a scope cannot be given.
func whyNot(m store.Membership, scope store.Scope) string {
	if !slices.Contains(authz.RoleScopes(m.Role), scope) {
		return fmt.Sprintf("you only look in %s, and so does what you connect. An owner of the team can give you another role.", m.Team.Name)
	}
	return fmt.Sprintf("the owners of %s allow it to no app.", m.Team.Name)
}
