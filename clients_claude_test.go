package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Claude Code signs in with a command that wants a terminal. To call a tool it
// needs a model: a scripted one, on loopback.
func TestClientClaudeCode(t *testing.T) {
	bothWays(t, func(t *testing.T, d *desk, login func([]string, ...string) string) {
		terminal, err := exec.LookPath("script")
		if err != nil {
			t.Fatalf("a terminal is needed, which script(1) makes: %v", err)
		}
		claude := d.at("@anthropic-ai", "claude-code-linux-x64", "claude")
		d.run(nil, claude, "mcp", "add", "--transport", "http", "podgate", d.url)
		d.shows(login(nil, terminal, "-qec", claude+" mcp login podgate", "/dev/null"), "Authenticated")
		d.connected("Claude Code")
		d.shows(d.run(nil, claude, "mcp", "list"), "Connected")

		ask := func(question, tool string, input args) string {
			model := &scriptedModel{t: t, tool: tool, input: input}
			srv := httptest.NewServer(model)
			defer srv.Close()
			account := []string{"ANTHROPIC_BASE_URL=" + srv.URL, "ANTHROPIC_API_KEY=none", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1"}
			return d.run(account, claude, "-p", question, "--allowedTools", tool)
		}
		d.shows(ask("Which pods are there?", "mcp__podgate__list_pods", args{}), `The tool said: "{\"team\":{\"slug\":\"home\"`)
		if d.srv.canRunPods() {
			said := ask("Put my page up.", "mcp__podgate__deploy", args{"name": "claude", "files": args{"index.html": "deployed by Claude Code"}})
			d.shows(said, `\"status\":\"running\"`, "deployed by Claude Code")
		}
	})
}

// scriptedModel answers POST /v1/messages with a call of one tool, and then
// repeats what the tool said.
type scriptedModel struct {
	t     *testing.T
	tool  string
	input args
	mu    sync.Mutex
}

func (m *scriptedModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(r.URL.Path, "/v1/messages") || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	var request struct {
		Tools    []struct{ Name string }
		Messages []struct{ Content json.RawMessage }
	}
	if err := json.Unmarshal(body, &request); err != nil {
		m.t.Errorf("a request to the model: %v", err)
	}
	said := ""
	for _, message := range request.Messages {
		said += toolSaid(message.Content)
	}
	block, delta, reason := args{"type": "text", "text": ""}, args{"type": "text_delta", "text": "The tool said: " + said}, "end_turn"
	if said == "" && len(request.Tools) > 0 {
		if m.input == nil {
			m.input = args{}
		}
		input, err := json.Marshal(m.input)
		if err != nil {
			m.t.Error(err)
		}
		block = args{"type": "tool_use", "id": "toolu_1", "name": m.tool, "input": args{}}
		delta, reason = args{"type": "input_json_delta", "partial_json": string(input)}, "tool_use"
	}
	usage := args{"input_tokens": 1, "output_tokens": 1}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range []args{
		{"type": "message_start", "message": args{"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": []any{}, "usage": usage}},
		{"type": "content_block_start", "index": 0, "content_block": block},
		{"type": "content_block_delta", "index": 0, "delta": delta},
		{"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": args{"stop_reason": reason}, "usage": usage},
		{"type": "message_stop"},
	} {
		raw, err := json.Marshal(event)
		if err != nil {
			m.t.Error(err)
		}
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event["type"], raw)
	}
}

// toolSaid returns the text of the tool results in a message.
func toolSaid(content json.RawMessage) string {
	var blocks []struct {
		Type    string
		Content json.RawMessage
	}
	if json.Unmarshal(content, &blocks) != nil {
		return "" // plain text
	}
	var said strings.Builder
	for _, b := range blocks {
		if b.Type == "tool_result" {
			said.Write(b.Content)
		}
	}
	return said.String()
}
