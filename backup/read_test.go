package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"podgate/store"
)

// part is an entry of a backup that a test makes.
type part struct {
	tar.Header
	content string
}

func file(name, content string) part {
	return part{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content))}, content}
}

func folderPart(name string) part {
	return part{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700}, ""}
}

func linkPart(kind byte, name, to string) part {
	return part{tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o777}, ""}
}

func (p part) with(records ...string) part {
	p.PAXRecords = map[string]string{}
	for i := 0; i < len(records); i += 2 {
		p.PAXRecords[records[i]] = records[i+1]
	}
	return p
}

// forge is a backup of these entries, with an index and a manifest that fit, unless
// change does something to the manifest.
func forge(t testing.TB, parts []part, change func(*Manifest)) []byte {
	t.Helper()
	m := Manifest{Head: Head{application, Format, "v1", time.Unix(1, 0).UTC()}, StoreFormat: store.Format}
	return forgeAs(t, m.Head, m, parts, change)
}

// forgeAs is forge with that description.
func forgeAs(t testing.TB, description any, m Manifest, parts []part, change func(*Manifest)) []byte {
	t.Helper()
	var raw, index bytes.Buffer
	s := newSink(t.Context(), &raw, &index)
	put := func(p part) { must(t, s.put(&p.Header, strings.NewReader(p.content))) }
	head, err := json.Marshal(description)
	must(t, err)
	put(file(nameHead, string(head)))
	ids := map[string]bool{}
	for _, p := range parts {
		put(p)
		if parts := strings.Split(p.Name, "/"); parts[0] == treePods && len(parts) > 3 && !ids[parts[1]] {
			ids[parts[1]] = true
			m.Pods = append(m.Pods, Pod{ID: store.PodID(parts[1]), Files: 1})
		}
	}
	m.Entries, m.Bytes = s.entries, s.bytes
	s.index = nil
	put(file(nameIndex, index.String()))
	m.Index = hex.EncodeToString(s.last[:])
	if change != nil {
		change(&m)
	}
	all, err := json.Marshal(m)
	must(t, err)
	put(file(nameManifest, string(all)))
	must(t, s.tar.Close())
	return compressed(t, raw.Bytes())
}

func compressed(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	must(t, err)
	_, err = w.Write(raw)
	must(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

func expanded(t testing.TB, packed []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(packed))
	must(t, err)
	defer r.Close()
	raw, err := io.ReadAll(r)
	must(t, err)
	return raw
}

// database is one that is whole.
func database(t testing.TB) part {
	t.Helper()
	s := newServer(t)
	var b bytes.Buffer
	_, err := s.db.Snapshot(&b)
	must(t, err)
	return file(nameDatabase, b.String())
}

// refused fails unless a backup is refused for that reason, by who verifies and by who
// restores, and nothing is written.
func refused(t *testing.T, name string, raw []byte, want string, is error) {
	t.Helper()
	parent := t.TempDir()
	_, verified := Verify(t.Context(), bytes.NewReader(raw))
	_, err := Restore(t.Context(), asFile(t, raw), filepath.Join(parent, "data"))
	for what, err := range map[string]error{"verify": verified, "restore": err} {
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, is) {
			t.Errorf("%s: %s: %v, want %q", name, what, err, want)
		}
	}
	only(t, parent)
}

