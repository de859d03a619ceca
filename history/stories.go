package history

import (
	"slices"

	"podgate/store"
)

// Story is an attempt as people are shown it.
type Story struct {
	store.Attempt
	Diagnosis Diagnosis
	Alive     bool // the connection that it led to is live
}

// Stories is a page of them, the one with the most recent step first.
type Stories struct {
	Stories []Story
	Next    string // for Before of the page that follows; empty: there is none
}

// Attempts reads attempts with their diagnoses, as an administrator may see
// them. store.ErrCursor for a Before that no page gave. A nil Recorder has none.
func (r *Recorder) Attempts(q store.AttemptQuery) (Stories, error) {
	if r == nil {
		return Stories{}, nil
	}
	now := r.now()
	page, err := r.db.Attempts(q, now)
	if err != nil {
		return Stories{}, err
	}
	var ids []store.GrantID
	for _, a := range page.Attempts {
		if a.Grant != "" {
			ids = append(ids, a.Grant)
		}
	}
	live, err := r.db.LiveGrants(ids, now)
	if err != nil {
		return Stories{}, err
	}
	out := Stories{Next: page.Next}
	for _, a := range page.Attempts {
		out.Stories = append(out.Stories, Story{Attempt: a, Alive: live[a.Grant], Diagnosis: Diagnose(a, live[a.Grant], now)})
	}
	return out, nil
}

// OwnAttempts reads the attempts of one person as that person may see them: of
// steps that only address and User-Agent tie to the attempt, neither is shown,
// because somebody else's client may have taken them. With a connection, only
// the attempts of that one, if it is theirs.
func (r *Recorder) OwnAttempts(user store.UserID, connection store.GrantID, before string, limit int) (Stories, error) {
	q := store.AttemptQuery{User: user, Before: before, Limit: limit}
	if connection != "" {
		q = store.AttemptQuery{Grant: connection, Before: before, Limit: limit}
	}
	list, err := r.Attempts(q)
	list.Stories = slices.DeleteFunc(list.Stories, func(s Story) bool { return user == "" || s.User != user })
	for i := range list.Stories {
		for j, step := range list.Stories[i].Steps {
			if step.Loose {
				list.Stories[i].Steps[j].Addr, list.Stories[i].Steps[j].Agent = "", ""
			}
		}
	}
	return list, err
}

// AuditList reads the audit list. A nil Recorder has none.
func (r *Recorder) AuditList(q store.AuditQuery) (store.AuditPage, error) {
	if r == nil {
		return store.AuditPage{}, nil
	}
	return r.db.Audit(q, r.now())
}
