// Package mcp is podgate's Model Context Protocol endpoint, POST /api/mcp: the
// tools and prompts with which an assistant works with one team's pods.
//
// It speaks revision 2026-07-28 and, on the same endpoint, the versions with an
// initialize handshake, through the official SDK in stateless mode: a request
// carries all that is needed to answer it, so nothing is lost in a restart.
//
// The bearer check of package oauth runs before it and leaves the
// [authz.Actor] in the request's context; the SDK hands that context's values
// to the tools. A connection that lacks a scope is answered 403 before the tool
// runs (RFC 6750 section 3.1), and package pods checks every action once more.
// Whatever pods refuses is a tool error in its words, never a protocol error.
package mcp
