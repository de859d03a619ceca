package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"podgate/internal/s3test"
	"podgate/store"
)

// keeps is a server with the place where its backups are kept, and a clock.
type keeps struct {
	*server
	*Repository
	now        time.Time
	identities []Identity
}

func keep(t testing.TB, s *server, st Storage, encrypted bool) *keeps {
	t.Helper()
	k := &keeps{server: s, Repository: &Repository{Storage: st, Dir: s.dir, Daily: 5}, now: time.Date(2026, 3, 1, 3, 30, 0, 0, time.UTC)}
	s.hold = func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }
	if encrypted {
		id, err := age.GenerateX25519Identity()
		must(t, err)
		k.identities, k.Recipients, k.Keys = []Identity{id}, []Recipient{id.Recipient()}, []string{id.Recipient().String()}
	}
	return k
}

// make makes the backup of the next day.
func (k *keeps) make() (Made, error) {
	k.now = k.now.Add(24 * time.Hour)
	made, _, err := k.Make(k.t.Context(), k.now, func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error) {
		return WriteTo(ctx, w, k.source(), p)
	})
	return made, err
}

func (k *keeps) must() Made {
	k.t.Helper()
	made, err := k.make()
	must(k.t, err)
	return made
}

func (k *keeps) at(m Made) Restorable { return Restorable{k.Storage, m, k.identities} }

// list is what there is, each of which must be whole.
func (k *keeps) list() *Listing {
	k.t.Helper()
	l, err := Backups(k.t.Context(), k.Storage, k.now)
	must(k.t, err)
	for _, m := range l.Made {
		if _, err := k.at(m).Verify(k.t.Context()); err != nil {
			k.t.Errorf("%s: %v", m.Name, err)
		}
	}
	return l
}

// packs is how many there are, and their bytes.
func (k *keeps) packs() (n int, size int64) {
	k.t.Helper()
	l, err := Backups(k.t.Context(), k.Storage, k.now)
	must(k.t, err)
	for _, g := range l.all {
		n += len(g.packs)
		size += g.bytes
	}
	return n, size
}

// settled has changes so far count for what the next pass may rely on.
func (k *keeps) settled() { time.Sleep(2 * slack) } // it compares the kernel's times with the machine's clock

// noise is what does not compress.
func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	x := uint64(seed) + 1
	for i := 0; i+8 <= size; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b
}

