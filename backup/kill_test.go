package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// TestMain lets the test binary stand in for a process that is killed: ROLE FROM TO.
func TestMain(m *testing.M) {
	if role := os.Getenv("PODGATE_TEST_ROLE"); role != "" {
		if err := victim(role, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func victim(role, from, to string) error {
	if role == "restore" {
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		_, err = Restore(context.Background(), f, to)
		return err
	}
	db, err := store.Open(filepath.Join(from, nameDatabase))
	if err != nil {
		return err
	}
	src := Source{Dir: from, DB: db, Now: time.Now, Hold: func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }}
	if role == "keep" {
		r := &Repository{Storage: Folder{to}, Dir: from, Daily: 3, size: 64 << 10}
		_, _, err := r.Make(context.Background(), time.Now(), func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error) {
			return WriteTo(ctx, w, src, p)
		})
		return err
	}
	src.Hold = nil
	return Create(to, false, func(w io.Writer) error {
		_, err := Write(context.Background(), w, src)
		return err
	})
}

// killed runs a victim for a while and reports whether it ended by itself.
func killed(t *testing.T, role, from, to string, after time.Duration) (done bool) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, from, to)
	cmd.Env = []string{"PODGATE_TEST_ROLE=" + role}
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // dead already
	defer timer.Stop()
	err = cmd.Wait()
	if errs.Len() > 0 {
		t.Errorf("%s: %v: %s", role, err, &errs)
	}
	return err == nil
}

// A kill at any moment of a backup leaves no file of its name or a whole one, and at
// any moment of a restore an empty folder or a whole server, into which and from which
// the next try works.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	files := map[string]string{}
	for i := range 150 {
		files[fmt.Sprintf("home/%d/%d", i%17, i)] = strings.Repeat(fmt.Sprint(i), 1000+i)
	}
	want := stateOf(t, s.pod("a", files))
	delete(want, ".")
	must(t, s.db.Close()) // the victims open it
	raw := filepath.Join(t.TempDir(), "whole")
	took := time.Minute // the least of several: the machine may be busy
	for range 3 {
		must(t, os.RemoveAll(raw))
		began := time.Now()
		if !killed(t, "write", s.dir, raw, time.Minute) {
			t.Fatal("no backup was made")
		}
		took = min(took, time.Since(began))
	}
	moments := 5
	if n, err := strconv.Atoi(os.Getenv("PODGATE_KILLS")); err == nil {
		moments = n
	}
	cut, kept := 0, t.TempDir()
	for i := range moments {
		after := took * time.Duration(i+1) / time.Duration(moments)
		dir := t.TempDir()
		to := filepath.Join(dir, "backup")
		if !killed(t, "write", s.dir, to, after) {
			cut++
		}
		if f, err := os.Open(to); err == nil {
			_, err := Verify(t.Context(), f)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Errorf("a backup that was killed after %v: %v", after, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		must(t, Folder{Dir: dir}.Clean())
		if left, err := os.ReadDir(dir); err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "backup" {
			t.Errorf("a backup that was killed after %v leaves %v, %v", after, left, err)
		}

		if i%2 == 0 { // what is remembered goes on to another backup, and without it one is whole
			_ = os.Remove(filepath.Join(s.dir, nameCache)) // it may not be there
		}
		if !killed(t, "keep", s.dir, kept, after) {
			cut++
		}
		l, err := Backups(t.Context(), Folder{kept}, time.Now())
		must(t, err)
		for _, m := range l.Made {
			if _, err := (Restorable{Folder{kept}, m, nil}).Verify(t.Context()); err != nil {
				t.Errorf("%s, after one was killed after %v: %v", m.Name, after, err)
			}
		}

		data := filepath.Join(t.TempDir(), "data")
		if i%2 == 0 {
			must(t, os.Mkdir(data, 0o700))
		}
		if !killed(t, "restore", raw, data, after) {
			cut++
		}
		if entries, err := os.ReadDir(data); len(entries) == 0 {
			f, err := os.Open(raw)
			must(t, err)
			if _, err := Restore(t.Context(), f, data); err != nil {
				t.Errorf("after a restore that was killed after %v: %v", after, err)
			}
			must(t, f.Close())
		} else if err != nil {
			t.Error(err)
		}
		only(t, filepath.Dir(data), "data")
		got := stateOf(t, filepath.Join(data, "pods/a"))
		delete(got, ".")
		sameTree(t, got, want)
		must(t, storetest.Open(t, filepath.Join(data, nameDatabase)).Check())
	}
	if cut == 0 {
		t.Error("none was killed before it ended")
	}
	if !killed(t, "keep", s.dir, kept, time.Minute) {
		t.Error("after all of that no backup is made")
	}
	l, err := Backups(t.Context(), Folder{kept}, time.Now())
	must(t, err)
	for name, g := range l.all {
		if g.backups == 0 {
			t.Errorf("packs of nobody are left in %s", name)
		}
	}
	leftIn(t, s.dir)
}

// leftIn fails when backups have left something in the data folder.
func leftIn(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".backup-*"))
	if err != nil || len(left) > 2 { // where files have names at first, a kill may come before they are taken away
		t.Errorf("%v %v", left, err)
	}
}

