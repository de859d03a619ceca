//go:build linux && (amd64 || arm64)

package sandbox

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"podgate/pods"
	"podgate/pods/images"
	"podgate/pods/preset"
	"podgate/store"
)

// imageFiles is what an image of a test is made of: contents by path, of which a
// link's begins with «-> ».
type imageFiles map[string]string

// programs adds programs of this machine, with the libraries that they need.
func (f imageFiles) programs(t testing.TB, names ...string) imageFiles {
	t.Helper()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("skipped: %v", err)
		}
		f.elf(t, path, "bin/"+name)
	}
	// The agent is this program, which has libraries where cgo made it.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f.elf(t, self, "self")
	delete(f, "self")
	return f
}

func (f imageFiles) elf(t testing.TB, path, place string) {
	t.Helper()
	if _, there := f[place]; there {
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f[place] = string(raw)
	file, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if interp := file.Section(".interp"); interp != nil {
		b, err := interp.Data()
		if err != nil {
			t.Fatal(err)
		}
		loader := strings.TrimRight(string(b), "\x00")
		f.elf(t, loader, strings.TrimPrefix(loader, "/"))
	}
	for _, name := range needed {
		for _, dir := range []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				f.elf(t, filepath.Join(dir, name), filepath.Join(dir, name)[1:])
				break
			}
		}
	}
}

