package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods/wire"
)

func sourceOf(ctx context.Context, r io.Reader) *source {
	return &source{transfer: newTransfer(ctx), r: r, take: func(int) error { return nil }}
}

// pulled reads all of what an agent sends.
func pulled(t *testing.T, c *client, limit int64) (string, error) {
	t.Helper()
	d, err := c.pull(t.Context(), wire.PathHome, nil)
	if err != nil {
		return "", err
	}
	defer d.Close()
	d.left = limit
	b, err := io.ReadAll(d)
	return string(b), err
}

const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Fault\r\n\r\n"

func TestPull(t *testing.T) {
	t.Parallel()
	fault := func(ok func(*wire.Fault) bool) func(error) bool {
		return func(err error) bool {
			f, is := errors.AsType[*wire.Fault](err)
			return is && ok(f)
		}
	}
	for name, c := range map[string]struct {
		script func(net.Conn)
		want   string
		ok     func(error) bool
	}{
		"whole":           {says(chunked + "3\r\nabc\r\n0\r\n\r\n"), "abc", func(err error) bool { return err == nil }},
		"a fault at last": {says(chunked + "3\r\nabc\r\n0\r\nX-Fault: {\"code\":\"failed\",\"message\":\"m\"}\r\n\r\n"), "abc", fault(func(f *wire.Fault) bool { return f.Message == "m" })},
		"a wrong trailer": {says(chunked + "3\r\nabc\r\n0\r\nX-Fault: oops\r\n\r\n"), "abc", func(err error) bool { return errors.Is(err, errHostile) }},
		"endless trailer": {forever(chunked+"3\r\nabc\r\n0\r\nX-Fault: ", "aaaaaaaa"), "abc", func(err error) bool { return err != nil }},
		"endless":         {forever("HTTP/1.1 200 OK\r\n\r\n", "aaaaaaaa"), "", func(err error) bool { return errors.Is(err, errHostile) }},
		"cut off":         {says(chunked + "3\r\nabc\r\n"), "abc", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"refused":         {says("%s", body("409 Conflict", "application/json", `{"code":"busy","message":"m"}`)), "", fault(func(f *wire.Fault) bool { return f.Code == wire.FaultBusy })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pulled(t, hostile(t, c.script), 1000)
			if !c.ok(err) || c.want != "" && got != c.want || len(got) > 1000 {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// An agent that neither takes nor gives is given up; a person who is slow is not.
func TestStalledTransfers(t *testing.T) {
	t.Parallel()
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	t.Run("takes nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c := newClient(func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				context.AfterFunc(ctx, func() { _ = far.Close() })
				return near, nil
			})
			began := time.Now()
			err := c.put(sourceOf(t.Context(), strings.NewReader(strings.Repeat("x", 1<<20))), wire.PathFile, fileQuery("x", 0), -1, new(wire.FileInfo))
			if !errors.Is(err, errStalled) || time.Since(began) != stallTimeout {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			cancel()
			c.close()
			synctest.Wait()
		})
	})
	for name, c := range map[string]struct {
		head string
		then func(net.Conn)
		want error
	}{
		"says nothing":   {"", silent, errStalled},
		"begins to send": {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", silent, errStalled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				client := hostile(t, func(conn net.Conn) { _, _ = io.WriteString(conn, c.head); c.then(conn) })
				if _, err := pulled(t, client, 1000); !errors.Is(err, c.want) || time.Since(began) != stallTimeout {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
	t.Run("a slow person", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			go func() {
				for range 3 {
					time.Sleep(10 * stallTimeout)
					_, _ = io.WriteString(w, "slow")
				}
				_ = w.Close()
			}()
			var info wire.FileInfo
			client := hostile(t, says("%s", body("200 OK", "application/json", `{"size":12}`)))
			if err := client.put(sourceOf(t.Context(), r), wire.PathFile, fileQuery("x", 0), -1, &info); err != nil || info.Size != 12 {
				t.Errorf("%+v %v", info, err)
			}
		})
	})
}

// What goes wrong on this side is told as it is.
func TestPutSaysWhatTheSourceSaid(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	script := says("%s", body("200 OK", "application/json", `{}`))
	broken := sourceOf(t.Context(), io.MultiReader(strings.NewReader("x"), errReader{mine}))
	if err := hostile(t, script).put(broken, wire.PathFile, nil, -1, new(wire.FileInfo)); !errors.Is(err, mine) {
		t.Errorf("broken: %v", err)
	}
	refused := &source{transfer: newTransfer(t.Context()), r: strings.NewReader("x"), take: func(int) error { return mine }}
	if err := hostile(t, script).put(refused, wire.PathFile, nil, -1, new(wire.FileInfo)); !errors.Is(err, mine) {
		t.Errorf("refused: %v", err)
	}
}

// A body whose end comes after its right to be sent is taken away does not end for the
// agent, which would keep the file.
func TestSourceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := sourceOf(ctx, readerFunc(func(p []byte) (int, error) {
		cancel(lost)
		return copy(p, "the rest"), io.EOF
	}))
	if n, err := s.Read(make([]byte, 100)); n != 0 || !errors.Is(err, lost) || errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if !errors.Is(s.failed(), lost) {
		t.Errorf("it failed with %v", s.failed())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestHostileFollow(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
	many := strings.Repeat(`{"text":"x"},`, wire.MaxLines) + `{"text":"x"}`
	for name, script := range map[string]func(net.Conn){
		"too many lines": says("%s", head+`{"lines":[`+many+`]}`+"\n"),
		"less than lost": says("%s", head+`{"lost":-1}`+"\n"),
		"endless line":   forever(head+`{"lines":[{"text":"`, "aaaaaaaa"),
		"rubbish":        says("%s", head+"rubbish\n"),
		"another type":   says("%s", body("200 OK", "text/html", "{}\n")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := hostile(t, script)
			stream, err := c.follow(t.Context(), wire.PathLogs, url.Values{})
			if err == nil {
				err = stream.each(func(wire.Event) error { return nil })
				_ = stream.close()
			}
			if !errors.Is(err, errHostile) {
				t.Error(err)
			}
		})
	}
	c := hostile(t, says("%s", head+fmt.Sprintf(`{"lines":[{"source":"a\u202eb","text":"%s"}],"lost":3}`, strings.Repeat("x", wire.MaxLineBytes+1))+"\n{\"fault\":{\"code\":\"failed\"}}\n"))
	stream, err := c.follow(t.Context(), wire.PathLogs, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.close()
	var seen wire.Event
	err = stream.each(func(e wire.Event) error { seen = e; return nil })
	var f *wire.Fault
	if !errors.As(err, &f) || len(seen.Lines) != 1 || seen.Lost != 3 || len(seen.Lines[0].Text) != wire.MaxLineBytes || seen.Lines[0].Source != "ab" {
		t.Errorf("%+v %v", seen, err)
	}
}
