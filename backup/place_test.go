package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/s3test"
)

// Nothing is listed that refers to packs that went while it was made, or that somebody
// else made in the same place: a copy of this server, say.
func TestPlaceThatChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": "1"})
	k := keep(t, s, Folder{t.TempDir()}, false)
	first := k.must()
	for want, c := range map[string]struct {
		change func()
		lost   bool // packs of the generation
	}{
		"went or changed": {func() { removeAll(t, k, ".pack") }, true},
		"another server's": {func() {
			must(t, k.Storage.Put(t.Context(), nameOwner, strings.NewReader(`{"server":"another"}`)))
		}, false},
	} {
		k.now = k.now.Add(24 * time.Hour)
		made, _, err := k.Make(t.Context(), k.now, func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error) {
			m, err := WriteTo(ctx, w, k.source(), p)
			c.change()
			return m, err
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		must(t, Release(t.Context(), k.Storage))
		l, err := Backups(t.Context(), k.Storage, k.now)
		if must(t, err); len(l.Made) > 0 && l.Made[0].Name == made.Name {
			t.Errorf("%s: it is listed", want)
		}
		next := k.must()
		if _, err := k.at(next).Verify(t.Context()); err != nil || c.lost && next.Generation == first.Generation {
			t.Errorf("%s: the next one is %s: %v", want, next.Name, err)
		}
	}
}

// A bucket may be full of what need not be kept, and that goes first.
func TestFullBucket(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	k := keep(t, newServer(t), bucket(t, f, ""), false)
	k.must()
	k.must()
	k.Daily = 1
	f.Refuse(func(r *http.Request) (int, string) {
		if n := len(f.Held()); r.Method == http.MethodPut && n > 5 {
			return 507, "XMinioStorageFull"
		}
		return 0, ""
	})
	k.must()
}

// Two servers do not share one place, nor does a restored one go on in that of the one
// it was, until a person says so.
func TestForeignPlace(t *testing.T) {
	t.Parallel()
	st := bucket(t, s3test.New(t), "")
	k, other := keep(t, newServer(t), st, false), keep(t, newServer(t), st, false)
	k.must()
	if _, err := other.make(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "backup adopt") {
		t.Error(err)
	}
	told := make(chan string, 9)
	stop := startKeeper(t, NewKeeper(KeeperConfig{Repository: other.Repository, Write: nil, Failed: func(s string) { told <- s }, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return k.now }}))
	stop(func(s KeeperState) bool {
		return strings.Contains(s.Fault, "another server's") && s.Last.IsZero() && len(told) == 1
	})
	must(t, Release(t.Context(), other.Storage))
	other.must()
	if _, err := k.make(); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	if n := len(other.list().Made); n != 2 {
		t.Errorf("%d backups", n)
	}
}

// startKeeper lets a Keeper work; stop waits for a state of it.
func startKeeper(t testing.TB, k *Keeper) (stop func(func(KeeperState) bool)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	return func(good func(KeeperState) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !good(k.State()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("the state is %+v", k.State())
				break
			}
		}
		cancel()
		<-done
	}
}

// A server that ends at any moment in which it deletes old backups goes on with that at
// its next start, and not with its next backup only.
func TestPruneGoesOn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": string(noise(1, 200<<10))})
	for deletes := int32(1); ; deletes++ {
		folder := Folder{t.TempDir()}
		k := keep(t, s, folder, false)
		k.Daily, k.size = 1, 64<<10
		for range 3 { // of a generation each
			_ = os.Remove(filepath.Join(s.dir, nameCache)) // there may be none
			k.must()
		}
		newest := k.list().Made[0]
		b := &broken{Storage: folder}
		b.left.Store(deletes)
		k.Storage = b
		list, err := Backups(t.Context(), folder, k.now)
		must(t, err)
		whole := k.prune(t.Context(), list) == nil
		k.Storage = folder
		must(t, os.Mkdir(filepath.Join(folder.Dir, begins+"20000101T000000Z"), 0o700)) // as when the folder itself was next
		stop := startKeeper(t, NewKeeper(KeeperConfig{Repository: k.Repository, Hour: 3, Minute: 30, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return k.now }}))
		stop(func(s KeeperState) bool {
			left, err := folder.List(t.Context(), begins)
			must(t, err)
			for _, o := range left {
				if !strings.HasPrefix(o.Name, newest.Generation) {
					return false
				}
			}
			return s.Last.Equal(newest.At)
		})
		only(t, folder.Dir, newest.Generation, nameOwner)
		k.list()
		if whole {
			return
		}
	}
}

