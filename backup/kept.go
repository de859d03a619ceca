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
	file, err := unnamed("")
	if err != nil {
		return nil, err
	}
	defer file.Close() // it has no name
	// The packs take long, and a connection of a Storage does not wait.
	if err := refill(file, untilDone{ctx, from}); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	packs, err := newPackReader(ctx, r.Storage, r.Made, r.Identities)
	if err != nil {
		return nil, err
	}
	defer packs.decoder.Close()
	return scan(ctx, file, r.Identities, packs, to)
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
