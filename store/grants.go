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
// Every token belongs to a grant, is a part of its record and dies with it.
type Grant struct {
	ID           GrantID
	User         UserID
	Client       ClientID
	ClientName   string // as claimed at approval
	RedirectHost string // where the code went
	Nickname     string // what people call it
	Team         TeamID
	Scopes       []Scope
	Declined     []Scope // asked for and not granted
	Revoked      []Scope // granted once and taken away since
	Limits       Limits
	Resource     string
	Created      time.Time
	LastUsed     time.Time
	Expires      time.Time // with its last token
	// Due is when the sweeper looks at it, not after Expires. It stays when Expires
	// is put off, so that a refresh does not write to the list of deadlines.
	Due     time.Time
	Attempt AttemptID // in the timeline
	Refresh *Refresh  // nil: it has no refresh token
	Tokens  []Token   // the newest last; those that have expired are no more
}

// Token is an access token (RFC 6750), opaque and looked up on every call.
type Token struct {
	Hash    Hash
	Scopes  []Scope // fewer than the connection has; nil: all of them
	Expires time.Time
}

// Credential is a secret of a connection as somebody sent it: the connection that its
// text names, which everybody may know, and its hash, which proves it.
type Credential struct {
	Grant GrantID // empty: its text names none, because it was given out before format 17
	Hash  Hash
}

// fields is the record, in the order of docs/format.md.
func (g *Grant) fields(p *packer) {
	packText(p, "id", &g.ID)
	packText(p, "user", &g.User)
	packText(p, "client", &g.Client)
	packText(p, "client_name", &g.ClientName)
	packText(p, "redirect_host", &g.RedirectHost)
	packText(p, "nickname", &g.Nickname)
	packText(p, "team", &g.Team)
	packList(p, "scopes", &g.Scopes, (*Scope).fields)
	packList(p, "declined", &g.Declined, (*Scope).fields)
	packList(p, "revoked", &g.Revoked, (*Scope).fields)
	p.yes("read_only", &g.Limits.ReadOnly)
	packText(p, "prefix", &g.Limits.Prefix)
	p.number("max_pods", &g.Limits.MaxPods)
	packText(p, "resource", &g.Resource)
	p.moment("created", &g.Created)
	p.moment("last_used", &g.LastUsed)
	p.moment("expires", &g.Expires)
	p.moment("due", &g.Due)
	packText(p, "attempt", &g.Attempt)
	packMaybe(p, "refresh", &g.Refresh, (*Refresh).fields)
	packList(p, "tokens", &g.Tokens, (*Token).fields)
}

func (t *Token) fields(p *packer) {
	p.hash("hash", &t.Hash)
	packList(p, "scopes", &t.Scopes, (*Scope).fields)
	p.moment("expires", &t.Expires)
}

// MarshalBinary implements encoding.BinaryMarshaler. It never fails.
func (g *Grant) MarshalBinary() ([]byte, error) { return packed(g.fields), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (g *Grant) UnmarshalBinary(raw []byte) error { return unpack(raw, g.fields) }

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
	},
	refs: func(g *Grant) []ref {
		return []ref{{"members", memberKey(g.Team, g.User)}, {"clients", []byte(g.Client)}}
	},
	expires: func(g *Grant) time.Time { return g.Due },
	retire:  (*accessCache).retireGrant,
}

// aged is the end of an index key: by age, then by id.
func (g *Grant) aged() []byte { return append(bigTime(g.Created), g.ID...) }

// legacyToken leads from a secret that was given out before format 17 to its connection:
// an access token, or the part that the refresh tokens of a connection share. It proves
// nothing by itself, and outlives the connection as long as the timeline does.
type legacyToken struct {
	Hash    Hash      `json:"hash"`
	Grant   GrantID   `json:"grant"`
	Expires time.Time `json:"expires"`
}

var legacyTokens = &table[legacyToken]{
	name:    "legacy_tokens",
	kind:    10,
	key:     func(t *legacyToken) []byte { return t.Hash[:] },
	expires: func(t *legacyToken) time.Time { return t.Expires },
}

// expireLegacy forgets an old secret, unless it is still what the refresh tokens of a
// connection share.
func expireLegacy(tx *bolt.Tx, key []byte, now time.Time) error {
	t, err := legacyTokens.get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	g, err := ofFamily(tx, Credential{t.Grant, t.Hash})
	if errors.Is(err, ErrNotFound) {
		return legacyTokens.delete(tx, key)
	}
	if err != nil {
		return err
	}
	kept := *t
	if kept.Expires = g.Expires.Add(AttemptTTL); !now.Before(kept.Expires) {
		return legacyTokens.delete(tx, key)
	}
	return legacyTokens.replace(tx, t, &kept)
}

// named fills in the connection of a secret whose text names none. ErrNotFound when
// nothing is known of it.
func (c Credential) named(tx *bolt.Tx) (Credential, error) {
	if c.Grant != "" {
		return c, nil
	}
	t, err := legacyTokens.get(tx, c.Hash[:])
	if err != nil {
		return c, err
	}
	return Credential{t.Grant, c.Hash}, nil
}

// ofToken returns the connection that an access token is of, and the token.
// ErrNotFound unless the token is one of the connection's.
func ofToken(tx *bolt.Tx, c Credential) (*Grant, *Token, error) {
	g, err := ofName(tx, c)
	if err != nil {
		return nil, nil, err
	}
	for i := range g.Tokens {
		if g.Tokens[i].Hash.is(c.Hash) {
			return g, &g.Tokens[i], nil
		}
	}
	return nil, nil, ErrNotFound
}

