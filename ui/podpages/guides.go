package podpages

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
)

// guide says how one client is connected.
type guide struct {
	ID, Name string
	Hosted   bool // it connects from its maker's servers, not from this computer
	Steps    []step
}

// step is one thing to do: a sentence, and with it text to copy or a link to
// follow.
type step struct {
	Text  string
	Code  string
	Link  template.URL // opens another program; built here, never from input
	Label string
}

// serverName is what clients list the connection under.
const serverName = "podgate"

// guides returns the instructions for the endpoint, first for the clients that
// can reach it.
func (s *Pages) guides(endpoint string) []guide {
	var near, far []guide
	for _, g := range guides(endpoint) {
		if s.Local && g.Hosted {
			far = append(far, g)
		} else {
			near = append(near, g)
		}
	}
	return append(near, far...)
}

// guides returns the instructions for the endpoint, checked against each
// client's own documentation in November 2026. Hosted clients come first: they
// are what most people have.
func guides(endpoint string) []guide {
	then := step{Text: "Your browser opens this server. Choose a team and approve."}
	cursor := jsonLine(map[string]string{"url": endpoint})
	vscode := jsonLine(map[string]string{"name": serverName, "type": "http", "url": endpoint})
	return []guide{
		{ID: "claude", Name: "Claude, on the web and desktop", Hosted: true, Steps: []step{
			{Text: "In Claude, open Customize, then Connectors, press + and choose Add custom connector."},
			{Text: "Name it " + serverName + ", paste this address and press Add.", Code: endpoint},
			{Text: "Press Connect. " + then.Text},
			{Text: "In a Team or Enterprise plan an owner adds the connector first, in the organization's settings; then each person connects."},
		}},
		{ID: "chatgpt", Name: "ChatGPT", Hosted: true, Steps: []step{
			{Text: "In ChatGPT on the web, open Settings, then Apps, then Advanced settings, and switch on Developer mode. In a company plan an administrator allows it first."},
			{Text: "Press Create app, name it " + serverName + ", paste this address and leave the authentication at OAuth.", Code: endpoint},
			{Text: "Press Create. " + then.Text},
			{Text: "In a new chat, press + and choose " + serverName + "."},
		}},
		{ID: "claude-code", Name: "Claude Code", Steps: []step{
			{Text: "Run this in a terminal.", Code: "claude mcp add --transport http --scope user " + serverName + " " + endpoint},
			{Text: "Start Claude Code, type /mcp, choose " + serverName + " and then Authenticate. " + then.Text},
		}},
		{ID: "cursor", Name: "Cursor", Steps: []step{
			{Text: "Open this link on the computer that has Cursor, and press Install.",
				Link:  template.URL("cursor://anysphere.cursor-deeplink/mcp/install?name=" + serverName + "&config=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(cursor)))),
				Label: "Add to Cursor"},
			{Text: "Or put this into ~/.cursor/mcp.json.", Code: fmt.Sprintf("{\n  \"mcpServers\": {\n    \"%s\": { \"url\": \"%s\" }\n  }\n}", serverName, endpoint)},
			{Text: "In Cursor's MCP settings, press Connect beside " + serverName + ". " + then.Text},
		}},
		{ID: "vscode", Name: "VS Code", Steps: []step{
			{Text: "Open this link on the computer that has VS Code, and press Install.",
				Link: template.URL("vscode:mcp/install?" + url.QueryEscape(vscode)), Label: "Add to VS Code"},
			{Text: "Or run this in a terminal.", Code: "code --add-mcp '" + vscode + "'"},
			{Text: "Run the command MCP: List Servers, start " + serverName + " and allow the sign-in. " + then.Text},
		}},
		{ID: "codex", Name: "Codex", Steps: []step{
			{Text: "Run this in a terminal.", Code: "codex mcp add " + serverName + " --url " + endpoint},
			{Text: "If the browser does not open by itself, run this too.", Code: "codex mcp login " + serverName},
			{Text: then.Text},
		}},
		{ID: "gemini", Name: "Gemini CLI", Steps: []step{
			{Text: "Run this in a terminal.", Code: "gemini mcp add --scope user --transport http " + serverName + " " + endpoint},
			{Text: "Start Gemini CLI and type this. " + then.Text, Code: "/mcp auth " + serverName},
		}},
		{ID: "other", Name: "Any other client", Steps: []step{
			{Text: "Add a remote MCP server of the kind Streamable HTTP with this address. It needs no key: the client registers itself and your browser opens for the rest.", Code: endpoint},
		}},
	}
}

// jsonLine encodes with sorted keys on one line.
func jsonLine(v map[string]string) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(raw)
}
