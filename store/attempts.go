package store

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// AttemptID names one attempt of a client to connect.
type AttemptID string

// Attempt is one try of a client to connect and, when it came to that, the
// connection it led to, step by step. It outlives the client, the user and the
// connection that it names, so it refers to none of them.
type Attempt struct {
	ID         AttemptID `json:"id"`
	Visitor    string    `json:"visitor,omitempty"` // who began it, for attempts that no client is known of
	Client     ClientID  `json:"client,omitempty"`  // one that was known here
	ClientName string    `json:"client_name,omitempty"`
	Host       string    `json:"host,omitempty"` // would receive the code
	User       UserID    `json:"user,omitempty"` // the person it belongs to; empty: nobody has signed in
	Team       TeamID    `json:"team,omitempty"`
	Grant      GrantID   `json:"grant,omitempty"`
	Token      Hash      `json:"token,omitzero"`    // of the newest access token, to know it again when it is dead
	Family     Hash      `json:"family,omitzero"`   // of the connection's refresh tokens, for the same
	Steps      []Step    `json:"steps"`             // at least one
	Dropped    int       `json:"dropped,omitempty"` // steps that were taken out of the middle
}

// Step is one thing that a client or its person did. Equal steps close to each
// other are one with a count.
type Step struct {
	Kind   string    `json:"kind"`
	Fault  string    `json:"fault,omitempty"` // why it was refused, as one word; empty: it was not
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`   // the first time
	Last   time.Time `json:"last"` // the most recent time
	Count  int       `json:"count"`
	Addr   string    `json:"addr,omitempty"`
	Agent  string    `json:"agent,omitempty"` // the User-Agent, cleaned; decides nothing
	Loose  bool      `json:"loose,omitempty"` // tied to the attempt by address and User-Agent alone
}

// Bounds of the timeline. A flood can only push out what is of its own kind:
// strangers make room for strangers, clients that nobody signed in for make
// room for such, and each person's attempts are that person's own.
const (
	AttemptTTL = 14 * 24 * time.Hour // how long a step is kept

	maxStepsFirst       = 20 // of an attempt, from its beginning
	maxSteps            = 60 // of an attempt
	maxStepsStranger    = 24 // of an attempt that nobody signed in for
	maxAttemptsPerOwner = 20
	maxAttemptsPerUser  = 200
	foldBack            = 6 // a step is folded into one of so many before it
)

// attemptClass says with what an attempt competes for room.
type attemptClass byte

const (
	classStranger attemptClass = iota // neither client nor person known
	classClient                       // a known client, nobody signed in
	classPerson
	attemptClasses
)

// maxAttempts bounds each class.
var maxAttempts = [attemptClasses]int{classStranger: 1000, classClient: 1000, classPerson: 5000}

func (a *Attempt) class() attemptClass {
	switch {
	case a.User != "":
		return classPerson
	case a.Client != "":
		return classClient
	}
	return classStranger
}

// owner is whose attempts make room for this one before all others do.
func (a *Attempt) owner() []byte {
	switch a.class() {
	case classPerson:
		return join([]byte("person"), []byte(a.User), []byte(a.Client))
	case classClient:
		return join([]byte("client"), []byte(a.Client))
	}
	return join([]byte("visitor"), []byte(a.Visitor))
}

// Last returns when the most recent step was taken.
func (a *Attempt) Last() (last time.Time) {
	for _, s := range a.Steps {
		last = latest(last, s.Last)
	}
	return last
}

// oldest returns when the step was taken that is the first to be past its time.
func (a *Attempt) oldest() (oldest time.Time) {
	for _, s := range a.Steps {
		if oldest.IsZero() || s.Last.Before(oldest) {
			oldest = s.Last
		}
	}
	return oldest
}

// bigTime is a time as the part of a key that sorts by it.
func bigTime(t time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano())) }

// aged is the end of an index key: by last step, then by attempt.
func (a *Attempt) aged() []byte { return append(bigTime(a.Last()), a.ID...) }

func agedUnder(owner string, a *Attempt) []byte {
	if owner == "" {
		return nil
	}
	return join([]byte(owner), a.aged())
}

// fruitless keeps an index to attempts that led to no connection. They make
// room first: a hostile page can have a browser open authorization requests, and
// must not push the attempts of real connections out with them.
func fruitless(a *Attempt, key []byte) []byte {
	if a.Grant != "" {
		return nil
	}
	return key
}

var attempts = &table[Attempt]{
	name: "attempts",
	kind: 20,
	key:  func(a *Attempt) []byte { return []byte(a.ID) },
	indexes: []index[Attempt]{
		{"last", func(a *Attempt) []byte { return a.aged() }},
		{"class", func(a *Attempt) []byte { return append([]byte{byte(a.class())}, a.aged()...) }},
		{"owner", func(a *Attempt) []byte { return join(a.owner(), a.aged()) }},
		{"owner_fruitless", func(a *Attempt) []byte { return fruitless(a, join(a.owner(), a.aged())) }},
		{"user", func(a *Attempt) []byte { return agedUnder(string(a.User), a) }},
		{"user_fruitless", func(a *Attempt) []byte { return fruitless(a, agedUnder(string(a.User), a)) }},
		{"client", func(a *Attempt) []byte { return agedUnder(string(a.Client), a) }},
		{"grant", func(a *Attempt) []byte { return agedUnder(string(a.Grant), a) }},
	},
	expires: func(a *Attempt) time.Time { return a.oldest().Add(AttemptTTL) },
}

// StepNote is a step with what it says about the attempt that it belongs to.
// Empty fields say nothing.
type StepNote struct {
	Attempt    AttemptID
	Adopt      AttemptID // another attempt, whose steps turn out to belong to this one
	Visitor    string
	Client     ClientID
	ClientName string
	Host       string
	User       UserID
	Team       TeamID
	Grant      GrantID
	Token      Hash // of an access token that was given out
	Family     Hash // of the connection's refresh tokens
	Step       Step // Count and Last are filled in
}

// tell fills in what the note says about the attempt. The person and the
// connection of an attempt never change: a note that names another one is an
// error of the caller and must not show one person's steps to another.
func (a *Attempt) tell(n StepNote) {
	set(&a.Visitor, n.Visitor)
	set(&a.Client, n.Client)
	set(&a.ClientName, n.ClientName)
	set(&a.Host, n.Host)
	set(&a.User, n.User)
	set(&a.Team, n.Team)
	set(&a.Grant, n.Grant)
	if !n.Token.IsZero() {
		a.Token = n.Token
	}
	if !n.Family.IsZero() {
		a.Family = n.Family
	}
}

func set[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// belongs reports whether a note may go into the attempt.
func (a *Attempt) belongs(n StepNote) bool {
	return (a.User == "" || n.User == "" || a.User == n.User) && (a.Grant == "" || n.Grant == "" || a.Grant == n.Grant)
}

// add takes a step in: into an equal one before it, or at the end. When there
// are too many, the middle goes: how it began and how it stands are what counts.
func (a *Attempt) add(s Step) {
	for i := len(a.Steps) - 1; i >= max(0, len(a.Steps)-foldBack); i-- {
		if had := &a.Steps[i]; had.same(s) {
			had.Count += s.Count
			had.Last = latest(had.Last, s.Last)
			return
		}
	}
	a.Steps = append(a.Steps, s)
	limit, first := maxSteps, maxStepsFirst
	if a.class() != classPerson {
		limit, first = maxStepsStranger, maxStepsStranger/2
	}
	for len(a.Steps) > limit {
		a.Steps = slices.Delete(a.Steps, first, first+1)
		a.Dropped++
	}
}

func (s Step) same(o Step) bool {
	return s.Kind == o.Kind && s.Fault == o.Fault && s.Detail == o.Detail && s.Addr == o.Addr && s.Agent == o.Agent && s.Loose == o.Loose
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// adopt puts the steps of another attempt before its own.
func (a *Attempt) adopt(prelude *Attempt) {
	own := a.Steps
	a.Steps = nil
	for _, s := range prelude.Steps {
		s.Loose = true
		a.add(s)
	}
	for _, s := range own {
		a.add(s)
	}
	a.Dropped += prelude.Dropped
}

// trim drops the steps that are past their time at now and reports whether any
// are left.
func (a *Attempt) trim(now time.Time) bool {
	a.Steps = slices.DeleteFunc(a.Steps, func(s Step) bool { return !now.Before(s.Last.Add(AttemptTTL)) })
	return len(a.Steps) > 0
}

// expireAttempt drops the steps that are past their time, and the attempt with
// the last of them.
func expireAttempt(tx *bolt.Tx, key []byte, now time.Time) error {
	a, err := attempts.get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !a.trim(now) {
		return attempts.delete(tx, key)
	}
	return attempts.put(tx, a)
}

// AttemptQuery says which attempts to read. At most one of User, Client and
// Grant is set.
type AttemptQuery struct {
	User   UserID
	Client ClientID
	Grant  GrantID
	Before string // the Next of the page before; empty: from the newest on
	Limit  int    // at least 1
}

// AttemptPage is some attempts, the one with the most recent step first.
type AttemptPage struct {
	Attempts []Attempt
	Next     string // for Before of the page that follows; empty: there is none
}

// Attempts reads a page of attempts, with the steps that are not past their
// time at now. What was noted before the call is in it.
func (db *DB) Attempts(q AttemptQuery, now time.Time) (page AttemptPage, err error) {
	if err := db.flushForReader(); err != nil {
		return AttemptPage{}, err
	}
	name, prefix := "last", []byte(nil)
	switch {
	case q.Grant != "":
		name, prefix = "grant", join([]byte(q.Grant), nil)
	case q.Client != "":
		name, prefix = "client", join([]byte(q.Client), nil)
	case q.User != "":
		name, prefix = "user", join([]byte(q.User), nil)
	}
	err = db.view(func(tx *bolt.Tx) error {
		page = AttemptPage{}
		entries, next, err := newestFirst(tx.Bucket([]byte("attempts_by_"+name)), prefix, q.Before, q.Limit)
		if err != nil {
			return err
		}
		page.Next = next
		for _, key := range entries {
			a, err := attempts.get(tx, key)
			if err != nil {
				return err
			}
			if a.trim(now) {
				page.Attempts = append(page.Attempts, *a)
			}
		}
		return nil
	})
	return page, err
}

// AttemptOfCode returns the attempt in which a code was given out to that
// client, and to whom; "" for an unknown code and for another client's.
func (db *DB) AttemptOfCode(hash Hash, client ClientID) (id AttemptID, user UserID, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		id, user = "", ""
		c, err := codes.get(tx, hash[:])
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil && c.Client == client {
			id, user = c.Attempt, c.User
		}
		return err
	})
	return id, user, err
}

// AttemptOfToken returns the attempt whose newest access token this is, however long
// it has been dead. ErrNotFound when there is none.
func (db *DB) AttemptOfToken(c Credential) (Attempt, error) {
	return db.attemptOf(c, func(a *Attempt) Hash { return a.Token })
}

// AttemptOfFamily returns the attempt of the connection that refresh tokens of a
// family were of, however long it has ended. ErrNotFound when there is none.
func (db *DB) AttemptOfFamily(c Credential) (Attempt, error) {
	return db.attemptOf(c, func(a *Attempt) Hash { return a.Family })
}

// attemptOf looks among the attempts of the connection that the credential names for
// the one that remembers its hash.
func (db *DB) attemptOf(c Credential, remembered func(*Attempt) Hash) (a Attempt, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		c, err := c.named(tx)
		if err != nil {
			return err
		}
		for _, key := range attempts.keysBy(tx, "grant", []byte(c.Grant)) {
			found, err := attempts.get(tx, key)
			if err != nil {
				return err
			}
			if remembered(found).is(c.Hash) {
				a = *found
				return nil
			}
		}
		return ErrNotFound
	})
	return a, err
}

// TokenGrant returns the connection of an access token whether or not they have
// expired, to say why it opens nothing. ErrNotFound when it is gone.
func (db *DB) TokenGrant(c Credential) (g Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		found, _, err := ofToken(tx, c)
		return load(&g)(found, err)
	})
	return g, err
}

// FamilyGrant returns the connection that refresh tokens of a family are of,
// whether or not it has expired. ErrNotFound when it is gone.
func (db *DB) FamilyGrant(c Credential) (g Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&g)(ofFamily(tx, c)) })
	return g, err
}

// LiveGrants returns which of the connections are live at now.
func (db *DB) LiveGrants(ids []GrantID, now time.Time) (live map[GrantID]bool, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		live = map[GrantID]bool{}
		for _, id := range ids {
			g, err := grants.get(tx, []byte(id))
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if now.Before(g.Expires) {
				live[g.ID] = true
			}
		}
		return nil
	})
	return live, err
}

// ClientNames returns what the clients of connections call themselves: of those
// that are there, and of others as long as their attempts are.
func (db *DB) ClientNames(ids []GrantID) (names map[GrantID]string, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		names = map[GrantID]string{}
		for _, id := range ids {
			if names[id], err = clientName(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	return names, err
}

func clientName(tx *bolt.Tx, id GrantID) (string, error) {
	g, err := grants.get(tx, []byte(id))
	if err == nil {
		return g.ClientName, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return "", err
	}
	keys, _, err := newestFirst(tx.Bucket([]byte("attempts_by_grant")), join([]byte(id), nil), "", 1)
	if err != nil || len(keys) == 0 {
		return "", err
	}
	a, err := attempts.get(tx, keys[0])
	if err != nil {
		return "", err
	}
	return a.ClientName, nil
}

// checkHistory reports what is beyond its bounds or says nothing.
func checkHistory(tx *bolt.Tx, report func(string, ...any)) {
	_ = attempts.bucket(tx).ForEach(func(key, raw []byte) error {
		if a, err := attempts.decode(raw); err == nil && (len(a.Steps) == 0 || len(a.Steps) > maxSteps) {
			report("attempts %q: has %d steps", key, len(a.Steps))
		}
		return nil
	})
	for class, n := range countAttempts(tx) {
		if n > maxAttempts[class] {
			report("attempts: %d of class %d, more than %d", n, class, maxAttempts[class])
		}
	}
}
