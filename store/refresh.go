package store

import (
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// RefreshGrace is how long the token that was just replaced is answered
	// with the same successor again: parallel processes of one client send it
	// milliseconds apart, and an answer can get lost on the wire.
	RefreshGrace = 60 * time.Second
	// saltTTL is how long a salt can be read. It is longer than the grace so that
	// a request which began within it cannot come too late.
	saltTTL = 2 * RefreshGrace
	// maxTokens bounds the access tokens of one connection; the oldest gives
	// way. Processes that share a connection use two or three.
	maxTokens = 10
)

// Refresh is the refresh token of a connection. Each use replaces it, and all
// that one connection ever had are a family: they share a part by which the
// connection is found, so that a token of any age is recognised although only
// the last two are remembered.
//
// RotateRefresh holds a token of the family against this record:
//
//   - Current is replaced.
//   - Previous, within RefreshGrace, gets the same answer again. Salt makes
//     that possible without keeping an answer: whoever holds Previous in clear
//     can derive its successors from it, nobody else can.
//   - Previous, later, while there is no sign that Current ever arrived: the
//     answer was lost. Current is replaced by another successor and its access
//     token ends, so two parties cannot both go on.
//   - Previous, later, once the access token that came with Current was used or
//     revoked; and every other token of the family, replaced successors included: two
//     parties hold tokens of this family, and nobody can tell which is the
//     thief. The connection ends (RFC 9700 section 4.14.2).
//
// Whoever shares a family with somebody else therefore ends it with the first
// token that the other has replaced before, unless both always come within the
// same grace, which looks like one client with two processes.
type Refresh struct {
	Family   Hash // of the part that all tokens of the family share
	Current  Hash
	Previous Hash   // the one that Current replaced
	Access   Hash   // the access token that came with Current
	Seen     bool   // Access was used or revoked, so Current has arrived
	Salt     []byte // Current and Access were derived with, sealed: nobody can read it some time after the grace
	Rotated  time.Time
	Expires  time.Time
}

func (f *Refresh) fields(p *packer) {
	p.hash("family", &f.Family)
	p.hash("current", &f.Current)
	p.hash("previous", &f.Previous)
	p.hash("access", &f.Access)
	p.yes("seen", &f.Seen)
	p.bytes("salt", &f.Salt)
	p.moment("rotated", &f.Rotated)
	p.moment("expires", &f.Expires)
}

// NewRefresh is the first token of a new family.
type NewRefresh struct {
	Family  Hash
	Token   Hash
	Expires time.Time
}

// Rotation is a token request for a refresh token, already parsed, with what
// is to take its place.
type Rotation struct {
	Family    Credential // of the part of the token that its family shares
	Token     Hash       // of the whole token
	Client    ClientID
	Resources []string // what the client named, under each of its names; empty: it named nothing
	Scopes    []Scope  // of the access token; nil: all that was granted

	Salt          []byte // Next and Access are derived with; 32 bytes at most
	Next          Hash   // of the successor
	NextExpires   time.Time
	Access        Hash // of the fresh access token
	AccessExpires time.Time
}

// Rotated is what a refresh token was exchanged for.
type Rotated struct {
	Grant Grant
	// Salt is what the successors have to be derived with: that of the
	// rotation, or of an earlier one that this is a repetition of.
	Salt   []byte
	Access Token // a repetition may find it revoked meanwhile
}

// RotateRefresh replaces a refresh token and inserts an access token, all in
// one transaction, by the rule that stands at Refresh. Of any number of
// concurrent tries with one token the first rotates; the others get the same
// answer and write nothing.
//
// ErrNotFound: no such family, or another client's (which learns nothing and
// revokes nothing). ErrSpent: used before; the connection, which is returned
// with it, is now revoked. ErrExpired. ErrNotMember: the user left the team.
// A *MismatchError for resource or scope, which spends nothing.
func (db *DB) RotateRefresh(r Rotation, now time.Time) (out Rotated, err error) {
	// What is hopeless or a repetition must not cost a commit, so look first.
	repeated, commit := false, db.batch
	err = db.view(func(tx *bolt.Tx) error {
		g, turn, err := turnOf(tx, r, now)
		if err == nil && turn == turnReused {
			commit = db.release // nothing is given: also on a full disk
		}
		if err == nil && turn == turnAgain {
			repeated = true
			out, err = repeat(tx, g, r)
		}
		return err
	})
	if err != nil || repeated {
		return out, err
	}
	var outcome error
	err = commit(func(tx *bolt.Tx) error {
		out, outcome = Rotated{}, nil
		g, turn, err := turnOf(tx, r, now)
		if err != nil {
			outcome = err // nothing written, so nothing to roll back
			return nil
		}
		switch turn {
		case turnReused:
			out, outcome = Rotated{Grant: *g}, ErrSpent
			return db.revokeGrant(tx, g.ID)
		case turnAgain:
			out, err = repeat(tx, g, r)
		case turnLost:
			db.takes(tx, g.ID)
			out, err = rotate(tx, g, allBut(g.Tokens, g.Refresh.Access), r, now)
		case turnNext:
			out, err = rotate(tx, g, g.Tokens, r, now)
		}
		return err
	})
	return out, errors.Join(err, outcome)
}