// Backups that share what did not change are each the server as it was, in a folder and
// in a bucket, encrypted and in clear. What changed is all that comes to the second.
func TestKept(t *testing.T) {
	t.Parallel()
	for name, encrypted := range map[string]bool{"in clear": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			one := s.pod("one", nil)
			oddFiles(t, filepath.Join(one, "home"))
			must(t, os.Remove(filepath.Join(one, "home", "holes"))) // to read it takes a while
			f, err := os.Create(filepath.Join(one, "home", "smaller holes"))
			must(t, err)
			_, err = f.WriteAt([]byte("data"), 1<<20)
			must(t, errors.Join(err, f.Truncate(2<<20), f.Close()))
			big := noise(1, 6<<20)
			two := s.pod("two", map[string]string{"home/big": string(big), "home/goes": "x", "logs/app.log": "hello\n"})
			s.fill(s.dir, map[string]string{"certificates/acme/account.json": "{}"})
			var st Storage = Folder{t.TempDir()}
			if encrypted {
				st = bucket(t, s3test.New(t), "a/b")
			}
			k := keep(t, s, st, encrypted)
			k.polynomial = 0x3DA3358B4DC173 // any irreducible one, so that the sizes are always the same
			k.settled()
			var made []Made
			var were []map[string]string
			day := func() int64 {
				before, size := k.packs()
				made = append(made, k.must())
				were = append(were, map[string]string{})
				for _, pod := range []string{"one", "two"} {
					for path, state := range stateOf(t, filepath.Join(s.dir, treePods, pod)) {
						were[len(were)-1][pod+"/"+path] = state
					}
				}
				n, now := k.packs()
				t.Logf("%d packs of %d bytes more", n-before, now-size)
				return now - size
			}
			if first := day(); first < 6<<20 {
				t.Errorf("the first has only %d bytes", first)
			}
			if second := day(); second > 100<<10 {
				t.Errorf("the second, without a change, has %d bytes", second)
			}
			must(t, os.WriteFile(filepath.Join(two, "home/big"), append(append(bytes.Clone(big[:3<<20]), "a few words"...), big[3<<20:]...), 0o600))
			must(t, os.Remove(filepath.Join(two, "home/goes")))
			k.settled()
			if third := day(); third > 4<<20+100<<10 {
				t.Errorf("the third, with a few words more, has %d bytes", third)
			}
			for i, m := range made {
				if m.Generation != made[0].Generation {
					t.Error("another generation:", m.Name)
				}
				dir := filepath.Join(t.TempDir(), "data")
				_, err := k.at(m).Restore(t.Context(), dir)
				must(t, err)
				got := map[string]string{}
				for _, pod := range []string{"one", "two"} {
					for path, state := range stateOf(t, filepath.Join(dir, treePods, pod)) {
						got[pod+"/"+path] = state
					}
				}
				for _, root := range []string{"one/.", "two/."} {
					delete(got, root)
					delete(were[i], root)
				}
				sameTree(t, got, were[i])
				only(t, dir, treeCerts, nameDatabase, treePods)
			}
			if encrypted {
				if _, err := (Restorable{st, made[0], nil}).Verify(t.Context()); !errors.Is(err, ErrKey) {
					t.Error("without the key:", err)
				}
			}
			leftIn(t, s.dir)
		})
	}
}

// A file is read again when anything about it says that it changed, and when it changed
// so short before that its times would not tell the next change.
func TestChangedFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pod := s.pod("a", map[string]string{"home/same": "1", "home/f": "1", "home/late": "1", "logs/l": "1"})
	k := keep(t, s, Folder{t.TempDir()}, false)
	k.settled()
	s.clock = func() time.Time { // not settled when the pass begins, which asks for the time
		now := time.Now()
		must(t, os.WriteFile(filepath.Join(pod, "home/late"), []byte("2"), 0o600))
		return now
	}
	k.must()
	s.clock = nil
	c, err := openCache(s.dir)
	if must(t, err); c == nil {
		t.Fatal("nothing is remembered")
	}
	defer c.file.Close()
	var paths []string
	for {
		n, err := readKnown(c.files)
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		paths = append(paths, n.path)
	}
	if got := strings.Join(paths, " "); got != "a/home/f a/home/same a/logs/l" {
		t.Errorf("remembered are %s", got)
	}
	info, err := os.Stat(filepath.Join(pod, "home/f"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(pod, "home/f"), []byte("2"), 0o600)) // the same size, and the time put back
	must(t, os.Chtimes(filepath.Join(pod, "home/f"), info.ModTime(), info.ModTime()))
	dir := filepath.Join(t.TempDir(), "data")
	_, err = k.at(k.must()).Restore(t.Context(), dir)
	must(t, err)
	for name, want := range map[string]string{"f": "2", "same": "1", "late": "2"} {
		if raw, err := os.ReadFile(filepath.Join(dir, "pods/a/home", name)); err != nil || string(raw) != want {
			t.Errorf("%s: %q %v, want %q", name, raw, err, want)
		}
	}
}

