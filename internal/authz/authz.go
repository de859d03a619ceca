// Package authz decides who may do what. It is pure: an [Actor], an [Action],
// the team that owns the object and the name of the pod go in, nil or a
// *[Denied] comes out. It reads nothing and keeps nothing, so the whole policy
// is the one table below and is tested as the full product of its inputs.
package authz

import (
	"context"
	"errors"
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
	Deploy       Action = "deploy an app"
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
	Deploy:       ScopeWrite,
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
	Taken  []store.Scope // which the person keeps from the connection, although its client asked
	Limits store.Limits  // of the connection
	Grant  store.GrantID // the connection acted through; empty for a browser session
}

// Person is the actor for somebody who signed in with a browser and looks at
// one of their teams: every scope, because nobody stands between.
func Person(user store.UserID, m store.Membership) Actor {
	return Actor{User: user, Team: m.Team, Role: m.Role, Scopes: Scopes()}
}

// Connection is the actor for a client that came with an access token.
func Connection(a *store.Access) Actor {
	return Actor{
		User: a.Grant.User, Team: a.Team, Role: a.Role,
		Scopes: a.Scopes(), Taken: slices.Concat(a.Grant.Declined, a.Grant.Revoked), Limits: a.Grant.Limits, Grant: a.Grant.ID,
	}
}

// Denied says why an action is refused.
type Denied struct {
	Action Action
	Scope  store.Scope // what is missing; empty when no scope would help
	Limit  Limit       // of the connection, that is in the way; empty when none is
}

func (d *Denied) Error() string {
	switch {
	case d.Limit != "":
		return fmt.Sprintf("authz: not allowed to %s: the connection is limited (%s)", d.Action, d.Limit)
	case d.Scope != "":
		return fmt.Sprintf("authz: to %s needs the scope %s", d.Action, d.Scope)
	}
	return fmt.Sprintf("authz: not allowed to %s", d.Action)
}

// Allow returns nil when the actor may do action with something of the given
// team, as far as it does not depend on which pod. An action on a pod needs
// AllowPod as well.
func (a Actor) Allow(action Action, owner store.TeamID) error { return a.decide(action, owner, nil) }

// AllowPod returns nil when the actor may do action with the pod of that name
// in the given team, and a *Denied otherwise.
func (a Actor) AllowPod(action Action, owner store.TeamID, pod string) error {
	return a.decide(action, owner, &pod)
}

// decide is the policy. What no scope would help against comes before the
// scopes, so that nobody is sent to ask for some in vain; the name of the pod
// comes last, so that one outside the limits looks like one that is absent.
func (a Actor) decide(action Action, owner store.TeamID, pod *string) error {
	scope, known := policy[action]
	switch {
	case !known || a.User == "" || owner == "" || a.Team.ID != owner || (a.Role != store.RoleOwner && a.Role != store.RoleMember):
		return &Denied{Action: action}
	case a.Limits.ReadOnly && scope != ScopeRead:
		return &Denied{Action: action, Limit: LimitReadOnly}
	case !slices.Contains(a.Scopes, scope):
		return &Denied{Action: action, Scope: scope}
	case pod != nil && !a.Sees(*pod):
		return &Denied{Action: action, Limit: LimitPrefix}
	}
	return nil
}

// ErrRevoked is the cause with which what an actor has begun is broken off when
// its right to it is taken away meanwhile.
var ErrRevoked = errors.New("authz: the right to this was taken away while it ran")

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