// A backup that anybody may have made leads nowhere out, holds nothing that a backup
// does not have, and lacks nothing.
func TestHostileBackups(t *testing.T) {
	t.Parallel()
	db := file(nameDatabase, "not read when something else is wrong")
	home := []part{db, folderPart("pods/a/1/home")}
	and := func(more ...part) []part { return append(append([]part{}, home...), more...) }
	const in = "pods/a/1/home/"
	for name, c := range map[string]struct {
		parts []part
		want  string
	}{
		"a path out":                       {and(file(in+"../../../../x", "x")), "leads somewhere else"},
		"a path out at the top":            {[]part{db, file("../x", "x")}, "leads somewhere else"},
		"an absolute path":                 {[]part{db, file("/etc/cron.d/x", "x")}, "leads somewhere else"},
		"a point":                          {and(file(in+"./x", "x")), "leads somewhere else"},
		"no name":                          {and(file(in+"a//b", "x")), "leads somewhere else"},
		"a long name":                      {and(file(in+strings.Repeat("a", 256), "x")), "leads somewhere else"},
		"a longer path":                    {and(file(in+strings.Repeat("a/", 4000)+"x", "x")), "too long"},
		"something else":                   {[]part{db, file("authorized_keys", "x")}, "no place"},
		"something else of a pod":          {[]part{db, file("pods/a/1/agent", "x")}, "no place"},
		"a pod that is a path":             {[]part{db, folderPart("pods/a.b/1/home")}, "no pod"},
		"a layer too many":                 {[]part{db, folderPart("pods/a/10/home")}, "no pod"},
		"a home that is a link":            {[]part{db, linkPart(tar.TypeSymlink, "pods/a/1/home", "/etc")}, "no folder"},
		"certificates as a file":           {[]part{db, file("certificates", "x")}, "no folder"},
		"below a link":                     {and(linkPart(tar.TypeSymlink, in+"x", "/etc"), file(in+"x/passwd", "x")), "folder that it is in is missing"},
		"below a file":                     {and(file(in+"x", "x"), file(in+"x/y", "x")), "folder that it is in is missing"},
		"below nothing":                    {and(file(in+"x/y", "x")), "folder that it is in is missing"},
		"twice":                            {and(file(in+"x", "1"), file(in+"x", "2")), "twice"},
		"a file and a folder":              {and(file(in+"x", "1"), folderPart(in+"x")), "twice"},
		"out of order":                     {and(file(in+"y", "1"), file(in+"x", "2")), "out of order"},
		"the database twice":               {[]part{db, db}, "twice"},
		"pods before certificates":         {and(folderPart("certificates")), "out of order"},
		"no database":                      {[]part{folderPart("pods/a/1/home")}, "database in front of it is missing"},
		"nothing at all":                   {nil, "in front of it is missing"},
		"a device":                         {and(part{tar.Header{Typeflag: tar.TypeChar, Name: in + "null", Devmajor: 1, Devminor: 3}, ""}), "no file, folder or link"},
		"a fifo":                           {and(part{tar.Header{Typeflag: tar.TypeFifo, Name: in + "fifo"}, ""}), "no file, folder or link"},
		"a hard link out":                  {and(linkPart(tar.TypeLink, in+"x", "/etc/passwd")), "link to what is not there"},
		"a hard link to the database":      {and(linkPart(tar.TypeLink, in+"x", nameDatabase)), "link to what is not there"},
		"a hard link to a link":            {and(linkPart(tar.TypeSymlink, in+"a", "/etc/passwd"), linkPart(tar.TypeLink, in+"x", in+"a")), "link to what is not there"},
		"a hard link to a layer":           {and(file(in+"a", "x").with(recordLinked, "1"), folderPart("pods/a/2/home"), linkPart(tar.TypeLink, "pods/a/2/home/x", in+"a")), "link to what is not there"},
		"a link among certificates":        {[]part{db, folderPart("certificates"), linkPart(tar.TypeSymlink, "certificates/x", "/etc")}, "neither a file nor a folder"},
		"a link to nothing":                {and(linkPart(tar.TypeSymlink, in+"x", "")), "no file, folder or link"},
		"what is behind the end of a file": {and(file(in+"x", "abc").with(recordSize, "3", recordSparse, "2+3")), "is not in it"},
		"parts over each other":            {and(file(in+"x", "abcd").with(recordSize, "9", recordSparse, "0+2,1+2")), "is not in it"},
		"parts out of order":               {and(file(in+"x", "abcd").with(recordSize, "9", recordSparse, "6+2,1+2")), "is not in it"},
		"parts that are missing":           {and(file(in+"x", "abc").with(recordSize, "9", recordSparse, "0+2")), "2 bytes and not 3"},
		"a negative size":                  {and(file(in+"x", "").with(recordSize, "-1", recordSparse, "")), "size cannot be"},
		"a part that overflows":            {and(file(in+"x", "abc").with(recordSize, "9223372036854775807", recordSparse, "7ffffffffffffffe+3")), "is not in it"},
		"too many parts":                   {and(file(in+"x", strings.Repeat("x", maxExtents+1)).with(recordSize, "1000000", recordSparse, manyParts(maxExtents+1))), "is not in it"},
		"removed as a folder":              {[]part{db, folderPart("pods/a/1/home"), folderPart("pods/a/1/removed")}, "no file"},
	} {
		refused(t, name, forge(t, c.parts, nil), c.want, ErrDamaged)
	}
}