// What is written through a page that is in memory, and was written before, shows in the
// held copy: the pages are made to show it with each pass.
func TestMappedPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pod := s.pod("a", map[string]string{"home/db": strings.Repeat("0", 4096)})
	path := filepath.Join(pod, "home/db")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer func() { must(t, unix.Munmap(page)) }()
	page[0] = '1'
	before, err := os.Stat(path)
	must(t, errors.Join(err, f.Sync()))
	for end := time.Now().Add(2 * slack); time.Now().Before(end); {
		time.Sleep(slack) // the time of the next change is to differ
	}
	page[0] = '2'
	if after, err := os.Stat(path); err != nil || factsOf(after) == factsOf(before) {
		t.Skip("this file system does not tell of pages that are written to", err)
	}
	s.clock = func() time.Time { // the page is dirty when a pass begins, and long was
		if page[0] == '4' {
			return time.Now()
		}
		page[0] = '3'
		for end := time.Now().Add(2 * slack); time.Now().Before(end); {
			time.Sleep(slack)
		}
		return time.Now()
	}
	s.hold = func(context.Context, store.PodID) (func() bool, error) {
		page[0] = '4'
		return func() bool { return true }, nil
	}
	var b bytes.Buffer
	_, err = Write(t.Context(), &b, s.source())
	must(t, err)
	raw, err := os.ReadFile(filepath.Join(restored(t, b.Bytes()), "pods/a/home/db"))
	if err != nil || raw[0] != '4' {
		t.Errorf("%.1q %v", raw, err)
	}
}

// Two backups of the same second, of which the second is whole because the server was
// killed before it could note the first, do not share packs.
func TestGenerationsOfOneSecond(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pod := s.pod("a", map[string]string{"home/f": string(noise(1, 90_000))})
	k := keep(t, s, Folder{t.TempDir()}, false)
	first := k.must()
	must(t, os.Remove(filepath.Join(s.dir, nameCache)))
	must(t, os.WriteFile(filepath.Join(pod, "home/f"), noise(2, 90_000), 0o600))
	k.now = k.now.Add(-24 * time.Hour) // make adds it again
	if second := k.must(); second.Generation == first.Generation || len(k.list().Made) != 2 {
		t.Errorf("%+v and %+v", first, second)
	}
}

// Without what the server remembers, with other keys, in another place and after a
// month a backup is whole in itself.
func TestGenerations(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": "1"})
	k := keep(t, s, Folder{t.TempDir()}, false)
	first := k.must().Generation
	cache := filepath.Join(s.dir, nameCache)
	for name, c := range map[string]struct {
		change func()
		anew   bool
	}{
		"nothing": {func() {}, false},
		"lost":    {func() { must(t, os.Remove(cache)) }, true},
		"damaged": {func() { must(t, os.WriteFile(cache, []byte(strings.Repeat("x", 200)), 0o600)) }, true},
		"a byte":  {func() { flip(t, cache) }, true},
		"old":     {func() { k.now = k.now.Add(generationAge) }, true},
		"keys":    {func() { k.Keys = append(k.Keys, "another") }, true},
		"shorter": {func() {
			list, err := k.Storage.List(t.Context(), first+"/000000")
			if must(t, err); len(list) == 1 {
				must(t, k.Storage.Put(t.Context(), list[0].Name, strings.NewReader("x")))
			}
		}, true},
		"no packs": {func() { removeAll(t, k, ".pack") }, true},
		"no newest": {func() {
			l, err := Backups(t.Context(), k.Storage, k.now)
			must(t, err)
			must(t, k.Storage.Delete(t.Context(), l.Made[0].Name))
		}, true},
	} {
		c.change()
		made := k.must()
		if anew := made.Generation != first; anew != c.anew {
			t.Errorf("%s: a new generation: %v", name, anew)
		}
		if _, err := k.at(made).Verify(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		first = made.Generation
	}
	if _, err := k.make(); err != nil {
		t.Error(err)
	}
	k.now = k.now.Add(-72 * time.Hour)
	if _, err := k.make(); err == nil || !strings.Contains(err.Error(), "later than now") {
		t.Error("with a clock that went back:", err)
	}
}

// Who holds the storage cannot put an older backup in the place of a newer, nor one that
// is not encrypted in the place of one that is.
func TestExchangedBackups(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": "1"})
	k := keep(t, s, Folder{t.TempDir()}, true)
	old, newer := k.must(), k.must()
	raw, err := readObject(t.Context(), k.Storage, old.Name, 1<<20)
	must(t, errors.Join(err, k.Storage.Put(t.Context(), newer.Name, bytes.NewReader(raw))))
	newer.Size = int64(len(raw))
	if _, err := k.at(newer).Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "an older one") {
		t.Error(err)
	}
	plain, _ := s.backup()
	must(t, k.Storage.Put(t.Context(), newer.Name, bytes.NewReader(plain)))
	newer.Size = int64(len(plain))
	if _, err := k.at(newer).Verify(t.Context()); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "not encrypted") {
		t.Error(err)
	}
	if _, err := Verify(t.Context(), bytes.NewReader(plain), k.identities...); !errors.Is(err, ErrKey) {
		t.Error("a plain file is taken although a key was given:", err)
	}
}