// A backup whose contents could not be noted is a backup, of which no failure is told, and
// the next one is whole. So is one when what was noted cannot be read.
func TestCacheThatFails(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": string(noise(1, 90_000))})
	k := keep(t, s, Folder{t.TempDir()}, false)
	k.must()
	cache := filepath.Join(s.dir, nameCache)
	inTheWay := func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error) {
		m, err := WriteTo(ctx, w, k.source(), p)
		return m, errors.Join(err, os.RemoveAll(cache), os.MkdirAll(filepath.Join(cache, "x"), 0o700))
	}
	k.now = k.now.Add(24 * time.Hour)
	second, _, err := k.Make(t.Context(), k.now, inTheWay)
	if !errors.Is(err, errForgotten) || newest(t, k.Storage.(Folder).Dir) != second.Name {
		t.Errorf("%+v, %v", second, err)
	}
	k.now = k.now.Add(24 * time.Hour) // it is in the way still, as what is noted as well
	third, _, err := k.Make(t.Context(), k.now, inTheWay)
	if !errors.Is(err, errForgotten) || third.Generation == second.Generation {
		t.Errorf("%+v, %v", third, err)
	}
	var said bytes.Buffer
	k.now = k.now.Add(24 * time.Hour)
	stop := startKeeper(t, NewKeeper(KeeperConfig{
		Repository: k.Repository, Write: inTheWay, Failed: func(reason string) { t.Errorf("somebody is told that %s", reason) },
		Log: slog.New(slog.NewTextHandler(&said, nil)), Now: func() time.Time { return k.now },
	}))
	stop(func(s KeeperState) bool { return s.Last.Equal(k.now) && s.Fault == "" })
	if !strings.Contains(said.String(), "the next backup will be whole") {
		t.Errorf("nobody can read of it: %s", &said)
	}
	must(t, os.RemoveAll(cache))
	fifth, sixth := k.must(), k.must()
	if fifth.Generation == third.Generation || sixth.Generation != fifth.Generation || len(k.list().Made) < 3 {
		t.Errorf("%+v, %+v", fifth, sixth)
	}
}

// A link in the place of a generation leads nowhere: what is behind it is no backup, and
// nothing there is read, written or deleted.
func TestLinkAmongBackups(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": string(noise(1, 90_000))})
	folder, elsewhere := Folder{t.TempDir()}, t.TempDir()
	k := keep(t, s, folder, false)
	k.Daily = 1
	first := k.must()
	behind := filepath.Join(elsewhere, first.Generation)
	must(t, os.Rename(folder.path(first.Generation), behind))
	must(t, os.Symlink(behind, folder.path(first.Generation)))
	before := stateOf(t, behind)
	if l := k.list(); len(l.Made) != 0 {
		t.Errorf("behind the link there is %v", l.Made)
	}
	if f, err := folder.Get(t.Context(), first.Name); err == nil {
		t.Error("it is read", f.Close())
	}
	if err := folder.Delete(t.Context(), first.Name); err == nil {
		t.Error("it is deleted")
	}
	if err := folder.Put(t.Context(), first.Generation+"/000009.pack", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Error("it is written:", err)
	}
	must(t, folder.Clean())
	second := k.must()
	must(t, k.prune(t.Context(), k.list()))
	if second.Generation == first.Generation || newest(t, folder.Dir) != second.Name {
		t.Errorf("%+v after %+v", second, first)
	}
	sameTree(t, stateOf(t, behind), before)
	if _, err := os.Lstat(folder.path(first.Generation)); err != nil {
		t.Errorf("the link is not podgate's to take away: %v", err)
	}
}
