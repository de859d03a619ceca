package store

import (
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Code is an authorization code (RFC 6749 section 4.1.2): single use, bound to
// everything the person approved. A spent one is kept until it expires so that
// a second use can be noticed.
type Code struct {
	Hash        Hash      `json:"hash"`
	Client      ClientID  `json:"client"`
	RedirectURI string    `json:"redirect_uri"`
	Challenge   string    `json:"challenge"`
	Scopes      []Scope   `json:"scopes"`
	Declined    []Scope   `json:"declined,omitempty"` // asked for by the client and unticked by the person
	Limits      Limits    `json:"limits,omitzero"`
	Resource    string    `json:"resource"`
	User        UserID    `json:"user"`
	Team        TeamID    `json:"team"`
	Offline     bool      `json:"offline,omitempty"` // a refresh token is wanted
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`
	Grant       GrantID   `json:"grant,omitempty"`   // set when spent
	Revoked     bool      `json:"revoked,omitempty"` // the membership that it was approved with has ended
	Attempt     AttemptID `json:"attempt,omitempty"`
	Session     Hash      `json:"session,omitzero"`   // that it was approved in
	Replaces    []GrantID `json:"replaces,omitempty"` // connections that end when it is redeemed
}

// Grant is a connection: what one user allowed one client to do for one team.
// Every token belongs to a grant and dies with it.
type Grant struct {
	ID           GrantID   `json:"id"`
	User         UserID    `json:"user"`
	Client       ClientID  `json:"client"`
	ClientName   string    `json:"client_name,omitempty"` // as claimed at approval
	RedirectHost string    `json:"redirect_host"`         // where the code went
	Nickname     string    `json:"nickname,omitempty"`    // what people call it
	Team         TeamID    `json:"team"`
	Scopes       []Scope   `json:"scopes"`
	Declined     []Scope   `json:"declined,omitempty"` // asked for and not granted
	Revoked      []Scope   `json:"revoked,omitempty"`  // granted once and taken away since
	Limits       Limits    `json:"limits,omitzero"`
	Resource     string    `json:"resource"`
	Created      time.Time `json:"created"`
	LastUsed     time.Time `json:"last_used"`
	Expires      time.Time `json:"expires"`           // of its last token
	Refresh      *Refresh  `json:"refresh,omitempty"` // nil: it has no refresh token
	Attempt      AttemptID `json:"attempt,omitempty"` // in the timeline
}

// Token is an access token (RFC 6750), opaque and looked up on every call.
type Token struct {
	Hash    Hash      `json:"hash"`
	Grant   GrantID   `json:"grant"`
	Scopes  []Scope   `json:"scopes,omitempty"` // fewer than the connection has; nil: all of them
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

var codes = &table[Code]{
	name: "codes",
	kind: 5,
	key:  func(c *Code) []byte { return c.Hash[:] },
	indexes: []index[Code]{
		{"user", func(c *Code) []byte { return join([]byte(c.User), c.Hash[:]) }},
		{"client", func(c *Code) []byte { return join([]byte(c.Client), c.Hash[:]) }},
	},
	refs: func(c *Code) []ref {
		return []ref{{"users", []byte(c.User)}, {"teams", []byte(c.Team)}, {"clients", []byte(c.Client)}}
	},
	expires: func(c *Code) time.Time { return c.Expires },
}

var grants = &table[Grant]{
	name: "grants",
	kind: 6,
	key:  func(g *Grant) []byte { return []byte(g.ID) },
	indexes: []index[Grant]{
		{"user", func(g *Grant) []byte { return join([]byte(g.User), []byte(g.ID)) }},
		{"client", func(g *Grant) []byte { return join([]byte(g.Client), []byte(g.ID)) }},
		{"team", func(g *Grant) []byte { return join([]byte(g.Team), g.aged()) }},
		{"created", (*Grant).aged},
		{"family", func(g *Grant) []byte {
			if g.Refresh == nil {
				return nil
			}
			return g.Refresh.Family[:]
		}},
	},
	refs: func(g *Grant) []ref {
		return []ref{{"members", memberKey(g.Team, g.User)}, {"clients", []byte(g.Client)}}
	},
	expires: grantDeadline,
	retire:  (*accessCache).retireGrant,
}

// aged is the end of an index key: by age, then by id.
func (g *Grant) aged() []byte { return append(bigTime(g.Created), g.ID...) }

var tokens = &table[Token]{
	name:    "tokens",
	kind:    7,
	key:     func(t *Token) []byte { return t.Hash[:] },
	indexes: []index[Token]{{"grant", func(t *Token) []byte { return join([]byte(t.Grant), t.Hash[:]) }}},
	refs:    func(t *Token) []ref { return []ref{{"grants", []byte(t.Grant)}} },
	expires: func(t *Token) time.Time { return t.Expires },
	retire:  (*accessCache).retireToken,
}

// Redemption is a token request for a code, already parsed.
type Redemption struct {
	Code         Hash
	Client       ClientID
	RedirectURI  string
	Challenge    string   // S256 of the verifier that was sent
	Resources    []string // what the client named, under each of its names; empty: it named nothing
	ClientName   string   // recorded with the connection
	RedirectHost string
	Grant        GrantID // fresh
	Access       Hash    // of the fresh token
	Expires      time.Time
	Refresh      *NewRefresh // given out if the code asks for one; nil: never
}

// Redeemed is what a code was exchanged for.
type Redeemed struct {
	Grant
	Replaced []Grant // connections that ended for it
}

// RedeemCode spends a code, inserts the connection and its access token and
// ends the connections that it replaces, all in one transaction, so that of any
// number of concurrent tries one wins. Not before now: until its code is
// redeemed, a new connection is nothing that an assistant could work with.
//
// ErrNotFound: no such code, or another client's (which learns nothing and
// revokes nothing). ErrExpired. ErrNotMember: the user left the team since.
// ErrSpent: used before by this client; what the first use gave is now revoked
// (RFC 6749 section 4.1.2). A *MismatchError for redirect_uri, code_verifier or
// resource, which leaves the code unspent.
func (db *DB) RedeemCode(r Redemption, now time.Time) (out Redeemed, err error) {
	// A bad code must not cost a commit, so look before writing. A spent one
	// goes on while there is something left to revoke.
	commit := db.batch
	err = db.view(func(tx *bolt.Tx) error {
		spent, err := redemptionSettled(tx, r, now)
		if spent {
			commit = db.release // nothing is given: also on a full disk
		}
		return err
	})
	if err != nil {
		return Redeemed{}, err
	}
	var outcome error
	err = commit(func(tx *bolt.Tx) error {
		out, outcome = Redeemed{}, nil
		code, err := redeemable(tx, r, now)
		if errors.Is(err, ErrSpent) {
			outcome = err
			return db.revokeGrant(tx, code.Grant)
		}
		if err != nil {
			outcome = err // nothing written, so nothing to roll back
			return nil
		}
		if out.Grant, err = redeem(tx, *code, r, now); err != nil {
			return err
		}
		out.Replaced, err = db.revokeGrants(tx, code.Replaces)
		return err
	})
	return out, errors.Join(err, outcome)
}

// redemptionSettled returns the error of a redemption that has nothing to
// write, and for one that has whether that is only what a second use ends.
func redemptionSettled(tx *bolt.Tx, r Redemption, now time.Time) (spent bool, err error) {
	code, err := redeemable(tx, r, now)
	if errors.Is(err, ErrSpent) && grants.has(tx, []byte(code.Grant)) {
		return true, nil
	}
	return false, err
}

// redeemable returns the code if the request may redeem it. With ErrSpent it
// returns the code too.
func redeemable(tx *bolt.Tx, r Redemption, now time.Time) (*Code, error) {
	code, err := codes.live(tx, r.Code[:], now)
	if err != nil {
		return nil, err
	}
	switch {
	case code.Client != r.Client:
		return nil, ErrNotFound
	case code.Grant != "":
		return code, ErrSpent
	case code.RedirectURI != r.RedirectURI:
		return nil, &MismatchError{Field: "redirect_uri"}
	case subtle.ConstantTimeCompare([]byte(code.Challenge), []byte(r.Challenge)) != 1:
		return nil, &MismatchError{Field: "code_verifier"}
	case len(r.Resources) > 0 && !slices.Contains(r.Resources, code.Resource):
		return nil, &MismatchError{Field: "resource"}
	}
	if code.Revoked || !members.has(tx, memberKey(code.Team, code.User)) {
		return nil, ErrNotMember
	}
	return code, nil
}

func redeem(tx *bolt.Tx, code Code, r Redemption, now time.Time) (Grant, error) {
	client, err := clients.get(tx, []byte(code.Client))
	if err != nil {
		return Grant{}, err
	}
	spent := code
	spent.Grant = r.Grant
	nickname, err := inheritedNickname(tx, code.Replaces)
	if err != nil {
		return Grant{}, err
	}
	g := Grant{
		Nickname: nickname, ID: r.Grant, User: code.User, Client: code.Client, ClientName: r.ClientName, RedirectHost: r.RedirectHost,
		Team: code.Team, Scopes: code.Scopes, Declined: code.Declined, Limits: code.Limits, Resource: code.Resource, Created: now, LastUsed: now, Expires: r.Expires,
		Attempt: code.Attempt,
	}
	if n := r.Refresh; n != nil && code.Offline {
		g.Refresh = &Refresh{Family: n.Family, Current: n.Token, Expires: n.Expires}
		if n.Expires.After(g.Expires) {
			g.Expires = n.Expires
		}
	}
	return g, errors.Join(
		codes.replace(tx, &code, &spent),
		grants.insert(tx, &g),
		tokens.insert(tx, &Token{Hash: r.Access, Grant: g.ID, Created: now, Expires: r.Expires}),
		keepClient(tx, client, g.Expires.Add(ClientIdleTTL)),
	)
}

// inheritedNickname is that of the connections whose place another takes.
func inheritedNickname(tx *bolt.Tx, ids []GrantID) (string, error) {
	for _, id := range ids {
		g, err := grants.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if g.Nickname != "" {
			return g.Nickname, nil
		}
	}
	return "", nil
}

// keepClient notes that the client is used and puts its deadline off to about
// until. A day more or less is nobody's loss, so a client that connects often is not
// written each time.
func keepClient(tx *bolt.Tx, c *Client, until time.Time) error {
	later := until.Sub(c.Expires) >= 24*time.Hour
	if c.Used && !later {
		return nil
	}
	kept := *c
	kept.Used = true
	if later {
		kept.Expires = until
	}
	return clients.replace(tx, c, &kept)
}

// endGrant deletes a connection and its tokens; nil when it is gone already.
func endGrant(tx *bolt.Tx, key []byte) error {
	if _, err := tokens.deleteBy(tx, "grant", key); err != nil {
		return err
	}
	return grants.delete(tx, key)
}

// revokeGrant is endGrant for a connection whose time is not up, which those who
// watch it are told of.
func (db *DB) revokeGrant(tx *bolt.Tx, id GrantID) error {
	db.takes(tx, id)
	return endGrant(tx, []byte(id))
}

// revokeGrants ends those of the connections that there still are, and returns
// them.
func (db *DB) revokeGrants(tx *bolt.Tx, ids []GrantID) (ended []Grant, err error) {
	for _, id := range ids {
		g, err := grants.get(tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := db.revokeGrant(tx, id); err != nil {
			return nil, err
		}
		ended = append(ended, *g)
	}
	return ended, nil
}

// Grants returns the user's connections that are live at now.
func (db *DB) Grants(user UserID, now time.Time) (list []Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		found, err := grants.by(tx, "user", []byte(user))
		list = nil
		for _, g := range found {
			if !now.Before(g.Expires) {
				continue
			}
			db.useOfGrant(&g)
			list = append(list, g)
		}
		return err
	})
	return list, err
}

// RevokeGrant ends one connection of that user. ErrNotFound for an unknown
// one and, in the same words, for somebody else's.
func (db *DB) RevokeGrant(id GrantID, user UserID) error {
	return db.release(func(tx *bolt.Tx) error {
		g, err := grants.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if g.User != user {
			return ErrNotFound
		}
		return db.revokeGrant(tx, id)
	})
}

// RevokeToken ends one access token of that client, and the connection when
// nothing is left of it (RFC 7009 section 2.1). A refresh token stays: the
// client that wants it gone says so. An unknown token, or another client's, is
// left alone; the caller answers the same either way.
func (db *DB) RevokeToken(hash Hash, client ClientID) error {
	owned := false
	err := db.view(func(tx *bolt.Tx) (err error) { owned, err = ownsToken(tx, hash, client); return err })
	if err != nil || !owned {
		return err
	}
	return db.release(func(tx *bolt.Tx) error {
		if owned, err := ownsToken(tx, hash, client); err != nil || !owned {
			return err
		}
		t, err := tokens.get(tx, hash[:])
		if err != nil {
			return err
		}
		db.takes(tx, t.Grant)
		if err := tokens.delete(tx, hash[:]); err != nil {
			return err
		}
		return shortenGrant(tx, t)
	})
}

// shortenGrant puts the deadline of a connection back to that of its last
// token after the client gave one up, and ends it after the last. A client that
// gives up the access token of the last refresh has received it.
func shortenGrant(tx *bolt.Tx, gone *Token) error {
	key := []byte(gone.Grant)
	g, err := grants.get(tx, key)
	if err != nil {
		return err
	}
	left, err := tokens.by(tx, "grant", key)
	if err != nil {
		return err
	}
	kept := *g
	if kept.Expires = lastDeadline(g, left); kept.Expires.IsZero() {
		return grants.delete(tx, key)
	}
	if f := g.Refresh; f != nil && f.Access == gone.Hash {
		seen := *f
		seen.Seen, kept.Refresh = true, &seen
	}
	return grants.replace(tx, g, &kept)
}

func ownsToken(tx *bolt.Tx, hash Hash, client ClientID) (bool, error) {
	t, err := tokens.get(tx, hash[:])
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	g, err := grants.get(tx, []byte(t.Grant))
	return err == nil && g.Client == client, err
}

// NoteGrantUse notes that the access was used at now. The time costs no
// transaction; Flush writes it. The first use of the access token that came with
// the last refresh is written before this returns, because it is the sign by
// which a stolen refresh token is found (see Refresh): lost in a crash, the token
// before it would look as if its answer had never arrived.
func (db *DB) NoteGrantUse(a *Access, now time.Time) error {
	db.usedMu.Lock()
	db.usedGrants[a.Grant.ID] = wall(now)
	db.usedMu.Unlock()
	if f := a.Grant.Refresh; f == nil || f.Seen || f.Access != a.Token.Hash {
		return nil
	}
	return db.batch(func(tx *bolt.Tx) error { return markSeen(tx, a) })
}

// markSeen writes that the answer of the last refresh has arrived, unless the
// connection has ended or gone on meanwhile.
func markSeen(tx *bolt.Tx, a *Access) error {
	g, err := grants.get(tx, []byte(a.Grant.ID))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if f := g.Refresh; f == nil || f.Seen || f.Access != a.Token.Hash {
		return nil
	}
	kept, seen := *g, *g.Refresh
	seen.Seen, kept.Refresh = true, &seen
	return grants.replace(tx, g, &kept)
}

// useOfGrant puts into the record what Flush has yet to write.
func (db *DB) useOfGrant(g *Grant) {
	db.usedMu.Lock()
	defer db.usedMu.Unlock()
	if at, ok := db.usedGrants[g.ID]; ok {
		g.use(at)
	}
}

func (g *Grant) use(at time.Time) {
	if at.After(g.LastUsed) {
		g.LastUsed = at
	}
}
