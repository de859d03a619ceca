package mcp_test

import (
	"slices"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
)

// kinds are what the schema of create_pod offers for preset, and how it describes
// them.
func (c *client) kinds() (offered []string, description string) {
	c.b.Helper()
	list, err := c.ListTools(c.b.Context(), nil)
	if err != nil {
		c.b.Fatal(err)
	}
	i := slices.IndexFunc(list.Tools, func(t *sdk.Tool) bool { return t.Name == "create_pod" })
	preset := list.Tools[i].InputSchema.(args)["properties"].(args)["preset"].(args)
	names, _ := preset["enum"].([]any)
	for _, n := range names {
		offered = append(offered, n.(string))
	}
	return offered, preset["description"].(string)
}

// What can be made in no region is not offered; what comes back is offered again.
func TestOfferedKinds(t *testing.T) {
	t.Parallel()
	far := podstest.NewFake(t)
	b := newBench(t, func(c *pods.Config) { c.Regions = append(c.Regions, podstest.Region("far", far)) })
	all := []string{"static", "nodejs", "python", "php", "go", "command"}
	for _, era := range eras {
		c := b.connect("ann", era)
		b.fake.Lack("php", "go")
		far.Lack("php")
		got, lines := c.kinds()
		if want := []string{"static", "nodejs", "python", "go", "command"}; !slices.Equal(got, want) || strings.Contains(lines, "php") {
			t.Errorf("%s: %q, want %q: %s", era, got, want, lines)
		}
		if !strings.Contains(lines, "\n- go: Go: go build at reload") || strings.Count(lines, "\n") != len(got) {
			t.Errorf("%s: %s", era, lines)
		}
		if text := c.refused("create_pod", args{"name": "shop", "preset": "php"}); !strings.Contains(text, "apt install php-cli") {
			t.Errorf("%s: %s", era, text)
		}
		far.Lack()
		if got, _ := b.connect("ann", era).kinds(); !slices.Equal(got, all) {
			t.Errorf("%s: %q, want %q", era, got, all)
		}
	}
	b.kept("blind", nil, authz.ScopeWrite)
	if got, lines := b.connect("blind", modern).kinds(); got != nil || strings.Contains(lines, "\n") {
		t.Errorf("without the catalogue's scope: %q, %s", got, lines)
	}
}
