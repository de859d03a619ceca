package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/pods/wire"
)

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	binary := string([]byte{0, 1, 254, 255, '\n'})
	for _, c := range []struct{ path, content, virtual, real string }{
		{"a.txt", "hello", "/home/pod/app/a.txt", a.home("app/a.txt")},
		{"deep/er/b", binary, "/home/pod/app/deep/er/b", a.home("app/deep/er/b")},
		{"../notes", "", "/home/pod/notes", a.home("notes")},
		{"/home/pod/app/../x", "x", "/home/pod/x", a.home("x")},
		{"/tmp/t/u", "tmp", "/tmp/t/u", filepath.Join(a.cfg.Tmp, "t/u")},
		{"ünï 😀", "name", "/home/pod/app/ünï 😀", a.home("app/ünï 😀")},
	} {
		info := a.put(c.path, c.content)
		if info.Name != c.virtual || info.Size != int64(len(c.content)) || info.Type != "file" || info.Mode != "0644" {
			t.Errorf("put %s: %+v", c.path, info)
		}
		if b, err := os.ReadFile(c.real); err != nil || string(b) != c.content {
			t.Errorf("%s on the disk: %q, %v", c.path, b, err)
		}
		resp, b := a.do("GET", wire.PathFile+pathQuery(c.path), nil)
		if string(b) != c.content || resp.Header.Get("X-File-Size") != fmt.Sprint(len(c.content)) || resp.Header.Get("X-File-Mode") != "0644" {
			t.Errorf("get %s: %q %v", c.path, b, resp.Header)
		}
		if at, err := time.Parse(time.RFC3339, resp.Header.Get("X-File-Modified")); err != nil || time.Since(at) > time.Hour {
			t.Errorf("modified: %v %v", at, err)
		}
	}
}

func TestWriteModes(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if got := a.put("run.sh", "x", "mode", "755").Mode; got != "0755" {
		t.Errorf("asked for 755, got %s", got)
	}
	if got := a.put("run.sh", "y").Mode; got != "0755" {
		t.Errorf("a rewrite changed the mode to %s", got)
	}
	for _, bad := range []string{"4755", "999", "-1", "rwx", "", "0001777", "+7"} {
		a.refused(wire.FaultBadRequest, "PUT", wire.PathFile+pathQuery("run.sh", "mode", bad), []byte("z"))
	}
	if b, _ := os.ReadFile(a.home("app/run.sh")); string(b) != "y" {
		t.Errorf("a refused write left %q", b)
	}
}

// A write that breaks off leaves the old content and no temporary file.
func TestWriteIsWhole(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("f", "old")
	body := io.MultiReader(strings.NewReader("new"), errReader{})
	req, _ := http.NewRequest("PUT", "http://agent"+wire.PathFile+"?path=f", body)
	req.ContentLength = 100
	if resp, err := a.http.Do(req); err == nil {
		resp.Body.Close()
	}
	big := bytes.Repeat([]byte("x"), wire.MaxFile+1)
	a.refused(wire.FaultTooLarge, "PUT", wire.PathFile+"?path=f", big)
	// Without a declared length the limit shows only on the way.
	req, _ = http.NewRequest("PUT", "http://agent"+wire.PathFile+"?path=f", io.MultiReader(bytes.NewReader(big)))
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%s", resp.Status)
	}
	eventually(t, "only the file is left", func() bool {
		names, _ := filepath.Glob(a.home("app/*"))
		dots, _ := filepath.Glob(a.home("app/.*"))
		return len(names) == 1 && len(dots) == 0
	})
	if b, _ := os.ReadFile(a.home("app/f")); string(b) != "old" {
		t.Errorf("left %.10q", b)
	}
	a.put("full", string(big[:wire.MaxFile]))
}

