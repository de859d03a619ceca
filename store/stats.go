package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// Stats is how the file and those who use it are, for whoever watches the server.
type Stats struct {
	Size    int64         // bytes of the file
	Free    int64         // bytes of it that can be used again
	Commits int           // since the file was made
	Writing time.Duration // what the commits since Open spent on writing to the disk
	Reads   int           // transactions since Open that only read
	Reading int           // such that are open
	Waiting int           // writers that share the next commit
	Notes   int           // entries of timeline and audit list that are not written yet
	Lost    int           // such that were lost for want of room since the last were written
}

// Stats returns how the file is.
func (db *DB) Stats() (s Stats, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		s.Size, s.Commits = tx.Size(), tx.ID()
		return nil
	})
	b := db.bolt.Stats()
	s.Free = int64(b.FreePageN+b.PendingPageN) * int64(db.bolt.Info().PageSize)
	s.Writing, s.Reads, s.Reading = b.TxStats.GetWriteTime(), b.TxN, b.OpenTxN
	db.batcher.mu.Lock()
	s.Waiting = len(db.batcher.waiting)
	db.batcher.mu.Unlock()
	db.queue.mu.Lock()
	s.Notes, s.Lost = len(db.queue.steps)+len(db.queue.entries), db.queue.lost
	db.queue.mu.Unlock()
	return s, err
}
