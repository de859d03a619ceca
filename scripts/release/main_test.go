package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const (
	testVersion = "v1.2.3-rc.1"
	testURL     = "https://example.com/podgate/v1.2.3-rc.1"
)

// checkout copies the tree, as it is, into a folder with a history of one commit, which
// is the same wherever it is made.
func checkout(t *testing.T, from, dir string) {
	t.Helper()
	source := os.DirFS(from)
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && !d.IsDir(): // of a worktree: it leads to another history
			return nil
		case d.IsDir() && slices.Contains([]string{".git", "data", "dist", "node_modules"}, d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case !d.Type().IsRegular() || name == "podgate":
			return nil
		}
		raw, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), raw, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A", "-f"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "all"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE=2026-03-01T12:00:00Z", "GIT_COMMITTER_DATE=2026-03-01T12:00:00Z", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, said)
		}
	}
}

// TestRelease makes a release for this system twice, in two folders, and uses it.
func TestRelease(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not here, and a release is of what it says")
	}
	here := target{runtime.GOOS, runtime.GOARCH}
	if !slices.Contains(targets, here) {
		t.Skipf("%s is no system of a release", here)
	}
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "another folder")
	var dist [2]string
	for i, dir := range []string{first, second} {
		checkout(t, []string{"../..", first}[i], dir) // the first again: somebody may be at work on the tree
		dist[i] = filepath.Join(t.TempDir(), "dist")
		var said bytes.Buffer
		if err := run(t.Context(), []string{"--source", dir, "--version", testVersion, "--url", testURL, "--only", here.String(), dist[i]}, &said); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
	}
	files, err := os.ReadDir(dist[0])
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		a, errA := os.ReadFile(filepath.Join(dist[0], f.Name()))
		b, errB := os.ReadFile(filepath.Join(dist[1], f.Name()))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs between two builds: %v", f.Name(), errors.Join(errA, errB))
		}
	}
	r := &release{version: testVersion}
	t.Run("archive", func(t *testing.T) { archiveWorks(t, filepath.Join(dist[0], r.archiveName(here))) })
	t.Run("install", func(t *testing.T) { installs(t, dist[0], r.archiveName(here)) })
	t.Run("materials", func(t *testing.T) { materialsAreTold(t, dist[0]) })
	t.Run("debian", func(t *testing.T) { debianReads(t, dist[0], here) })
	t.Run("image", func(t *testing.T) { imageIsWhole(t, dist[0], here) })
	t.Run("sums", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "sha256sum", "--strict", "-c", "SHA256SUMS")
		cmd.Dir = dist[0]
		if cmd.Err != nil {
			t.Skip("sha256sum is not here")
		}
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
	})
	t.Run("refusals", func(t *testing.T) { refused(t, first, dist[0]) })
}