// The server may name another bound than that of a tool.
func TestWriteMax(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	big := strings.Repeat("x", wire.MaxFile+1)
	if info := a.put("big", big, "max", fmt.Sprint(len(big))); info.Size != int64(len(big)) {
		t.Errorf("%+v", info)
	}
	if f := a.refused(wire.FaultTooLarge, "PUT", wire.PathFile+"?path=f&max=4", []byte("hello")); !strings.Contains(f.Message, "4 bytes") {
		t.Errorf("%+v", f)
	}
	req, _ := http.NewRequest("PUT", "http://agent"+wire.PathFile+"?path=f&max=4", io.MultiReader(strings.NewReader("hello")))
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("without a declared length: %s", resp.Status)
	}
	a.refused(wire.FaultNotFound, "GET", wire.PathFile+"?path=f", nil)
	for _, bad := range []string{"-1", "x", "", "9999999999999999"} {
		a.refused(wire.FaultBadRequest, "PUT", wire.PathFile+pathQuery("f", "max", bad), nil)
	}
}

func TestReadWhole(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*wire.MaxRead/16)
	if err := os.WriteFile(a.home("app/big"), big, 0o640); err != nil {
		t.Fatal(err)
	}
	resp, b := a.do("GET", wire.PathFile+"?path=big&whole=1", nil)
	if !bytes.Equal(b, big) || resp.Header.Get("X-File-Size") != fmt.Sprint(len(big)) || resp.ContentLength != int64(len(big)) || resp.Header.Get("X-File-Mode") != "0640" {
		t.Errorf("%d bytes, %v", len(b), resp.Header)
	}
	if _, rest := a.do("GET", wire.PathFile+"?path=big&whole=1&offset=7", nil); !bytes.Equal(rest, big[7:]) {
		t.Errorf("from the eighth byte on there are %d bytes", len(rest))
	}
	for _, bad := range []string{"whole=0", "whole=", "whole=1&offset=-1", "whole=1&limit=1"} {
		a.refused(wire.FaultBadRequest, "GET", wire.PathFile+"?path=big&"+bad, nil)
	}
	a.refused(wire.FaultPath, "GET", wire.PathFile+"?path=/etc/passwd&whole=1", nil)
	a.refused(wire.FaultIsDir, "GET", wire.PathFile+"?path=.&whole=1", nil)
}

