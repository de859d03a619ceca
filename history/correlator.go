package history

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"podgate/store"
)

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

// correlator remembers which attempt a visitor, a client or a browser is in the
// middle of. The zero value is ready. Its memory is bounded; what it forgets
// begins an attempt anew.
type correlator struct {
	mu       sync.Mutex
	visitors recent[ongoing] // by visitor: nobody has signed in yet
	near     recent[string]  // the newest of those visitors, by address
	clients  recent[ongoing] // by client that registered itself
	browsers recent[ongoing] // by client and visitor: on the way to a decision

	strange atomic.Int64 // when a step without a token was last taken, in nanoseconds since 1970
}

// ongoing is an attempt that somebody is in the middle of.
type ongoing struct {
	attempt store.AttemptID
	last    time.Time
	client  store.ClientID // of visitors: what it registered as
	visitor string         // of clients: who registered
	user    store.UserID   // of browsers: who signed in
	claimed bool           // of clients: a browser came
	reads   bool           // of visitors: more than calls without a token
	back    bool           // of visitors: a call with a good token came after the last step
}

func (o ongoing) within(pause time.Duration, now time.Time) bool {
	return o.attempt != "" && now.Sub(o.last) < pause
}

// free reports whether what user does next may go on in a browser's attempt. It
// may not once somebody else has signed in there, nor when nobody has any more:
// a neighbour with such a browser at the same address looks like that.
func (o ongoing) free(user store.UserID) bool { return o.user == "" || o.user == user }

func browserKey(client store.ClientID, visitor string) string { return visitor + "\n" + string(client) }

func newAttempt() store.AttemptID { return store.AttemptID(store.NewID()) }

// place finds the attempt that a note belongs to. adopt is a prelude that turns
// out to be part of it; loose says that only address and User-Agent speak for
// it.
func (c *correlator) place(n Note, visitor string, now time.Time) (id, adopt store.AttemptID, loose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n.Attempt != "" || n.Grant != "":
		if n.Kind == StepApprove || n.Kind == StepDeny {
			c.browsers.drop(browserKey(n.Client, visitor))
		}
		if n.Kind == StepCode && n.Fault == "" {
			adopt = c.claim(visitor, preludePause, now)
		}
		return n.Attempt, adopt, false
	case n.Kind == StepRegister && n.Client != "":
		return c.registered(n, visitor, now), "", false
	case n.Kind == StepAuthorize, n.Kind == StepSignIn, n.Kind == StepConsent, n.Kind == StepMetadata:
		id, adopt = c.browser(n, visitor, now)
		return id, adopt, false
	case n.Client != "" && !n.Public:
		return c.ofClient(n.Client, now), "", false
	}
	return c.stranger(n, visitor, now), "", true
}

// registered continues what the visitor began, unless that led to another
// registration already.
func (c *correlator) registered(n Note, visitor string, now time.Time) store.AttemptID {
	id := newAttempt()
	if had := c.visitors.get(visitor); had.within(preludePause, now) && (had.client == "" || had.client == n.Client) {
		id = had.attempt
	} else if had := c.clients.get(string(n.Client)); had.within(registerPause, now) {
		id = had.attempt // the same metadata again within minutes
	}
	c.visitors.put(visitor, ongoing{attempt: id, last: now, client: n.Client})
	c.clients.put(string(n.Client), ongoing{attempt: id, last: now, visitor: visitor})
	return id
}

// browser finds the attempt that a browser is in: one that it is on the way
// with, one that the client registered for, or a new one.
func (c *correlator) browser(n Note, visitor string, now time.Time) (id, adopt store.AttemptID) {
	key := browserKey(cmp.Or(n.Client, n.Claimed), visitor)
	had := c.browsers.get(key)
	if had.within(decidePause, now) && had.free(n.User) {
		id = had.attempt
	} else {
		had = ongoing{}
		id, adopt = c.opened(n, now)
	}
	if n.User != "" {
		had.user = n.User
	}
	c.browsers.put(key, ongoing{attempt: id, last: now, user: had.user})
	return id, adopt
}

// opened is a browser that a client has just opened.
func (c *correlator) opened(n Note, now time.Time) (id, adopt store.AttemptID) {
	if n.Client != "" && !n.Public {
		had := c.clients.get(string(n.Client))
		if had.within(registerPause, now) && !had.claimed {
			if c.visitors.get(had.visitor).attempt == had.attempt {
				c.visitors.drop(had.visitor) // what it does next is another attempt
			}
			c.clients.put(string(n.Client), ongoing{attempt: had.attempt, last: now, claimed: true})
			return had.attempt, ""
		}
	}
	id = newAttempt()
	if n.Client != "" && !n.Public {
		c.clients.put(string(n.Client), ongoing{attempt: id, last: now, claimed: true})
	}
	if n.Client != "" && n.From.net != "" {
		adopt = c.claim(c.near.get(n.From.net), nearPause, now)
	}
	return id, adopt
}

// claim ends a visitor's prelude, if it has one that led to no registration,
// and returns it.
func (c *correlator) claim(visitor string, pause time.Duration, now time.Time) store.AttemptID {
	had := c.visitors.get(visitor)
	if !had.within(pause, now) || had.client != "" {
		return ""
	}
	c.visitors.drop(visitor)
	return had.attempt
}

func (c *correlator) ofClient(client store.ClientID, now time.Time) store.AttemptID {
	had := c.clients.get(string(client))
	if !had.within(registerPause, now) {
		had = ongoing{attempt: newAttempt(), claimed: true}
	}
	had.last = now
	c.clients.put(string(client), had)
	return had.attempt
}

func (c *correlator) stranger(n Note, visitor string, now time.Time) store.AttemptID {
	had := c.visitors.get(visitor)
	if !had.within(preludePause, now) {
		had = ongoing{attempt: newAttempt()}
	}
	had.last, had.back = now, false
	had.reads = had.reads || n.Kind != StepChallenge
	c.strange.Store(now.UnixNano())
	c.visitors.put(visitor, had)
	if n.From.net != "" && had.client == "" {
		c.near.put(n.From.net, visitor)
	}
	return had.attempt
}

// anyPrelude reports whether there can be one that a call is to be held against.
func (c *correlator) anyPrelude(now time.Time) bool {
	return now.UnixNano()-c.strange.Load() < int64(preludePause)
}

// cameBack returns a visitor's prelude that led to no registration, once. It ends
// there if it is nothing but calls without a token. One that read the documents may
// be that of a neighbour, and is still there for whoever signs in.
func (c *correlator) cameBack(visitor string, now time.Time) store.AttemptID {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.visitors.get(visitor)
	if !had.reads {
		return c.claim(visitor, preludePause, now)
	}
	if had.back || !had.within(preludePause, now) || had.client != "" {
		return ""
	}
	had.back = true
	c.visitors.put(visitor, had)
	return had.attempt
}

// waiting returns the attempt that the browser is on the way with, and whose
// it now is.
func (c *correlator) waiting(key string, user store.UserID, now time.Time) store.AttemptID {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.browsers.get(key)
	if !had.within(decidePause, now) || !had.free(user) {
		return ""
	}
	had.last = now
	if user != "" {
		had.user = user
	}
	c.browsers.put(key, had)
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
