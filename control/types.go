package control

import (
	"time"

	"podgate/store"
)

// Paths of the protocol, all POST.
const (
	pathSetupLink    = "/v1/setup-link"
	pathUserAdd      = "/v1/user/add"
	pathUserShow     = "/v1/user/show"
	pathUserList     = "/v1/user/list"
	pathUserPassword = "/v1/user/password"
	pathUserRemove   = "/v1/user/remove"
	pathTeamAdd      = "/v1/team/add"
	pathTeamList     = "/v1/team/list"
	pathMemberAdd    = "/v1/team/member/add"
	pathMemberRemove = "/v1/team/member/remove"
	pathCheck        = "/v1/check"
	pathRepair       = "/v1/repair"
	pathAddress      = "/v1/address"
)

// maxBody bounds a request in bytes; the largest holds a password.
const maxBody = 64 << 10

// NewUser is a person to add.
type NewUser struct {
	Email    string   `json:"email"`
	Name     string   `json:"name,omitempty"`
	Password string   `json:"password"`
	Admin    bool     `json:"admin,omitempty"`
	Teams    []string `json:"teams,omitempty"` // slugs
}

// User is a person as commands show one.
type User struct {
	ID      store.UserID `json:"id"`
	Email   string       `json:"email"`
	Name    string       `json:"name"`
	Admin   bool         `json:"admin"`
	Created time.Time    `json:"created"`
	Teams   []UserTeam   `json:"teams"`
}

// UserDetail is a person with what would end with the account.
type UserDetail struct {
	User
	Sessions    int      `json:"sessions"`
	Connections int      `json:"connections"`
	OnlyOwnerOf []string `json:"only_owner_of"` // slugs of teams that nobody else owns
}

// ChangedTeam is a team after a change of its members, or as it was when it was removed.
type ChangedTeam struct {
	Team
	Ended int `json:"connections_ended"`
}

// UserTeam is a team that a user is in.
type UserTeam struct {
	Slug string     `json:"slug"`
	Role store.Role `json:"role"`
}

// Team is a team as commands show one.
type Team struct {
	ID      store.TeamID `json:"id"`
	Slug    string       `json:"slug"`
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Members []TeamMember `json:"members"`
}

// TeamMember is a person in a team.
type TeamMember struct {
	Email string     `json:"email"`
	Role  store.Role `json:"role"`
}

// SetupLink is a one-time link that makes the first administrator.
type SetupLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// Report is the outcome of a check.
type Report struct {
	OK     bool          `json:"ok"`
	Counts []store.Count `json:"counts"`
	Damage []string      `json:"damage"`
}

type emailRequest struct {
	Email string `json:"email"`
}

type passwordRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

type teamRequest struct {
	Slug string `json:"slug"`
	Name string `json:"name,omitempty"`
}

type memberRequest struct {
	Slug  string `json:"slug"`
	Email string `json:"email"`
	Owner bool   `json:"owner,omitempty"`
}

// empty is what a command takes or answers that has nothing to say.
type empty struct{}