// flip changes one bit in the middle of a file.
func flip(t testing.TB, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	raw[len(raw)/2] ^= 1
	must(t, os.WriteFile(path, raw, 0o600))
}

func removeAll(t testing.TB, k *keeps, suffix string) {
	t.Helper()
	list, err := k.Storage.List(t.Context(), begins)
	must(t, err)
	for _, o := range list {
		if strings.HasSuffix(o.Name, suffix) {
			must(t, k.Storage.Delete(t.Context(), o.Name))
		}
	}
}

// broken is a Storage that ends after so many writes, before or after the last of them
// was made, as a process does that is killed.
type broken struct {
	Storage
	left  atomic.Int32
	after bool
}

var errKilled = errors.New("killed")

func (b *broken) Put(ctx context.Context, name string, content io.ReadSeeker) error {
	left := b.left.Add(-1)
	if left == 0 && b.after {
		_ = b.Storage.Put(ctx, name, content)
	}
	if left <= 0 {
		return errKilled
	}
	return b.Storage.Put(ctx, name, content)
}

func (b *broken) Delete(ctx context.Context, name string) error {
	if b.left.Add(-1) <= 0 {
		return errKilled
	}
	return b.Storage.Delete(ctx, name)
}

// A backup that is cut off at any write leaves those before it whole. The next one takes
// away what it left, and is whole too.
func TestKeptIsCutOff(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pod := s.pod("a", map[string]string{"home/f": "1"})
	k := keep(t, s, nil, true)
	k.Daily, k.size = 2, 64<<10
	for _, after := range []bool{false, true} {
		k.Storage = Folder{t.TempDir()}
		k.must()
		cut := 0
		for writes := 1; ; writes++ {
			for i := range 3 { // several packs
				must(t, os.WriteFile(filepath.Join(pod, "home", fmt.Sprint("big", i)), noise(byte(writes*3+i), 50<<10), 0o600))
			}
			whole := k.Storage
			ends := &broken{Storage: whole, after: after}
			ends.left.Store(int32(writes))
			k.Storage = ends
			made, err := k.make()
			k.Storage = whole
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			cut++
			l := k.list()
			if listed := len(l.Made) > 0 && l.Made[0].Name == made.Name; listed && !after {
				t.Errorf("after %d writes there is %s", writes, made.Name)
			}
			must(t, k.prune(t.Context(), l))
			k.must()
			l = k.list()
			must(t, k.prune(t.Context(), l))
			for name, g := range l.all {
				if g.backups == 0 && len(g.packs) > 0 {
					t.Errorf("after %d writes: packs of nobody in %s", writes, name)
				}
			}
		}
		if cut < 4 {
			t.Errorf("only %d were cut off", cut)
		}
	}
	leftIn(t, s.dir)
}

