// Package ui is what a person sees of podgate first: setup, sign-in, consent,
// account, connections and activity, as server-rendered pages that work without
// script. It puts the pages of all packages together.
//
// Routes: GET, POST /setup · GET, POST /sign-in · POST /sign-out · GET /account ·
// POST /account/password, /account/end-session · GET, POST
// /account/log-out-everywhere · GET /activity, /audit, /connections,
// /connection/ID · POST /connection/ID/name · GET, POST /connection/ID/limits,
// /connection/ID/revoke. Those of pods, teams and the server are in podpages,
// teampages and serverpages.
//
// Invariants, each with a test:
//
//   - Every page has a Content-Security-Policy without inline script or style
//     and cannot be framed; nothing comes from another host.
//   - Every form is a POST that is refused unless the browser says that it
//     comes from the pages' own origin, and came to it ([web.PageHost]).
//   - The session secret lives in one HttpOnly, SameSite=Lax cookie, named
//     __Host-podgate and Secure under https, and is new at each sign-in. On
//     loopback it is at a host that the pages have for themselves.
//   - Where a sign-in leads next is a path on this server and nothing else.
//   - Text that comes from clients, pods or browsers is escaped, bounded and
//     free of control and direction characters.
//
// [Server] satisfies oauth.Pages and oauth.Sessions. The rules about people
// are in package account, those about pods in package pods.
package ui
