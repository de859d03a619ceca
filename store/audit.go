package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// AuditAction is what was done, as one word for programs. Package history lists
// those that there are; the store itself makes only AuditLost.
type AuditAction string

// AuditLost stands for entries and steps that were dropped because too much
// happened at once; its Count says how many.
const AuditLost AuditAction = "entries_lost"

// AuditOK is the outcome of what succeeded. Any other outcome says why it did
// not.
const AuditOK = "ok"

// AuditEntry is one thing that somebody did. It keeps names as they were,
// because it outlives the user, the team, the connection and the pod.
type AuditEntry struct {
	Seq       uint64      `json:"seq"` // in its class and group; the store counts
	Stranger  bool        `json:"stranger,omitempty"`
	At        time.Time   `json:"at"`
	Last      time.Time   `json:"last"`            // of Count equal ones in a row
	Count     int         `json:"count"`           //
	Actor     UserID      `json:"actor,omitempty"` // empty: a command line or a stranger
	ActorName string      `json:"actor_name,omitempty"`
	Concerns  UserID      `json:"concerns,omitempty"` // another person who may see the entry
	Grant     GrantID     `json:"grant,omitempty"`    // the connection acted through or upon
	Client    string      `json:"client,omitempty"`   // its host, as it was
	Claimed   string      `json:"claimed,omitempty"`  // what the client called itself, where there is no connection that tells
	Team      TeamID      `json:"team,omitempty"`
	TeamName  string      `json:"team_name,omitempty"` // its slug, as it was
	Pod       PodID       `json:"pod,omitempty"`       // it was done to; names are used anew
	Action    AuditAction `json:"action"`
	Object    string      `json:"object,omitempty"` // what it was done to: a pod, an address, a team
	Outcome   string      `json:"outcome"`
	Addr      string      `json:"addr,omitempty"`
}

// Bounds of the audit list. What strangers cause, such as failed sign-ins, makes
// room only for itself, and what concerns one person for nobody else's.
const (
	AuditTTL          = 90 * 24 * time.Hour
	maxAudit          = 80_000
	maxAuditStrangers = 20_000
	maxAuditConcerns  = 500 // of strangers, for each person
)

// auditBounds is how many entries there may be of each kind.
type auditBounds struct{ known, strangers, concerns uint64 }

func (b auditBounds) of(e *AuditEntry) uint64 {
	switch {
	case !e.Stranger:
		return b.known
	case e.Concerns == "":
		return b.strangers
	}
	return b.concerns
}

const (
	auditKnown byte = iota
	auditStranger
)

func (e *AuditEntry) class() byte {
	if e.Stranger {
		return auditStranger
	}
	return auditKnown
}

// group parts the numbers of a class: what strangers cause to one person is
// counted apart, so that it leaves apart. Two people who share a group by chance
// share its bound.
func (e *AuditEntry) group() uint16 {
	if !e.Stranger || e.Concerns == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(e.Concerns))
	return max(1, binary.BigEndian.Uint16(sum[:]))
}

// auditKeyLen is that of a class and a number, of which the first 16 bits are
// the group.
const (
	auditKeyLen    = 1 + 8
	auditPrefixLen = 1 + 2
	auditGroupBits = 48
)

func (e *AuditEntry) key() []byte {
	return binary.BigEndian.AppendUint64([]byte{e.class()}, e.Seq)
}

func (e *AuditEntry) agedUnder(id string) []byte {
	if id == "" {
		return nil
	}
	return join([]byte(id), bigTime(e.Last), e.key())
}

func (e AuditEntry) same(o AuditEntry) bool {
	e.At, e.Last, e.Count = o.At, o.Last, o.Count
	return e == o
}

var audits = &table[AuditEntry]{
	name: "audit",
	kind: 21,
	key:  func(e *AuditEntry) []byte { return e.key() },
	indexes: []index[AuditEntry]{
		{"last", func(e *AuditEntry) []byte { return join(bigTime(e.Last), e.key()) }},
		{"actor", func(e *AuditEntry) []byte { return e.agedUnder(string(e.Actor)) }},
		{"concerned", func(e *AuditEntry) []byte {
			if e.Concerns == e.Actor {
				return nil // stands under the actor
			}
			return e.agedUnder(string(e.Concerns))
		}},
		{"pod", func(e *AuditEntry) []byte { return e.agedUnder(string(e.Pod)) }},
	},
	expires: func(e *AuditEntry) time.Time { return e.Last.Add(AuditTTL) },
}

// writeAudit numbers the entries and inserts them, within the bounds.
func writeAudit(tx *bolt.Tx, entries []AuditEntry, bounds auditBounds) error {
	for i := range entries {
		e := &entries[i]
		if err := fillNames(tx, e); err != nil {
			return err
		}
		first, last := auditSpan(tx, e)
		e.Seq = last + 1
		if err := audits.insert(tx, e); err != nil {
			return err
		}
		// Entries leave from the old end only, so first and last count them.
		// Where the clock jumped, a gap makes an entry leave a little early.
		for ; e.Seq-first >= bounds.of(e); first, _ = auditSpan(tx, e) {
			if err := audits.delete(tx, (&AuditEntry{Stranger: e.Stranger, Seq: first}).key()); err != nil {
				return err
			}
		}
	}
	return nil
}

