package images

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// spare is what a pull leaves on the disk, in bytes.
const spare = 512 << 20

// stored is an image that is on the disk.
type stored struct {
	digest string
	size   int64
	names  int       // references that name it
	pulled time.Time // the newest of these
	used   bool      // by a pod, or by somebody who is about to
}

// Collect removes what no reference names and no pod has as its root.
func (s *Store) Collect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.storedLocked()
	for _, i := range all {
		if i.names == 0 && !i.used {
			err = errors.Join(err, s.dropLocked(i.digest))
		}
	}
	return err
}

// storedLocked returns what is on the disk, what can be spared best first.
func (s *Store) storedLocked() ([]stored, error) {
	var used []string
	if s.cfg.Used != nil {
		var err error
		if used, err = s.cfg.Used(); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var all []stored
	for _, e := range entries {
		digest := digestOf(e.Name())
		if digest == "" {
			continue
		}
		i := stored{digest: digest, used: slices.Contains(used, digest) || s.held[digest] > 0}
		if image, err := s.load(digest); err == nil {
			i.size = image.Size
		} else if !errors.Is(err, fs.ErrNotExist) {
			s.cfg.Log.Warn("an image is damaged", "digest", digest, "error", err)
		}
		for _, k := range s.names {
			if k.Digest == digest {
				i.names++
				if k.Pulled.After(i.pulled) {
					i.pulled = k.Pulled
				}
			}
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b stored) int {
		if (a.names == 0) != (b.names == 0) {
			return a.names - b.names
		}
		return a.pulled.Compare(b.pulled)
	})
	return all, nil
}

// dropLocked removes an image from the disk. References go on naming its digest.
func (s *Store) dropLocked(digest string) error {
	work := filepath.Join(s.cfg.Dir, workPrefix+rand.Text())
	if err := os.Rename(filepath.Join(s.cfg.Dir, folderOf(digest)), work); err != nil {
		return err
	}
	s.cfg.Log.Info("an image was removed from the disk", "digest", digest)
	return os.RemoveAll(work)
}

// reserve makes room for an image whose layers have size bytes, and says how many it may
// unpack to. What it takes is given back by done.
func (s *Store) reserve(size int64) (most int64, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.storedLocked()
	if err != nil {
		return 0, nil, err
	}
	room := s.cfg.MaxSize - s.reserved
	for _, i := range all {
		room -= i.size
	}
	wanted := min(s.cfg.MaxImage, 4*min(size, s.cfg.MaxImage)+ratioFloor)
	for _, i := range all {
		if room >= wanted {
			break
		}
		if i.used {
			continue
		}
		if err := s.dropLocked(i.digest); err != nil {
			return 0, nil, err
		}
		room += i.size
	}
	most = min(room, s.cfg.MaxImage)
	if s.cfg.Left != nil {
		left, err := s.cfg.Left()
		if err != nil {
			return 0, nil, err
		}
		most = min(most, left-s.reserved-spare)
	}
	if most < size {
		return 0, nil, refuse("it has %d MiB before it is unpacked, and there is room for %d MiB", size>>20, max(0, most)>>20)
	}
	s.reserved += most
	return most, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= most
	}, nil
}

// Remove forgets what a reference names; its files go when no pod has them.
func (s *Store) Remove(reference string) error {
	s.mu.Lock()
	_, ok := s.names[reference]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("there is no image %s here", reference)
	}
	return errors.Join(s.setName(reference, Kept{}), s.Collect())
}
