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

// Attempt is the story of one try of a client to connect and, when it came to
// that, of the connection it led to. It outlives the client, the user and the
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

// Began returns when the first step that is left was taken.
func (a *Attempt) Began() (began time.Time) {
	for _, s := range a.Steps {
		if began.IsZero() || s.At.Before(began) {
			began = s.At
		}
	}
	return began
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

var attempts = &table[Attempt]{
	name: "attempts",
	kind: 20,
	key:  func(a *Attempt) []byte { return []byte(a.ID) },
	indexes: []index[Attempt]{
		{"last", func(a *Attempt) []byte { return a.aged() }},
		{"class", func(a *Attempt) []byte { return append([]byte{byte(a.class())}, a.aged()...) }},
		{"owner", func(a *Attempt) []byte { return join(a.owner(), a.aged()) }},
		{"user", func(a *Attempt) []byte { return agedUnder(string(a.User), a) }},
		{"client", func(a *Attempt) []byte { return agedUnder(string(a.Client), a) }},
		{"grant", func(a *Attempt) []byte { return agedUnder(string(a.Grant), a) }},
		{"token", func(a *Attempt) []byte {
			if a.Token.IsZero() {
				return nil
			}
			return join(a.Token[:], []byte(a.ID))
		}},
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
	Step       Step // Count and Last are filled in
}

// tell fills in what the note says about the attempt. The person and the
// connection of an attempt never change: a note that names another one is a
// fault of the caller and must not show one person's steps to another.
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

// writeSteps applies notes in order. Each attempt is written once, however many
// of its steps are among them.
func writeSteps(tx *bolt.Tx, notes []StepNote) error {
	w := stepWriter{tx: tx, touched: map[AttemptID]*Attempt{}}
	for _, n := range notes {
		if err := w.take(n); err != nil {
			return err
		}
	}
	for _, id := range w.order {
		a := w.touched[id]
		if a == nil {
			continue // adopted since
		}
		if err := attempts.put(tx, a); err != nil {
			return err
		}
		if err := w.makeRoom(a); err != nil {
			return err
		}
	}
	if !w.more {
		return nil
	}
	return keepClasses(tx)
}

type stepWriter struct {
	tx      *bolt.Tx
	touched map[AttemptID]*Attempt // nil: deleted
	order   []AttemptID
	more    bool // a class may have grown
}

func (w *stepWriter) take(n StepNote) error {
	if n.Attempt == "" {
		if err := w.byGrant(&n); err != nil || n.Attempt == "" {
			return err
		}
	}
	a, err := w.load(n.Attempt)
	if err != nil {
		return err
	}
	if !a.belongs(n) {
		return nil
	}
	class := a.class()
	a.tell(n)
	w.more = w.more || a.class() != class
	if n.Adopt != "" && n.Adopt != a.ID {
		if err := w.adopt(a, n.Adopt); err != nil {
			return err
		}
	}
	a.add(n.Step)
	return nil
}

// byGrant fills in the attempt of a note that names only the connection. One
// that has just ended is still known by its attempt; one that no attempt led to
// begins a story if the note says whose it is.
func (w *stepWriter) byGrant(n *StepNote) error {
	for _, a := range w.touched {
		if a != nil && a.Grant == n.Grant {
			n.Attempt = a.ID
			return nil
		}
	}
	g, err := grants.get(w.tx, []byte(n.Grant))
	if err == nil {
		n.Attempt = g.attempt()
		n.Client, n.ClientName, n.Host, n.User, n.Team = g.Client, g.ClientName, g.RedirectHost, g.User, g.Team
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if keys := attempts.keysBy(w.tx, "grant", []byte(n.Grant)); len(keys) > 0 {
		n.Attempt = AttemptID(keys[len(keys)-1])
	} else if n.User != "" {
		n.Attempt = AttemptID(n.Grant)
	}
	return nil
}

// attempt is the connection's story. One that no attempt led to, as far as is
// known, begins a story of its own.
func (g *Grant) attempt() AttemptID {
	if g.Attempt == "" {
		return AttemptID(g.ID)
	}
	return g.Attempt
}

// load returns the attempt, a fresh one when there is none yet.
func (w *stepWriter) load(id AttemptID) (*Attempt, error) {
	if a := w.touched[id]; a != nil {
		return a, nil
	}
	a, err := attempts.get(w.tx, []byte(id))
	if errors.Is(err, ErrNotFound) {
		a, err = &Attempt{ID: id}, nil
		w.more = true
	}
	if err != nil {
		return nil, err
	}
	w.touched[id] = a
	w.order = append(w.order, id)
	return a, nil
}

// adopt moves the steps of a prelude over. One that got an owner of its own
// meanwhile stays what it is.
func (w *stepWriter) adopt(a *Attempt, id AttemptID) error {
	prelude := w.touched[id]
	if prelude == nil {
		var err error
		prelude, err = attempts.get(w.tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			return nil // pushed out
		}
		if err != nil {
			return err
		}
	}
	if prelude.class() != classStranger {
		return nil
	}
	a.adopt(prelude)
	w.touched[id] = nil
	return attempts.delete(w.tx, []byte(id))
}

// makeRoom takes away what the bounds do not allow beside a.
func (w *stepWriter) makeRoom(a *Attempt) error {
	if err := w.keepNewest("owner", a.owner(), maxAttemptsPerOwner); err != nil {
		return err
	}
	if a.User == "" {
		return nil
	}
	return w.keepNewest("user", []byte(a.User), maxAttemptsPerUser)
}

func (w *stepWriter) keepNewest(name string, owner []byte, n int) error {
	keys := attempts.keysBy(w.tx, name, owner) // by age: the oldest first
	for i := 0; i < len(keys)-n; i++ {
		if err := attempts.delete(w.tx, keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// countAttempts counts each class. It walks keys only, a few thousand at most,
// and only when an attempt is new or changes its class.
func countAttempts(tx *bolt.Tx) (n [attemptClasses]int) {
	c := tx.Bucket([]byte("attempts_by_class")).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if k[0] < byte(attemptClasses) {
			n[k[0]]++
		}
	}
	return n
}

// keepClasses takes away the oldest of a class that has too many.
func keepClasses(tx *bolt.Tx) error {
	for class, n := range countAttempts(tx) {
		for ; n > maxAttempts[class]; n-- {
			_, key := tx.Bucket([]byte("attempts_by_class")).Cursor().Seek([]byte{byte(class)})
			if err := attempts.delete(tx, slices.Clone(key)); err != nil {
				return err
			}
		}
	}
	return nil
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
	if err := db.FlushHistory(); err != nil {
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

// Attempt returns one attempt with the steps that are not past their time.
// ErrNotFound when there is none.
func (db *DB) Attempt(id AttemptID, now time.Time) (a Attempt, err error) {
	if err := db.FlushHistory(); err != nil {
		return Attempt{}, err
	}
	err = db.view(func(tx *bolt.Tx) error {
		if err := load(&a)(attempts.get(tx, []byte(id))); err != nil {
			return err
		}
		if !a.trim(now) {
			return ErrNotFound
		}
		return nil
	})
	return a, err
}

// AttemptOfCode returns the attempt in which a code was given out to that
// client; "" for an unknown code and for another client's.
func (db *DB) AttemptOfCode(hash Hash, client ClientID) (id AttemptID, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		id = ""
		c, err := codes.get(tx, hash[:])
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil && c.Client == client {
			id = c.Attempt
		}
		return err
	})
	return id, err
}

// AttemptOfToken returns the attempt whose newest access token has that hash,
// however long it has been dead. ErrNotFound when there is none.
func (db *DB) AttemptOfToken(hash Hash) (a Attempt, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		keys := attempts.keysBy(tx, "token", hash[:])
		if len(keys) == 0 {
			return ErrNotFound
		}
		return load(&a)(attempts.get(tx, keys[0]))
	})
	return a, err
}

// TokenGrant returns an access token and its connection whether or not they
// have expired, to say why they open nothing. ErrNotFound when they are gone.
func (db *DB) TokenGrant(hash Hash) (t Token, g Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		if err := load(&t)(tokens.get(tx, hash[:])); err != nil {
			return err
		}
		return load(&g)(grants.get(tx, []byte(t.Grant)))
	})
	return t, g, err
}

// FamilyGrant returns the connection that refresh tokens of a family are of,
// whether or not it has expired. ErrNotFound when it is gone.
func (db *DB) FamilyGrant(family Hash) (g Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&g)(grants.byUnique(tx, "family", family[:])) })
	return g, err
}

// LiveGrants returns which of the connections are live at now.
func (db *DB) LiveGrants(ids []GrantID, now time.Time) (live map[GrantID]bool, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		live = map[GrantID]bool{}
		for _, id := range ids {
			g, err := grants.live(tx, []byte(id), now)
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrExpired) {
				continue
			}
			if err != nil {
				return err
			}
			live[g.ID] = true
		}
		return nil
	})
	return live, err
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
