package podstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"podgate/pods"
	"podgate/pods/wire"
)

// broken is a source that ends early.
type broken struct{}

var errBroken = errors.New("the source broke off")

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func testTransfer(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	big := bytes.Repeat([]byte("0123456789abcde\n"), wire.MaxFile/16+1000)
	for _, size := range []int64{int64(len(big)), -1} {
		info, err := b.Upload(t.Context(), b.actor, "shop", "deep/big", 0o640, size, bytes.NewReader(big))
		if err != nil || info.Size != int64(len(big)) || info.Mode != "0640" || info.Name != "/home/pod/app/deep/big" {
			t.Errorf("upload with size %d: %+v %v", size, info, err)
		}
	}
	b.download("shop", "deep/big", big)
	if _, err := b.Upload(t.Context(), b.actor, "shop", "deep/big", 0, -1, io.MultiReader(strings.NewReader("half"), broken{})); !errors.Is(err, errBroken) {
		t.Errorf("a source that breaks off: %v", err)
	}
	if _, err := b.Upload(t.Context(), b.actor, "shop", "deep/big", 0, 10, strings.NewReader("half")); err == nil {
		t.Error("less than was said is taken")
	}
	b.download("shop", "deep/big", big)
	ctx, cancel := context.WithCancel(t.Context())
	d, err := b.Download(ctx, b.actor, "shop", "deep/big")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(d); !errors.Is(err, context.Canceled) {
		t.Errorf("a download whose reader left: %v", err)
	}
	_ = d.Close() // it is over
	for path, want := range map[string]error{"missing": pods.ErrNoFile, "/etc/passwd": pods.ErrPath, ".": pods.ErrBadInput} {
		if _, err := b.Download(t.Context(), b.actor, "shop", path); !errors.Is(err, want) {
			t.Errorf("download %s: %v, want %v", path, err, want)
		}
	}
	if _, err := b.Upload(t.Context(), b.actor, "shop", "/etc/podgate-test", 0, 1, strings.NewReader("x")); !errors.Is(err, pods.ErrPath) {
		t.Errorf("upload to outside: %v", err)
	}
	if got := strings.TrimSpace(b.prints("shop", "ls -A deep")); got != "big" {
		t.Errorf("what is left: %q", got)
	}
}

func (b *bench) download(pod, path string, want []byte) {
	b.t.Helper()
	d, err := b.Download(b.t.Context(), b.actor, pod, path)
	if err != nil {
		b.t.Fatalf("download %s: %v", path, err)
	}
	got, err := io.ReadAll(d)
	if err := errors.Join(err, d.Close()); err != nil || !bytes.Equal(got, want) || d.Info.Size != int64(len(want)) {
		b.t.Errorf("%s: %d bytes came of %d, %v", path, len(got), len(want), err)
	}
}

// testMoveHome takes the home of one pod to another, by the service.
func testMoveHome(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("from", "static", nil)
	b.create("to", "static", nil)
	b.prints("from", `mkdir -p a/b && printf hello > a/b/c && chmod 640 a/b/c && ln -s b/c a/link && ln a/b/c "$HOME/second" && mkfifo pipe && printf '<p>mine' > index.html`)
	b.write("to", "gone", "soon")
	b.prints("to", beating("old"))
	archive := b.export("from")
	p, err := b.ImportHome(t.Context(), b.actor, "to", bytes.NewReader(archive))
	if err != nil || p.Status != "running" {
		t.Fatalf("import: %+v %v", p, err)
	}
	if got := b.prints("to", `cat a/link "$HOME/second"; stat -c %a a/b/c; ls -A | tr '\n' ' '`); got != "hellohello640\na index.html " {
		t.Errorf("the new home: %q", got)
	}
	if status, body, err := b.visit("to", "/"); err != nil || status != 200 || body != "<p>mine" {
		t.Errorf("the app: %d %q %v", status, body, err)
	}
	if out := b.run("to", "test -e beat.old"); out.Code == 0 {
		t.Error("what ran in the old home writes to the new one")
	}
	for name, bad := range map[string]io.Reader{
		"cut off": bytes.NewReader(archive[:len(archive)/2]), "rubbish": strings.NewReader(strings.Repeat("rubbish ", 1000)),
		"a source that breaks off": io.MultiReader(bytes.NewReader(archive[:1000]), broken{}),
	} {
		if _, err := b.ImportHome(t.Context(), b.actor, "to", bad); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := b.prints("to", "cat a/link"); got != "hello" {
		t.Errorf("after bad archives: %q", got)
	}
}

func (b *bench) export(pod string) []byte {
	b.t.Helper()
	r, err := b.ExportHome(b.t.Context(), b.actor, pod)
	if err != nil {
		b.t.Fatalf("export %s: %v", pod, err)
	}
	archive, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		b.t.Fatalf("export %s: %v", pod, err)
	}
	return archive
}

