package oauth

import (
	"fmt"
	"slices"

	"podgate/internal/authz"
	"podgate/store"
)

// A filling is what the consent form says before a person changes it. A client
// that lacks a scope comes back here and may ask for nothing but that scope
// (MCP authorization, step-up), and the connection that comes of it takes the
// place of the one it has. So what the same user granted the same client for a
// team is offered along, with the limits it was granted under. Nobody is given
// any of it who does not approve the form.
type filling struct {
	team   store.TeamID  // whose connection it is taken from; empty: from the request alone
	held   []store.Scope // what the client can do there already
	scopes []store.Scope // what is offered, ticked; in the order of authz.Scopes
	limits store.Limits
}

// fill makes the filling of a request for a team. live are the client's
// connections with the user, the newest first: it is the newest whose limits
// count, as the latest word of that person about the client.
func fill(asked []store.Scope, live []store.Grant, team store.TeamID) filling {
	var f filling
	for _, g := range live {
		if g.Team != team {
			continue
		}
		if f.team == "" {
			f.team, f.limits = team, g.Limits
		}
		f.held = append(f.held, g.Scopes...)
	}
	f.scopes = slices.DeleteFunc(authz.Scopes(), func(s store.Scope) bool {
		return !slices.Contains(asked, s) && !slices.Contains(f.held, s)
	})
	return f
}

// fillFirst is fill for the team that the newest connection is for: nothing has
// been chosen yet.
func fillFirst(asked []store.Scope, live []store.Grant) filling {
	if len(live) == 0 {
		return fill(asked, nil, "")
	}
	return fill(asked, live, live[0].Team)
}

// same reports whether a form that was filled in with f can stand for g.
func (f filling) same(g filling) bool {
	return f.limits == g.limits && slices.Equal(f.scopes, g.scopes)
}

// form is the consent form as it comes filled in.
func (f filling) form(handle string, team store.TeamID) form {
	return form{handle: handle, team: team, filled: f.team, scopes: f.scopes, fields: authz.FieldsOf(f.limits)}
}

// refill returns the form to show again, and why, when the person chose a team
// for which it ought to have come filled in otherwise. Without that, a
// connection's limits would be lost, or one team's rights be taken for
// another's, by the choice of the other team.
func refill(f form, asked []store.Scope, live []store.Grant, teams []store.Membership) (again form, why string, ok bool) {
	i := slices.IndexFunc(teams, func(m store.Membership) bool { return m.Team.ID == f.team })
	had, want := fill(asked, live, f.filled), fill(asked, live, f.team)
	if i < 0 || had.same(want) {
		return form{}, "", false
	}
	name := teams[i].Team.Name
	why = fmt.Sprintf("For %s the form now says what the app asks for. Check it and approve again.", name)
	if want.team != "" {
		why = fmt.Sprintf("The app is connected to %s already, and the form now says with what. Check it and approve again.", name)
	}
	return want.form(f.handle, f.team), why, true
}

// faultyField names the field of the limits that the words are about, if they
// are.
func (f form) faultyField(words string) string {
	if f.fault == nil || f.fault.Message != words {
		return ""
	}
	return f.fault.Field
}