func manyParts(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf("%x+1", 2*i))
	}
	return strings.Join(parts, ",")
}

// What the manifest says is held against what is there.
func TestManifests(t *testing.T) {
	t.Parallel()
	parts := []part{file(nameDatabase, "x"), folderPart("pods/a/1/home")}
	for name, c := range map[string]struct {
		change func(*Manifest)
		want   string
		is     error
	}{
		"other entries":    {func(m *Manifest) { m.Entries++ }, "differ", ErrDamaged},
		"other bytes":      {func(m *Manifest) { m.Bytes-- }, "differ", ErrDamaged},
		"another index":    {func(m *Manifest) { m.Index = strings.Repeat("0", 64) }, "differ", ErrDamaged},
		"another time":     {func(m *Manifest) { m.Created = m.Created.Add(time.Hour) }, "differ", ErrDamaged},
		"a pod that lacks": {func(m *Manifest) { m.Pods = append(m.Pods, Pod{ID: "b", Name: "b", Files: 3}) }, "missing", ErrDamaged},
		"a pod too many":   {func(m *Manifest) { m.Pods = nil }, "does not name", ErrDamaged},
		"a pod twice":      {func(m *Manifest) { m.Pods = append(m.Pods, m.Pods[0]) }, "missing", ErrDamaged},
		"a newer database": {func(m *Manifest) { m.StoreFormat++ }, "install that version", ErrNewer},
	} {
		refused(t, name, forge(t, parts, c.change), c.want, c.is)
	}
	var raw bytes.Buffer
	for want, head := range map[string]string{
		"install that version": `{"application":"podgate","format":2,"version":"v9","entirely":["new"]}`,
		"no backup":            `{"application":"other","format":1}`,
		"cannot be read":       `{`,
		"too large":            `{"x":[` + strings.Repeat("{},", maxPods+2) + `{}]}`,
	} {
		raw.Reset()
		s := newSink(t.Context(), &raw, nil)
		p := file(nameHead, head)
		must(t, errors.Join(s.put(&p.Header, strings.NewReader(head)), s.tar.Close()))
		var is error = ErrDamaged
		switch want {
		case "install that version":
			is = ErrNewer
		case "no backup":
			is = ErrNotBackup
		}
		refused(t, head, compressed(t, raw.Bytes()), want, is)
	}
}

