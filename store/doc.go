// Package store keeps everything podgate knows: records, their indexes and
// their deadlines, in one bbolt file.
//
// Records are plain structs with typed identifiers. Their JSON tags are the
// disk format and nothing else; no other package encodes them. A method is one
// transaction, and a fact that must change together changes in one method:
// redeeming a code spends it and inserts the token; removing a member ends that
// member's connections. A crash at any instant therefore leaves a file that
// [DB.Check] accepts.
//
// Time is an argument. The store never asks for the current time, so a caller
// decides what has expired. Secrets (codes, tokens, session ids) come in as
// [Hash] values; the clear text never reaches this package.
//
// The rules of the domain (who may do what, what a good name is) live in the
// packages above. The store guarantees only what needs a transaction:
// uniqueness, single use, references, cascades.
package store
