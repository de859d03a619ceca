package oauth

import (
	"slices"

	"podgate/store"
)

// knownDocument is the copy of a document that comes with the program.
type knownDocument struct {
	url          string
	name         string
	redirectURIs []string // a loopback URI stands for every port
}

// knownDocuments are the documents of widely used clients as they were in
// November 2026. Their clients never register at a server that reads
// documents, so a server without a way out to the internet would lock them
// out. A copy is used only as long as the document itself cannot be had. With
// registration = "known" the list is also who may come at all.
//
// OpenCode is not among them: what its version 1.18 does is register.
//
// ChatGPT and Codex have a document for each server too; both use the one here
// with a server that sends iss (RFC 9207), as this one does.
var knownDocuments = []knownDocument{
	{"https://claude.ai/oauth/mcp-oauth-client-metadata", "Claude", []string{"https://claude.ai/api/mcp/auth_callback"}},
	{"https://claude.ai/oauth/claude-code-client-metadata", "Claude Code", []string{"http://localhost/callback", "http://127.0.0.1/callback"}},
	{"https://chatgpt.com/oauth/client.json", "ChatGPT", []string{"https://chatgpt.com/connector_platform_oauth_redirect"}},
	{"https://chatgpt.com/oauth/codex/client.json", "Codex", []string{"http://127.0.0.1/callback", "http://localhost/callback"}},
	{"https://cursor.com/oauth/mcp-client.json", "Cursor", []string{
		"https://www.cursor.com/agents/mcp/oauth/callback", "https://www.cursor.com/bot/mcp/oauth/callback",
		"http://localhost:8787/callback", "http://127.0.0.1:8787/callback",
	}},
	{"https://github.com/copilot/cli/client-metadata.json", "GitHub Copilot CLI", []string{"http://127.0.0.1/callback", "http://127.0.0.1:33418/"}},
	{"https://vscode.dev/oauth/client-metadata.json", "Visual Studio Code", []string{"http://127.0.0.1:33418/", "https://vscode.dev/redirect"}},
	{"https://zed.dev/oauth/client-metadata.json", "Zed", []string{"http://127.0.0.1/callback"}},
}

// is reports whether a stored client is this copy.
func (k knownDocument) is(c store.Client) bool {
	return c.Name == k.name && slices.Equal(c.RedirectURIs, k.redirectURIs)
}

// knownDocumentAt returns the copy for an identifier, compared byte for byte:
// other addresses on the same hosts can be anybody's.
func knownDocumentAt(id store.ClientID) (knownDocument, bool) {
	i := slices.IndexFunc(knownDocuments, func(k knownDocument) bool { return k.url == string(id) })
	if i < 0 {
		return knownDocument{}, false
	}
	return knownDocuments[i], true
}

// KnownDocuments returns the addresses of the documents that come with the
// program.
func KnownDocuments() []string {
	var list []string
	for _, k := range knownDocuments {
		list = append(list, k.url)
	}
	return list
}