// No program of a backup runs as its owner for somebody else.
func TestModesOfABackup(t *testing.T) {
	t.Parallel()
	program := file("pods/a/1/home/x", "#!/bin/sh\n")
	program.Mode = 0o6755
	forged := restored(t, forge(t, []part{database(t), folderPart("pods/a/1/home"), program}, nil))
	s := newServer(t)
	dir := s.pod("a", map[string]string{"home/x": "1"})
	must(t, os.Chmod(filepath.Join(dir, "home", "x"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	raw, _ := s.backup()
	for _, dir := range []string{forged, restored(t, raw)} {
		if info, err := os.Stat(filepath.Join(dir, "pods/a/home/x")); err != nil || info.Mode() != 0o755 {
			t.Errorf("setuid or worse: %v %v", info.Mode(), err)
		}
	}
}

// What is damaged anywhere, cut off anywhere or followed by something is refused. The
// whole is not.
func TestDamagedBackups(t *testing.T) {
	t.Parallel()
	parts := []part{database(t), file(nameSettings, "listen = \":1\""), folderPart("pods/a/1/home"), file("pods/a/1/home/x", strings.Repeat("content", 100)), linkPart(tar.TypeSymlink, "pods/a/1/home/y", "x")}
	whole := forge(t, parts, nil)
	if _, err := Verify(t.Context(), bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	must(t, os.RemoveAll(restored(t, whole)))
	raw := expanded(t, whole)
	for at := 0; at < len(whole); at += max(1, len(whole)/200) {
		if _, err := Verify(t.Context(), bytes.NewReader(whole[:at])); err == nil {
			t.Errorf("cut off at %d of %d it is taken for whole", at, len(whole))
		}
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1
		if _, err := Verify(t.Context(), bytes.NewReader(flipped)); err == nil && !bytes.Equal(expanded(t, flipped), raw) { // a few bits mean nothing
			t.Errorf("with a bit that differs at %d it is taken for whole", at)
		}
	}
	manifest := bytes.LastIndex(raw, []byte(nameManifest)) // which is proved by the sums of zstd alone
	for at := 0; at < manifest; at += max(1, len(raw)/300) {
		flipped := bytes.Clone(raw)
		flipped[at] ^= 0x20
		if _, err := Verify(t.Context(), bytes.NewReader(compressed(t, flipped))); err == nil && raw[at] != 0 && raw[at] != ' ' { // what fills a field up means nothing
			t.Errorf("with contents that differ at %d it is taken for whole", at)
		}
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
		is   error
	}{
		"cut off":                               {whole[:len(whole)/2], "its end is missing", ErrDamaged},
		"something behind it":                   {append(bytes.Clone(whole), "more"...), "follows its end", ErrDamaged},
		"another behind it":                     {append(bytes.Clone(whole), whole...), "follows its end", ErrDamaged},
		"contents behind its end":               {compressed(t, append(bytes.Clone(raw), 'x')), "follows its end", ErrDamaged},
		"a list of removed paths that lead out": {forge(t, []part{parts[0], folderPart("pods/a/1/home"), file("pods/a/1/removed", "home/../../../x\x00")}, nil), "", nil},
		"an empty file":                         {nil, "no backup", ErrNotBackup},
		"another archive":                       {compressed(t, tarOf(t, "README")), "no backup", ErrNotBackup},
		"plain text":                            {[]byte("hello, world"), "no backup", ErrNotBackup},
		"a database of another":                 {forge(t, []part{file(nameDatabase, "nothing of the kind")}, nil), "", nil},
		"a newer form of zstd":                  {append([]byte("\x28\xb5\x2f\xfd"), bytes.Repeat([]byte{0xff}, 100)...), "", ErrDamaged},
	} {
		parent := t.TempDir()
		_, err := Restore(t.Context(), asFile(t, c.raw), filepath.Join(parent, "data"))
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		only(t, parent)
	}
}

func tarOf(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o600}), w.Close()))
	return b.Bytes()
}

// What unpacks to far more than it is costs time and nothing else: it is refused
// before anything is written.
func TestBomb(t *testing.T) {
	t.Parallel()
	var raw bytes.Buffer
	w, err := zstd.NewWriter(&raw, zstd.WithWindowSize(window))
	must(t, err)
	s := tar.NewWriter(w)
	head, err := json.Marshal(Head{application, Format, "v1", time.Unix(1, 0).UTC()})
	must(t, err)
	must(t, s.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: nameHead, Size: int64(len(head)), Format: tar.FormatPAX}))
	_, err = s.Write(head)
	must(t, err)
	must(t, s.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: nameDatabase, Size: math.MaxInt64 / 4, Format: tar.FormatPAX}))
	_, err = io.CopyN(s, zeros{}, 64<<20)
	must(t, errors.Join(err, w.Close()))
	if raw.Len() > 64<<10 {
		t.Errorf("the bomb has %d bytes", raw.Len())
	}
	refused(t, "a bomb", raw.Bytes(), "its end is missing", ErrDamaged)
}

