package control

import (
	"context"

	"podgate/account"
	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
)

// about says what a command is about, for the audit list.
type about struct {
	email string // of the person
	team  string // slug
	pod   store.PodID
	more  string
}

// audited is command for one that changes something: what it did stands in the
// audit list. A command that was refused changed nothing and is left out.
func audited[In, Out any](h *handler, action store.AuditAction, of func(In) about, do func(context.Context, In) (Out, error)) web.Handler {
	return command(func(ctx context.Context, in In) (Out, error) {
		subject := of(in)
		person := h.personNamed(subject.email) // before the command: it may remove them
		had := h.connectionsOf(person)
		out, err := do(ctx, in)
		if err == nil {
			h.audit(action, subject, person)
			h.auditEnded(had, person)
		}
		return out, err
	})
}

func (h *handler) audit(action store.AuditAction, subject about, person store.UserID) {
	if person == "" {
		person = h.personNamed(subject.email) // whom the command has just added
	}
	e := store.AuditEntry{Action: action, ActorName: history.CommandLine, Concerns: person, TeamName: subject.team, Pod: subject.pod, Object: subject.more}
	if email, err := account.NormalizeEmail(subject.email); err == nil {
		e.Object = join(email, subject.more)
	}
	if t, err := h.DB.TeamBySlug(subject.team); err == nil {
		e.Team = t.ID
	}
	h.History.Audit(history.Visitor{}, e)
}

// connectionsOf returns a person's live connections; none when they cannot be
// read, about which the command itself will have something to say.
func (h *handler) connectionsOf(person store.UserID) []account.Connection {
	if person == "" {
		return nil
	}
	list, err := h.Accounts.Connections(person)
	if err != nil {
		h.Log.Error("list the connections of a person", "error", err)
	}
	return list
}

// auditEnded records the connections that a command has ended.
func (h *handler) auditEnded(had []account.Connection, person store.UserID) {
	still := map[store.GrantID]bool{}
	for _, c := range h.connectionsOf(person) {
		still[c.ID] = true
	}
	for _, c := range had {
		if still[c.ID] {
			continue
		}
		h.History.Step(history.OfGrant(c.Grant, history.Note{Kind: history.StepRevoke, Detail: "by the command line"}))
		h.History.Audit(history.Visitor{}, store.AuditEntry{
			Action: history.AuditRevoke, ActorName: history.CommandLine, Concerns: person, Grant: c.ID, Client: c.RedirectHost,
			Team: c.Grant.Team, TeamName: c.Team.Slug,
		})
	}
}

// join puts a comma between two texts that are not empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// personNamed returns whose address it is; "" when it is nobody's. The command
// itself says what is wrong with the address.
func (h *handler) personNamed(email string) store.UserID {
	normal, err := account.NormalizeEmail(email)
	if err != nil {
		return ""
	}
	u, err := h.DB.UserByEmail(normal)
	if err != nil {
		return ""
	}
	return u.ID
}

func ofNothing(empty) about              { return about{} }
func ofPassword(r passwordRequest) about { return about{email: r.Email} }
func ofEmail(r emailRequest) about       { return about{email: r.Email} }
func ofTeam(r teamRequest) about         { return about{team: r.Slug} }

func ofUser(u NewUser) about {
	a := about{email: u.Email}
	if u.Admin {
		a.more = "administrator"
	}
	for _, slug := range u.Teams {
		a.more = join(a.more, "team "+slug)
	}
	return a
}

func ofMember(r memberRequest) about {
	a := about{email: r.Email, team: r.Slug}
	if r.Owner {
		a.more = "owner"
	}
	return a
}
