// Package copies keeps snapshots of pods' homes beside these, for runtimes whose homes
// are folders of this machine: DIR/POD/home is a home, DIR/.snapshots/POD/SNAPSHOT/home
// a copy of one.
//
// A copy is made under another name, its disk has it, and one rename puts it in its
// place, so after a crash it is there as a whole or not at all. What a crash leaves
// under other names goes with the next [Shelf.Keep].
package copies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/backup"
	"podgate/pods"
	"podgate/store"
)

const (
	homeName = "home"
	folder   = ".snapshots" // in Dir; no pod's id begins with a dot
	making   = ".new-"      // begins the name of a snapshot that is not whole yet
	filling  = ".fill"      // in a pod's folder: its next home
)

// Shelf is where the homes and snapshots of a runtime are.
type Shelf struct {
	Dir     string
	Spare   int64                            // bytes that copies must leave on the disk
	Remove  func(path string) error          // deletes a tree whatever is in it; nil when it is absent
	Measure func(path string) (int64, error) // what a tree takes, in bytes
}

// Hold holds a pod still, as [pods.Holder] does.
type Hold func(context.Context) (release func() bool, err error)

var validName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`) })

func (s *Shelf) folder(id store.PodID) string { return filepath.Join(s.Dir, folder, string(id)) }

// at is the folder that has the home of a place.
func (s *Shelf) at(p pods.Place) string {
	if p.Snapshot == "" {
		return filepath.Join(s.Dir, string(p.Pod))
	}
	return filepath.Join(s.folder(p.Pod), string(p.Snapshot))
}

func valid(names ...string) error {
	for _, name := range names {
		if !validName().MatchString(name) {
			return fmt.Errorf("%w: %q is no id", pods.ErrBadInput, name)
		}
	}
	return nil
}

// Snapshot is [pods.Copier.Snapshot]. hold is nil for a pod that does not run.
func (s *Shelf) Snapshot(ctx context.Context, id store.PodID, to store.SnapshotID, most int64, hold Hold) (pods.Copied, error) {
	if err := valid(string(id), string(to)); err != nil {
		return pods.Copied{}, err
	}
	dir := s.folder(id)
	if err := makeFolders(filepath.Dir(dir), dir); err != nil {
		return pods.Copied{}, err
	}
	aside := filepath.Join(dir, making+string(to))
	copied, err := s.copy(ctx, s.at(pods.Place{Pod: id}), aside, 0, most, hold)
	if err == nil {
		err = errors.Join(os.Rename(aside, filepath.Join(dir, string(to))), syncFolders(dir, filepath.Dir(dir), s.Dir))
	}
	if err != nil {
		return pods.Copied{}, errors.Join(err, s.Remove(aside))
	}
	return copied, nil
}

// Fill is [pods.Copier.Fill] for a pod that is not started meanwhile. owner is the uid
// and gid of the new home; 0: whoever copies. hold is of the pod that the files are
// from, and stop ends the one that gets them.
//
// The old home moves once the new one is whole beside it, and the new one after that.
// So where the old one has moved the rest is one rename, however often it was begun.
func (s *Shelf) Fill(ctx context.Context, f pods.Fill, owner int, hold Hold, stop func() error) (pods.Filled, error) {
	if err := valid(string(f.Pod), string(f.From.Pod)); err != nil {
		return pods.Filled{}, err
	}
	for _, id := range []store.SnapshotID{f.From.Snapshot, f.Old} {
		if id != "" && valid(string(id)) != nil {
			return pods.Filled{}, valid(string(id))
		}
	}
	dir := s.at(pods.Place{Pod: f.Pod})
	home, next := filepath.Join(dir, homeName), filepath.Join(dir, filling)
	old := s.at(pods.Place{Pod: f.Pod, Snapshot: f.Old})
	if f.Old == "" && isThere(home) {
		return pods.Filled{}, fmt.Errorf("the pod %s has files already", f.Pod)
	}
	if f.Old == "" || !isThere(filepath.Join(old, homeName)) {
		if err := makeFolders(dir); err != nil {
			return pods.Filled{}, err
		}
		if _, err := s.copy(ctx, s.at(f.From), next, owner, f.Most, hold); err != nil {
			return pods.Filled{}, errors.Join(err, s.Remove(next))
		}
		if err := stop(); err != nil {
			return pods.Filled{}, err
		}
		if isThere(home) {
			if err := s.shelve(home, old); err != nil {
				return pods.Filled{Had: isThere(filepath.Join(old, homeName))}, err
			}
		}
	}
	if isThere(filepath.Join(next, homeName)) {
		if err := errors.Join(os.Rename(filepath.Join(next, homeName), home), syncFolders(next, dir, s.Dir)); err != nil {
			return pods.Filled{Had: true}, err
		}
	}
	out := pods.Filled{Had: f.Old != "" && isThere(filepath.Join(old, homeName))}
	if out.Had {
		out.Bytes, _ = s.Measure(filepath.Join(old, homeName)) // what cannot be measured takes no more than it did
	}
	return out, s.Remove(next)
}

// shelve makes a home a snapshot.
func (s *Shelf) shelve(home, old string) error {
	above := filepath.Dir(old)
	if err := makeFolders(filepath.Dir(above), above, old); err != nil {
		return err
	}
	// Who may not write to a folder cannot move it either.
	return errors.Join(os.Chmod(home, 0o700), os.Rename(home, filepath.Join(old, homeName)), syncFolders(old, above, filepath.Dir(above), filepath.Dir(home), s.Dir))
}

// copy makes the folder to with a copy of the home in from.
func (s *Shelf) copy(ctx context.Context, from, to string, owner int, most int64, hold Hold) (pods.Copied, error) {
	if err := s.Remove(to); err != nil {
		return pods.Copied{}, err
	}
	copied, err := s.copyOnce(ctx, from, to, backup.CopyOptions{Hold: hold, Owner: owner, Most: most, Spare: s.Spare, Now: time.Now})
	moving := copied.Moving != ""
	if err == nil && moving {
		if err = s.Remove(to); err == nil {
			copied, err = s.copyOnce(ctx, from, to, backup.CopyOptions{Owner: owner, Most: most, Spare: s.Spare, Now: time.Now})
		}
	}
	return pods.Copied{Bytes: copied.Bytes, LeftOut: copied.LeftOut, Such: copied.Such, Moving: moving}, s.words(err, most)
}

func (s *Shelf) copyOnce(ctx context.Context, from, to string, o backup.CopyOptions) (out backup.Copied, err error) {
	source, err := os.OpenRoot(from)
	if err != nil {
		return out, err
	}
	defer source.Close()
	info, err := source.Lstat(homeName)
	if err != nil {
		return out, err
	}
	if !info.IsDir() {
		return out, fmt.Errorf("%s in %s is no folder", homeName, from)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return out, err
	}
	target, err := os.OpenRoot(to)
	if err != nil {
		return out, err
	}
	out, err = backup.CopyTree(ctx, source, target, homeName, o)
	return out, errors.Join(err, target.Close(), syncFolders(to))
}

// words tells a person what is in the way of a copy.
func (s *Shelf) words(err error, most int64) error {
	words := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backup.ErrTooLarge):
		words = fmt.Sprintf("there are more than the %d MiB that a copy may have; delete files that are not needed", most>>20)
	case errors.Is(err, backup.ErrTooMany):
		words = err.Error() + "; delete some that are not needed"
	case errors.Is(err, backup.ErrNoRoom), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		words = "the disk of the server has no room for a copy; delete snapshots that are not needed, or deleted pods for good"
	case errors.Is(err, fs.ErrNotExist):
		words = "what was to be copied is not there any more"
	default:
		return err
	}
	return errors.Join(&pods.FilesError{Words: words}, err)
}

// Size is [pods.Copier.Size].
func (s *Shelf) Size(id store.PodID) (int64, error) {
	if err := valid(string(id)); err != nil {
		return 0, err
	}
	return s.Measure(filepath.Join(s.at(pods.Place{Pod: id}), homeName))
}

// Keep deletes everything that there is of a pod's snapshots but those.
func (s *Shelf) Keep(id store.PodID, keep []store.SnapshotID) error {
	if err := valid(string(id)); err != nil {
		return err
	}
	dir := s.folder(id)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var faults []error
	for _, e := range entries {
		if !slices.Contains(keep, store.SnapshotID(e.Name())) {
			faults = append(faults, s.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err := errors.Join(faults...); err != nil || len(keep) > 0 {
		return err
	}
	return s.Remove(dir)
}

// List returns what there is of snapshots by pod, also such as are not whole.
func (s *Shelf) List() (map[store.PodID][]store.SnapshotID, error) {
	found := map[store.PodID][]store.SnapshotID{}
	all, err := os.ReadDir(filepath.Join(s.Dir, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	for _, pod := range all {
		if !pod.IsDir() || !validName().MatchString(pod.Name()) {
			continue
		}
		id := store.PodID(pod.Name())
		found[id] = nil
		entries, rerr := os.ReadDir(s.folder(id))
		if rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		for _, e := range entries {
			found[id] = append(found[id], store.SnapshotID(e.Name()))
		}
	}
	return found, err
}

// IsPod reports whether an entry of Dir can be a pod's folder.
func IsPod(name string) bool { return !strings.HasPrefix(name, ".") }

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func makeFolders(paths ...string) error {
	for _, path := range paths {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// syncFolders waits until the disk has what folders list.
func syncFolders(paths ...string) error {
	for _, path := range paths {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}