// What was acknowledged before a backup began is in it, whatever is written meanwhile,
// and the database is whole.
func TestWritesGoOn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for i := range 5 {
		s.pod(store.PodID(fmt.Sprint("p", i)), map[string]string{"home/x": "y"})
	}
	var acknowledged []store.UserID
	ctx, cancel := context.WithCancel(t.Context())
	ledger, done := make(chan []store.UserID, 1), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			u := store.User{ID: store.UserID(fmt.Sprint("u", i)), Email: fmt.Sprintf("u%d@example.com", i), Name: "U"}
			if err := s.db.CreateUser(u); err != nil {
				t.Error(err)
				return
			}
			acknowledged = append(acknowledged, u.ID)
			select {
			case <-ledger:
			default:
			}
			ledger <- acknowledged[:len(acknowledged):len(acknowledged)]
		}
	}()
	for range 3 {
		before := <-ledger
		raw, m := s.backup()
		if len(m.Pods) != 5 {
			t.Errorf("%+v", m.Pods)
		}
		db := storetest.Open(t, filepath.Join(restored(t, raw), nameDatabase))
		must(t, db.Check())
		for _, id := range before {
			if _, err := db.User(id); err != nil {
				t.Errorf("%s was acknowledged and is lost: %v", id, err)
			}
		}
	}
	cancel()
	<-done
}

// BenchmarkBackup is a pod of files as installs leave them, half of which compresses
// well. tar and zstd do the same beside it.
func BenchmarkBackup(b *testing.B) {
	s := newServer(b)
	dir := s.pod("a", nil)
	sizeOf, count := 16<<10, 640
	if os.Getenv("PODGATE_BENCH_LARGE") != "" { // 10,000 files, 1 GiB
		sizeOf, count = 107<<10, 10_000
	}
	text := bytes.Repeat([]byte("module.exports = function (x) { return x + 1 };\n"), sizeOf/48+1)
	random, noise := make([]byte, sizeOf), rand.NewChaCha8([32]byte{})
	for i := range count {
		path := filepath.Join(dir, "home", fmt.Sprint(i%97), fmt.Sprint(i))
		must(b, os.MkdirAll(filepath.Dir(path), 0o755))
		_, _ = noise.Read(random) // never fails
		must(b, os.WriteFile(path, append(bytes.Clone(text[:sizeOf/2]), random[:sizeOf/2]...), 0o644))
	}
	b.Run("podgate", func(b *testing.B) {
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			_, err := Write(b.Context(), io.Discard, s.source())
			must(b, err)
		}
	})
	s.hold = func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }
	kept := func(b *testing.B, anew bool) {
		k := keep(b, s, Folder{b.TempDir()}, false)
		k.now = k.now.Add(time.Duration(time.Now().UnixNano())) // no other run has been then
		k.settled()
		if !anew {
			k.must()
		}
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			if anew {
				must(b, os.RemoveAll(filepath.Join(s.dir, nameCache)))
			}
			k.must()
		}
	}
	b.Run("kept-first", func(b *testing.B) { kept(b, true) })
	b.Run("kept-unchanged", func(b *testing.B) { kept(b, false) })
	b.Run("verify", func(b *testing.B) {
		raw, _ := s.backup()
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			_, err := Verify(b.Context(), bytes.NewReader(raw))
			must(b, err)
		}
	})
	b.Run("tar-zstd", func(b *testing.B) {
		for _, tool := range []string{"tar", "zstd"} {
			if _, err := exec.LookPath(tool); err != nil {
				b.Skip("there is no " + tool + " here")
			}
		}
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			if out, err := exec.Command("sh", "-c", `tar -C "$1" -c . | zstd -q -c > /dev/null`, "sh", dir).CombinedOutput(); err != nil {
				b.Fatal(err, string(out))
			}
		}
	})
}
