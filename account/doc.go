// Package account is the people of podgate: who they are, how they prove it,
// which teams they are in, and what ends when they leave. It holds no HTML and
// speaks no HTTP; package ui and the commands do.
//
// Invariants, each with a test:
//
//   - A password is stored as an argon2id PHC string and nothing else. It takes
//     about as long to refuse an unknown account as a wrong password, and the
//     words are the same.
//   - Every sign-in makes a new random secret; no secret that came from outside
//     ever becomes a session.
//   - Failed sign-ins are limited so that nobody is locked out by somebody
//     else's failures; see [Service.SignIn] for the rule. But for a device of the
//     account, no limit knows whether there is one.
//   - The memory that hashing takes is bounded; who would have to wait too long
//     is told so ([ErrBusy]), which strangers cannot bring about for people whose
//     browser or address is known.
//   - There is an administrator only through the setup link or an
//     administrator's command, never by being first.
//   - Removing somebody, or giving them a new password by command, ends their
//     sessions, connections and passkeys in the same transaction.
//
// Records that leave this package have no password hash in them.
package account