// auditSpan returns the numbers of the first and last entry of e's class and
// group; when there is none the first is the one after the last. It passes over
// keys that are none.
func auditSpan(tx *bolt.Tx, e *AuditEntry) (first, last uint64) {
	none := uint64(e.group()) << auditGroupBits
	prefix := (&AuditEntry{Stranger: e.Stranger, Seq: none}).key()[:auditPrefixLen]
	c := tx.Bucket([]byte(audits.name)).Cursor()
	k, _ := c.Seek(prefix)
	for k != nil && len(k) != auditKeyLen {
		k, _ = c.Next()
	}
	if !bytes.HasPrefix(k, prefix) {
		return none + 1, none
	}
	first = binary.BigEndian.Uint64(k[1:])
	if k, _ = c.Seek(prefixAfter(prefix)); k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	for len(k) != auditKeyLen {
		k, _ = c.Prev() // the first one ends this at the latest
	}
	return first, binary.BigEndian.Uint64(k[1:])
}

// prefixAfter is the least key that is greater than all with the prefix.
func prefixAfter(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			break
		}
	}
	return next
}

// fillNames writes down what those are called now whom the entry names by
// identifier alone.
func fillNames(tx *bolt.Tx, e *AuditEntry) error {
	if e.Grant != "" && (e.Client == "" || e.Team == "") {
		g, err := grants.get(tx, []byte(e.Grant))
		if err == nil {
			set(&e.Client, g.RedirectHost)
			set(&e.Team, g.Team)
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if e.Actor != "" && e.ActorName == "" {
		u, err := users.get(tx, []byte(e.Actor))
		if err == nil {
			e.ActorName = u.Email
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if e.Team != "" && e.TeamName == "" {
		t, err := teams.get(tx, []byte(e.Team))
		if err == nil {
			e.TeamName = t.Slug
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// AuditQuery says which entries to read.
type AuditQuery struct {
	User   UserID    // only what this person did or what concerns them; empty: all
	Pod    PodID     // only what was done to this pod; not together with User
	Since  time.Time // only from then on; zero: all
	Before string    // the Next of the page before; empty: from the newest on
	Limit  int       // at least 1
}

// AuditPage is some entries, newest first.
type AuditPage struct {
	Entries []AuditEntry
	Next    string // for Before of the page that follows; empty: there is none
}

// Audit reads a page of the audit list, without what is past its time at now.
// What was noted before the call is in it. ErrCursor for a Before that no page
// gave.
func (db *DB) Audit(q AuditQuery, now time.Time) (page AuditPage, err error) {
	if err := db.flushForReader(); err != nil {
		return AuditPage{}, err
	}
	err = db.view(func(tx *bolt.Tx) error {
		page = AuditPage{}
		var keys [][]byte
		var err error
		switch {
		case q.Pod != "":
			keys, page.Next, err = newestFirst(tx.Bucket([]byte("audit_by_pod")), join([]byte(q.Pod), nil), q.Before, q.Limit)
		case q.User != "":
			keys, page.Next, err = auditOf(tx, q)
		default:
			keys, page.Next, err = newestFirst(tx.Bucket([]byte("audit_by_last")), nil, q.Before, q.Limit)
		}
		if err != nil {
			return err
		}
		for _, key := range keys {
			e, err := audits.get(tx, key)
			if err != nil {
				return err
			}
			if e.Last.Before(q.Since) || !now.Before(e.Last.Add(AuditTTL)) {
				page.Next = ""
				return nil
			}
			page.Entries = append(page.Entries, *e)
		}
		return nil
	})
	return page, err
}

// auditOf merges what a person did with what concerns them. The ends of both
// indexes' keys sort alike, so one cursor serves for both.
func auditOf(tx *bolt.Tx, q AuditQuery) (keys [][]byte, next string, err error) {
	type entry struct{ tail, key []byte }
	var all []entry
	more := false
	for _, name := range []string{"audit_by_actor", "audit_by_concerned"} {
		found, after, err := newestFirst(tx.Bucket([]byte(name)), join([]byte(q.User), nil), q.Before, q.Limit)
		if err != nil {
			return nil, "", err
		}
		more = more || after != ""
		for _, key := range found {
			e, err := audits.get(tx, key)
			if err != nil {
				return nil, "", err
			}
			all = append(all, entry{join(bigTime(e.Last), key), key})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return -slices.Compare(a.tail, b.tail) })
	more = more || len(all) > q.Limit
	all = all[:min(len(all), q.Limit)]
	for _, e := range all {
		keys = append(keys, e.key)
	}
	if more {
		next = cursorText(all[len(all)-1].tail)
	}
	return keys, next, nil
}