// turn is what a refresh token that was presented has coming.
type turn int

const (
	turnReused turn = iota // the family is in two hands
	turnNext               // replace it
	turnAgain              // answer as before
	turnLost               // replace what was never received
)

// turnOf finds the connection of the token and what the token has coming. There
// is no error with turnReused.
func turnOf(tx *bolt.Tx, r Rotation, now time.Time) (*Grant, turn, error) {
	g, err := ofFamily(tx, r.Family)
	if err != nil {
		return nil, turnReused, err
	}
	if g.Client != r.Client {
		return nil, turnReused, ErrNotFound
	}
	turn, err := g.turn(tx, r.Token, now)
	if err != nil {
		return nil, turn, err
	}
	switch {
	case turn == turnReused:
		return g, turn, nil
	case !now.Before(g.Refresh.Expires):
		return nil, turn, ErrExpired
	case !members.has(tx, memberKey(g.Team, g.User)):
		return nil, turn, ErrNotMember
	case len(r.Resources) > 0 && !slices.Contains(r.Resources, g.Resource):
		return nil, turn, &MismatchError{Field: "resource"}
	}
	if !g.mayAskFor(r.Scopes) {
		return nil, turn, &MismatchError{Field: "scope"}
	}
	return g, turn, nil
}

func (g *Grant) turn(tx *bolt.Tx, token Hash, now time.Time) (turn, error) {
	f := g.Refresh
	switch {
	case f.Current.is(token):
		return turnNext, nil
	case !f.Previous.is(token):
		return turnReused, nil
	case now.Sub(f.Rotated).Abs() < RefreshGrace: // a clock that was set back makes it no longer
		if salt, err := g.salt(tx); err != nil || salt != nil {
			return turnAgain, err
		}
	}
	if f.Seen {
		return turnReused, nil
	}
	return turnLost, nil
}

// repeat is the answer of the last rotation.
func repeat(tx *bolt.Tx, g *Grant, r Rotation) (out Rotated, err error) {
	out = Rotated{Grant: *g, Access: Token{Hash: g.Refresh.Access, Expires: r.AccessExpires}}
	for _, t := range g.Tokens {
		if t.Hash == g.Refresh.Access {
			out.Access = t
		}
	}
	out.Salt, err = g.salt(tx)
	return out, err
}

// rotate makes r.Next the current token of g, of whose access tokens those in list go on.
func rotate(tx *bolt.Tx, g *Grant, list []Token, r Rotation, now time.Time) (Rotated, error) {
	next, t := *g, Token{Hash: r.Access, Scopes: r.Scopes, Expires: r.AccessExpires}
	sealed, err := seal(tx, r.Next, r.Salt, now)
	if err != nil {
		return Rotated{}, err
	}
	next.LastUsed = now
	next.Refresh = &Refresh{
		Family: g.Refresh.Family, Current: r.Next, Previous: r.Token, Access: r.Access, Salt: sealed, Rotated: now, Expires: r.NextExpires,
	}
	next.Tokens = append(newest(list, now), t)
	next.plan()
	client, err := clients.get(tx, []byte(g.Client))
	if err != nil {
		return Rotated{}, err
	}
	return Rotated{Grant: next, Salt: r.Salt, Access: t},
		errors.Join(grants.replace(tx, g, &next), keepClient(tx, client, next.Expires.Add(ClientIdleTTL)))
}

// newest returns those of the tokens that live at now and leave room for one more.
func newest(list []Token, now time.Time) []Token {
	live := make([]Token, 0, maxTokens)
	for _, t := range list {
		if now.Before(t.Expires) {
			live = append(live, t)
		}
	}
	return live[max(0, len(live)-maxTokens+1):]
}

// RevokeRefresh ends the connection of a refresh token (RFC 7009 section 2.1):
// every token of its family, of whatever age, says that the client wants no
// more of it. family is the hash of the part that the family shares. An unknown
// family, or another client's, is left alone; the caller answers the same
// either way.
func (db *DB) RevokeRefresh(family Credential, client ClientID) error {
	find := func(tx *bolt.Tx) (*Grant, error) { return ofFamily(tx, family) }
	return db.revokeOwned(client, find, func(tx *bolt.Tx, g *Grant) error { return db.revokeGrant(tx, g.ID) })
}