// A backup needs more room than there is only once it was read.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	room, err := roomOn(t.TempDir())
	must(t, err)
	if room <= 0 || room > 1<<60 {
		t.Errorf("room is %d", room)
	}
}

// Only who has a key that a backup was made for reads it.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	plain, _ := s.backup()
	dir := t.TempDir()
	var public, secret [2]string
	for i := range public {
		secret[i] = filepath.Join(dir, fmt.Sprint("key", i))
		must(t, Create(secret[i], false, func(w io.Writer) (err error) { public[i], err = NewKey(w); return err }))
	}
	list := filepath.Join(dir, "recipients")
	must(t, os.WriteFile(list, []byte("# the vault\n"+public[1]+"\n"), 0o600))
	for _, keys := range [][2][]string{{{public[1]}, nil}, {nil, {list}}} {
		to, err := Recipients(keys[0], keys[1])
		must(t, err)
		var sealed bytes.Buffer
		must(t, Encrypt(&sealed, to, func(w io.Writer) error { _, err := w.Write(plain); return err }))
		for i, want := range []string{"made for other keys", ""} {
			ids, err := Identities([]string{secret[i]})
			must(t, err)
			_, err = Verify(t.Context(), bytes.NewReader(sealed.Bytes()), ids...)
			if want == "" && err != nil || want != "" && (!errors.Is(err, ErrKey) || !strings.Contains(err.Error(), want)) {
				t.Errorf("key %d: %v, want %q", i, err, want)
			}
		}
		refused(t, "no key", sealed.Bytes(), "--identity", ErrKey)
		ids, err := Identities(secret[:])
		must(t, err)
		only(t, restored(t, sealed.Bytes(), ids...), nameDatabase)
		for _, cut := range []int{sealed.Len() - 1, sealed.Len() - 16, sealed.Len() / 2, 300} {
			if _, err := Verify(t.Context(), bytes.NewReader(sealed.Bytes()[:cut]), ids...); !errors.Is(err, ErrDamaged) {
				t.Errorf("cut off at %d: %v", cut, err)
			}
		}
		flipped := bytes.Clone(sealed.Bytes())
		flipped[len(flipped)-100] ^= 1
		if _, err := Verify(t.Context(), bytes.NewReader(flipped), ids...); !errors.Is(err, ErrDamaged) {
			t.Errorf("changed: %v", err)
		}
		if _, err := Verify(t.Context(), bytes.NewReader(append(bytes.Clone(sealed.Bytes()), 'x')), ids...); !errors.Is(err, ErrDamaged) {
			t.Errorf("longer: %v", err)
		}
	}
}

// What is in the way of a restore stays, and what an earlier one has left goes.
func TestRestoreInto(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/x": "1"})
	raw, _ := s.backup()
	parent := t.TempDir()
	dir := filepath.Join(parent, "data")
	must(t, os.Mkdir(dir, 0o750))
	for _, name := range []string{"podgate.db", ".hidden"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		if _, err := Restore(t.Context(), asFile(t, raw), dir); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("beside %s: %v", name, err)
		}
		only(t, parent, "data")
		must(t, os.Remove(filepath.Join(dir, name)))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Restore(gone, asFile(t, raw), dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.fill(parent, map[string]string{".restoring-data/pods/a/home/left": "by one that was killed"})
	must(t, os.Symlink("data", filepath.Join(parent, "link")))
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, 65534, 65533))
	}
	if _, err := Restore(t.Context(), asFile(t, raw), filepath.Join(parent, "link")); err != nil {
		t.Fatal(err)
	}
	only(t, parent, "data", "link")
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if path == dir && info.Mode().Perm() != 0o750 {
			t.Errorf("the folder has mode %v", info.Mode())
		}
		if uid, gid := ownerOf(info); os.Geteuid() == 0 && (uid != 65534 || gid != 65533) {
			t.Errorf("%s belongs to %d, %d", path, uid, gid)
		}
		return err
	}))
	if _, err := os.Stat(filepath.Join(dir, "pods/a/home/left")); err == nil {
		t.Error("what a killed restore has left is in the folder")
	}
	if os.Geteuid() == 0 { // else nobody can make such a folder
		theirs := filepath.Join(parent, ".restoring-third")
		must(t, errors.Join(os.Mkdir(theirs, 0o777), os.Chown(theirs, 65534, 65533)))
		if _, err := Restore(t.Context(), asFile(t, raw), filepath.Join(parent, "third")); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
			t.Error(err)
		}
		must(t, os.Remove(theirs))
	}
	p, err := placeOf(filepath.Join(parent, "other"))
	must(t, err)
	must(t, p.begin())
	if _, err := Restore(t.Context(), asFile(t, raw), filepath.Join(parent, "other")); err == nil || !strings.Contains(err.Error(), "another restore") {
		t.Error(err)
	}
	must(t, p.giveUp())
}

