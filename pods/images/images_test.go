package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entry is one of a layer; a folder when its name ends in a slash, a link when to is set.
type entry struct {
	name, content, to string
	kind              byte // 0: as above
	mode              int64
}

// layerOf is an archive of entries.
func layerOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.to, Mode: e.mode, Typeflag: e.kind, Size: int64(len(e.content)), ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
		switch {
		case e.kind != 0:
		case e.to != "":
			h.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf is an image with these layers.
func imageOf(t testing.TB, config v1.Config, layers ...[]byte) v1.Image {
	t.Helper()
	image := empty.Image
	for _, raw := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			t.Fatal(err)
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	return image
}

// serveRegistry is a registry on loopback.
func serveRegistry(t testing.TB, wrap func(http.Handler) http.Handler) (host string) {
	t.Helper()
	var h http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func push(t testing.TB, reference string, image v1.Image) {
	t.Helper()
	at, err := name.ParseReference(reference)
	if err == nil {
		err = remote.Write(at, image)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Now: time.Now, Owner: -1, MaxSize: 1 << 30, MaxImage: 256 << 20}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func parse(t testing.TB, text string) Reference {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func quiet(string) {}

// treeOf lists what is below a folder: a folder ends in a slash, a link in its target,
// a file in its mode and content.
func treeOf(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			all = append(all, rel+"/")
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			all = append(all, rel+" -> "+to)
			return err
		default:
			raw, err := os.ReadFile(path)
			all = append(all, fmt.Sprintf("%s %o %s", rel, info.Mode(), raw))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPull(t *testing.T) {
	t.Parallel()
	host := serveRegistry(t, nil)
	image := imageOf(t, v1.Config{Env: []string{"A=b"}, Cmd: []string{"/app"}, WorkingDir: "/srv", ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}}},
		layerOf(t, entry{name: "app", content: "one", mode: 0o4755}, entry{name: "gone", content: "x"}),
		layerOf(t, entry{name: ".wh.gone"}, entry{name: "etc/", mode: 0o700}, entry{name: "link", to: "app"}))
	reference := host + "/team/app:1"
	push(t, reference, image)
	s := openStore(t, nil)
	var said []string
	got, release, err := s.Get(t.Context(), parse(t, reference), func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if want := []string{"app 755 one", "etc/", "link -> app"}; !slices.Equal(treeOf(t, got.Root), want) {
		t.Errorf("unpacked %q, want %q", treeOf(t, got.Root), want)
	}
	if d, _ := image.Digest(); got.Digest != d.String() {
		t.Errorf("digest %s, want %s", got.Digest, d)
	}
	if !slices.Equal(got.Env, []string{"A=b"}) || !slices.Equal(got.Command, []string{"/app"}) || got.WorkDir != "/srv" || !slices.Equal(got.Ports, []int{80}) {
		t.Errorf("facts %+v", got.Facts)
	}
	if len(said) != 3 {
		t.Errorf("said %q", said)
	}
	// What the name leads to later is nobody's business until somebody asks.
	push(t, reference, imageOf(t, v1.Config{}, layerOf(t, entry{name: "new", content: "two"})))
	again, release2, err := s.Get(t.Context(), parse(t, reference), quiet)
	if err != nil || again.Digest != got.Digest {
		t.Fatalf("%s, %v", again.Digest, err)
	}
	release2()
	newer, release3, err := s.Pull(t.Context(), parse(t, reference), quiet)
	if err != nil || newer.Digest == got.Digest {
		t.Fatalf("%s, %v", newer.Digest, err)
	}
	release3()
}
