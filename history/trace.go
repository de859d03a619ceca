package history

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"podgate/internal/text"
	"podgate/store"
)

// Note is a step as a door reports it. Kind is required; the rest is what is
// known at that point.
type Note struct {
	Kind   string
	Fault  string // empty: the step succeeded
	Detail string
	From   Visitor
	// Attempt is that of the authorization request, code or connection: the
	// step is then certain to belong to it.
	Attempt    store.AttemptID
	Client     store.ClientID // one that is known here, never one that was only claimed
	Claimed    store.ClientID // one that nobody has looked up yet: ties a browser's steps together and is not kept
	Public     bool           // the client's id is known to everybody: that of a metadata document
	ClientName string
	Host       string // that receives the code
	User       store.UserID
	Team       store.TeamID
	Grant      store.GrantID
	Token      store.Hash // of an access token that was given out
}

// Step records a step and returns the attempt that it was taken for. A nil
// Recorder returns "".
func (r *Recorder) Step(n Note) store.AttemptID {
	if r == nil {
		return ""
	}
	now, key := r.now(), n.From.key()
	id, adopt, loose := r.threads.place(n, key, now)
	note := store.StepNote{
		Attempt: id, Adopt: adopt, Client: n.Client, ClientName: text.Field(n.ClientName, maxName), Host: text.Field(n.Host, maxDetail),
		User: n.User, Team: n.Team, Grant: n.Grant, Token: n.Token,
		Step: store.Step{Kind: n.Kind, Fault: n.Fault, Detail: text.Field(n.Detail, maxDetail), At: now, Addr: n.From.addr, Agent: n.From.agent, Loose: loose},
	}
	if n.Client == "" && n.User == "" {
		note.Visitor = key
	}
	r.db.NoteStep(note)
	return id
}

// SignedIn records the end of a sign-in that an authorization request of the
// claimed client led to. Without such a request from the same visitor there is
// nothing to record.
func (r *Recorder) SignedIn(from Visitor, claimed store.ClientID, user store.UserID, fault string) {
	if r == nil {
		return
	}
	id := r.threads.waiting(browserKey(claimed, from.key()), user, r.now())
	if id != "" {
		r.Step(Note{Kind: StepSignedIn, Fault: fault, From: from, Attempt: id, User: user})
	}
}

const (
	// preludePause is the longest silence between two of a stranger's steps
	// that are taken for one attempt.
	preludePause = 10 * time.Minute
	// registerPause is how long a client may take from its registration to the
	// browser.
	registerPause = 24 * time.Hour
	// decidePause is how long a person may take from one page to the next.
	decidePause = 30 * time.Minute
	// nearPause is how long before the browser a client at the same address may
	// have looked around to be taken for the one that opened it.
	nearPause = 2 * time.Minute
)

// threads remembers which attempt a visitor, a client or a browser is in the
// middle of. The zero value is ready. Its memory is bounded; what it forgets
// begins an attempt anew.
type threads struct {
	mu       sync.Mutex
	visitors recent[thread] // by visitor: nobody has signed in yet
	near     recent[string] // the newest of those visitors, by address
	clients  recent[thread] // by client that registered itself
	browsers recent[thread] // by client and visitor: on the way to a decision

	challenged atomic.Int64 // when a call without a token was last seen, in nanoseconds since 1970
}

type thread struct {
	attempt store.AttemptID
	last    time.Time
	client  store.ClientID // of visitors: what it registered as
	visitor string         // of clients: who registered
	user    store.UserID   // of browsers: who signed in
	claimed bool           // of clients: a browser came
	reads   bool           // of visitors: more than calls without a token
}

func (t thread) within(pause time.Duration, now time.Time) bool {
	return t.attempt != "" && now.Sub(t.last) < pause
}

// free reports whether what user does next may go on in a browser's attempt. It
// may not once somebody else has signed in there, nor when nobody has any more:
// a neighbour with such a browser at the same address looks like that.
func (t thread) free(user store.UserID) bool { return t.user == "" || t.user == user }

func browserKey(client store.ClientID, visitor string) string { return visitor + "\n" + string(client) }

func newAttempt() store.AttemptID { return store.AttemptID(store.NewID()) }

// place finds the attempt that a note belongs to. adopt is a prelude that turns
// out to be part of it; loose says that only address and User-Agent speak for
// it.
func (t *threads) place(n Note, visitor string, now time.Time) (id, adopt store.AttemptID, loose bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case n.Attempt != "" || n.Grant != "":
		if n.Kind == StepApprove || n.Kind == StepDeny {
			t.browsers.drop(browserKey(n.Client, visitor))
		}
		if n.Kind == StepCode && n.Fault == "" {
			adopt = t.claim(visitor, preludePause, now)
		}
		return n.Attempt, adopt, false
	case n.Kind == StepRegister && n.Client != "":
		return t.registered(n, visitor, now), "", false
	case n.Kind == StepAuthorize, n.Kind == StepSignIn, n.Kind == StepConsent, n.Kind == StepMetadata:
		id, adopt = t.browser(n, visitor, now)
		return id, adopt, false
	case n.Client != "" && !n.Public:
		return t.ofClient(n.Client, now), "", false
	}
	return t.stranger(n, visitor, now), "", true
}