// Whatever is changed, missing or exchanged is found, and nothing is written of it.
func TestDamagedPacks(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": string(noise(1, 9<<20)), "home/g": string(noise(2, 300))})
	dir := t.TempDir()
	k := keep(t, s, Folder{dir}, false)
	made := k.must()
	pack := func(n uint32) string { return filepath.Join(dir, packName(made.Generation, n, false)) }
	for name, damage := range map[string]func(){
		"missing":   func() { must(t, os.Remove(pack(1))) },
		"changed":   func() { flip(t, pack(0)) },
		"cut off":   func() { must(t, os.Truncate(pack(1), 1000)) },
		"exchanged": func() { must(t, os.Rename(pack(1), pack(0))) },
		"a bomb":    func() { must(t, os.WriteFile(pack(0), packOf(t, make([]byte, 64<<20)), 0o600)) },
		"huge":      func() { must(t, os.Truncate(pack(0), 1<<40)) },
	} {
		saved := map[string][]byte{}
		for n := range uint32(2) {
			raw, err := os.ReadFile(pack(n))
			must(t, err)
			saved[pack(n)] = raw
		}
		damage()
		to := filepath.Join(t.TempDir(), "parent", "data")
		if _, err := k.at(made).Restore(t.Context(), to); err == nil {
			t.Errorf("%s: it was restored", name)
		}
		if _, err := os.Stat(filepath.Dir(to)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was written", name)
		}
		for path, raw := range saved {
			must(t, os.WriteFile(path, raw, 0o600))
		}
	}
	k.list()
}

// packOf is what a pack holds of contents.
func packOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	p := &Packs{}
	must(t, p.begin(t.Context()))
	defer p.encoder.Close()
	return p.encoder.EncodeAll(raw, nil)
}

// References that lead out of a pack, are longer or shorter than their file, or stand in
// a backup that has no packs, are refused.
func TestHostileReferences(t *testing.T) {
	t.Parallel()
	st := Folder{t.TempDir()}
	generation := begins + "20260101T000000Z"
	must(t, st.Put(t.Context(), packName(generation, 0, false), bytes.NewReader(packOf(t, []byte("0123456789")))))
	made := Made{Name: generation + "/20260101T000000Z" + suffixBackup, Generation: generation}
	for name, c := range map[string]struct {
		size string
		refs []ref
		want string // "": it is right
	}{
		"right":       {"3", []ref{{0, 0, 1}, {0, 8, 2}}, ""},
		"behind":      {"3", []ref{{0, 8, 3}}, "cannot be"},
		"far behind":  {"3", []ref{{0, 1<<32 - 1, 3}}, "cannot be"},
		"another":     {"3", []ref{{1, 0, 3}}, "missing"},
		"empty":       {"3", []ref{{0, 0, 0}, {0, 0, 3}}, "cannot be"},
		"longer":      {"3", []ref{{0, 0, 4}}, "cannot be"},
		"shorter":     {"3", []ref{{0, 0, 2}}, "shorter"},
		"none":        {"3", nil, "shorter"},
		"no number":   {"x", []ref{{0, 0, 3}}, "size cannot be"},
		"less than 0": {"-3", []ref{{0, 0, 3}}, "size cannot be"},
	} {
		var raw []byte
		for _, r := range c.refs {
			raw = r.append(raw)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: nameHead, Size: int64(len(raw)), Format: tar.FormatPAX, PAXRecords: map[string]string{recordChunks: c.size}}))
		_, err := w.Write(raw)
		must(t, errors.Join(err, w.Close()))
		packs, err := newPackReader(t.Context(), st, made, nil)
		must(t, err)
		for _, with := range []*packReader{packs, nil} {
			s := newScanner(t.Context(), bytes.NewReader(b.Bytes()), nil)
			s.packs = with
			h, err := s.tar.Next()
			must(t, err)
			body, err := s.body(h)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(body)
			}
			switch {
			case with == nil && (err == nil || !strings.Contains(err.Error(), "beside this file")):
				t.Errorf("%s, without packs: %v", name, err)
			case with != nil && c.want == "" && (err != nil || string(got) != "089"):
				t.Errorf("%s: %q %v", name, got, err)
			case with != nil && c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s: %v", name, err)
			}
		}
		packs.decoder.Close()
	}
}

// What cannot be read of one file is zeros, and no reason to copy nothing.
func TestLossyFile(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad place")
	r := &lossy{Reader: io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(bad))}
	got := []byte("xxxxxx")
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "abc\x00\x00\x00" || !errors.Is(r.err, bad) {
		t.Errorf("%q %v %v", got, err, r.err)
	}
}
