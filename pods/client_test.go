package pods

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
)

// hostile returns a client whose agent reads the head of each request and then
// does what script says with the bare connection. Connections end with the
// test.
func hostile(t *testing.T, script func(net.Conn)) *client {
	t.Helper()
	c := newClient(rawAgent(t, script))
	t.Cleanup(c.close)
	return c
}

func rawAgent(t *testing.T, script func(net.Conn)) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
		go func() {
			defer far.Close()
			r := bufio.NewReader(far)
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			script(far)
		}()
		return near, nil
	}
}

// says is a script that answers with fixed bytes.
func says(format string, args ...any) func(net.Conn) {
	return func(c net.Conn) { _, _ = fmt.Fprintf(c, format, args...) }
}

// forever writes chunk until the connection is closed.
func forever(head, chunk string) func(net.Conn) {
	chunk = strings.Repeat(chunk, 1+64<<10/len(chunk))
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, chunk)
		}
	}
}

func body(status, kind, content string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", status, kind, len(content), content)
}

func TestClientSurvivesHostileAnswers(t *testing.T) {
	t.Parallel()
	entries := strings.Repeat(`{"name":"x"},`, wire.MaxEntries) + `{"name":"x"}`
	lines := strings.Repeat(`{"text":"x"},`, wire.MaxLines) + `{"text":"x"}`
	for name, script := range map[string]func(net.Conn){
		"closes at once":         func(net.Conn) {},
		"no HTTP":                says("SSH-2.0-OpenSSH_9.9\r\n\r\n"),
		"endless status line":    forever("HTTP/1.1 200 ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		"endless header line":    forever("HTTP/1.1 200 OK\r\nX: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		"endless headers":        forever("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
		"endless 1xx":            forever("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
		"endless body":           forever("HTTP/1.1 200 OK\r\n\r\n[", "{\"name\":\"x\"},"),
		"endless spaces":         forever("HTTP/1.1 200 OK\r\n\r\n", "                                    "),
		"endless chunks":         forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
		"lying length":           says("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n{}"),
		"two lengths":            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
		"wrong JSON":             says("%s", body("200 OK", "application/json", `{"app":`)),
		"two values":             says("%s", body("200 OK", "application/json", `{}{}`)),
		"wrong types":            says("%s", body("200 OK", "application/json", `"running"`)),
		"deep nesting":           says("%s", body("200 OK", "application/json", strings.Repeat("[", 100_000))),
		"redirect":               says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
		"no content":             says("HTTP/1.1 204 No Content\r\n\r\n"),
		"switches protocols":     says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
		"status 999":             says("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
		"refusal without fault":  says("%s", body("500 Oops", "text/plain", "oops")),
		"refusal without end":    forever("HTTP/1.1 400 Bad\r\n\r\n{\"code\":\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		"too many entries":       says("%s", body("200 OK", "application/json", `{"entries":[`+entries+`]}`)),
		"too many lines":         says("%s", body("200 OK", "application/json", `[`+lines+`]`)),
		"too many jobs":          says("%s", body("200 OK", "application/json", `[`+entries+`]`)),
		"more of a job":          says("%s", body("200 OK", "application/json", `{"offset": -1, "data":"`+strings.Repeat("a", 2000)+`"}`)),
		"negative size":          says("HTTP/1.1 200 OK\r\nX-File-Size: -1\r\nX-File-Mode: 0644\r\nX-File-Modified: 2026-01-01T00:00:00Z\r\n\r\n{}x"),
		"mode out of range":      says("HTTP/1.1 200 OK\r\nX-File-Size: 1\r\nX-File-Mode: 77777777\r\nX-File-Modified: 2026-01-01T00:00:00Z\r\n\r\n{}x"),
		"time that is none":      says("HTTP/1.1 200 OK\r\nX-File-Size: 1\r\nX-File-Mode: 0644\r\nX-File-Modified: yesterday\r\n\r\n{}x"),
		"more than was asked":    says("HTTP/1.1 200 OK\r\nX-File-Size: 1\r\nX-File-Mode: 0644\r\nX-File-Modified: 2026-01-01T00:00:00Z\r\n\r\n{}%s", strings.Repeat("x", 2000)),
		"stream of other type":   says("%s", body("200 OK", "text/html", `{"exit":{"code":0}}`+"\n")),
		"stream without end":     says("%s", body("200 OK", "application/x-ndjson", `{"stream":"stdout","data":"YQ=="}`+"\n")),
		"stream of rubbish":      says("%s", body("200 OK", "application/x-ndjson", "hello\n")),
		"stream with no newline": forever("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		"endless events":         forever("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n", `{"stream":"stdout","data":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"}`+"\n"),
		"never answers":          func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, hostile(t, script))
		})
	}
}

// refuses makes the calls whose answers could all be meant and wants an error
// from each; a panic, an endless loop or memory without bound would show here.
func refuses(t *testing.T, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	calls := map[string]func(context.Context) error{
		"logs": func(ctx context.Context) error { _, err := c.logs(ctx, nil); return err },
		"read": func(ctx context.Context) error { _, err := c.read(ctx, "x", 0, 1000); return err },
		"jobs": func(ctx context.Context) error { _, err := c.jobs(ctx); return err },
		"job": func(ctx context.Context) error {
			_, err := c.job(ctx, "x", JobQuery{Limit: 10})
			return err
		},
		"list":   func(ctx context.Context) error { _, err := c.list(ctx, nil); return err },
		"search": func(ctx context.Context) error { _, err := c.search(ctx, nil); return err },
		"exec": func(ctx context.Context) error {
			_, err := c.exec(ctx, wire.ExecRequest{Command: "x", MaxOutput: 1000}, 1000, nil)
			return err
		},
	}
	for name, call := range calls {
		err := call(ctx)
		lenient := slices.Contains([]string{"list", "logs", "jobs", "job", "search"}, name) // headers and types of others do not matter to them
		if err == nil && !lenient {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDecodeBoundsAnswers(t *testing.T) {
	t.Parallel()
	endless := &counter{}
	if err := decode(endless, 5000, new(any)); !errors.Is(err, errHostile) || endless.n > 20_000 {
		t.Errorf("an endless answer: %v after %d bytes", err, endless.n)
	}
	if err := decode(strings.NewReader(`"12345"`), 7, new(any)); err != nil {
		t.Errorf("an answer at the limit: %v", err)
	}
}

func TestClientBoundsLists(t *testing.T) {
	t.Parallel()
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"name":"x"},`, n), ",") }
	for n, good := range map[int]bool{wire.MaxEntries: true, wire.MaxEntries + 1: false} {
		c := hostile(t, says("%s", body("200 OK", "application/json", `{"entries":[`+list(n)+`]}`)))
		if _, err := c.list(t.Context(), nil); good != (err == nil) || !good && !errors.Is(err, errHostile) {
			t.Errorf("%d entries: %v", n, err)
		}
	}
	for n, good := range map[int]bool{wire.MaxMatches: true, wire.MaxMatches + 1: false} {
		c := hostile(t, says("%s", body("200 OK", "application/json", `{"matches":[`+list(n)+`]}`)))
		if _, err := c.search(t.Context(), nil); good != (err == nil) || !good && !errors.Is(err, errHostile) {
			t.Errorf("%d matches: %v", n, err)
		}
	}
	for n, good := range map[int]bool{wire.MaxLines: true, wire.MaxLines + 1: false} {
		c := hostile(t, says("%s", body("200 OK", "application/json", `[`+list(n)+`]`)))
		if _, err := c.logs(t.Context(), nil); good != (err == nil) || !good && !errors.Is(err, errHostile) {
			t.Errorf("%d lines: %v", n, err)
		}
	}
}

// What an agent says of a job is bounded, and fit to show.
func TestClientBoundsJobs(t *testing.T) {
	t.Parallel()
	for answer, good := range map[string]bool{
		`{"job": {"id": "a"}, "offset": 0, "data": "YWFh"}`:     true,
		`{"job": {"id": "a"}, "offset": 0, "data": "YWFhYQ=="}`: false, // a byte more than was asked for
		`{"job": {"id": "a"}, "offset": -1, "data": ""}`:        false,
	} {
		c := hostile(t, says("%s", body("200 OK", "application/json", answer)))
		if out, err := c.job(t.Context(), "a", JobQuery{Limit: 3}); good != (err == nil) || !good && !errors.Is(err, errHostile) {
			t.Errorf("%s: %+v %v", answer, out, err)
		}
	}
	many := "[" + strings.Repeat(`{"id":"a"},`, wire.MaxJobs) + `{"id":"a"}]`
	c := hostile(t, says("%s", body("200 OK", "application/json", many)))
	if _, err := c.jobs(t.Context()); !errors.Is(err, errHostile) {
		t.Errorf("too many jobs: %v", err)
	}
	odd := cleanJob(wire.Job{ID: strings.Repeat("x", 100), State: "a\x1b[2Jb", Reason: "one\ntwo", Output: -1, Lost: -1})
	if len(odd.ID) > maxJobID+2 || strings.ContainsAny(odd.State+odd.Reason, "\x1b\n") || odd.Output != 0 || odd.Lost != 0 {
		t.Errorf("%+v", odd)
	}
}

func TestReadEventsBoundsOneEvent(t *testing.T) {
	t.Parallel()
	endless := &counter{}
	err := readEvents(endless, 1<<40, func(wire.Event) (bool, error) { return false, nil })
	if !errors.Is(err, errHostile) || endless.n > 2*maxEventLine {
		t.Errorf("an event without end: %v after %d bytes", err, endless.n)
	}
}

// counter is an endless reader of spaces that counts.
type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	c.n += len(p)
	return copy(p, strings.Repeat(" ", len(p))), nil
}

func TestClientKeepsTheEndOfOutput(t *testing.T) {
	t.Parallel()
	var events strings.Builder
	var whole []byte
	for i := range 2000 {
		line := fmt.Appendf(nil, "line %d\n", i)
		whole = append(whole, line...)
		fmt.Fprintf(&events, `{"stream":"stdout","data":%q}`+"\n", base64.StdEncoding.EncodeToString(line))
	}
	events.WriteString(`{"stream":"stderr","data":"c2hvcnQ="}` + "\n")
	events.WriteString(`{"exit":{"code":3,"signal":"SIG\u202eX","dropped_stdout":-5,"dropped_stderr":70}}` + "\n")
	c := hostile(t, says("%s", body("200 OK", "application/x-ndjson", events.String())))
	var heard int
	out, err := c.exec(t.Context(), wire.ExecRequest{Command: "x", MaxOutput: 1 << 20}, 5000, func(_ string, data []byte) { heard += len(data) })
	if err != nil {
		t.Fatal(err)
	}
	if want := whole[len(whole)-5000:]; !bytes.Equal(out.Stdout, want) || out.DroppedStdout != int64(len(whole)-5000) || out.LostStdout != 0 {
		t.Errorf("kept %d bytes that end in %.20q, dropped %d, lost %d", len(out.Stdout), out.Stdout[max(0, len(out.Stdout)-20):], out.DroppedStdout, out.LostStdout)
	}
	if string(out.Stderr) != "short" || out.DroppedStderr != 0 || out.LostStderr != 70 {
		t.Errorf("stderr: kept %q, dropped %d, lost %d", out.Stderr, out.DroppedStderr, out.LostStderr)
	}
	if heard != len(whole)+5 || out.Code != 3 || out.Signal != "SIGX" {
		t.Errorf("heard %d, ended with %d %q", heard, out.Code, out.Signal)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, 7, 64} {
		for _, chunk := range []int{1, 3, 50, 1000} {
			kept := &tail{limit: limit}
			var whole []byte
			for i := range 40 {
				part := bytes.Repeat([]byte{byte('a' + i%26)}, chunk)
				whole = append(whole, part...)
				kept.add(part)
				if n := len(kept.buf); n > 2*limit {
					t.Fatalf("limit %d, chunks of %d: holds %d bytes", limit, chunk, n)
				}
			}
			got, dropped := kept.newest()
			want := whole[max(0, len(whole)-limit):]
			if !bytes.Equal(got, want) || dropped != int64(len(whole)-len(want)) {
				t.Errorf("limit %d, chunks of %d: %q after %d, want %q", limit, chunk, got, dropped, want)
			}
		}
	}
}

func TestClientBoundsTotalOfStream(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	c := hostile(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
		line := `{"stream":"stdout","data":"` + strings.Repeat("YWFh", 10_000) + `"}` + "\n"
		for {
			n, err := io.WriteString(conn, line)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	_, err := c.exec(t.Context(), wire.ExecRequest{Command: "x", MaxOutput: 1000}, 1000, nil)
	if !errors.Is(err, errHostile) {
		t.Fatalf("an endless stream: %v", err)
	}
	if n := sent.Load(); n > 4<<20 {
		t.Errorf("read %d bytes before giving up", n)
	}
}

func TestClientCancels(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	c := hostile(t, func(conn net.Conn) {
		defer close(gone)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"+`{"stream":"stdout","data":"aGk="}`+"\n")
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	out, err := c.exec(ctx, wire.ExecRequest{Command: "x", MaxOutput: 1000}, 1000, func(string, []byte) { cancel() })
	if !errors.Is(err, context.Canceled) || string(out.Stdout) != "hi" {
		t.Fatalf("cancelled exec: %v, printed %q", err, out.Stdout)
	}
	<-gone // the agent sees the caller go
}

func TestClientUsesConnectionsAgain(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/exec", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, `{"exit":{"code":0}}`+"\n")
	})
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"app":"running"}`) })
	c := newClient(serving(t, mux, &dials))
	for range 20 {
		if _, err := c.exec(t.Context(), wire.ExecRequest{Command: "x", MaxOutput: 10}, 10, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.state(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := dials.Load(); n > 3 { // a stream's end may still be drained when the next call starts
		t.Errorf("40 calls one after the other took %d connections", n)
	}
	c.close()
}

// serving returns a way to dial a proper HTTP server in memory.
func serving(t *testing.T, h http.Handler, dials *atomic.Int64) func(context.Context) (net.Conn, error) {
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { close(l.gone); _ = srv.Close(); <-done })
	return func(ctx context.Context) (net.Conn, error) {
		dials.Add(1)
		near, far := net.Pipe()
		l.queue <- far
		return near, nil
	}
}

type pipes struct {
	queue chan net.Conn
	gone  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.queue:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func TestDialPort(t *testing.T) {
	t.Parallel()
	const switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: podgate-tcp\r\nConnection: Upgrade\r\n\r\n"
	dial := func(t *testing.T, script func(net.Conn), patience time.Duration) (net.Conn, error) {
		conn, err := rawAgent(t, script)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return dialPort(ctx, conn, 8080)
	}
	t.Run("nothing of the stream is lost", func(t *testing.T) {
		t.Parallel()
		conn, err := dial(t, func(c net.Conn) {
			_, _ = io.WriteString(c, switched+"early ")
			_, _ = io.WriteString(c, "late")
		}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn)
		if string(got) != "early late" {
			t.Errorf("read %q", got)
		}
	})
	for name, c := range map[string]struct {
		script   func(net.Conn)
		patience time.Duration
		want     error
	}{
		"endless headers": {forever("HTTP/1.1 101 S\r\n", "X-A: b\r\n"), time.Minute, errHostile},
		"other protocol":  {says("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), time.Minute, errHostile},
		"plain answer":    {says("%s", body("200 OK", "text/plain", "hi")), time.Minute, errHostile},
		"no HTTP":         {says("hello\r\n\r\n"), time.Minute, errHostile},
		"nothing":         {func(net.Conn) {}, time.Minute, io.EOF},
		"silence":         {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 200 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if conn, err := dial(t, c.script, c.patience); !errors.Is(err, c.want) || conn != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	t.Run("refusal", func(t *testing.T) {
		t.Parallel()
		_, err := dial(t, says("%s", body("502 Bad Gateway", "application/json", `{"code":"not_listening","message":"nothing there"}`)), time.Minute)
		var f *wire.Fault
		if !errors.As(err, &f) || f.Code != wire.FaultNotListening {
			t.Errorf("got %v", err)
		}
	})
}

func TestClientSendsWhatTheProtocolSays(t *testing.T) {
	t.Parallel()
	var got []string
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.String()+" "+string(raw))
		switch {
		case r.Method == http.MethodGet && r.URL.Path == wire.PathFile:
			w.Header().Set("X-File-Size", "9")
			w.Header().Set("X-File-Mode", "0600")
			w.Header().Set("X-File-Modified", "2026-01-02T03:04:05Z")
			_, _ = io.WriteString(w, "cde")
		case r.URL.Path == wire.PathLogs:
			_, _ = io.WriteString(w, "[]")
		default:
			_, _ = io.WriteString(w, `{"name":"/home/pod/x","entries":[]}`)
		}
	})
	var dials atomic.Int64
	c := newClient(serving(t, mux, &dials))
	t.Cleanup(c.close)
	part, err := c.read(t.Context(), "a b&c", 2, 3)
	if err != nil || string(part.Content) != "cde" || !part.More || part.Info.Size != 9 || part.Info.Mode != "0600" {
		t.Errorf("read: %+v %v", part, err)
	}
	if err := c.put(sourceOf(t.Context(), strings.NewReader("hi")), wire.PathFile, fileQuery("x", 0o750), 2, new(wire.FileInfo)); err != nil {
		t.Error(err)
	}
	if err := c.put(sourceOf(t.Context(), strings.NewReader("")), wire.PathFile, fileQuery("x", 0), 0, new(wire.FileInfo)); err != nil {
		t.Error(err)
	}
	if _, err := c.list(t.Context(), url.Values{"path": {"."}}); err != nil {
		t.Error(err)
	}
	if _, err := c.logs(t.Context(), url.Values{"lines": {"3"}}); err != nil {
		t.Error(err)
	}
	want := "GET /v1/file?limit=3&offset=2&path=a+b%26c \nPUT /v1/file?mode=0750&path=x hi\nPUT /v1/file?path=x \nGET /v1/dir?path=. \nGET /v1/logs?lines=3 "
	if all := strings.Join(got, "\n"); all != want {
		t.Errorf("sent\n%s\nwant\n%s", all, want)
	}
}

func TestCleanState(t *testing.T) {
	t.Parallel()
	s := cleanState(wire.State{App: "king", Reason: "x", Restarts: -3, Command: "a\x1b[31m\u202eb\n" + strings.Repeat("é", 2000), Tail: make([]wire.LogLine, 500)})
	if s.App != wire.AppFailed || s.Restarts != 0 || len(s.Tail) != maxTail || !strings.Contains(s.Reason, "no sense") {
		t.Errorf("%+v", s)
	}
	if strings.ContainsAny(s.Command, "\x1b\n\u202e") || utf8.RuneCountInString(s.Command) > maxReason {
		t.Errorf("command %q", s.Command)
	}
	ugly := strings.Repeat("x\n", 1000)
	many := cleanState(wire.State{Workers: make([]wire.Worker, 99), Crons: make([]wire.Cron, 99)})
	if len(many.Workers) != maxBeside || len(many.Crons) != maxBeside {
		t.Errorf("%d workers, %d cron lines", len(many.Workers), len(many.Crons))
	}
	s = cleanState(wire.State{
		Workers: []wire.Worker{{Name: ugly, State: ugly, Reason: ugly, Restarts: -1}},
		Crons:   []wire.Cron{{When: ugly, Command: ugly, Last: &wire.CronRun{Result: ugly}}, {}},
	})
	w, cr := s.Workers[0], s.Crons[0]
	for _, said := range []string{w.Name, w.State, w.Reason, cr.When, cr.Command, cr.Last.Result} {
		if strings.Contains(said, "\n") || utf8.RuneCountInString(said) > maxReason {
			t.Errorf("%q", said)
		}
	}
	if w.Restarts != 0 {
		t.Errorf("%+v", w)
	}
	long := cleanLines([]wire.LogLine{{Text: strings.Repeat("x", wire.MaxLineBytes-1) + "é", Source: strings.Repeat("s", 99)}})
	if n := len(long[0].Text); n > wire.MaxLineBytes+3 || len(long[0].Source) > 25 {
		t.Errorf("line of %d bytes from %q", n, long[0].Source)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte(`{"stream":"stdout","data":"aGk="}` + "\n" + `{"exit":{"code":0,"millis":3}}` + "\n"))
	f.Add([]byte(`{"fault":{"code":"failed","message":"x"}}` + "\n"))
	f.Add([]byte("\n{}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		seen, limit := 0, int64(1000)
		err := readEvents(bytes.NewReader(raw), limit, func(e wire.Event) (bool, error) {
			seen += len(e.Data)
			return e.Exit != nil || e.State != nil || e.Fault != nil, nil
		})
		if int64(seen) > limit {
			t.Errorf("%d bytes out of %d", seen, limit)
		}
		if err == nil && !bytes.Contains(raw, []byte("\n")) {
			t.Error("a stream without a whole line is no stream")
		}
	})
}
