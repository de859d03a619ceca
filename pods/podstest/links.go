package podstest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"podgate/pods"
)

// packed is a tar.gz of entries; a name with a slash at its end is a folder, and
// content that begins with -> a link.
func packed(t *testing.T, entries ...[2]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Mode: 0o640, Typeflag: tar.TypeReg, Size: int64(len(e[1]))}
		if strings.HasSuffix(e[0], "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o750
		}
		if target, link := strings.CutPrefix(e[1], "->"); link {
			h.Typeflag, h.Linkname, h.Size, e[1] = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// upload makes a link and sends all of a file to it.
func (b *bench) upload(r pods.UploadRequest, content []byte) (pods.Uploaded, error) {
	b.t.Helper()
	l, err := b.CreateUpload(b.t.Context(), b.actor, "shop", r)
	if err != nil {
		return pods.Uploaded{}, err
	}
	n := int64(len(content))
	return b.Receive(b.t.Context(), l.Secret, pods.Part{Size: n, Total: n, Body: bytes.NewReader(content)})
}

func testUpload(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	link := func(path string) pods.Link {
		t.Helper()
		l, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: path, Mode: 0o750, Bytes: int64(len(content))})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := link("new/big.bin")
	size := int64(len(content))
	broken := io.MultiReader(bytes.NewReader(content[:300_000]), iotest.ErrReader(errors.New("the line broke")))
	if _, err := b.Receive(t.Context(), l.Secret, pods.Part{Size: size, Total: size, Body: broken}); !errors.Is(err, pods.ErrInterrupted) {
		t.Errorf("a body that breaks off: %v", err)
	}
	if _, _, err := b.UploadedFile(b.actor, "shop", l.ID); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("half an upload: %v", err)
	}
	var got pods.Uploaded
	b.until("what came is there", func() bool {
		var err error
		got, err = b.UploadOffset(t.Context(), l.Secret)
		return err == nil && got.Received > 0
	})
	if got.Received > 300_000 || got.Done {
		t.Errorf("%+v", got)
	}
	b.until("a gap is refused", func() bool {
		_, err := b.Receive(t.Context(), l.Secret, pods.Part{Offset: 300_001, Size: 1, Total: size, Body: strings.NewReader("x")})
		return errors.Is(err, pods.ErrOffset)
	})
	// The middle, then the end; what came before may come again.
	begin, middle := got.Received-10, content[got.Received-10:700_000]
	var err error
	b.until("the agent has seen that the line broke", func() bool {
		got, err = b.Receive(t.Context(), l.Secret, pods.Part{Offset: begin, Size: int64(len(middle)), Total: size, Body: bytes.NewReader(middle)})
		return !errors.Is(err, pods.ErrBusy)
	})
	if err != nil || got.Done || got.Received != 700_000 {
		t.Fatalf("%+v %v", got, err)
	}
	if list := b.prints("shop", "ls"); strings.Contains(list, "new") {
		t.Errorf("there before it is whole: %s", list)
	}
	got, err = b.Receive(t.Context(), l.Secret, pods.Part{Offset: 700_000, Size: size - 700_000, Total: size, Body: bytes.NewReader(content[700_000:])})
	if err != nil || !got.Done || got.Received != size || got.Path != "new/big.bin" {
		t.Fatalf("%+v %v", got, err)
	}
	if out := b.prints("shop", "stat -c '%a %s' new/big.bin; head -c 16 new/big.bin; ls -A .. | grep -c upload || true"); out != "750 1048576\n0123456789abcdef0\n" {
		t.Errorf("%q", out)
	}
	if path, spent, err := b.UploadedFile(b.actor, "shop", l.ID); err != nil || spent || path != "new/big.bin" {
		t.Errorf("%q %v", path, err)
	}
	for name, secret := range map[string]string{"replay": l.Secret, "guess": "guess", "none": ""} {
		want := pods.ErrNoLink
		if name == "replay" {
			want = pods.ErrLinkUsed
		}
		if _, err := b.Receive(t.Context(), secret, pods.Part{Size: 1, Total: 1, Body: strings.NewReader("x")}); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A size that nobody told, and a second disk.
	l = link("/tmp/other")
	if got, err := b.Receive(t.Context(), l.Secret, pods.Part{Size: -1, Total: -1, Body: strings.NewReader("short")}); err != nil || !got.Done || b.read("shop", "/tmp/other") != "short" {
		t.Errorf("%+v %v", got, err)
	}
	if err := b.Send(t.Context(), l.Secret, 0, func(context.Context, pods.Sent) (bool, error) { t.Error("sent"); return true, nil }); !errors.Is(err, pods.ErrNoLink) {
		t.Errorf("an upload's link for a download: %v", err)
	}
	b.prints("shop", "mkdir dir; mkfifo pipe; ln -s /etc out")
	for path, want := range map[string]error{
		"/etc/x": pods.ErrPath, "out/x": pods.ErrPath, "../../../etc/x": pods.ErrPath, "dir": pods.ErrBadInput, "x/": pods.ErrBadInput, "pipe": pods.ErrBadInput, "a\x00": pods.ErrPath,
	} {
		if _, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: path}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	if _, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: "x", Bytes: 1 << 50}); !errors.Is(err, pods.ErrOverPlan) {
		t.Error(err)
	}
}

