package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	lay "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layoutOf writes a layout folder with an index of these images.
func layoutOf(t testing.TB, index v1.ImageIndex) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := lay.Write(dir, index); err != nil {
		t.Fatal(err)
	}
	return dir
}

// archiveOf packs a folder.
func archiveOf(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layout.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFiles(t *testing.T) {
	t.Parallel()
	image := imageOf(t, v1.Config{}, layerOf(t, entry{name: "a", content: "one"}), layerOf(t, entry{name: "b", content: "two"}))
	here := platform()
	arm := v1.Platform{OS: "linux", Architecture: "pdp11"}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &here}},
		mutate.IndexAddendum{Add: imageOf(t, v1.Config{}), Descriptor: v1.Descriptor{Platform: &arm}})
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("example.com/a:1")
	if err == nil {
		err = tarball.WriteToFile(saved, tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	folder := layoutOf(t, index)
	for name, path := range map[string]string{
		"folder": folder, "archive": archiveOf(t, folder), "nested": layoutOf(t, nested), "saved": saved,
		"single": layoutOf(t, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, nil)
			got, release, err := s.Get(t.Context(), parse(t, "file:"+path), quiet)
			if err != nil {
				t.Fatal(err)
			}
			release()
			if want := []string{"a 644 one", "b 644 two"}; !slices.Equal(treeOf(t, got.Root), want) {
				t.Errorf("%q", treeOf(t, got.Root))
			}
			if d, _ := image.Digest(); name != "saved" && got.Digest != d.String() {
				t.Errorf("digest %s, want %s", got.Digest, d)
			}
		})
	}
}

func TestFilesThatAreNoImage(t *testing.T) {
	t.Parallel()
	image := imageOf(t, v1.Config{}, layerOf(t, entry{name: "a", content: "one"}))
	whole := func(t *testing.T) string {
		return layoutOf(t, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image}))
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, _ := layers[0].Digest()
	config, _ := image.ConfigName()
	manifest, _ := image.Digest()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"absent": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "x") }, "no such file"},
		"a pipe": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "pipe")
			must(t, syscall.Mkfifo(path, 0o600))
			return path
		}, "neither a file nor a folder"},
		"no archive":      {func(*testing.T) string { return secret }, "cannot be read as an archive"},
		"another archive": {func(t *testing.T) string { return archiveOf(t, filepath.Dir(secret)) }, "neither a layout nor"},
		"empty":           {func(t *testing.T) string { return t.TempDir() }, "index.json is not there"},
		"no image":        {func(t *testing.T) string { return layoutOf(t, empty.Index) }, "holds 0 images"},
		"two images": {func(t *testing.T) string {
			return layoutOf(t, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image}, mutate.IndexAddendum{Add: imageOf(t, v1.Config{})}))
		}, "holds 2 images"},
		"an index that leads out": {func(t *testing.T) string {
			dir := whole(t)
			must(t, errors.Join(os.Remove(filepath.Join(dir, layoutIndex)), os.Symlink(secret, filepath.Join(dir, layoutIndex))))
			return dir
		}, "index.json is not there"},
		"a layer that is a pipe": {func(t *testing.T) string {
			dir := whole(t)
			path := filepath.Join(dir, blobName(layer))
			must(t, errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)))
			return dir
		}, "cannot be read"},
		"another layer": {func(t *testing.T) string {
			dir := whole(t)
			must(t, os.WriteFile(filepath.Join(dir, blobName(layer)), layerOf(t, entry{name: "evil"}), 0o600))
			return dir
		}, ""},
		"no layer": {func(t *testing.T) string {
			dir := whole(t)
			must(t, os.Remove(filepath.Join(dir, blobName(layer))))
			return dir
		}, "not there"},
		"another configuration": {func(t *testing.T) string {
			dir := whole(t)
			must(t, os.WriteFile(filepath.Join(dir, blobName(config)), []byte("{}"), 0o600))
			return dir
		}, "not what its name says"},
		"another manifest": {func(t *testing.T) string {
			dir := whole(t)
			must(t, os.WriteFile(filepath.Join(dir, blobName(manifest)), []byte("{}"), 0o600))
			return dir
		}, "not what its name says"},
		"a large manifest": {func(t *testing.T) string {
			dir := whole(t)
			must(t, os.WriteFile(filepath.Join(dir, blobName(manifest)), make([]byte, maxManifest+1), 0o600))
			return dir
		}, "MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, nil)
			_, _, err := s.Get(t.Context(), parse(t, "file:"+c.path(t)), quiet)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if got := left(t, s); len(got) > 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// An index in an index in an index, as often as somebody likes.
func TestIndexesInEachOther(t *testing.T) {
	t.Parallel()
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: imageOf(t, v1.Config{})})
	for range maxIndexes + 2 {
		index = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	}
	if _, _, err := openFile(layoutOf(t, index)); err == nil || !strings.Contains(err.Error(), "in each other") {
		t.Errorf("%v", err)
	}
}

// A file that has changed is another image, of which nobody was asked.
func TestFileThatChanges(t *testing.T) {
	t.Parallel()
	s := openStore(t, nil)
	path := filepath.Join(t.TempDir(), "a.tar")
	write := func(content string) {
		raw, err := os.ReadFile(archiveOf(t, layoutOf(t, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: imageOf(t, v1.Config{}, layerOf(t, entry{name: "a", content: content}))}))))
		if err := errors.Join(err, os.WriteFile(path, raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	r := parse(t, "file:"+path)
	image, release, err := s.Get(t.Context(), r, quiet)
	if err != nil {
		t.Fatal(err)
	}
	release()
	write("two")
	if err := os.RemoveAll(filepath.Dir(image.Root)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), r, quiet); err == nil || !strings.Contains(err.Error(), "another than it was") {
		t.Errorf("%v", err)
	}
	newer, release, err := s.Pull(t.Context(), r, quiet)
	if err != nil || newer.Digest == image.Digest {
		t.Fatalf("%v, %v", newer, err)
	}
	release()
	if _, err := s.load(image.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := s.load("sha256:../../etc"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a digest that leads out: %v", fmt.Sprint(err))
	}
}
