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

// RoleWords says to a person what a role may do.
func RoleWords(role store.Role) string {
	switch role {
	case store.RoleOwner:
		return "does everything, and decides who is in the team and what its connections may do"
	case store.RoleMember:
		return "works with the team's pods"
	case store.RoleViewer:
		return "looks at the team's pods, files and logs, and changes nothing"
	}
	return ""
}

// Scopes returns every scope in the order in which people are shown them. It
// is also what a client gets that asks for nothing in particular.
func Scopes() []store.Scope { return []store.Scope{ScopeRead, ScopeWrite, ScopeExec} }

// Action is something an actor wants to do with a team, its pods or the server.
type Action string

// What is done with a team's pods.
const (
	SeeCatalogue Action = "see presets, plans and regions"
	ListPods     Action = "list pods"
	ReadPod      Action = "read a pod" // with the names of its environment variables
	ReadFiles    Action = "read files"
	ReadLogs     Action = "read logs"
	CreatePod    Action = "create a pod"
	ManagePod    Action = "start, stop or restart a pod"
	DeletePod    Action = "delete a pod"
	WriteFiles   Action = "write files"
	Deploy       Action = "deploy an app"
	Exec         Action = "run commands"
	VisitPod     Action = "visit a pod's address"
	ChangePlan   Action = "change a pod's plan"
	UndeletePod  Action = "bring a deleted pod back, or delete it for good"
)

// What is done with a team, and to what it is held. No connection does any of it.
const (
	SeeTeam        Action = "see the team"
	LeaveTeam      Action = "leave the team"
	ChangeMembers  Action = "invite, change and remove members"
	RenameTeam     Action = "rename the team"
	RemoveTeam     Action = "remove the team"
	ChangePolicy   Action = "change what the team's connections may do"
	ChangeNetwork  Action = "change what pods may reach"
	SeeConnections Action = "see other members' connections"
	EndConnections Action = "change and end other members' connections"
	Administer     Action = "administer the server"
)

// A rule says who may do an action. Those of the pods' actions need a scope,
// which no connection has for the others.
type rule struct {
	scope store.Scope
	roles []store.Role
	admin bool // administrators may, in every team
}

var (
	everybody = []store.Role{store.RoleOwner, store.RoleMember, store.RoleViewer}
	makers    = []store.Role{store.RoleOwner, store.RoleMember}
	owners    = []store.Role{store.RoleOwner}
)

// policy is who may do what. An action that is not here is denied to everybody.
// Administrators manage teams, and what is in the pods is not theirs to see.
var policy = map[Action]rule{
	SeeCatalogue: {ScopeRead, everybody, false},
	ListPods:     {ScopeRead, everybody, false},
	ReadPod:      {ScopeRead, everybody, false},
	ReadFiles:    {ScopeRead, everybody, false},
	ReadLogs:     {ScopeRead, everybody, false},
	VisitPod:     {ScopeRead, everybody, false},
	CreatePod:    {ScopeWrite, makers, false},
	ManagePod:    {ScopeWrite, makers, false},
	DeletePod:    {ScopeWrite, makers, false},
	WriteFiles:   {ScopeWrite, makers, false},
	Deploy:       {ScopeWrite, makers, false},
	ChangePlan:   {ScopeWrite, makers, false},
	Exec:         {ScopeExec, makers, false},

	SeeTeam:        {scopePerson, everybody, true},
	LeaveTeam:      {scopePerson, everybody, false},
	UndeletePod:    {scopePerson, owners, false},
	ChangeMembers:  {scopePerson, owners, true},
	RenameTeam:     {scopePerson, owners, true},
	RemoveTeam:     {scopePerson, owners, true},
	ChangePolicy:   {scopePerson, owners, true},
	ChangeNetwork:  {scopePerson, owners, true},
	SeeConnections: {scopePerson, owners, true},
	EndConnections: {scopePerson, owners, true},
	Administer:     {scopePerson, nil, true},
}

// scopePerson stands in the table for what only people do. It is no scope that a
// connection could be given.
const scopePerson store.Scope = "(a person)"

// Needs returns the scope that an action of a connection needs, and false for an
// unknown one and for what only people do.
func Needs(a Action) (store.Scope, bool) {
	r, ok := policy[a]
	if !ok || r.scope == scopePerson {
		return "", false
	}
	return r.scope, true
}

