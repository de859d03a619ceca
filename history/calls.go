package history

import (
	"net/http"
	"sync"
	"time"

	"podgate/store"
)

const (
	// callEvery is how often a connection's calls are worth a step.
	callEvery = time.Hour
	// lookEvery is how often a connection's calls are held against what its
	// visitor did without a token.
	lookEvery = 10 * time.Second
)

// calls remembers when a connection's calls were last recorded and looked at,
// so that all but a few cost one look into a map. The zero value is ready.
type calls struct {
	mu   sync.RWMutex
	last map[store.GrantID]lastCall
}

type lastCall struct{ recorded, looked time.Time }

// maxCalls bounds the memory; past it every connection is recorded once more.
const maxCalls = 10_000

func (l lastCall) due(now time.Time) (record, look bool) {
	return now.Sub(l.recorded) >= callEvery, now.Sub(l.looked) >= lookEvery
}

// due reports whether a call at now is to be recorded and looked at, which it
// then counts as.
func (c *calls) due(id store.GrantID, now time.Time) (record, look bool) {
	c.mu.RLock()
	record, look = c.last[id].due(now)
	c.mu.RUnlock()
	if !record && !look {
		return false, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last[id]
	record, look = last.due(now)
	if record {
		last.recorded = now
	}
	if look {
		last.looked = now
	}
	if c.last == nil || len(c.last) >= maxCalls {
		c.last = map[store.GrantID]lastCall{}
	}
	c.last[id] = last
	return record, look
}

// Called records that a connection's token was accepted, the first time and
// then once an hour. It stands on the path of every call.
func (r *Recorder) Called(g *store.Grant, req *http.Request) {
	if r == nil {
		return
	}
	now := r.now()
	record, look := r.calls.due(g.ID, now)
	if look && r.correlator.anyPrelude(now) {
		r.cameBack(r.Visitor(req), now)
	}
	if record {
		r.Step(OfGrant(*g, Note{Kind: StepCall, From: r.Visitor(req)}))
	}
}

// cameBack closes the attempt of a visitor that came without a token and did not
// register: some clients call, and some read the documents, at each start, and then
// use the token they have.
func (r *Recorder) cameBack(from Visitor, now time.Time) {
	if id := r.correlator.cameBack(from.key(), now); id != "" {
		r.Step(Note{Kind: StepChallenge, Detail: DetailCameBack, From: from, Attempt: id})
	}
}

// OfGrant returns n as a step of that connection.
func OfGrant(g store.Grant, n Note) Note {
	n.Attempt, n.Client, n.Grant, n.User, n.Team = g.Attempt, g.Client, g.ID, g.User, g.Team
	n.ClientName, n.Host = g.ClientName, g.RedirectHost
	if g.Refresh != nil {
		n.Family = g.Refresh.Family
	}
	return n
}
