// Package serverpages has the pages for administrators: how the server is, its
// people, teams, connections and clients, and the settings in force.
//
// For everybody else none of them is there: the answer is that of an address where
// there is nothing. What administrators do goes through package account, which
// checks the table of internal/authz again. No page shows a secret.
package serverpages
