package oauth

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"podgate/mcp"
	"podgate/pods/podstest"
)

// TestClients replays testdata/clients/*.txtar: the whole way of each
// well-known client from its first request to a call of a tool, with the
// requests that it is known to make. The resource is the real MCP endpoint. The
// documents of discovery, which other transcripts show, and long texts are cut.
func TestClients(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/clients/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			replay(t, path, func(f *fixture, s *scribe) {
				endpoint, err := mcp.New(mcp.Config{
					Pods: podstest.NewService(t, f.db), Issuer: testIssuer, Version: "1.2.3",
					Log: slog.New(slog.DiscardHandler), InsufficientScope: f.InsufficientScope, Watch: f.Watch,
				})
				f.must(err)
				f.handler = f.mount(endpoint)
				s.shorten = f.shorten
			})
		})
	}
}

// shorten cuts what a transcript of a client need not repeat.
func (f *fixture) shorten(body string) string {
	switch body {
	case string(f.resourceMetadata):
		return "(the document of the resource)\n"
	case string(f.serverMetadata):
		return "(the document of the authorization server)\n"
	}
	if before, data, isEvent := strings.Cut(body, "\ndata: "); isEvent {
		return before + "\ndata: " + f.shorten(data) + "\n"
	}
	var whole map[string]any
	if json.Unmarshal([]byte(body), &whole) != nil {
		return body
	}
	result, isResult := whole["result"].(map[string]any)
	if !isResult {
		return body
	}
	if _, long := result["instructions"]; long {
		result["instructions"] = "(text)"
	}
	for _, list := range []string{"tools", "prompts"} {
		entries, _ := result[list].([]any)
		for i, e := range entries {
			entries[i] = fmt.Sprint(e.(map[string]any)["name"])
		}
	}
	short, err := json.Marshal(whole)
	f.must(err)
	return string(short)
}