func testUnpack(t *testing.T, r pods.Runtime) {
	b := newBench(t, r, func(c *pods.Config) {
		c.Plans = pods.DefaultPlans()[:1]
		c.Plans[0].Limits.Disk = 16 << 20
	})
	b.create("shop", "static", nil)
	b.prints("shop", "echo old > index.html; echo kept > kept; mkdir sub; echo kept > sub/kept; ln -s sub link; mkfifo pipe")
	unpack := func(path string, archive []byte) (pods.Uploaded, error) {
		t.Helper()
		return b.upload(pods.UploadRequest{Path: path, Unpack: true}, archive)
	}
	before := b.prints("shop", "ls -R | sort; cat index.html")
	for name, c := range map[string]struct {
		archive []byte
		want    error
	}{
		"no archive":     {[]byte("nothing of that kind, but long enough to be looked at" + strings.Repeat(".", 1000)), pods.ErrBadInput},
		"broken":         {packed(t, [2]string{"index.html", "new"}, [2]string{"b", strings.Repeat("x", 10_000)})[:60], pods.ErrBadInput},
		"leads out":      {packed(t, [2]string{"index.html", "new"}, [2]string{"../evil", "x"}), pods.ErrBadInput},
		"absolute":       {packed(t, [2]string{"index.html", "new"}, [2]string{"/tmp/evil", "x"}), pods.ErrBadInput},
		"through a link": {packed(t, [2]string{"index.html", "new"}, [2]string{"l", "->/tmp"}, [2]string{"l/evil", "x"}), pods.ErrBadInput},
		"twice":          {packed(t, [2]string{"a", "new"}, [2]string{"a", "x"}), pods.ErrBadInput},
		"bomb":           {packed(t, [2]string{"index.html", "new"}, [2]string{"zeros", strings.Repeat("\x00", 17<<20)}), pods.ErrTooLarge},
		"file on folder": {packed(t, [2]string{"index.html", "new"}, [2]string{"sub", "x"}), pods.ErrBadInput},
		"folder on file": {packed(t, [2]string{"index.html", "new"}, [2]string{"kept/x", "x"}), pods.ErrBadInput},
		"folder on link": {packed(t, [2]string{"index.html", "new"}, [2]string{"link/x", "x"}), pods.ErrBadInput},
		"on a pipe":      {packed(t, [2]string{"index.html", "new"}, [2]string{"pipe", "x"}), pods.ErrBadInput},
	} {
		if got, err := unpack(".", c.archive); !errors.Is(err, c.want) || got.Done {
			t.Errorf("%s: %+v %v, want %v", name, got, err, c.want)
		}
	}
	if after := b.prints("shop", "ls -R | sort; cat index.html; ls -A .. /tmp | grep -E 'evil|podgate-(upload|unpack)' || true"); after != before {
		t.Errorf("after refusals: %s, before: %s", after, before)
	}
	got, err := unpack(".", packed(t, [2]string{"./", ""}, [2]string{"./index.html", "new\n"}, [2]string{"sub/", ""}, [2]string{"sub/more/f", "f\n"}, [2]string{"away", "->/etc/passwd"}))
	if err != nil || !got.Done || got.Entries != 4 {
		t.Errorf("%+v %v", got, err)
	}
	if out := b.prints("shop", "cat index.html kept sub/kept sub/more/f; readlink away; stat -c %a sub index.html"); out != "new\nkept\nkept\nf\n/etc/passwd\n750\n640\n" {
		t.Errorf("%q", out)
	}
	if got, err := unpack("/home/pod/fresh/deep", packed(t, [2]string{"a", "x"})); err != nil || !got.Done || b.read("shop", "/home/pod/fresh/deep/a") != "x" {
		t.Errorf("%+v %v", got, err)
	}
	for path, want := range map[string]error{"/tmp/x": pods.ErrPath, "kept": pods.ErrBadInput, "/etc": pods.ErrPath} {
		if _, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: path, Unpack: true}); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got, err := b.upload(pods.UploadRequest{Path: "big"}, make([]byte, 17<<20)); !errors.Is(err, pods.ErrOverPlan) || got.Done {
		t.Errorf("over the plan: %+v %v", got, err)
	}
	l, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: "big"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Receive(t.Context(), l.Secret, pods.Part{Size: -1, Total: -1, Body: io.LimitReader(zeros{}, 17<<20)}); !errors.Is(err, pods.ErrOverPlan) && !errors.Is(err, pods.ErrTooLarge) || got.Done {
		t.Errorf("over the plan, length untold: %+v %v", got, err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func testDownload(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.prints("shop", "mkdir -p tree/sub; printf 0123456789 > tree/f; ln -s /etc/passwd tree/out; mkfifo tree/pipe; echo x > tree/sub/g")
	fetch := func(path string, offset int64) (sent pods.Sent, content string, err error) {
		t.Helper()
		l, err := b.CreateDownload(t.Context(), b.actor, "shop", path)
		if err != nil {
			return sent, "", err
		}
		err = b.Send(t.Context(), l.Secret, offset, func(_ context.Context, s pods.Sent) (bool, error) {
			raw, err := io.ReadAll(s)
			sent, content = s, string(raw)
			return err == nil, err
		})
		if err == nil {
			again := b.Send(t.Context(), l.Secret, 0, func(context.Context, pods.Sent) (bool, error) { t.Error("sent twice"); return true, nil })
			if !errors.Is(again, pods.ErrLinkUsed) {
				t.Errorf("a second time: %v", again)
			}
		}
		return sent, content, err
	}
	if sent, content, err := fetch("tree/f", 0); err != nil || content != "0123456789" || sent.Size != 10 || sent.Length != 10 || sent.Name() != "f" {
		t.Errorf("%+v %q %v", sent, content, err)
	}
	if sent, content, err := fetch("tree/f", 4); err != nil || content != "456789" || sent.Length != 6 || sent.Offset != 4 {
		t.Errorf("%+v %q %v", sent, content, err)
	}
	if _, content, err := fetch("tree/f", 10); !errors.Is(err, pods.ErrOffset) {
		t.Errorf("from its end: %q %v", content, err)
	}
	sent, content, err := fetch("tree", 0)
	if err != nil || !sent.Folder || sent.Name() != "tree.tar.gz" {
		t.Fatalf("%+v %v", sent, err)
	}
	z, err := gzip.NewReader(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if len(names) != 4 || strings.Contains(strings.Join(names, " "), "pipe") {
		t.Errorf("%v", names)
	}
	for path, want := range map[string]error{"tree/out": pods.ErrPath, "/etc": pods.ErrPath, "absent": pods.ErrNoFile, "tree/pipe": pods.ErrBadInput, "": pods.ErrPath} {
		if _, err := b.CreateDownload(t.Context(), b.actor, "shop", path); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// One that breaks off can be gone on with.
	l, err := b.CreateDownload(t.Context(), b.actor, "shop", "tree/f")
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	if err := b.Send(t.Context(), l.Secret, 0, func(context.Context, pods.Sent) (bool, error) { return false, gone }); !errors.Is(err, gone) {
		t.Error(err)
	}
	if err := b.Send(t.Context(), l.Secret, 5, func(context.Context, pods.Sent) (bool, error) { return true, nil }); err != nil {
		t.Error(err)
	}
}
