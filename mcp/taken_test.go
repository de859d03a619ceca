package mcp_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/store"
)

// The connection of who only looks on, and that of a team which lets its connections
// only look, has the tools that read. Others are refused in words whatever scopes it
// came with.
func TestToolsOfViewers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	for want, narrow := range map[string]func(*authz.Actor){
		"only looks in this team (viewer)": func(a *authz.Actor) { a.Role = store.RoleViewer },
		"its owners do not allow it":       func(a *authz.Actor) { a.Team.Policy.Scopes = []store.Scope{authz.ScopeRead} },
		"no connection of this team may":   func(a *authz.Actor) { a.Team.Policy.Limits.ReadOnly = true },
	} {
		a := b.actor("ann")
		a.Grant = "grant"
		narrow(&a)
		for _, scopes := range [][]store.Scope{authz.Scopes(), {authz.ScopeRead}} { // with few, no 403 leads to asking for more
			a.Scopes = scopes
			b.as(want, a)
			for _, era := range eras {
				b.readsOnly(want, era)
			}
		}
	}
}

// readsOnly calls every tool that does more than read, with a token that is called
// like the words of the refusal.
func (b *bench) readsOnly(want, era string) {
	b.Helper()
	list, err := b.connect(want, era).ListTools(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for tool, with := range examples {
		reads := scopeOf(tool) == authz.ScopeRead
		if listed := slices.ContainsFunc(list.Tools, func(l *sdk.Tool) bool { return l.Name == tool }); listed != reads {
			b.Errorf("%s: %s is listed: %v", era, tool, listed)
		}
		if reads {
			continue
		}
		if with == nil {
			with = args{}
		}
		body, header := message(era, "tools/call", args{"name": tool, "arguments": with})
		resp, text := b.post(want, body, header)
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, want) || !strings.Contains(text, `"isError":true`) {
			b.Errorf("%s %s: %d %.300s", era, tool, resp.StatusCode, text)
		}
	}
}

// kept makes token stand for ann with the scopes that she left her assistant and
// those that she kept from it.
func (b *bench) kept(token string, taken []store.Scope, scopes ...store.Scope) {
	a := b.actor("ann")
	a.Scopes, a.Taken = scopes, taken
	b.as(token, a)
}

// Each tool is absent from the list exactly where its scope was taken away, and a
// call of it is refused in words that say by whom; others are called as always.
func TestToolsOfTakenScopes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	for _, scope := range authz.Scopes() {
		left := slices.DeleteFunc(authz.Scopes(), func(s store.Scope) bool { return s == scope })
		b.kept("without "+string(scope), []store.Scope{scope}, left...)
		for _, era := range eras {
			c := b.connect("without "+string(scope), era)
			list, err := c.ListTools(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var listed []string
			for _, tool := range list.Tools {
				listed = append(listed, tool.Name)
			}
			for tool, with := range examples {
				if with == nil {
					with = args{}
				}
				taken := scopeOf(tool) == scope
				if slices.Contains(listed, tool) == taken {
					t.Errorf("%s without %s lists %v", era, scope, listed)
				}
				body, header := message(era, "tools/call", args{"name": tool, "arguments": with})
				if !taken {
					continue
				}
				resp, text := b.post("without "+string(scope), body, header)
				if want := "the person who connected you took the permission " + string(scope) + " away"; resp.StatusCode != http.StatusOK || !strings.Contains(text, want) || !strings.Contains(text, `"isError":true`) {
					t.Errorf("%s %s: %d %.300s", era, tool, resp.StatusCode, text)
				}
			}
		}
	}
	if got, err := b.connect("ann", modern).ListTools(t.Context(), nil); err != nil || len(got.Tools) != len(examples) {
		t.Errorf("others are listed %d tools, %v", len(got.Tools), err)
	}
}
