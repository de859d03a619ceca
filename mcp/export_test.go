package mcp

import (
	"net/http"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
)

// Over is New over a server of the test's own, which has no tools of podgate's.
func Over(cfg Config, server *sdk.Server) http.Handler {
	e := &endpoint{cfg: cfg, tools: map[string]authz.Action{}, asTask: map[string]bool{}}
	e.over(server)
	return e
}
