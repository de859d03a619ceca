// Package page is what all pages share: the frame around each, the session of
// the person who looks at it, forms, notices, errors and the files that browsers
// load. The pages themselves are an [Area] each, in packages of their own.
//
// Invariants, each with a test in package ui:
//
//   - Every page has a Content-Security-Policy without inline script or style
//     and cannot be framed; nothing comes from another host.
//   - Every form is a POST that is refused unless the browser says that it
//     comes from the pages' own origin, and came to it ([web.PageHost]).
//   - The session secret lives in one HttpOnly, SameSite=Lax cookie, named
//     __Host-podgate and Secure under https. On loopback it is at a host that the
//     pages have for themselves.
//   - Where a sign-in leads next is a path on this server and nothing else.
package page
