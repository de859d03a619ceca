package agent

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/pods/wire"
)

// exported returns the home as a tar, or the fault that came after it.
func (a *testAgent) exported() ([]byte, *wire.Fault) {
	a.t.Helper()
	resp, b := a.do("GET", wire.PathHome, nil)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-tar" {
		a.t.Fatalf("export: %s %v", resp.Status, resp.Header)
	}
	said := resp.Trailer.Get(wire.TrailerFault)
	if said == "" {
		return b, nil
	}
	var f wire.Fault
	if err := json.Unmarshal([]byte(said), &f); err != nil {
		a.t.Fatalf("trailer %q: %v", said, err)
	}
	return b, &f
}

func importPath(limit int64) string { return fmt.Sprintf("%s?max=%d", wire.PathHome, limit) }

// replaceHome puts a tar in the place of the home.
func (a *testAgent) replaceHome(archive []byte, limit int64) wire.Imported {
	a.t.Helper()
	resp, b := a.do("PUT", importPath(limit), archive)
	var done wire.Imported
	if err := json.Unmarshal(b, &done); err != nil || resp.StatusCode != http.StatusOK {
		a.t.Fatalf("import: %s %s", resp.Status, b)
	}
	return done
}

// tree describes all that lies below dir: mode, time in seconds and content or
// target, by name.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%v %d", info.Mode(), info.ModTime().Unix())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			out[rel] = what + " " + string(b)
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] = "link " + target
			return err
		}
		out[rel] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range out {
		if name == "." || name == ".podgate" || strings.HasPrefix(name, ".podgate/") {
			delete(out, name)
		}
	}
	return out
}

func sameTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%q is %.100q, want %.100q", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q is there and should not be", name)
		}
	}
}

// fill puts one of everything into a folder.
func fill(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("n", 250)
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, text := range map[string]string{
		"app/empty": "", "app/a b\nc": "odd", "app/\xff\xfe": "no text", "app/ünï 😀": "text", ".profile": "hidden",
		"app/" + long + "/" + long + "/" + long: "long", "app/.podgate-here": "not the agent's", "app/big": strings.Repeat("0123456789abcdef", 1<<17),
	} {
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640))
		must(os.Chtimes(filepath.Join(dir, name), old, old))
	}
	must(os.Link(filepath.Join(dir, "app/big"), filepath.Join(dir, "zz-again")))
	for name, target := range map[string]string{"app/rel": "../.profile", "app/abs": "/etc/passwd", "app/up": "../../..", "app/loop": "loop"} {
		must(os.Symlink(target, filepath.Join(dir, name)))
	}
	must(os.MkdirAll(filepath.Join(dir, "locked/inside"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "locked/inside/run"), []byte("#!"), 0o555))
	must(os.Chmod(filepath.Join(dir, "locked/inside"), 0o555))
	must(os.Chmod(filepath.Join(dir, "locked"), 0o500))
	t.Cleanup(func() {
		os.Chmod(filepath.Join(dir, "locked"), 0o700)
		os.Chmod(filepath.Join(dir, "locked/inside"), 0o700)
	})
}

