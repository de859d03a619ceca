// Package teampages has the pages of teams: who is in one and in which role, what
// it lets its connections and pods do, and the page behind the link of an
// invitation.
//
// Who may do what is decided by package account over the table of internal/authz;
// a page leaves out what its reader may not do. A team that somebody may not see
// is as absent as one that never was.
//
// The secret of an invitation is in the address once. It moves into a cookie at
// once, so that it stays out of the history, of Referer and of what is copied from
// the address bar; queries are not logged.
package teampages
