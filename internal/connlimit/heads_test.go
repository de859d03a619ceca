package connlimit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

var largeHead = "GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", smallHead) + "\r\n"

// begins sends a large head but for its end, and reports whether the server
// took it.
func (v *visit) begins() bool {
	v.t.Helper()
	_, err := io.WriteString(v.Conn, largeHead)
	if err != nil {
		_ = v.Close()
	}
	return err == nil
}

// Of large heads that are on their way there are so many at once; whoever sends
// another, and the neighbours, have what they need for a usual request.
func TestLargeHeadsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := served(t, refuse(200))
		var first []*visit
		for i := range largeHeads / largeHeadsEach {
			from := fmt.Sprintf("198.51.100.%d:1", i)
			for range largeHeadsEach {
				v := l.visit(t, from)
				if !v.begins() {
					t.Fatalf("%s is refused", from)
				}
				first = append(first, v)
			}
			if l.visit(t, from).begins() {
				t.Errorf("%s may begin more than its share", from)
			}
		}
		if l.visit(t, "203.0.113.1:1").begins() {
			t.Error("more than all may begin")
		}
		usual := l.visit(t, "203.0.113.1:1")
		usual.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		usual.answer()
		// One that is through gives its place back, while its connection lives.
		first[0].send("\r\n")
		first[0].answer()
		if !l.visit(t, "203.0.113.1:1").begins() {
			t.Error("the place of one that is through is kept")
		}
		_ = first[1].Close()
		synctest.Wait()
		if !first[0].begins() {
			t.Error("the place of one that is gone is kept")
		}
	})
}

// Only heads count: not bodies, nor what came before on the same connection.
func TestOnlyHeadsCount(t *testing.T) {
	t.Parallel()
	read := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	full := &Bounds{}
	for range largeHeads {
		full.enterHead("")
	}
	synctest.Test(t, func(t *testing.T) {
		v := servedWithin(t, full, read).visit(t)
		for range 3 {
			v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\nX: " + strings.Repeat("x", smallHead/2) + "\r\n\r\n")
			v.send(strings.Repeat("x", 200_000))
			v.answer()
		}
		if v.begins() {
			t.Error("a large head has a place where there is none")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client := servedH2Within(t, full, read)
		for range 3 {
			res, err := client.Post("https://pods.example.com", "", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	})
}

// A connection that is closed gives its places back, whoever closes it.
func TestClosedConnectionsGiveBackTheirPlaces(t *testing.T) {
	t.Parallel()
	bounds, from, to := &Bounds{All: 1, Each: 1}, newPipes(), make(chan struct{})
	go func() {
		defer close(to)
		_, _ = io.WriteString(from.dial(visitor), largeHead)
	}()
	c, err := bounds.Listener(from).Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(len(largeHead))); err != nil || bounds.heads.all != 1 || bounds.conns.all != 1 {
		t.Errorf("%v, %+v, %+v", err, bounds.heads, bounds.conns)
	}
	<-to
	if err := c.Close(); err != nil || bounds.heads.all != 0 || bounds.conns.all != 0 {
		t.Errorf("%v, %+v, %+v", err, bounds.heads, bounds.conns)
	}
}
