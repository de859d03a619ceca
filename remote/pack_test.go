package remote

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The rules are those of git, with what podgate leaves out by itself before them.
func TestLook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing said":      {map[string]string{"a": "", "b/c": "", ".git/config": "", "node_modules/x": "", "b/node_modules/x": "", "__pycache__/x": "", ".venv/x": ""}, "a b/c"},
		"by name":           {map[string]string{".gitignore": "*.log\nbuild/\n# words\n\n", "a.log": "", "b/c.log": "", "build/x": "", "b/build/x": "", "b/builder": ""}, ".gitignore b/builder"},
		"from the top":      {map[string]string{".gitignore": "/dist\n/b/*.js\n", "dist": "", "b/dist": "", "b/x.js": "", "b/c/x.js": ""}, ".gitignore b/c/x.js b/dist"},
		"taken back":        {map[string]string{".gitignore": "*.env\n!keep.env\n", "a.env": "", "keep.env": ""}, ".gitignore keep.env"},
		"any depth":         {map[string]string{".gitignore": "a/**/z\ndocs/**\n", "a/z": "", "a/b/c/z": "", "a/y": "", "docs/x": ""}, ".gitignore a/y"},
		"below":             {map[string]string{"b/.gitignore": "x\n", "x": "", "b/x": "", "b/c/x": ""}, "b/.gitignore x"},
		"one of its own":    {map[string]string{".podgateignore": "big\n!node_modules/\n", "big": "", "a": "", "node_modules/x": ""}, "a node_modules/x"},
		"sets":              {map[string]string{".gitignore": "[ab]?.txt\nx[!0-9]\n\\!odd\n", "a1.txt": "", "c1.txt": "", "xy": "", "x1": "", "!odd": ""}, ".gitignore c1.txt x1"},
		"a pattern of none": {map[string]string{".gitignore": "[\n[z-a]\n", "a": ""}, ".gitignore a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, c.files)
			f, err := Look(dir, true)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, one := range f.Files {
				names = append(names, one.Name)
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("sent: %s, want %s", got, c.want)
			}
		})
	}
}

func archive(t *testing.T, headers ...*tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, 4
		}
		h.Mode = 0o6777
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if w.Close() != nil || zipped.Close() != nil {
		t.Fatal("no archive")
	}
	return &b
}

// Whatever an archive names, nothing is written outside of the folder.
func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string][]*tar.Header{
		"above":                  {{Name: "../evil"}},
		"above, hidden":          {{Name: "a/../../evil"}},
		"from the root":          {{Name: "/evil"}},
		"through a link of it":   {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/evil"}},
		"a link":                 {{Name: "l", Typeflag: tar.TypeLink, Linkname: "../evil"}},
		"a device":               {{Name: "d", Typeflag: tar.TypeChar}},
		"through what was there": {{Name: "old/evil"}},
		"onto what was there":    {{Name: "oldfile"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := t.TempDir()
			dir := filepath.Join(outside, "in")
			write(t, outside, map[string]string{"kept": "kept", "in/x": ""})
			if os.Symlink("..", filepath.Join(dir, "old")) != nil || os.Symlink("../kept", filepath.Join(dir, "oldfile")) != nil {
				t.Fatal("no links")
			}
			_, _ = Unpack(archive(t, headers...), dir) // some are refused, some left out
			entries, err := os.ReadDir(outside)
			if err != nil || len(entries) != 2 {
				t.Errorf("outside there are %v, %v", entries, err)
			}
			if raw, err := os.ReadFile(filepath.Join(outside, "kept")); err != nil || string(raw) != "kept" {
				t.Errorf("what was outside is %q, %v", raw, err)
			}
		})
	}
}

// A folder comes back as it went, without rights that nobody may give.
func TestPackAndUnpack(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	write(t, from, map[string]string{"a": "1", "b/c": "2"})
	if err := os.Chmod(filepath.Join(from, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := Look(from, false)
	if err != nil || f.IsPlain() || f.Bytes != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	var b bytes.Buffer
	if err := f.Pack(&b); err != nil {
		t.Fatal(err)
	}
	out, err := Unpack(&b, to)
	if err != nil || out != (Unpacked{Files: 2}) {
		t.Fatalf("%+v, %v", out, err)
	}
	for name, want := range map[string]string{"a": "1", "b/c": "2"} {
		if raw, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(raw) != want {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
	if _, err := Unpack(archive(t, &tar.Header{Name: "s"}), to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "s"))
	if err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 || info.Mode().Perm()&0o022 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