// registered continues what the visitor began, unless that led to another
// registration already.
func (t *threads) registered(n Note, visitor string, now time.Time) store.AttemptID {
	id := newAttempt()
	if had := t.visitors.get(visitor); had.within(preludePause, now) && (had.client == "" || had.client == n.Client) {
		id = had.attempt
	} else if had := t.clients.get(string(n.Client)); had.within(registerPause, now) {
		id = had.attempt // the same metadata again within minutes
	}
	t.visitors.put(visitor, thread{attempt: id, last: now, client: n.Client})
	t.clients.put(string(n.Client), thread{attempt: id, last: now, visitor: visitor})
	return id
}

// browser finds the attempt that a browser is in: one that it is on the way
// with, one that the client registered for, or a new one.
func (t *threads) browser(n Note, visitor string, now time.Time) (id, adopt store.AttemptID) {
	key := browserKey(cmp.Or(n.Client, n.Claimed), visitor)
	had := t.browsers.get(key)
	if had.within(decidePause, now) && had.free(n.User) {
		id = had.attempt
	} else {
		had = thread{}
		id, adopt = t.opened(n, now)
	}
	if n.User != "" {
		had.user = n.User
	}
	t.browsers.put(key, thread{attempt: id, last: now, user: had.user})
	return id, adopt
}

// opened is a browser that a client has just opened.
func (t *threads) opened(n Note, now time.Time) (id, adopt store.AttemptID) {
	if n.Client != "" && !n.Public {
		had := t.clients.get(string(n.Client))
		if had.within(registerPause, now) && !had.claimed {
			if t.visitors.get(had.visitor).attempt == had.attempt {
				t.visitors.drop(had.visitor) // what it does next is another story
			}
			t.clients.put(string(n.Client), thread{attempt: had.attempt, last: now, claimed: true})
			return had.attempt, ""
		}
	}
	id = newAttempt()
	if n.Client != "" && !n.Public {
		t.clients.put(string(n.Client), thread{attempt: id, last: now, claimed: true})
	}
	if n.Client != "" && n.From.net != "" {
		adopt = t.claim(t.near.get(n.From.net), nearPause, now)
	}
	return id, adopt
}

// claim ends a visitor's prelude, if it has one that led to no registration,
// and returns it.
func (t *threads) claim(visitor string, pause time.Duration, now time.Time) store.AttemptID {
	had := t.visitors.get(visitor)
	if !had.within(pause, now) || had.client != "" {
		return ""
	}
	t.visitors.drop(visitor)
	return had.attempt
}

func (t *threads) ofClient(client store.ClientID, now time.Time) store.AttemptID {
	had := t.clients.get(string(client))
	if !had.within(registerPause, now) {
		had = thread{attempt: newAttempt(), claimed: true}
	}
	had.last = now
	t.clients.put(string(client), had)
	return had.attempt
}

func (t *threads) stranger(n Note, visitor string, now time.Time) store.AttemptID {
	had := t.visitors.get(visitor)
	if !had.within(preludePause, now) {
		had = thread{attempt: newAttempt()}
	}
	had.last = now
	had.reads = had.reads || n.Kind != StepChallenge
	if n.Kind == StepChallenge {
		t.challenged.Store(now.UnixNano())
	}
	t.visitors.put(visitor, had)
	if n.From.net != "" && had.client == "" {
		t.near.put(n.From.net, visitor)
	}
	return had.attempt
}

func (t *threads) anyChallenged(now time.Time) bool {
	return now.UnixNano()-t.challenged.Load() < int64(preludePause)
}

// cameBack ends a visitor's prelude of nothing but calls without a token, and
// returns it.
func (t *threads) cameBack(visitor string, now time.Time) store.AttemptID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.visitors.get(visitor).reads {
		return ""
	}
	return t.claim(visitor, preludePause, now)
}

// waiting returns the attempt that the browser is on the way with, and whose
// it now is.
func (t *threads) waiting(key string, user store.UserID, now time.Time) store.AttemptID {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.browsers.get(key)
	if !had.within(decidePause, now) || !had.free(user) {
		return ""
	}
	had.last = now
	if user != "" {
		had.user = user
	}
	t.browsers.put(key, had)
	return had.attempt
}

// maxRecent bounds each half of a recent map.
const maxRecent = 4096

// recent is a map that forgets what was not put for the longest time, roughly:
// when the young half is full it becomes the old half, and the old one goes.
type recent[V any] struct{ young, old map[string]V }

func (m *recent[V]) get(key string) V {
	if v, ok := m.young[key]; ok {
		return v
	}
	return m.old[key]
}

func (m *recent[V]) put(key string, v V) {
	if m.young == nil || len(m.young) >= maxRecent {
		m.young, m.old = make(map[string]V), m.young
	}
	m.young[key] = v
	delete(m.old, key)
}

func (m *recent[V]) drop(key string) {
	delete(m.young, key)
	delete(m.old, key)
}