// A file that becomes shorter while it is sent is not taken for whole.
func TestReadWholeShrinks(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	f, err := os.Create(a.home("app/big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	resp, err := a.http.Get("http://agent" + wire.PathFile + "?path=big&whole=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes more, %v", n, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("broken off") }

func TestPathsOutside(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	// Not below /tmp, which every pod has for itself.
	outside, err := os.MkdirTemp("/var/tmp", "podgate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(outside) })
	secret := filepath.Join(outside, "secret")
	os.WriteFile(secret, []byte("secret"), 0o600)
	for name, target := range map[string]string{
		"abs": outside, "rel": "../../../../../../../.." + outside, "etc": "/etc", "file": secret, "loop": "loop", "new": filepath.Join(outside, "new"),
	} {
		if err := os.Symlink(target, a.home("app/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{
		"/etc/passwd", "/", "/home", "/home/podx/a", "/tmpx/a", "../../../etc/passwd", "/home/pod/../../etc/passwd", "/proc/self/environ",
		"abs/secret", "rel/secret", "etc/passwd", "file", "loop", "loop/x", "new", "abs/new", secret,
	} {
		f := a.refused(wire.FaultPath, "GET", wire.PathFile+pathQuery(p), nil)
		if strings.Contains(f.Message, "secret") && !strings.Contains(p, "secret") {
			t.Errorf("%s: the message names what a link holds: %s", p, f.Message)
		}
		a.refused(wire.FaultPath, "PUT", wire.PathFile+pathQuery(p), []byte("x"))
		a.refused(wire.FaultPath, "GET", wire.PathDir+pathQuery(p), nil)
	}
	if b, _ := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("the outside file is now %q", b)
	}
	if _, err := os.Stat(filepath.Join(outside, "new")); err == nil {
		t.Error("a file was made outside")
	}
}

func TestLinksInside(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("/home/pod/data/f", "inside")
	a.put("/tmp/g", "temporary")
	for name, target := range map[string]string{
		"rel": "../data", "virtual": "/home/pod/data", "real": a.home("data"), "tmp": "/tmp", "chain": "virtual", "fresh": "../data/fresh",
	} {
		if err := os.Symlink(target, a.home("app/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]string{
		"rel/f": "inside", "virtual/f": "inside", "real/f": "inside", "tmp/g": "temporary", "chain/f": "inside", "chain/../data/f": "",
	} {
		if want == "" {
			// Dots are taken by their text, so this is app/data/f.
			a.refused(wire.FaultNotFound, "GET", wire.PathFile+pathQuery(p), nil)
		} else if _, b := a.do("GET", wire.PathFile+pathQuery(p), nil); string(b) != want {
			t.Errorf("%s: %q", p, b)
		}
	}
	a.put("fresh", "through a link")
	if b, _ := os.ReadFile(a.home("data/fresh")); string(b) != "through a link" {
		t.Errorf("behind the link: %q", b)
	}
	if info, _ := os.Lstat(a.home("app/fresh")); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

func TestBadPaths(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("plain", "x")
	os.Mkdir(a.home("app/dir"), 0o755)
	syscall.Mkfifo(a.home("app/fifo"), 0o644)
	long := strings.Repeat("n", 256)
	for _, c := range []struct{ code, method, query string }{
		{wire.FaultBadRequest, "GET", ""},
		{wire.FaultBadRequest, "GET", "?path="},
		{wire.FaultBadRequest, "GET", "?path=a%00b"},
		{wire.FaultBadRequest, "PUT", "?path=a%00b"},
		{wire.FaultBadRequest, "GET", "?path=a&path=b"},
		{wire.FaultBadRequest, "GET", "?path=a&x=1"},
		{wire.FaultBadRequest, "GET", "?path=%zz"},
		{wire.FaultBadRequest, "GET", "?path=plain&offset=-1"},
		{wire.FaultBadRequest, "GET", "?path=plain&limit=0"},
		{wire.FaultBadRequest, "GET", fmt.Sprintf("?path=plain&limit=%d", wire.MaxRead+1)},
		{wire.FaultBadRequest, "GET", "?path=" + strings.Repeat("a/", 2100)},
		{wire.FaultBadRequest, "GET", "?path=" + long},
		{wire.FaultBadRequest, "PUT", "?path=" + long},
		{wire.FaultNotFound, "GET", "?path=absent"},
		{wire.FaultNotDir, "GET", "?path=plain/x"},
		{wire.FaultNotDir, "PUT", "?path=plain/x"},
		{wire.FaultIsDir, "GET", "?path=dir"},
		{wire.FaultIsDir, "PUT", "?path=dir"},
		{wire.FaultIsDir, "PUT", "?path=newdir/"},
		{wire.FaultIsDir, "PUT", "?path=/home/pod"},
		{wire.FaultFailed, "GET", "?path=fifo"},
		{wire.FaultFailed, "PUT", "?path=fifo"},
	} {
		a.refused(c.code, c.method, wire.PathFile+c.query, []byte("new"))
	}
	a.refused(wire.FaultNotDir, "GET", wire.PathDir+"?path=plain", nil)
	a.refused(wire.FaultNotDir, "GET", wire.PathDir+"?path=fifo", nil)
	a.refused(wire.FaultNotFound, "GET", wire.PathDir+"?path=absent", nil)
	if b, _ := os.ReadFile(a.home("app/plain")); string(b) != "x" {
		t.Errorf("plain is now %q", b)
	}
}

func TestDeviceIsRefused(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if err := syscall.Mknod(a.home("app/null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Skipf("making a device file needs root: %v", err)
	}
	a.refused(wire.FaultFailed, "GET", wire.PathFile+"?path=null", nil)
	a.refused(wire.FaultFailed, "PUT", wire.PathFile+"?path=null", []byte("x"))
}

func TestReadParts(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("f", "0123456789")
	for q, want := range map[string]string{
		"&offset=3": "3456789", "&limit=2": "01", "&offset=8&limit=5": "89", "&offset=10": "", "&offset=4611686018427387904": "",
	} {
		if resp, b := a.do("GET", wire.PathFile+"?path=f"+q, nil); string(b) != want || resp.Header.Get("X-File-Size") != "10" {
			t.Errorf("%s: %q", q, b)
		}
	}
	// Huge and sparse: only what is asked for is read.
	f, err := os.Create(a.home("app/huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 40
	if err := f.Truncate(size); err != nil {
		t.Skipf("no sparse files of 1 TiB here: %v", err)
	}
	f.WriteAt([]byte("end"), size-3)
	resp, b := a.do("GET", fmt.Sprintf("%s?path=huge&offset=%d", wire.PathFile, int64(size-3)), nil)
	if string(b) != "end" || resp.Header.Get("X-File-Size") != fmt.Sprint(int64(size)) {
		t.Errorf("%q %v", b, resp.Header)
	}
	if _, b := a.do("GET", wire.PathFile+"?path=huge", nil); len(b) != wire.MaxRead {
		t.Errorf("without a limit: %d bytes", len(b))
	}
}

// A file that grows all the time gives a bounded, complete answer.
func TestReadGrowing(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	f, err := os.Create(a.home("app/grows"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for range 20000 {
			select {
			case <-stop:
				return
			default:
				f.Write(make([]byte, 1000))
			}
		}
	}()
	for range 20 {
		resp, b := a.do("GET", wire.PathFile+"?path=grows", nil)
		if len(b) > wire.MaxRead || resp.ContentLength != int64(len(b)) {
			t.Errorf("%d bytes, said %d", len(b), resp.ContentLength)
		}
	}
	close(stop)
	<-stopped
}

func TestList(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("b.txt", "12345", "mode", "600")
	a.put("sub/x", "")
	os.Symlink("b.txt", a.home("app/a-link"))
	syscall.Mkfifo(a.home("app/pipe"), 0o644)
	l := ask[wire.Listing](a, "GET", wire.PathDir, nil)
	var got []string
	for _, e := range l.Entries {
		got = append(got, e.Name+":"+e.Type+":"+e.Target)
	}
	want := "a-link:symlink:b.txt b.txt:file: pipe:other: sub:dir:"
	if strings.Join(got, " ") != want || l.Path != podApp || l.Cut {
		t.Errorf("%q in %s, want %q", got, l.Path, want)
	}
	if e := l.Entries[1]; e.Size != 5 || e.Mode != "0600" || time.Since(e.Modified) > time.Hour {
		t.Errorf("%+v", e)
	}
	if l := ask[wire.Listing](a, "GET", wire.PathDir+pathQuery("/tmp"), nil); l.Entries == nil || len(l.Entries) != 0 {
		t.Errorf("an empty folder: %+v", l)
	}
}

func TestListHuge(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	for i := range wire.MaxEntries + 500 {
		if err := os.WriteFile(a.home(fmt.Sprintf("app/%05d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := ask[wire.Listing](a, "GET", wire.PathDir, nil)
	if !l.Cut || len(l.Entries) != wire.MaxEntries || l.Entries[0].Name != "00000" || l.Entries[wire.MaxEntries-1].Name != fmt.Sprintf("%05d", wire.MaxEntries-1) {
		t.Errorf("cut %v, %d entries", l.Cut, len(l.Entries))
	}
}

// A link that changes between the look and the use must not lead out: os.Root
// has the last word.
func TestLinkRace(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o600)
	a.put("real/f", "public")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(a.home("app/real"), a.home("app/away"))
				os.Symlink(outside, a.home("app/real"))
				os.Remove(a.home("app/real"))
				os.Rename(a.home("app/away"), a.home("app/real"))
			}
		}
	}()
	for range 300 {
		if _, b := a.do("GET", wire.PathFile+"?path=real/f", nil); string(b) == "secret" {
			t.Error("read outside")
		}
		a.do("PUT", wire.PathFile+"?path=real/g", []byte("x"))
	}
	close(stop)
	<-stopped
	if _, err := os.Stat(filepath.Join(outside, "g")); err == nil {
		t.Error("wrote outside")
	}
}