// ofFamily returns the connection that refresh tokens of a family are of. ErrNotFound
// unless the family is the connection's.
func ofFamily(tx *bolt.Tx, c Credential) (*Grant, error) {
	g, err := ofName(tx, c)
	if err != nil {
		return nil, err
	}
	if g.Refresh == nil || !g.Refresh.Family.is(c.Hash) {
		return nil, ErrNotFound
	}
	return g, nil
}

// ofName returns the connection that a credential names, which proves nothing.
func ofName(tx *bolt.Tx, c Credential) (*Grant, error) {
	c, err := c.named(tx)
	if err != nil {
		return nil, err
	}
	return grants.get(tx, []byte(c.Grant))
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
		Team: code.Team, Scopes: code.Scopes, Declined: code.Declined, Limits: code.Limits, Resource: code.Resource, Created: now, LastUsed: now,
		Attempt: code.Attempt, Tokens: []Token{{Hash: r.Access, Expires: r.Expires}},
	}
	if n := r.Refresh; n != nil && code.Offline {
		g.Refresh = &Refresh{Family: n.Family, Current: n.Token, Expires: n.Expires}
	}
	g.plan()
	return g, errors.Join(
		codes.replace(tx, &code, &spent),
		grants.insert(tx, &g),
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

// plan puts the deadlines of a connection where its tokens have them.
func (g *Grant) plan() {
	g.Expires = g.last()
	if g.Due.IsZero() || g.Expires.Before(g.Due) {
		g.Due = g.Expires
	}
}

// last is when the last token of the connection expires; the zero time when it has none.
func (g *Grant) last() (last time.Time) {
	if g.Refresh != nil {
		last = g.Refresh.Expires
	}
	for _, t := range g.Tokens {
		last = latest(last, t.Expires)
	}
	return last
}

// expireGrant ends a connection whose last token has expired, and puts off the deadline
// of one that has got others since.
func expireGrant(tx *bolt.Tx, key []byte, now time.Time) error {
	g, err := grants.get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !now.Before(g.Expires) {
		return grants.delete(tx, key)
	}
	kept := *g
	kept.Due = g.Expires
	return grants.replace(tx, g, &kept)
}

// checkGrants reports deadlines that are not those of the tokens.
func checkGrants(tx *bolt.Tx, report func(string, ...any)) {
	_ = grants.bucket(tx).ForEach(func(key, raw []byte) error {
		g, err := grants.decode(raw)
		switch {
		case err != nil: // is told elsewhere
		case !g.last().IsZero() && !g.Expires.Equal(g.last()):
			report("grants %q: expires %v, its last token %v", key, g.Expires, g.last())
		case g.Due.After(g.Expires):
			report("grants %q: is looked at %v, after it expired %v", key, g.Due, g.Expires)
		case len(g.Tokens) > maxTokens:
			report("grants %q: has %d access tokens", key, len(g.Tokens))
		}
		return nil
	})
}

// clientSlack is how much longer than promised a client is kept, so that one that
// connects often is not written each time.
const clientSlack = 30 * 24 * time.Hour

// keepClient notes that the client is used, and that it is kept until then at least.
func keepClient(tx *bolt.Tx, c *Client, until time.Time) error {
	if c.Used && !until.After(c.Expires) {
		return nil
	}
	kept := *c
	kept.Used, kept.Expires = true, latest(c.Expires, until.Add(clientSlack))
	return clients.replace(tx, c, &kept)
}

// revokeGrant deletes a connection whose time is not up, which those who watch it are
// told of; nil when it is gone already.
func (db *DB) revokeGrant(tx *bolt.Tx, id GrantID) error {
	db.takes(tx, id)
	return grants.delete(tx, []byte(id))
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
func (db *DB) RevokeToken(c Credential, client ClientID) error {
	find := func(tx *bolt.Tx) (*Grant, error) { g, _, err := ofToken(tx, c); return g, err }
	return db.revokeOwned(client, find, func(tx *bolt.Tx, g *Grant) error {
		db.takes(tx, g.ID)
		return dropToken(tx, g, c.Hash)
	})
}

// revokeOwned has end end what a token of that client leads to. For an unknown one, or
// another client's, it does nothing, and writes nothing.
func (db *DB) revokeOwned(client ClientID, find func(*bolt.Tx) (*Grant, error), end func(*bolt.Tx, *Grant) error) error {
	owned := func(tx *bolt.Tx) (*Grant, error) {
		g, err := find(tx)
		if err == nil && g.Client != client {
			err = ErrNotFound
		}
		return g, err
	}
	err := db.view(func(tx *bolt.Tx) error { _, err := owned(tx); return err })
	if err == nil {
		err = db.release(func(tx *bolt.Tx) error {
			g, err := owned(tx)
			if err != nil {
				return err
			}
			return end(tx, g)
		})
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// dropToken takes an access token that its client gave up from a connection, which
// ends with its last one. Who gives up the access token of the last refresh has
// received it.
func dropToken(tx *bolt.Tx, g *Grant, gone Hash) error {
	kept := *g
	kept.Tokens = allBut(g.Tokens, gone)
	if kept.plan(); kept.Expires.IsZero() {
		return grants.delete(tx, []byte(g.ID))
	}
	if f := g.Refresh; f != nil && f.Access == gone {
		seen := *f
		seen.Seen, kept.Refresh = true, &seen
	}
	return grants.replace(tx, g, &kept)
}

// allBut returns the tokens but one.
func allBut(list []Token, gone Hash) []Token {
	return slices.DeleteFunc(slices.Clone(list), func(t Token) bool { return t.Hash == gone })
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