// A file is there when it is complete, and takes the place of no other unasked.
func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "it")
	failed := errors.New("failed")
	if err := Create(path, false, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	only(t, dir)
	for _, c := range []struct {
		content string
		replace bool
		during  string // comes up meanwhile
		want    string
	}{{"1", false, "", "1"}, {"2", false, "", "1"}, {"3", true, "", "3"}, {"4", false, "theirs", "theirs"}} {
		if c.during != "" {
			must(t, os.Remove(path))
		}
		err := Create(path, c.replace, func(w io.Writer) error {
			if c.during != "" {
				must(t, os.WriteFile(path, []byte(c.during), 0o600))
			}
			_, err := io.WriteString(w, c.content)
			return err
		})
		if (c.want != c.content) != errors.Is(err, fs.ErrExist) {
			t.Errorf("%+v: %v", c, err)
		}
		if got, err := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%+v: %q %v", c, got, err)
		}
		only(t, dir, "it")
	}
}

// Where a file system knows no links, a backup takes its name all the same, and no
// other's.
func TestCreateWithoutLinks(t *testing.T) {
	t.Parallel()
	none := func(string, string) error { return &os.LinkError{Op: "link", Err: syscall.EPERM} }
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(t, os.WriteFile(from, []byte("1"), 0o600))
	must(t, putInPlace(from, to, none))
	must(t, os.WriteFile(from, []byte("2"), 0o600))
	if err := putInPlace(from, to, none); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, err := os.ReadFile(to); string(got) != "1" {
		t.Errorf("%q %v", got, err)
	}
}

// Whatever a reader is given, it neither panics nor writes outside.
func FuzzBackup(f *testing.F) {
	for _, parts := range [][]part{
		nil,
		{file(nameDatabase, "x"), folderPart("certificates"), file("certificates/a", "b")},
		{file(nameDatabase, "x"), folderPart("pods/a/1/home"), file("pods/a/1/home/x", "abc").with(recordLinked, "1"), linkPart(tar.TypeLink, "pods/a/1/home/y", "pods/a/1/home/x"), linkPart(tar.TypeSymlink, "pods/a/1/home/z", "../../..")},
		{file(nameDatabase, "x"), folderPart("pods/a/1/home"), file("pods/a/1/home/x", "abc").with(recordSize, "99", recordSparse, "9+3"), folderPart("pods/a/2/home"), file("pods/a/2/home/x", "1"), file("pods/a/2/removed", "home/x\x00logs/y\x00")},
	} {
		f.Add(expanded(f, forge(f, parts, nil)))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		parent, err := os.MkdirTemp(dir, "")
		must(t, err)
		inside := filepath.Join(parent, "inside")
		must(t, os.Mkdir(inside, 0o700))
		root, err := os.OpenRoot(inside)
		must(t, err)
		defer root.Close()
		u := &unpacker{root: root}
		verified := newScanner(t.Context(), bytes.NewReader(raw), nil).all()
		err = newScanner(t.Context(), bytes.NewReader(raw), u).all()
		if left := u.leave(0); verified == nil && err == nil {
			must(t, left)
		}
		only(t, parent, "inside")
		must(t, os.RemoveAll(parent))
	})
}