// unpackedTo unpacks an archive and returns its names.
func unpackedTo(t *testing.T, archive, dir string) (names []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for all := tar.NewReader(zip); ; {
		h, err := all.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var raw []byte
			if raw, err = io.ReadAll(all); err == nil {
				err = os.WriteFile(path, raw, fs.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func archiveWorks(t *testing.T, archive string) {
	dir := t.TempDir()
	names := unpackedTo(t, archive, dir)
	const top = "podgate_1.2.3-rc.1/"
	for _, name := range []string{"podgate", "LICENSE", "README.md", "CHANGELOG.md", "config.example.toml", "podgate.service", "man/podgate.1", "man/podgate-pod-create.1", "completion/bash", "completion/zsh", "completion/fish"} {
		if !slices.Contains(names, top+name) {
			t.Errorf("%s is not in %q", name, names)
		}
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, top, "podgate"), "version", "--json").Output()
	var v struct{ Version, Commit, Committed string }
	if err = errors.Join(err, json.Unmarshal(out, &v)); err != nil || v.Version != testVersion || len(v.Commit) != 40 || v.Committed != "2026-03-01T12:00:00Z" {
		t.Errorf("%s %v", out, err)
	}
}

// installs runs the script: with the files in a folder and on a server, and with a file
// that somebody has changed.
func installs(t *testing.T, dist, archive string) {
	script := filepath.Join(dist, "install.sh")
	to := filepath.Join(t.TempDir(), "bin")
	install := func(from, to string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", script, to)
		cmd.Env = append(os.Environ(), "PODGATE_DOWNLOAD="+from)
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	works := func(from string) {
		t.Helper()
		said, err := install(from, to)
		if err != nil || !strings.Contains(said, "podgate "+testVersion+" is in "+to) || !strings.Contains(said, "not in your PATH") {
			t.Fatalf("%v\n%s", err, said)
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join(to, "podgate"), "version").Output()
		if err != nil || !strings.HasPrefix(string(out), "podgate "+testVersion+" (commit ") {
			t.Errorf("%s %v", out, err)
		}
	}
	works(dist)
	_, curl := exec.LookPath("curl")
	_, wget := exec.LookPath("wget")
	if curl == nil || wget == nil {
		srv := httptest.NewServer(http.FileServer(http.Dir(dist)))
		defer srv.Close()
		works(srv.URL) // over the one that was there
		if said, err := install(srv.URL+"/elsewhere", t.TempDir()); err == nil || !strings.Contains(said, "cannot be had") {
			t.Errorf("from where nothing is: %v\n%s", err, said)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dist, archive))
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	changed, empty := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(changed, archive), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	said, err := install(changed, empty)
	if err == nil || !strings.Contains(said, "is not what was released") {
		t.Errorf("a changed archive: %v\n%s", err, said)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("installed from it: %v, %v", left, err)
	}
	fake := t.TempDir()
	if err := os.WriteFile(filepath.Join(fake, "uname"), []byte("#!/bin/sh\necho Plan9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", script, empty)
	cmd.Env = append(os.Environ(), "PATH="+fake+":"+os.Getenv("PATH"), "PODGATE_DOWNLOAD="+dist)
	if said, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(said), "there is no program for plan9") {
		t.Errorf("on an unknown system: %v\n%s", err, said)
	}
}

func materialsAreTold(t *testing.T, dist string) {
	raw, err := os.ReadFile(filepath.Join(dist, "podgate_1.2.3-rc.1_sbom.cdx.json"))
	var b bill
	if err = errors.Join(err, json.Unmarshal(raw, &b)); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, c := range b.Components {
		if refs[c.Ref] || c.Version == "" || c.Type != "library" {
			t.Errorf("%+v", c)
		}
		refs[c.Ref] = true
	}
	for _, name := range []string{"pkg:golang/go.etcd.io/bbolt@v", "pkg:golang/std@1."} {
		if !slices.ContainsFunc(b.Components, func(c component) bool { return strings.HasPrefix(c.PURL, name) }) {
			t.Errorf("%s is not in %v", name, b.Components)
		}
	}
	if b.Metadata.Component.Version != testVersion || len(b.Serial) != len("urn:uuid:")+36 {
		t.Errorf("%+v %s", b.Metadata, b.Serial)
	}
	formula, err := os.ReadFile(filepath.Join(dist, "podgate.rb"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if strings.HasSuffix(name, ".tar.gz") && !strings.Contains(string(formula), "url \""+testURL+"/"+name+"\"\n      sha256 \""+sum+"\"") {
			t.Errorf("%s is not in\n%s", name, formula)
		}
	}
}

// debianReads has Debian's own program read the package.
func debianReads(t *testing.T, dist string, here target) {
	if here.os != "linux" {
		t.Skip("packages are for Linux")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not here")
	}
	name := filepath.Join(dist, "podgate_1.2.3~rc.1_"+here.arch+".deb")
	dpkg := func(args ...string) string {
		t.Helper()
		said, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, said)
		}
		return string(said)
	}
	if got := dpkg("-f", name, "Package", "Version", "Architecture", "Depends"); !strings.Contains(got, "Version: 1.2.3~rc.1\nArchitecture: "+here.arch+"\n") {
		t.Errorf("%s", got)
	}
	dir := t.TempDir()
	dpkg("-x", name, dir)
	dpkg("-e", name, filepath.Join(dir, "DEBIAN"))
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if said, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(dir, "DEBIAN", script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, said)
		}
	}
	sums := exec.CommandContext(t.Context(), "md5sum", "--strict", "-c", "DEBIAN/md5sums")
	sums.Dir = dir
	if said, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	untouched := func(name string) error {
		return exec.CommandContext(t.Context(), "sh", "-c", debianFunctions+`untouched "$1"`, "sh", name).Run()
	}
	profile := filepath.Join(dir, debianProfile)
	if err := untouched(profile); err != nil {
		t.Errorf("the package's own profile counts as edited: %v", err)
	}
	raw, err := os.ReadFile(profile)
	if err = errors.Join(err, os.WriteFile(profile, append(raw, "# mine\n"...), 0o644)); err != nil {
		t.Fatal(err)
	}
	if untouched(profile) == nil {
		t.Error("an edited profile counts as the package's own")
	}
	unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/podgate.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/bin/podgate serve --config /etc/podgate.toml\n") {
		t.Errorf("%s %v", unit, err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "usr/bin/podgate"), "config", "show", "--config", filepath.Join(dir, "etc/podgate.toml")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/var/lib/podgate") {
		t.Errorf("the configuration that comes along: %v\n%s", err, out)
	}
}

func refused(t *testing.T, source, full string) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"version":   {[]string{"--version", "1.2", "--url", testURL, "x"}, "is not like v1.2.3"},
		"address":   {[]string{"--version", "v1.2.3", "--url", "example.com", "x"}, "is not like https://"},
		"shell":     {[]string{"--version", "v1.2.3", "--url", "https://example.com/$(x)", "x"}, "is not like https://"},
		"line":      {[]string{"--version", "v1.2.3", "--url", "https://example.com/x\nid", "x"}, "is not like https://"},
		"no folder": {[]string{"--version", "v1.2.3", "--url", testURL}, "name the folder"},
		"system":    {[]string{"--version", "v1.2.3", "--url", testURL, "--only", "plan9/mips", "x"}, "is none of"},
		"not empty": {[]string{"--source", source, "--version", "v1.2.3", "--url", testURL, full}, "is not empty"},
	} {
		if err := run(t.Context(), c.args, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "new.go"), []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"--source", source, "--version", "v1.2.3", "--url", testURL, filepath.Join(t.TempDir(), "dist")}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "new.go") {
		t.Errorf("with a change that is not committed: %v", err)
	}
}
