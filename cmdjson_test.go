package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"podgate/control"
)

// withoutJSON are the commands that have nothing for programs to read.
var withoutJSON = []string{"serve", "completion", "help", "man", "debug profile"}

// Every command that tells or changes something does it for programs too.
func TestEveryCommandHasJSON(t *testing.T) {
	t.Parallel()
	for _, c := range leaves(commands(process{})) {
		name := nameOf(c)
		if has := c.Flags().Lookup("json") != nil; has == slices.Contains(withoutJSON, name) {
			t.Errorf("podgate %s: --json is there: %v", name, has)
		}
	}
}

// What changes something prints what it changed as the command prints it that lists
// it, and nothing beside it.
func TestChangesInJSON(t *testing.T) {
	t.Parallel()
	g := giver{t: t, more: []string{"--data", t.TempDir()}}
	var team control.ChangedTeam
	var user struct {
		control.UserDetail
		Password string
	}
	var invitation control.Invitation
	var app control.ChangedApp
	for _, step := range []struct {
		line string
		into any
		want func() bool
	}{
		{"team add makers --name Makers", &team, func() bool { return team.Slug == "makers" && team.Name == "Makers" }},
		{"user add ada@example.com --admin --team makers", &user, func() bool {
			return user.Email == "ada@example.com" && user.Admin && user.Teams[0].Slug == "makers" && len(user.Password) > 20
		}},
		{"user add bob@example.com", &user, func() bool { return user.Email == "bob@example.com" }},
		{"team member add makers ada@example.com --owner", &team, func() bool { return team.Members[0] == control.TeamMember{Email: "ada@example.com", Role: "owner"} }},
		{"team member add makers bob@example.com", &team, func() bool { return len(team.Members) == 2 }},
		{"team member role makers bob@example.com viewer", &team, func() bool { return team.Members[1].Role == "viewer" }},
		{"team rename makers Tinkerers --slug tinkerers", &team, func() bool { return team.Name == "Tinkerers" && team.Slug == "tinkerers" && len(team.Members) == 2 }},
		{"team member remove tinkerers bob@example.com", &team, func() bool { return len(team.Members) == 1 && team.Ended == 0 }},
		{"team invite tinkerers eve@example.com", &invitation, func() bool { return invitation.Link != "" }},
		{"team invitation withdraw tinkerers eve@example.com", &invitation, func() bool { return invitation.Email == "eve@example.com" && invitation.Link == "" }},
		{"team policy tinkerers --scope pods:read", nil, nil},
		{"team quota tinkerers --pods 3", nil, nil},
		{"user admin bob@example.com", &user, func() bool { return user.Email == "bob@example.com" && user.Admin }},
		{"user passwd bob@example.com", &user, func() bool { return user.Email == "bob@example.com" && len(user.Password) > 20 }},
		{"user remove bob@example.com", &user, func() bool { return user.Email == "bob@example.com" && user.Password == "" }},
		{"client block https://app.example.com/client.json", &app, func() bool { return !app.Blocked.IsZero() && app.ID != "" }},
		{"client unblock https://app.example.com/client.json", &app, func() bool { return app.Blocked.IsZero() && app.ID != "" }},
		{"team remove tinkerers", &team, func() bool { return team.Slug == "tinkerers" && len(team.Members) == 1 }},
	} {
		code, out, errs := g.give("", step.line+" --json")
		if step.into == nil {
			step.into, step.want = &map[string]any{}, func() bool { return true }
		}
		v := reflect.ValueOf(step.into).Elem()
		v.Set(reflect.Zero(v.Type()))
		if err := json.Unmarshal([]byte(out), step.into); code != exitDone || err != nil || errs != "" || !step.want() {
			t.Errorf("podgate %s: %d %v\n%s%s", step.line, code, err, out, errs)
		}
	}
	if code, out, errs := g.give("a long and winding sentence\n", "user add eve@example.com --password-stdin --json"); code != exitDone || strings.Contains(out, "assword") {
		t.Errorf("a password that was given: %d %s%s", code, out, errs)
	}
}
