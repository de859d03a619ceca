// Package remote is podgate as somebody else's client: what its own commands need
// to call the tools of a server, on this machine or far away.
//
//   - [Client] calls a tool: one POST in the stateless revision of MCP.
//   - [Login] is what the command line holds of one server, gained in a browser by
//     the same OAuth flow as any client's ([Begin]); [Logins] keeps them in a file of
//     the person's own and renews their tokens, one process at a time.
//   - [Pack] and [Unpack] carry folders there and back.
//
// A server may be hostile. What it sends is bounded; no token goes to another
// origin than that of the address that a person typed; an archive of its writes
// nothing outside the folder that it is unpacked into. Its words are handed on as
// they are: whoever shows them makes them fit for a terminal.
package remote
