package store

import (
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// watches are the functions of OnLoss and OnLossOf, by what they watch.
type watches struct {
	mu   sync.Mutex
	each map[watched][]*func()
}

// watched is a connection or a person.
type watched struct {
	grant GrantID
	user  UserID
}

// OnLoss has fn called after each commit that takes something from a connection:
// all of it, one of its access tokens, scopes, or what other limits allowed. What
// ends because its time is up is not told. fn is called before the writer hears
// of the commit, and on the writer's goroutine: it may read and must not wait or
// write. After stop no further call begins.
func (db *DB) OnLoss(id GrantID, fn func()) (stop func()) {
	return db.watches.add(watched{grant: id}, &fn)
}

// OnLossOf is OnLoss for a person: fn is called after each commit that ends one of
// their sessions or memberships, changes their role in a team, or ends the account.
func (db *DB) OnLossOf(user UserID, fn func()) (stop func()) {
	return db.watches.add(watched{user: user}, &fn)
}

// takes has those told who watch the connection, once tx is committed. The access
// cache is retired before that: whoever begins to watch too late for being told
// reads what the commit left.
func (db *DB) takes(tx *bolt.Tx, id GrantID) { db.tells(tx, watched{grant: id}) }

// takesFrom is takes for those who watch a person.
func (db *DB) takesFrom(tx *bolt.Tx, user UserID) { db.tells(tx, watched{user: user}) }

func (db *DB) tells(tx *bolt.Tx, what watched) {
	tx.OnCommit(func() {
		if what.grant != "" { // before somebody is told, whatever else of tx is to do so
			db.access.retireGrant([]byte(what.grant))
		} else {
			db.access.retireAll(nil)
		}
		db.watches.tell(what)
	})
}

func (w *watches) add(id watched, fn *func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.each == nil {
		w.each = map[watched][]*func(){}
	}
	w.each[id] = append(w.each[id], fn)
	return func() { w.remove(id, fn) }
}

func (w *watches) remove(id watched, fn *func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each[id] = slices.DeleteFunc(w.each[id], func(f *func()) bool { return f == fn })
	if len(w.each[id]) == 0 {
		delete(w.each, id)
	}
}

func (w *watches) tell(id watched) {
	w.mu.Lock()
	list := slices.Clone(w.each[id])
	w.mu.Unlock()
	for _, fn := range list {
		(*fn)()
	}
}