// archive writes the image as docker save does, and returns the name for it.
func (f imageFiles) archive(t testing.TB, config v1.Config) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range f {
		h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content))}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, to, 0, ""
		}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := errors.Join(w.WriteHeader(h), errors.Join(onlyErr(io.WriteString(w, content)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
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
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("example.com/test:1")
	if err == nil {
		err = tarball.WriteToFile(path, tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

func onlyErr(_ int, err error) error { return err }

// openWithImages is a runtime whose pods can have images.
func openWithImages(t testing.TB) *Runtime {
	t.Helper()
	dir := t.TempDir()
	keep, err := images.Open(images.Config{
		Dir: filepath.Join(dir, "images"), Now: time.Now, Owner: ImageOwner(), MaxSize: 2 << 30, MaxImage: 1 << 30,
		Used: func() ([]string, error) { return UsedImages(filepath.Join(dir, "pods")) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keep.Close)
	return open(t, Config{Dir: filepath.Join(dir, "pods"), Images: keep})
}

// startImage starts a pod from an image.
func startImage(t testing.TB, r *Runtime, id store.PodID, number int, image string) {
	t.Helper()
	sp := pods.Spec{ID: id, Number: number, Name: strings.ToLower(string(id)), Limits: limits, Needs: preset.Needs{Image: image}}
	if err := r.Start(t.Context(), sp, quiet); err != nil {
		t.Fatal(err)
	}
}

// Links of an image lead nowhere while its root is made, and what a pod has of its own
// stands where the image had something else.
func TestPodImageLinks(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	if err := errors.Join(os.Chmod(host, 0o777), os.WriteFile(filepath.Join(host, "file"), []byte("untouched"), 0o666)); err != nil {
		t.Fatal(err)
	}
	shut := imageFiles{}
	for _, place := range []string{"etc", "proc", "dev", "tmp", "run", "var", "home", ".host", ".lower", ".upper", ".work", ".root"} {
		shut[place] = "-> " + host
	}
	inner := imageFiles{"home/pod": "-> " + host, "var/tmp": "-> " + host, "var/log": "-> " + host, ".host/x": "in the way", "dev/shm": "-> " + host, "proc/self": "-> " + host}
	for _, name := range madeInEtc {
		inner["etc/"+name] = "-> " + filepath.Join(host, "file")
	}
	files := imageFiles{"etc": "a file", "var": "a file", "home/pod": "a file", "tmp": "a file", "dev": "a file", "proc": "a file", "run": "a file", ".host": "a file"}
	relative := imageFiles{"etc": "-> ..", "var": "-> ../../../..", "home": "-> proc/1/cwd", "run": "-> .host"}
	for name, image := range map[string]imageFiles{"whole": shut, "inner": inner, "files": files, "relative": relative} {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprint(name, readOnly), func(t *testing.T) {
				t.Parallel()
				r := openWithImages(t)
				if readOnly {
					r.unlayered = "a test wants it"
				}
				startImage(t, r, "A", 1, image.clone().programs(t, "sh", "cat", "ls", "touch").archive(t, v1.Config{}))
				got := command(t, r, "A", "cat /etc/hostname; touch ~/a /tmp/b /var/tmp/c /dev/shm/d && ls -d /proc/self/status; ls -A "+host+"; ls -A /var/log/pod /.host; cat /proc/self/mountinfo")
				if !strings.HasPrefix(got.stdout, "a\n/proc/self/status\n/var/log/pod:\n") {
					t.Errorf("%+v", got)
				}
				for line := range strings.Lines(got.stdout) {
					if fields := strings.Fields(line); len(fields) > 4 && (fields[4] == "/.host" || fields[3] == "/" && strings.Contains(line, " - ext4 ")) {
						t.Errorf("the host's files are there: %s", line)
					}
				}
				st, err := r.Status(t.Context(), "A")
				if err != nil || (st.Image.ReadOnly != "") != readOnly {
					t.Errorf("%+v, %v", st, err)
				}
				if readOnly {
					if got := command(t, r, "A", "touch /bin/x || touch /x"); got.code == 0 {
						t.Errorf("it can write to its image: %+v", got)
					}
				}
			})
		}
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(host)
		raw, err2 := os.ReadFile(filepath.Join(host, "file"))
		if err := errors.Join(err, err2); err != nil || len(entries) != 1 || string(raw) != "untouched" {
			t.Errorf("the host's folder has %v and %q, %v", entries, raw, err)
		}
	})
}

func (f imageFiles) clone() imageFiles { return maps.Clone(f) }

func TestPodImage(t *testing.T) {
	t.Parallel()
	r := openWithImages(t)
	files := imageFiles{"etc/passwd": "evil:x:0:0::/:/bin/sh\n", "etc/os-release": "NAME=test\n", "opt/app/data": "of the image"}.programs(t, "sh", "cat", "ls", "id", "rm")
	image := files.archive(t, v1.Config{Env: []string{"FROM_IMAGE=yes", "HOME=/root", "PATH=/bin"}})
	startImage(t, r, "A", 1, image)
	startImage(t, r, "B", 2, image)
	for _, c := range []struct{ line, want string }{
		{"cat /opt/app/data", "of the image"},
		{"cat /etc/os-release", "NAME=test\n"},
		{"echo $FROM_IMAGE $HOME", "yes /home/pod\n"},
		{"id -u", "1000\n"},
		{"ls /", "bin\ndev\netc\nhome\nlib\nlib64\nopt\nproc\nrun\ntmp\nvar\n"},
		{"cat /etc/hostname", "a\n"},
		{"echo new > /opt/app/more && ls /opt/app", "data\nmore\n"},
		{"rm -r /opt/app/data && ls /opt/app", "more\n"},
	} {
		if got := command(t, r, "A", c.line); got.stdout != c.want {
			t.Errorf("%s: %+v, want %q", c.line, got, c.want)
		}
	}
	if got := command(t, r, "B", "ls /opt/app; cat /etc/passwd"); !strings.HasPrefix(got.stdout, "data\nroot:") || strings.Contains(got.stdout, "evil") {
		t.Errorf("the other pod of the image: %+v", got)
	}
	st, err := r.Status(t.Context(), "A")
	if err != nil || st.Image.Reference != image || st.Image.ReadOnly != "" || !strings.HasPrefix(st.Image.Digest, "sha256:") {
		t.Errorf("%+v, %v", st.Image, err)
	}
}
