package store

import (
	"bytes"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// writeSteps applies notes in order. Each attempt is written once, however many
// of its steps are among them.
func writeSteps(tx *bolt.Tx, notes []StepNote) error {
	w := stepWriter{tx: tx, touched: map[AttemptID]*Attempt{}}
	for _, n := range notes {
		if err := w.take(n); err != nil {
			return err
		}
	}
	for _, id := range w.order {
		a := w.touched[id]
		if a == nil {
			continue // adopted since
		}
		if err := attempts.put(tx, a); err != nil {
			return err
		}
		if err := w.makeRoom(a); err != nil {
			return err
		}
	}
	if !w.more {
		return nil
	}
	return keepClasses(tx)
}

type stepWriter struct {
	tx      *bolt.Tx
	touched map[AttemptID]*Attempt // nil: deleted
	order   []AttemptID
	more    bool // a class may have grown
}

func (w *stepWriter) take(n StepNote) error {
	if n.Attempt == "" {
		if err := w.byGrant(&n); err != nil || n.Attempt == "" {
			return err
		}
	}
	a, err := w.load(n.Attempt)
	if err != nil {
		return err
	}
	if !a.belongs(n) {
		return nil
	}
	class := a.class()
	a.tell(n)
	w.more = w.more || a.class() != class
	if n.Adopt != "" && n.Adopt != a.ID {
		if err := w.adopt(a, n.Adopt); err != nil {
			return err
		}
	}
	a.add(n.Step)
	return nil
}

// byGrant fills in the attempt of a note that names only the connection. One
// that has just ended is still known by its attempt; one that no attempt led to
// begins one if the note says whose it is.
func (w *stepWriter) byGrant(n *StepNote) error {
	for _, a := range w.touched {
		if a != nil && a.Grant == n.Grant {
			n.Attempt = a.ID
			return nil
		}
	}
	g, err := grants.get(w.tx, []byte(n.Grant))
	if err == nil {
		n.Attempt = g.attempt()
		n.Client, n.ClientName, n.Host, n.User, n.Team = g.Client, g.ClientName, g.RedirectHost, g.User, g.Team
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if keys := attempts.keysBy(w.tx, "grant", []byte(n.Grant)); len(keys) > 0 {
		n.Attempt = AttemptID(keys[len(keys)-1])
	} else if n.User != "" {
		n.Attempt = AttemptID(n.Grant)
	}
	return nil
}

// attempt is what led to the connection. One that nothing led to, as far as is
// known, begins an attempt of its own.
func (g *Grant) attempt() AttemptID {
	if g.Attempt == "" {
		return AttemptID(g.ID)
	}
	return g.Attempt
}

// load returns the attempt, a fresh one when there is none yet.
func (w *stepWriter) load(id AttemptID) (*Attempt, error) {
	if a := w.touched[id]; a != nil {
		return a, nil
	}
	a, err := attempts.get(w.tx, []byte(id))
	if errors.Is(err, ErrNotFound) {
		a, err = &Attempt{ID: id}, nil
		w.more = true
	}
	if err != nil {
		return nil, err
	}
	w.touched[id] = a
	w.order = append(w.order, id)
	return a, nil
}

// adopt moves the steps of a prelude over. One that got an owner of its own
// meanwhile stays what it is.
func (w *stepWriter) adopt(a *Attempt, id AttemptID) error {
	prelude := w.touched[id]
	if prelude == nil {
		var err error
		prelude, err = attempts.get(w.tx, []byte(id))
		if errors.Is(err, ErrNotFound) {
			return nil // pushed out
		}
		if err != nil {
			return err
		}
	}
	if prelude.class() != classStranger {
		return nil
	}
	a.adopt(prelude)
	w.touched[id] = nil
	return attempts.delete(w.tx, []byte(id))
}

// makeRoom takes away what the bounds do not allow beside a.
func (w *stepWriter) makeRoom(a *Attempt) error {
	if err := w.keepNewest("owner", a.owner(), maxAttemptsPerOwner); err != nil {
		return err
	}
	if a.User == "" {
		return nil
	}
	return w.keepNewest("user", []byte(a.User), maxAttemptsPerUser)
}

// keepNewest leaves n attempts of an owner. The oldest go, and before them those
// that led to no connection.
func (w *stepWriter) keepNewest(name string, owner []byte, n int) error {
	keys := attempts.keysBy(w.tx, name, owner) // by age: the oldest first
	if len(keys) <= n {
		return nil
	}
	going := attempts.keysBy(w.tx, name+"_fruitless", owner)
	for _, key := range keys {
		if !slices.ContainsFunc(going, func(k []byte) bool { return bytes.Equal(k, key) }) {
			going = append(going, key)
		}
	}
	for _, key := range going[:len(keys)-n] {
		if err := attempts.delete(w.tx, key); err != nil {
			return err
		}
	}
	return nil
}

// countAttempts counts each class. It walks keys only, a few thousand at most,
// and only when an attempt is new or changes its class.
func countAttempts(tx *bolt.Tx) (n [attemptClasses]int) {
	c := tx.Bucket([]byte("attempts_by_class")).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if k[0] < byte(attemptClasses) {
			n[k[0]]++
		}
	}
	return n
}

// keepClasses takes away the oldest of a class that has too many.
func keepClasses(tx *bolt.Tx) error {
	for class, n := range countAttempts(tx) {
		for ; n > maxAttempts[class]; n-- {
			_, key := tx.Bucket([]byte("attempts_by_class")).Cursor().Seek([]byte{byte(class)})
			if err := attempts.delete(tx, slices.Clone(key)); err != nil {
				return err
			}
		}
	}
	return nil
}
