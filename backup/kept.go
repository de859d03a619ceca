package backup

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Restorable opens a backup for Verify and Restore.
type Restorable struct {
	Storage    Storage
	Made       Made
	Identities []Identity
}

// scan reads the backup.
func (r Restorable) scan(ctx context.Context, to taker) (*Manifest, error) {
	from, err := r.Storage.Get(ctx, r.Made.Name)
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	defer from.Close() // it was only read
	if room, err := roomOn(os.TempDir()); err != nil || room < r.Made.Size {
		return nil, cmpOr(err, fmt.Errorf("there is too little room in %s for the list of the backup, which has %d MiB; make room, or name another folder in TMPDIR", os.TempDir(), r.Made.Size>>20))
	}
	file, err := unnamed("")
	if err != nil {
		return nil, err
	}
	defer file.Close() // it has no name
	// The packs take long, and a connection of a Storage does not wait.
	if err := refill(file, io.LimitReader(untilDone{ctx, from}, r.Made.Size)); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	packs, err := newPackReader(ctx, r.Storage, r.Made, r.Identities)
	if err != nil {
		return nil, err
	}
	defer packs.decoder.Close()
	m, err := scan(ctx, file, r.Identities, packs, to)
	if err == nil && !m.Created.Equal(r.Made.At) {
		err = fmt.Errorf("%w: it is of %s and called %s, as when somebody put an older one in the place of a newer; take another one", ErrDamaged, m.Created.Format(stampForm), r.Made.Name)
	}
	return m, err
}

// Verify is the function of that name for a backup in a Storage.
func (r Restorable) Verify(ctx context.Context) (*Manifest, error) { return r.scan(ctx, nil) }

// Restore is the function of that name for a backup in a Storage.
func (r Restorable) Restore(ctx context.Context, dir string) (*Manifest, error) {
	return restore(ctx, dir, func(to taker) (*Manifest, error) { return r.scan(ctx, to) })
}

// refill writes what r reads to a file and goes to its beginning.
func refill(file *os.File, r io.Reader) error {
	if _, err := io.Copy(file, r); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}