// policyAllows reports whether a team lets its connections make use of a scope.
func policyAllows(p store.Policy, s store.Scope) bool {
	return (len(p.Scopes) == 0 || slices.Contains(p.Scopes, s)) && (!p.Limits.ReadOnly || s == ScopeRead)
}

// Offered returns the scopes that a connection of that member can make use of: what
// neither their role nor the team's policy takes away.
func Offered(m store.Membership) []store.Scope {
	return slices.DeleteFunc(RoleScopes(m.Role), func(s store.Scope) bool { return !policyAllows(m.Team.Policy, s) })
}

// RoleScopes returns the scopes that a role can make use of, itself or through a
// connection: those of the actions that the table lets it do.
func RoleScopes(role store.Role) []store.Scope {
	return slices.DeleteFunc(Scopes(), func(s store.Scope) bool {
		for _, r := range policy {
			if r.scope == s && slices.Contains(r.roles, role) {
				return false
			}
		}
		return true
	})
}

// Actor is who acts: a user, in one team, with the scopes that the way in
// gives. The zero Actor may do nothing.
type Actor struct {
	User   store.UserID
	Team   store.Team
	Role   store.Role // empty: no member
	Admin  bool       // administers the server; never through a connection
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

// Of is the actor for a user in a team, where they have that role or none. Only
// of administrators it goes beyond Person.
func Of(user store.User, team store.Team, role store.Role) Actor {
	return Actor{User: user.ID, Team: team, Role: role, Admin: user.Admin, Scopes: Scopes()}
}

// commandLine stands for whoever gives commands at the server. No user has it.
const commandLine store.UserID = "command line"

// CommandLine is the actor for whoever gives commands at the server, in a team; the
// zero Team: in none. They own the database, so nothing is kept from them.
func CommandLine(team store.Team) Actor {
	if team.ID == "" {
		team.ID = serverTeam
	}
	return Actor{User: commandLine, Team: team, Role: store.RoleOwner, Admin: true, Scopes: Scopes()}
}

// IsCommandLine reports whether it is whoever gives commands at the server, who is a
// member of no team.
func (a Actor) IsCommandLine() bool { return a.User == commandLine }

// serverTeam stands for the server where no team is meant. No team has it.
const serverTeam store.TeamID = "(the server)"

// OfServer is the actor for a user who looks at the server and not at a team.
func OfServer(user store.User) Actor { return Of(user, store.Team{ID: serverTeam}, "") }

// By returns who it was, for a record: empty for a command line.
func (a Actor) By() store.UserID {
	if a.IsCommandLine() {
		return ""
	}
	return a.User
}

// Connection is the actor for a client that came with an access token.
func Connection(a *store.Access) Actor {
	return Actor{
		User: a.Grant.User, Team: a.Team, Role: a.Role,
		Scopes: a.Scopes(), Taken: slices.Concat(a.Grant.Declined, a.Grant.Revoked), Limits: a.Grant.Limits, Grant: a.Grant.ID,
	}
}

// policy is what the team lets connections do; a person is not one.
func (a Actor) policy() store.Policy {
	if a.Grant == "" {
		return store.Policy{}
	}
	return a.Team.Policy
}

// Denied says why an action is refused.
type Denied struct {
	Action Action
	Scope  store.Scope // what is missing; empty when no scope would help
	Limit  Limit       // what is in the way whatever the scopes; empty when nothing is
}

func (d *Denied) Error() string {
	switch {
	case d.Limit != "":
		return fmt.Sprintf("authz: not allowed to %s: limited (%s)", d.Action, d.Limit)
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
	r, known := policy[action]
	person := r.scope == scopePerson
	switch {
	case !known || a.User == "" || owner == "" || a.Team.ID != owner:
		return &Denied{Action: action}
	case person && a.Grant != "":
		return &Denied{Action: action, Limit: LimitPerson}
	case r.admin && a.Admin && a.Grant == "":
		return nil
	case !slices.Contains(everybody, a.Role):
		return &Denied{Action: action}
	case !slices.Contains(r.roles, a.Role):
		return &Denied{Action: action, Limit: LimitRole}
	case !person && !policyAllows(a.policy(), r.scope):
		return &Denied{Action: action, Limit: LimitPolicy}
	case a.Limits.ReadOnly && r.scope != ScopeRead:
		return &Denied{Action: action, Limit: LimitReadOnly}
	case !person && !slices.Contains(a.Scopes, r.scope):
		return &Denied{Action: action, Scope: r.scope}
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
