package history

import (
	"net/http"
	"sync"
	"time"

	"podgate/store"
)

// callEvery is how often a connection's calls are worth a step.
const callEvery = time.Hour

// calls remembers when a connection's calls were last recorded, so that all
// but one an hour cost one look into a map. The zero value is ready.
type calls struct {
	mu   sync.RWMutex
	last map[store.GrantID]time.Time
}

// maxCalls bounds the memory; past it every connection is recorded once more.
const maxCalls = 10_000

// due reports whether a call at now is to be recorded.
func (c *calls) due(id store.GrantID, now time.Time) bool {
	c.mu.RLock()
	last, ok := c.last[id]
	c.mu.RUnlock()
	if ok && now.Sub(last) < callEvery {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[id]; ok && now.Sub(last) < callEvery {
		return false
	}
	if c.last == nil || len(c.last) >= maxCalls {
		c.last = map[store.GrantID]time.Time{}
	}
	c.last[id] = now
	return true
}

// Called records that a connection's token was accepted, the first time and
// then once an hour. It stands on the path of every call.
func (r *Recorder) Called(g *store.Grant, req *http.Request) {
	if r == nil {
		return
	}
	now := r.now()
	if r.threads.anyChallenged(now) {
		r.cameBack(r.Visitor(req), now)
	}
	if !r.calls.due(g.ID, now) {
		return
	}
	r.Step(OfGrant(*g, Note{Kind: StepCall, From: r.Visitor(req)}))
}

// cameBack closes the story of a visitor that called without a token and read
// nothing: some clients do that at each start and then use the token they have.
func (r *Recorder) cameBack(from Visitor, now time.Time) {
	if id := r.threads.cameBack(from.key(), now); id != "" {
		r.Step(Note{Kind: StepChallenge, Detail: DetailCameBack, From: from, Attempt: id})
	}
}

// OfGrant returns n as a step of that connection.
func OfGrant(g store.Grant, n Note) Note {
	n.Attempt, n.Client, n.Grant, n.User, n.Team = g.Attempt, g.Client, g.ID, g.User, g.Team
	n.ClientName, n.Host = g.ClientName, g.RedirectHost
	return n
}