// A home comes back as it was, in the place of another.
func TestHomeComesBack(t *testing.T) {
	t.Parallel()
	from, to := startAgent(t), startAgent(t)
	fill(t, from.cfg.Home)
	want := tree(t, from.cfg.Home)
	for _, name := range []string{"app/pipe", "app/dir/pipe"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(from.home(name)), 0o755), syscall.Mkfifo(from.home(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(from.home(newHome), []byte("half written"), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(t, to.cfg.Home)
	to.put("gone", "soon")
	archive, fault := from.exported()
	if fault != nil {
		t.Fatal(fault)
	}
	done := to.replaceHome(archive, 1<<30)
	if done.Bytes < 2<<20 || done.Bytes > 3<<20 || done.Skipped != 0 || done.Entries != len(want)+1 {
		t.Errorf("%+v for %d entries", done, len(want))
	}
	got := tree(t, to.cfg.Home)
	delete(got, "app/dir") // the folder of a pipe
	for _, name := range []string{"app", "app/dir"} {
		delete(got, name)
		delete(want, name) // its time changed with the pipes
	}
	sameTree(t, got, want)
	one, err1 := os.Stat(to.home("app/big"))
	two, err2 := os.Stat(to.home("zz-again"))
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Errorf("a file with two names became two: %v %v", err1, err2)
	}
	if got := to.run("cat .podgate-here"); got.stdout != "not the agent's" {
		t.Errorf("%+v", got)
	}
}

// packed makes a tar of headers, each with as much content as it says.
func packed(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive that wants out, is broken or too large changes nothing, inside or
// outside, and ends nothing.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	fill(t, a.cfg.Home)
	a.put("Procfile", "web: exec sleep 1000")
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	eventually(t, "the app runs", func() bool { return ask[wire.State](a, "GET", wire.PathState, nil).PID != 0 })
	before := ask[wire.State](a, "GET", wire.PathState, nil)
	outside := filepath.Dir(a.cfg.Home)
	inside, around := tree(t, a.cfg.Home), tree(t, a.cfg.Tmp)
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	deep := strings.Repeat("d/", maxDepth+2)
	whole := packed(t, tar.Header{Name: "a", Size: 10_000})
	for name, c := range map[string]struct {
		archive []byte
		code    string
	}{
		"up":                      {packed(t, tar.Header{Name: "../x"}), wire.FaultBadRequest},
		"up from below":           {packed(t, tar.Header{Name: "a/../../x"}), wire.FaultBadRequest},
		"absolute":                {packed(t, tar.Header{Name: outside + "/x"}), wire.FaultBadRequest},
		"through a link up":       {packed(t, link("a", ".."), tar.Header{Name: "a/x"}), wire.FaultFailed},
		"through an absolute":     {packed(t, link("a", outside), tar.Header{Name: "a/x"}), wire.FaultFailed},
		"through two links":       {packed(t, link("a", "b/.."), link("b", ".."), tar.Header{Name: "a/x"}), wire.FaultFailed},
		"a folder through a link": {packed(t, link("a", outside), tar.Header{Name: "a/x/", Typeflag: tar.TypeDir}), wire.FaultFailed},
		"a file over a link":      {packed(t, link("a", outside+"/x"), tar.Header{Name: "a"}), wire.FaultBadRequest},
		"a name for what is out":  {packed(t, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../tmp"}), wire.FaultBadRequest},
		"a name by way of a link": {packed(t, link("b", outside), tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b/home/app/big"}), wire.FaultFailed},
		"a name for nothing":      {packed(t, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}), wire.FaultNotFound},
		"twice":                   {packed(t, tar.Header{Name: "a"}, tar.Header{Name: "./a"}), wire.FaultBadRequest},
		"a file below a file":     {packed(t, tar.Header{Name: "a"}, tar.Header{Name: "a/b"}), wire.FaultBadRequest},
		"too deep":                {packed(t, tar.Header{Name: deep, Typeflag: tar.TypeDir}), wire.FaultBadRequest},
		"too long":                {packed(t, tar.Header{Name: strings.Repeat("n", 300)}), wire.FaultBadRequest},
		"too large":               {packed(t, tar.Header{Name: "a", Size: 1 << 20}, tar.Header{Name: "b"}), wire.FaultTooLarge},
		"cut off":                 {whole[:5000], wire.FaultFailed},
		"rubbish":                 {bytes.Repeat([]byte("rubbish "), 1000), wire.FaultBadRequest},
	} {
		a.refused(c.code, "PUT", importPath(1<<20), c.archive)
		if _, err := os.Lstat(filepath.Join(outside, "x")); err == nil {
			t.Fatalf("%s: something came out", name)
		}
		sameTree(t, tree(t, a.cfg.Home), inside)
		sameTree(t, tree(t, a.cfg.Tmp), around)
		if t.Failed() {
			t.Fatalf("after %s", name)
		}
	}
	for _, query := range []string{"", "?max=0", "?max=x", "?max=1&max=2", "?max=9999999999999999999", "?max=1&x=1"} {
		a.refused(wire.FaultBadRequest, "PUT", wire.PathHome+query, whole)
	}
	a.refused(wire.FaultBadRequest, "GET", wire.PathHome+"?x=1", nil)
	many := make([]tar.Header, 300)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprint("f", i)}
	}
	a.refused(wire.FaultTooLarge, "PUT", importPath(1<<20), packed(t, many...)) // empty files cost something, too
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.PID != before.PID {
		t.Errorf("the app was ended: %+v", st)
	}
}

// What is odd and harmless is put in place, or left out and counted.
func TestOddArchives(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	done := a.replaceHome(packed(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir},
		tar.Header{Name: "locked/", Typeflag: tar.TypeDir, Mode: 0o500},
		tar.Header{Name: "locked/file", Mode: 0o4751, Size: 3},
		tar.Header{Name: "locked/", Typeflag: tar.TypeDir, Mode: 0o500},
		tar.Header{Name: "pipe", Typeflag: tar.TypeFifo},
		tar.Header{Name: "zero", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5},
		tar.Header{Name: ".podgate/logs/log.000000001"},
		tar.Header{Name: "a/b/c"},
		tar.Header{Name: "etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
	), 1<<20)
	if done.Entries != 5 || done.Skipped != 2 || done.Bytes != 3 {
		t.Errorf("%+v", done)
	}
	got := tree(t, a.cfg.Home)
	for name, want := range map[string]string{"locked": "dr-x------", "locked/file": "-rwxr-x--x", "a/b/c": "-rwxr-xr-x", "etc": "link /etc", "app": "drwxr-xr-x"} {
		if !strings.HasPrefix(got[name], want) {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
	}
	if len(got) != 8 { // with the folder for data
		t.Errorf("%q", got)
	}
	if got := a.run("true"); got.Code != 0 {
		t.Errorf("the agent is not well afterwards: %+v, %s", got, a.log("source=agent"))
	}
	os.Chmod(a.home("locked"), 0o700) // for the test's own clean-up
}

// A new home ends what runs, as a restart does.
func TestImportEndsEverything(t *testing.T) {
	t.Parallel()
	a := startAgent(t, func(c *Config) { c.GraceStop = 200 * time.Millisecond })
	a.put("Procfile", "web: exec sleep 1000")
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	id := fmt.Sprintf("5003.%d", time.Now().UnixNano()%1e9)
	a.run(hidden(id))
	eventually(t, "it runs", func() bool { return alive(id) })
	a.replaceHome(packed(t, tar.Header{Name: "app/new", Size: 1}), 1<<20)
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.App != wire.AppStopped || alive(id) {
		t.Errorf("%+v, alive: %v", st, alive(id))
	}
	if got := a.run("ls"); got.stdout != "new\n" {
		t.Errorf("%+v", got)
	}
}

// An import whose sender goes away, and one while another goes on.
func TestImportsAtOnce(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("mine", "kept")
	r, w := io.Pipe()
	req, _ := http.NewRequest("PUT", "http://agent"+importPath(1<<20), r)
	result := make(chan error, 1)
	go func() {
		resp, err := a.http.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		result <- err
	}()
	archive := packed(t, tar.Header{Name: "a", Size: 100_000})
	w.Write(archive[:50_000])
	eventually(t, "the first one has begun", func() bool { _, err := os.Lstat(a.home(newHome)); return err == nil })
	a.refused(wire.FaultBusy, "PUT", importPath(1<<20), archive)
	w.CloseWithError(errors.New("gone"))
	if err := <-result; err == nil {
		t.Error("half an archive was taken")
	}
	eventually(t, "the next one is taken, and nothing of the first is left", func() bool {
		_, err := os.Lstat(a.home(newHome))
		return errors.Is(err, fs.ErrNotExist)
	})
	if got := a.run("cat mine"); got.stdout != "kept" {
		t.Errorf("%+v", got)
	}
	a.replaceHome(archive, 1<<20)
}

// What keeps a home from being sent is told after the part that was.
func TestExportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run("i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done")
	_, fault := a.exported()
	if fault == nil || fault.Code != wire.FaultFailed || !strings.Contains(fault.Message, "/home/pod/app/d/d/") || len(fault.Message) > 400 {
		t.Fatalf("%+v", fault)
	}
	if got := trailer(&wire.Fault{Code: "x", Message: strings.Repeat("é", 5000)}); len(got) > maxTold+100 || !json.Valid([]byte(got)) {
		t.Errorf("%d bytes: %.100q", len(got), got)
	}
}

// A home that changes all the time is a sound archive all the same.
func TestExportWhileItChanges(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run("(while test -d .; do head -c 300000 /dev/zero > f; : > f; mkdir -p x/y; : > x/y/z; rm -r x; done >/dev/null 2>&1 &)")
	for range 30 {
		archive, fault := a.exported()
		if fault != nil {
			t.Fatal(fault)
		}
		r := tar.NewReader(bytes.NewReader(archive))
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func FuzzArchive(f *testing.F) {
	link := tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "../out"}
	for _, headers := range [][]tar.Header{
		{{Name: "app/x", Size: 5}}, {{Name: "../out/x"}}, {link, {Name: "a/x"}}, {{Name: "a/", Typeflag: tar.TypeDir}},
		{{Name: "b"}, {Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}}, {{Name: "p", Typeflag: tar.TypeFifo}}, {{Name: "/etc/x"}},
	} {
		f.Add(packed(f, headers...))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, archive []byte) {
		home, out := filepath.Join(dir, "home"), filepath.Join(dir, "out")
		if err := errors.Join(os.RemoveAll(home), os.MkdirAll(home, 0o755), os.MkdirAll(out, 0o755)); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(home)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		const limit = 1 << 20
		m := &unpacker{ctx: t.Context(), left: limit, limit: limit, what: "the home", own: wire.OwnPrefix}
		if err := m.unpackInto(root, newHome, bytes.NewReader(archive)); err == nil {
			if err := swapHomes(root); err != nil {
				t.Error(err)
			}
			m.setModes(root)
		}
		left, err := os.ReadDir(dir)
		escaped, err2 := os.ReadDir(out)
		if err != nil || err2 != nil || len(left) != 2 || len(escaped) != 0 || measureDir(t.Context(), home) > 2*limit {
			t.Errorf("%v %v %v %v", left, escaped, err, err2)
		}
	})
}
