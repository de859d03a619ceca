package history

import (
	"cmp"
	"slices"

	"podgate/store"
)

// Attempt is an attempt as people are shown it.
type Attempt struct {
	store.Attempt
	Diagnosis Diagnosis
	Alive     bool // the connection that it led to is live
}

// AttemptPage is some attempts, the one with the most recent step first.
type AttemptPage struct {
	Attempts []Attempt
	Next     string // for Before of the page that follows; empty: there is none
}

// Attempts reads attempts with their diagnoses, as an administrator may see
// them. store.ErrCursor for a Before that no page gave. A nil Recorder has none.
func (r *Recorder) Attempts(q store.AttemptQuery) (AttemptPage, error) {
	if r == nil {
		return AttemptPage{}, nil
	}
	now := r.now()
	page, err := r.db.Attempts(q, now)
	if err != nil {
		return AttemptPage{}, err
	}
	var ids []store.GrantID
	for _, a := range page.Attempts {
		if a.Grant != "" {
			ids = append(ids, a.Grant)
		}
	}
	live, err := r.db.LiveGrants(ids, now)
	if err != nil {
		return AttemptPage{}, err
	}
	out := AttemptPage{Next: page.Next}
	for _, a := range page.Attempts {
		out.Attempts = append(out.Attempts, Attempt{Attempt: a, Alive: live[a.Grant], Diagnosis: Diagnose(a, live[a.Grant], now)})
	}
	return out, nil
}

// OwnAttempts reads the attempts of one person as that person may see them: of
// steps that only address and User-Agent tie to the attempt, neither is shown,
// because somebody else's client may have taken them. With a connection, only
// the attempts of that one, if it is theirs.
func (r *Recorder) OwnAttempts(user store.UserID, connection store.GrantID, before string, limit int) (AttemptPage, error) {
	q := store.AttemptQuery{User: user, Before: before, Limit: limit}
	if connection != "" {
		q = store.AttemptQuery{Grant: connection, Before: before, Limit: limit}
	}
	list, err := r.Attempts(q)
	list.Attempts = slices.DeleteFunc(list.Attempts, func(a Attempt) bool { return user == "" || a.User != user })
	for i := range list.Attempts {
		for j, step := range list.Attempts[i].Steps {
			if step.Loose {
				list.Attempts[i].Steps[j].Addr, list.Attempts[i].Steps[j].Agent = "", ""
			}
		}
	}
	return list, err
}

// AuditPage is some entries of the audit list, newest first.
type AuditPage struct {
	store.AuditPage
	names map[store.GrantID]string // of the clients of the entries' connections
}

// Claimed returns what the client of an entry calls itself; empty when it is not
// known any more.
func (p AuditPage) Claimed(e store.AuditEntry) string { return cmp.Or(p.names[e.Grant], e.Claimed) }

// AuditList reads the audit list. A nil Recorder has none.
func (r *Recorder) AuditList(q store.AuditQuery) (AuditPage, error) {
	if r == nil {
		return AuditPage{}, nil
	}
	page, err := r.db.Audit(q, r.now())
	if err != nil {
		return AuditPage{}, err
	}
	var ids []store.GrantID
	for _, e := range page.Entries {
		if e.Grant != "" {
			ids = append(ids, e.Grant)
		}
	}
	slices.Sort(ids)
	names, err := r.db.ClientNames(slices.Compact(ids))
	return AuditPage{page, names}, err
}
