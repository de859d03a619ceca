// Package authz decides who may do what. It is pure: an [Actor], an [Action]
// and the team that owns the object go in, nil or a *[Denied] comes out. It
// reads nothing and keeps nothing, so the whole policy is the one table below
// and is tested as the full product of its inputs.
package authz

import (
	"context"
	"fmt"
	"slices"

	"podgate/store"
)

// The scopes a connection can hold. None implies another.
const (
	ScopeRead  store.Scope = "pods:read"
	ScopeWrite store.Scope = "pods:write"
	ScopeExec  store.Scope = "pods:exec"
)

// Scopes returns every scope in the order in which people are shown them. It
// is also what a client gets that asks for nothing in particular.
func Scopes() []store.Scope { return []store.Scope{ScopeRead, ScopeWrite, ScopeExec} }

// Action is something an actor wants to do with a team's pods.
type Action string

// The actions there are.
const (
	SeeCatalogue Action = "see presets, plans and regions"
	ListPods     Action = "list pods"
	ReadPod      Action = "read a pod"
	ReadFiles    Action = "read files"
	ReadLogs     Action = "read logs"
	CreatePod    Action = "create a pod"
	ManagePod    Action = "start, stop or restart a pod"
	DeletePod    Action = "delete a pod"
	WriteFiles   Action = "write files"
	Exec         Action = "run commands"
	VisitPod     Action = "visit a pod's address"
)

// policy says which scope an action needs. An action that is not here is
// denied to everybody. Both roles may do all of it: roles differ in what they
// may do to the team, not to its pods.
var policy = map[Action]store.Scope{
	SeeCatalogue: ScopeRead,
	ListPods:     ScopeRead,
	ReadPod:      ScopeRead,
	ReadFiles:    ScopeRead,
	ReadLogs:     ScopeRead,
	CreatePod:    ScopeWrite,
	ManagePod:    ScopeWrite,
	DeletePod:    ScopeWrite,
	WriteFiles:   ScopeWrite,
	Exec:         ScopeExec,
	VisitPod:     ScopeRead,
}

// Needs returns the scope that an action needs, and false for an unknown one.
func Needs(a Action) (store.Scope, bool) {
	s, ok := policy[a]
	return s, ok
}

// Actor is who acts: a user, in one team, with the scopes that the way in
// gives. The zero Actor may do nothing.
type Actor struct {
	User   store.UserID
	Team   store.Team
	Role   store.Role
	Scopes []store.Scope
	Grant  store.GrantID // the connection acted through; empty for a browser session
}

// Person is the actor for somebody who signed in with a browser and looks at
// one of their teams: every scope, because nobody stands between.
func Person(user store.UserID, m store.Membership) Actor {
	return Actor{User: user, Team: m.Team, Role: m.Role, Scopes: Scopes()}
}

// Connection is the actor for a client that came with an access token.
func Connection(a *store.Access) Actor {
	return Actor{User: a.Grant.User, Team: a.Team, Role: a.Role, Scopes: a.Scopes(), Grant: a.Grant.ID}
}

// Denied says why an action is refused.
type Denied struct {
	Action Action
	Scope  store.Scope // what is missing; empty when no scope would help
}

func (d *Denied) Error() string {
	if d.Scope != "" {
		return fmt.Sprintf("authz: to %s needs the scope %s", d.Action, d.Scope)
	}
	return fmt.Sprintf("authz: not allowed to %s", d.Action)
}

// Allow returns nil when the actor may do a with an object of the given team,
// and a *Denied otherwise.
func (a Actor) Allow(action Action, owner store.TeamID) error {
	scope, known := policy[action]
	if !known || a.User == "" || owner == "" || a.Team.ID != owner || (a.Role != store.RoleOwner && a.Role != store.RoleMember) {
		return &Denied{Action: action}
	}
	if !slices.Contains(a.Scopes, scope) {
		return &Denied{Action: action, Scope: scope}
	}
	return nil
}

type actorKey struct{}

// WithActor returns a context that carries the actor of a request.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// FromContext returns the actor of the request; the zero Actor, which may do
// nothing, when there is none.
func FromContext(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
