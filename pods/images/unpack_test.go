package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpackInto unpacks layers into a fresh folder, beside which is one that must stay as
// it is.
func unpackInto(t testing.TB, most int64, layers ...[]byte) ([]string, error) {
	t.Helper()
	top := t.TempDir()
	outside := filepath.Join(top, "outside")
	inside := filepath.Join(top, "inside")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.Mkdir(inside, 0o755), os.WriteFile(filepath.Join(outside, "file"), []byte("untouched"), 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := &unpacker{root: root, owner: -1, left: most}
	var fault error
	for _, raw := range layers {
		if fault = u.layer(bytes.NewReader(raw)); fault != nil {
			break
		}
	}
	if got := treeOf(t, outside); !slices.Equal(got, []string{"file 600 untouched"}) {
		t.Errorf("the folder outside is now %q", got)
	}
	if entries, err := os.ReadDir(top); err != nil || len(entries) != 2 {
		t.Errorf("beside the image there is %v, %v", entries, err)
	}
	if u.left < 0 || u.left+u.total != most {
		t.Errorf("%d bytes left of %d, %d counted", u.left, most, u.total)
	}
	return treeOf(t, inside), fault
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	type layer = []entry
	for name, c := range map[string]struct {
		layers []layer
		want   []string
	}{
		"modes are plain": {
			[]layer{{{name: "d/", mode: 0o7000}, {name: "d/f", content: "x", mode: 0o4000}, {name: "d/p", mode: 0o2711}}},
			[]string{"d/", "d/f 644 x", "d/p 755 "},
		},
		"folders that nobody made": {[]layer{{{name: "a/b/c"}}}, []string{"a/", "a/b/", "a/b/c 644 "}},
		"absolute names":           {[]layer{{{name: "/a"}, {name: "//b//c"}}}, []string{"a 644 ", "b/", "b/c 644 "}},
		"the root itself":          {[]layer{{{name: "./"}, {name: "/"}, {name: "./a"}}}, []string{"a 644 "}},
		"the last of a name wins":  {[]layer{{{name: "a", content: "1"}, {name: "a", content: "2"}}}, []string{"a 644 2"}},
		"a file for a folder":      {[]layer{{{name: "a/b"}}, {{name: "a", content: "x"}}}, []string{"a 644 x"}},
		"a folder for a file":      {[]layer{{{name: "a"}}, {{name: "a/"}, {name: "a/b"}}}, []string{"a/", "a/b 644 "}},
		"a file on the way":        {[]layer{{{name: "a"}}, {{name: "a/b"}}}, []string{"a/", "a/b 644 "}},
		"a folder for a link":      {[]layer{{{name: "a", to: "../outside"}}, {{name: "a/"}, {name: "a/file", content: "x"}}}, []string{"a/", "a/file 644 x"}},
		"a link for a folder":      {[]layer{{{name: "a/b"}}, {{name: "a", to: "c"}}}, []string{"a -> c"}},
		"a file for a link":        {[]layer{{{name: "a", to: "../outside/file"}}, {{name: "a", content: "x"}}}, []string{"a 644 x"}},

		"through a link":                {[]layer{{{name: "usr/lib/x"}, {name: "lib", to: "usr/lib"}}, {{name: "lib/y"}}}, []string{"lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/x 644 ", "usr/lib/y 644 "}},
		"through an absolute link":      {[]layer{{{name: "var/run", to: "/run"}}, {{name: "var/run/x"}}}, []string{"run/", "run/x 644 ", "var/", "var/run -> /run"}},
		"a link out stays in":           {[]layer{{{name: "a", to: "../../outside"}}, {{name: "a/file", content: "x"}}}, []string{"a -> ../../outside", "outside/", "outside/file 644 x"}},
		"an absolute link out stays in": {[]layer{{{name: "a", to: "/tmp/x"}, {name: "a/file"}}}, []string{"a -> /tmp/x", "tmp/", "tmp/x/", "tmp/x/file 644 "}},
		"a link to a link out stays in": {[]layer{{{name: "a", to: "b/.."}, {name: "b", to: ".."}, {name: "a/outside/file"}}}, []string{"a -> b/..", "b -> ..", "outside/", "outside/file 644 "}},

		"a hard link":                {[]layer{{{name: "a", content: "x"}, {name: "b", to: "a", kind: tar.TypeLink}}}, []string{"a 644 x", "b 644 x"}},
		"a hard link to itself":      {[]layer{{{name: "a", content: "x"}, {name: "./a", to: "/a", kind: tar.TypeLink}}}, []string{"a 644 x"}},
		"a hard link through a link": {[]layer{{{name: "l", to: "../../d"}, {name: "d/a", content: "x"}, {name: "b", to: "l/a", kind: tar.TypeLink}}}, []string{"b 644 x", "d/", "d/a 644 x", "l -> ../../d"}},

		"devices and the like are left out": {
			[]layer{{{name: "null", kind: tar.TypeChar}, {name: "disk", kind: tar.TypeBlock}, {name: "pipe", kind: tar.TypeFifo}, {name: "x", kind: tar.TypeCont}, {name: "a"}}},
			[]string{"a 644 "},
		},

		"a deletion":                        {[]layer{{{name: "a"}, {name: "b/c"}}, {{name: ".wh.a"}, {name: "b/.wh.c"}}}, []string{"b/"}},
		"a deletion of a folder":            {[]layer{{{name: "a/b/c"}}, {{name: ".wh.a"}}}, nil},
		"a deletion of nothing":             {[]layer{{{name: ".wh.a"}, {name: "b/.wh.c"}}}, []string{"b/"}},
		"a deletion before its successor":   {[]layer{{{name: "a/old"}}, {{name: ".wh.a"}, {name: "a/new"}}}, []string{"a/", "a/new 644 "}},
		"a deletion after its successor":    {[]layer{{{name: "a/old"}}, {{name: "a/new"}, {name: ".wh.a"}}}, []string{"a/", "a/new 644 "}},
		"a deletion of what is new":         {[]layer{{{name: "a"}, {name: ".wh.a"}}}, []string{"a 644 "}},
		"a deletion of a link, not through": {[]layer{{{name: "a", to: "b"}, {name: "b/c"}}, {{name: ".wh.a"}}}, []string{"b/", "b/c 644 "}},
		"a deletion through a link out":     {[]layer{{{name: "a", to: "../outside"}, {name: "outside/file"}, {name: "outside/b"}}, {{name: "a/.wh.file"}}}, []string{"a -> ../outside", "outside/", "outside/b 644 "}},
		"an opaque folder":                  {[]layer{{{name: "a/old"}, {name: "a/b/old"}, {name: "x"}}, {{name: "a/"}, {name: "a/.wh..wh..opq"}, {name: "a/new"}}}, []string{"a/", "a/new 644 ", "x 644 "}},
		"an opaque folder, told late":       {[]layer{{{name: "a/old"}, {name: "a/b/old"}, {name: "a/c/old"}}, {{name: "a/b/new"}, {name: "a/c/"}, {name: "a/.wh..wh..opq"}}}, []string{"a/", "a/b/", "a/b/new 644 ", "a/c/"}},
		"an opaque root":                    {[]layer{{{name: "a"}, {name: "b/c"}}, {{name: ".wh..wh..opq"}, {name: "d"}}}, []string{"d 644 "}},
		"marks of another file system":      {[]layer{{{name: ".wh..wh.plnk/1"}, {name: ".wh..wh.aufs"}, {name: "a"}}}, []string{"a 644 "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var raw [][]byte
			for _, l := range c.layers {
				raw = append(raw, layerOf(t, l...))
			}
			got, err := unpackInto(t, 1<<20, raw...)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	var many []entry
	for i := range 300 {
		many = append(many, entry{name: fmt.Sprint(i)})
	}
	loop := []entry{{name: "a", to: "b"}, {name: "b", to: "a"}, {name: "a/x"}}
	deep := strings.Repeat("d/", maxDepth)
	for name, c := range map[string]struct {
		layer []entry
		want  string
	}{
		"a name that leads out":          {[]entry{{name: "../outside/file", content: "x"}}, "leads out"},
		"a name that leads out inside":   {[]entry{{name: "a/../../outside/file", content: "x"}}, "leads out"},
		"a name that leads back":         {[]entry{{name: "a/../b"}}, "leads out"},
		"a hard link out":                {[]entry{{name: "a", to: "../outside/file", kind: tar.TypeLink}}, "leads out"},
		"a hard link to the host":        {[]entry{{name: "a", to: "/etc/passwd", kind: tar.TypeLink}}, "no file of the image"},
		"a hard link through a link out": {[]entry{{name: "l", to: "../outside"}, {name: "a", to: "l/file", kind: tar.TypeLink}}, "no file of the image"},
		"a hard link to a link":          {[]entry{{name: "l", to: "/etc/passwd"}, {name: "a", to: "l", kind: tar.TypeLink}}, "no file of the image"},
		"a hard link to a folder":        {[]entry{{name: "d/"}, {name: "a", to: "d", kind: tar.TypeLink}}, "no file of the image"},
		"links in a ring":                {loop, "too many links"},
		"a deletion of no name":          {[]entry{{name: "a/.wh."}}, "no mark"},
		"a deletion of the folder":       {[]entry{{name: "a/.wh.."}}, "no mark"},
		"a deletion of the one above":    {[]entry{{name: "a/.wh..."}}, "no mark"},
		"a file below a mark":            {[]entry{{name: ".wh.a/b"}}, "below a mark"},
		"a file deep below a mark":       {[]entry{{name: "a/.wh.b/c/d"}}, "below a mark"},
		"too much":                       {[]entry{{name: "a", content: strings.Repeat("x", 1<<20)}}, "room for"},
		"too many":                       {many, "room for"},
		"too deep":                       {[]entry{{name: deep + "d"}}, "too long or too deep"},
		"too long":                       {[]entry{{name: strings.Repeat("a/", 60) + strings.Repeat(strings.Repeat("n", 200)+"/", 20)}}, "too long or too deep"},
		"a link to nothing":              {[]entry{{name: "a", kind: tar.TypeSymlink}}, "no name"},
		"a link too long":                {[]entry{{name: "a", to: strings.Repeat("x/", maxTarget)}}, "no name"},
		"deep by a link":                 {[]entry{{name: "a", to: strings.Repeat("d/", maxDepth)}, {name: "a/b", to: "."}, {name: "a/" + strings.Repeat("e/", maxDepth-2) + "f"}}, "too long or too deep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := unpackInto(t, 1<<20, layerOf(t, c.layer...))
			var refused *refusal
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What an archive says of a size is not believed.
func TestUnpackSizes(t *testing.T) {
	t.Parallel()
	raw := layerOf(t, entry{name: "a", content: strings.Repeat("x", 2000)})
	if _, err := unpackInto(t, 1<<20, raw[:1500]); err == nil {
		t.Error("half an archive was taken")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "sparse", Typeflag: tar.TypeReg, Size: math.MaxInt64 / 2, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackInto(t, 1<<20, b.Bytes()); err == nil || !strings.Contains(err.Error(), "room for") {
		t.Errorf("%v", err)
	}
}

func TestUnpackBounds(t *testing.T) {
	t.Parallel()
	u := &unpacker{left: math.MaxInt64 / 2, entries: maxEntries - 1}
	if err := u.count(&tar.Header{Name: "a"}); err != nil {
		t.Error(err)
	}
	if err := u.count(&tar.Header{Name: "a"}); err == nil || !strings.Contains(err.Error(), "files") {
		t.Errorf("%v", err)
	}
	u = &unpacker{left: math.MaxInt64 / 2, names: maxNames - 1}
	if err := u.count(&tar.Header{Name: "ab"}); err == nil || !strings.Contains(err.Error(), "names") {
		t.Errorf("%v", err)
	}
}

// Whatever an archive holds, nothing outside changes and what comes out can be removed.
func FuzzUnpack(f *testing.F) {
	f.Add(layerOf(f, entry{name: "a", to: "../outside"}, entry{name: "a/file", content: "x"}), layerOf(f, entry{name: ".wh.a"}))
	f.Add(layerOf(f, entry{name: "a/b"}, entry{name: "c", to: "a/b", kind: tar.TypeLink}), layerOf(f, entry{name: "a/.wh..wh..opq"}))
	f.Add(layerOf(f, entry{name: "../x"}), layerOf(f, entry{name: "/dev/null", kind: tar.TypeChar}))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		top := t.TempDir()
		inside, outside := filepath.Join(top, "inside"), filepath.Join(top, "outside")
		if err := errors.Join(os.Mkdir(inside, 0o755), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "file"), []byte("untouched"), 0o600)); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := &unpacker{root: root, owner: -1, left: 1 << 20}
		if u.layer(bytes.NewReader(one)) == nil {
			_ = u.layer(bytes.NewReader(two))
		}
		if got := treeOf(t, outside); !slices.Equal(got, []string{"file 600 untouched"}) {
			t.Fatalf("outside: %q", got)
		}
		err = filepath.WalkDir(inside, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode()&^(fs.ModePerm|fs.ModeDir|fs.ModeSymlink) != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err := errors.Join(err, os.RemoveAll(inside)); err != nil {
			t.Fatal(err)
		}
	})
}
