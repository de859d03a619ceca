package history

import (
	"podgate/internal/text"
	"podgate/store"
)

// Note is a step as it is reported. Kind is required; the rest is what is
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
	Family     store.Hash // of the connection's refresh tokens
}

// Step records a step and returns the attempt that it was taken for. A nil
// Recorder returns "".
func (r *Recorder) Step(n Note) store.AttemptID {
	if r == nil {
		return ""
	}
	now, key := r.now(), n.From.key()
	id, adopt, loose := r.correlator.place(n, key, now)
	note := store.StepNote{
		Attempt: id, Adopt: adopt, Client: n.Client, ClientName: text.Field(n.ClientName, maxName), Host: text.Field(n.Host, maxDetail),
		User: n.User, Team: n.Team, Grant: n.Grant, Token: n.Token, Family: n.Family,
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
	id := r.correlator.waiting(browserKey(claimed, from.key()), user, r.now())
	if id != "" {
		r.Step(Note{Kind: StepSignedIn, Fault: fault, From: from, Attempt: id, User: user})
	}
}
