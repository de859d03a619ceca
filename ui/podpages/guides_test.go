package podpages_test

import (
	"strings"
	"testing"

	"podgate/ui/podpages"
)

func TestGuides(t *testing.T) {
	t.Parallel()
	const endpoint = "https://pods.example.com/api/mcp"
	names := map[string]string{}
	for _, g := range podpages.Guides(endpoint) {
		var all strings.Builder
		for _, s := range g.Steps {
			all.WriteString(s.Text + "\n" + s.Code + "\n" + string(s.Link) + "\n")
			if s.Link != "" && s.Label == "" {
				t.Errorf("%s has a link without words", g.Name)
			}
		}
		if !strings.Contains(all.String(), endpoint) {
			t.Errorf("%s does not say the address", g.Name)
		}
		names[g.ID] = all.String()
	}
	for id, want := range map[string]string{
		"claude":      "Add custom connector",
		"chatgpt":     "Developer mode",
		"claude-code": "claude mcp add --transport http --scope user podgate " + endpoint,
		"cursor":      "cursor://anysphere.cursor-deeplink/mcp/install?name=podgate&config=eyJ1cmwiOiJodHRwczovL3BvZHMuZXhhbXBsZS5jb20vYXBpL21jcCJ9",
		"vscode":      `code --add-mcp '{"name":"podgate","type":"http","url":"` + endpoint + `"}'`,
		"codex":       "codex mcp add podgate --url " + endpoint,
		"gemini":      "gemini mcp add --scope user --transport http podgate " + endpoint,
	} {
		if !strings.Contains(names[id], want) {
			t.Errorf("%s lacks %q in:\n%s", id, want, names[id])
		}
	}
}