var errEnough = errors.New("enough")

func testFollow(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "web: (n=0; while sleep 0.05; do n=$((n+1)); echo line $n; done) & exec python3 -m http.server --bind 127.0.0.1 $PORT\n")
	if _, err := b.Restart(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	var texts []string
	err := b.FollowLogs(t.Context(), b.actor, "shop", pods.LogQuery{Grep: "line", Source: "app"}, func(lines []wire.LogLine, lost int64) error {
		for _, l := range lines {
			texts = append(texts, l.Text)
		}
		if lost > 0 {
			t.Errorf("%d lines were lost", lost)
		}
		if len(texts) >= 5 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("follow: %v", err)
	}
	first := 0
	if _, err := fmt.Sscanf(texts[0], "line %d", &first); err != nil {
		t.Fatalf("%q: %v", texts[0], err)
	}
	for i, text := range texts {
		if text != fmt.Sprintf("line %d", first+i) {
			t.Errorf("line %d is %q", first+i, text)
		}
	}
	seen, ended := make(chan pods.Pod, 1000), make(chan error, 2)
	go func() {
		ended <- b.Watch(t.Context(), b.actor, "shop", func(p pods.Pod) error { seen <- p; return nil })
	}()
	if p := <-seen; p.Name != "shop" || p.Status != "running" || p.Command == "" {
		t.Errorf("at first %+v", p)
	}
	b.write("shop", "Procfile", "web: exit 9\n")
	if _, err := b.Restart(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	for p := range seen {
		if strings.Contains(p.Reason, "code 9") {
			break
		}
	}
	go func() {
		ended <- b.FollowLogs(t.Context(), b.actor, "shop", pods.LogQuery{}, func([]wire.LogLine, int64) error { return nil })
	}()
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, pods.ErrInterrupted) && !errors.Is(err, pods.ErrNotRunning) {
			t.Errorf("after the pod was stopped: %v", err)
		}
	}
	if err := b.Watch(t.Context(), b.actor, "shop", func(pods.Pod) error { return nil }); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("watch a stopped pod: %v", err)
	}
}

// testProgress looks whether a restart tells what the app says while its port is
// waited for.
func testProgress(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.write("shop", "Procfile", "web: echo warming up; sleep 0.2; echo nearly there >&2; sleep 0.2; exit 9\n")
	var mu sync.Mutex
	var heard strings.Builder
	if _, err := b.Restart(t.Context(), b.actor, "shop", func(stream string, data []byte) {
		if !mu.TryLock() {
			t.Error("progress from two at once")
			return
		}
		defer mu.Unlock()
		fmt.Fprintf(&heard, "%s: %s", stream, data)
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"status: restart the app\n", "stdout: warming up\n", "stderr: nearly there\n"} {
		if !strings.Contains(heard.String(), want) {
			t.Errorf("heard %q, without %q", heard.String(), want)
		}
	}
}
