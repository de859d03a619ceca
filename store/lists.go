package store

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// PageQuery says which page of a list to read.
type PageQuery struct {
	After string // the Next of the page before; empty: from the beginning
	Limit int    // at least 1
	// Search are words, each of which is in what people read of a record that is
	// listed; empty: all are.
	Search string
}

// Finds reports whether every word of the search is in what people read of a record.
func (q PageQuery) Finds(shown ...string) bool {
	all := strings.ToLower(strings.Join(shown, " "))
	for word := range strings.FieldsSeq(strings.ToLower(q.Search)) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}

// Page is some of a list, in its order.
type Page[T any] struct {
	List []T
	Next string // for After of the page that follows; empty: there is none
}

// GrantDetail is a connection with whose it is and for which team.
type GrantDetail struct {
	Grant
	Owner User
	For   Team
}

// GrantsPage returns the connections of a team that are live at now, or with an empty
// team those of the whole server, the newest first. Without a search it reads no more
// than the page. ErrCursor for an After that no page gave.
func (db *DB) GrantsPage(team TeamID, q PageQuery, now time.Time) (page Page[GrantDetail], err error) {
	index, prefix := "grants_by_created", []byte(nil)
	if team != "" {
		index, prefix = "grants_by_team", join([]byte(team), nil)
	}
	err = db.view(func(tx *bolt.Tx) error {
		page = Page[GrantDetail]{}
		step := q
		for {
			if err := db.moreGrants(tx, &page, index, prefix, step, now); err != nil {
				return err
			}
			step.After, step.Limit = page.Next, q.Limit-len(page.List)
			if q.Search == "" || step.After == "" || step.Limit == 0 {
				return nil
			}
		}
	})
	return page, err
}

// moreGrants adds a step through an index to a page.
func (db *DB) moreGrants(tx *bolt.Tx, page *Page[GrantDetail], index string, prefix []byte, q PageQuery, now time.Time) error {
	keys, next, err := newestFirst(tx.Bucket([]byte(index)), prefix, q.After, q.Limit)
	if err != nil {
		return err
	}
	page.Next = next
	for _, key := range keys {
		d, err := grantDetail(tx, key)
		if err != nil {
			return err
		}
		if now.Before(d.Expires) && q.Finds(d.Nickname, d.ClientName, d.RedirectHost, d.Owner.Email, d.Owner.Name, d.For.Name, d.For.Slug) {
			db.useOfGrant(&d.Grant)
			page.List = append(page.List, d)
		}
	}
	return nil
}

func grantDetail(tx *bolt.Tx, key []byte) (d GrantDetail, err error) {
	if err := load(&d.Grant)(grants.get(tx, key)); err != nil {
		return d, err
	}
	if err := load(&d.Owner)(users.get(tx, []byte(d.User))); err != nil {
		return d, err
	}
	return d, load(&d.For)(teams.get(tx, []byte(d.Team)))
}

// GrantDetail returns one live connection, whosever it is, or ErrNotFound.
func (db *DB) GrantDetail(id GrantID, now time.Time) (d GrantDetail, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		if d, err = grantDetail(tx, []byte(id)); err == nil && !now.Before(d.Expires) {
			err = ErrNotFound
		}
		return err
	})
	db.useOfGrant(&d.Grant)
	return d, err
}

// UsersPage returns people by address.
func (db *DB) UsersPage(q PageQuery) (page Page[User], err error) {
	return pageOf(db, "users_by_email", q, func(tx *bolt.Tx, key []byte) (u User, shown bool, err error) {
		err = load(&u)(users.get(tx, key))
		return u, q.Finds(u.Email, u.Name), err
	})
}

// TeamsPage returns teams by slug, with what they have.
func (db *DB) TeamsPage(q PageQuery) (page Page[TeamWithUse], err error) {
	return pageOf(db, "teams_by_slug", q, func(tx *bolt.Tx, key []byte) (t TeamWithUse, shown bool, err error) {
		if err := load(&t.Team)(teams.get(tx, key)); err != nil || !q.Finds(t.Name, t.Slug) {
			return t, false, err
		}
		t.Use, err = useOfTeam(tx, t.ID)
		return t, true, err
	})
}

// TeamWithUse is a team with what it has.
type TeamWithUse struct {
	Team
	Use TeamUse
}

// ClientsPage returns the clients that are known, by id, with how they are used.
func (db *DB) ClientsPage(q PageQuery) (page Page[ClientUse], err error) {
	return pageOf(db, "clients", q, clientOnPage(q))
}

// BlockedPage returns the clients that are blocked, the earliest block first.
func (db *DB) BlockedPage(q PageQuery) (page Page[ClientUse], err error) {
	return pageOf(db, "blocked_by_since", q, clientOnPage(q))
}

func clientOnPage(q PageQuery) func(*bolt.Tx, []byte) (ClientUse, bool, error) {
	return func(tx *bolt.Tx, key []byte) (ClientUse, bool, error) {
		u, err := useOfClient(tx, ClientID(key))
		return u, q.Finds(u.Name, string(u.ID), strings.Join(u.RedirectURIs, " ")), err
	}
}

// pageOf walks a bucket of records, or an index, in the order of its keys.
func pageOf[T any](db *DB, bucket string, q PageQuery, read func(tx *bolt.Tx, primary []byte) (one T, shown bool, err error)) (page Page[T], err error) {
	after, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || len(after) > maxCursor {
		return page, ErrCursor
	}
	err = db.view(func(tx *bolt.Tx) error {
		page = Page[T]{}
		b := tx.Bucket([]byte(bucket))
		c := b.Cursor()
		k, v := c.Seek(after)
		if q.After != "" && bytes.Equal(k, after) {
			k, v = c.Next()
		}
		for last := []byte(nil); k != nil; k, v = c.Next() {
			if len(page.List) == q.Limit { // what follows a search may be an empty page
				page.Next = cursorText(last)
				return nil
			}
			primary := v
			if isTable(bucket) {
				primary = k
			}
			one, shown, err := read(tx, bytes.Clone(primary))
			if err != nil {
				return err
			}
			if !shown {
				continue
			}
			page.List, last = append(page.List, one), bytes.Clone(k)
		}
		return nil
	})
	return page, err
}

// maxCursor bounds where a page begins: the longest key is the address of a client's
// document.
const maxCursor = 4096

// isTable reports whether a bucket is that of records and not an index of them.
func isTable(bucket string) bool {
	for _, t := range tables {
		if t.buckets()[0] == bucket {
			return true
		}
	}
	return false
}
