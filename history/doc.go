// Package history keeps two lists: the timeline, which tells how each client
// fared on its way to a connection, and the audit list, which tells who did
// what.
//
// The packages oauth, ui, mcp and control hand a [Recorder] each step as it
// happens. Recording costs a lock and a few comparisons: steps wait
// in the store's bounded memory and are written about once a second, mostly in
// one commit, by [Recorder.Run]. Whoever reads sees everything that was recorded
// before.
//
// A client's first steps (a call without a token, the discovery documents) come
// before anybody knows whose they are, and the browser of the person comes from
// another address than the client. The Recorder ties them together as far as
// can be told: by the authorization request, the code and the connection, which
// carry the attempt's id, exactly; by the id of a client that registered itself,
// which nobody else knows; and, before that, by address and User-Agent. Steps of
// the last kind are marked loose and are shown to people who are no
// administrators without address and User-Agent, because another client of the
// same maker may have been behind them. The id of a client metadata document is
// public, so it ties nothing.
//
// [Diagnose] reads an attempt and says what happened, what was expected next and
// what usually stops it there. It is pure.
//
// No secret is recorded: no code, token, state, verifier, password or handle.
package history
