package ingress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/handover"
	"podgate/internal/webtest"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// closed notes that it was closed.
type closed struct {
	net.Conn
	is bool
}

func (c *closed) Close() error {
	c.is = true
	return c.Conn.Close()
}

// secure has TLS between two ends.
func secure(t *testing.T, near, far net.Conn, version uint16) (server, client *tls.Conn) {
	t.Helper()
	hour := time.Now().Add(time.Hour)
	server = tls.Server(near, &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{webtest.SelfSigned(t, "shop.test", hour.Add(-2*time.Hour), hour)}})
	client = tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// open has an ingress serve a lasting connection to the pod shop, over https or not, and
// returns the ends of visitor and app, and what is closed when it is served no more.
func open(t *testing.T, in *Ingress, https bool) (visitor, app net.Conn, over <-chan struct{}) {
	t.Helper()
	front, visitor := pair(t, "tcp", "127.0.0.1:0")
	if https {
		front, visitor = secure(t, front, visitor, tls.VersionTLS13)
	}
	back, app := pair(t, "unix", filepath.Join(t.TempDir(), "s"))
	sockets := []io.Closer{back, front}
	if secure := secured(front); secure != nil {
		sockets[1] = secure.NetConn()
	}
	for _, c := range []net.Conn{front, back} {
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	l := &lasting{"shop", "somebody", newTap(front), newTap(back)}
	if in.enter(l.pod, l.visitor) != nil {
		t.Fatal("too many")
	}
	in.keep(l)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer in.leave(l.pod, l.visitor)
		defer in.forget(l)
		l.pump()
		for _, c := range sockets { // as the execution of another program does
			_ = c.Close()
		}
	}()
	return visitor, app, ended
}

// send has what one end sends come out of the other.
func send(t *testing.T, from, to net.Conn, words string) {
	t.Helper()
	if _, err := io.WriteString(from, words); err != nil {
		t.Fatal(err)
	}
	receive(t, to, words)
}

func receive(t *testing.T, c net.Conn, words string) {
	t.Helper()
	got := make([]byte, len(words))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != words {
		t.Fatalf("%q, %v", got, err)
	}
}

// A connection that goes over goes on with every byte, as often as there is another
// program, and is held to what the next one allows.
func TestHandOver(t *testing.T) {
	t.Parallel()
	for name, https := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testHandOver(t, https)
		})
	}
}

func testHandOver(t *testing.T, https bool) {
	db := storetest.New(t)
	service := podstest.ServiceOver(t, db, podstest.NewFake(t))
	w := storetest.Populate(t, db, "ann", time.Now())
	actor := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	if _, err := service.Create(t.Context(), actor, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err != nil {
		t.Fatal(err)
	}
	in := New(Config{Pods: service})
	visitor, app, over := open(t, in, https)
	send(t, visitor, app, "one")
	send(t, app, visitor, "two")
	handOver := func() (*handover.Baton, []Handed) {
		t.Helper()
		baton, err := handover.New()
		if err != nil {
			t.Fatal(err)
		}
		return baton, in.HandOver(baton)
	}
	freely := func(c net.Conn) (net.Conn, bool) { return c, true }
	for range 3 {
		baton, list := handOver()
		if len(list) != 1 || list[0].Pod != "shop" || list[0].Visitor != "somebody" || (list[0].TLS != nil) != https {
			t.Fatalf("%+v", list)
		}
		if over != nil {
			<-over
		}
		over = nil
		// What is sent meanwhile waits.
		if _, err := io.WriteString(visitor, "three"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(app, "four"); err != nil {
			t.Fatal(err)
		}
		in = New(Config{Pods: service})
		if err := in.Resume(baton, list, freely); err != nil {
			t.Fatal(err)
		}
		baton.Drop()
		receive(t, app, "three")
		receive(t, visitor, "four")
		send(t, visitor, app, "five")
		in.mu.Lock()
		if in.open["shop"] == nil || in.open["shop"].each["somebody"] != 1 {
			t.Errorf("it is not counted: %+v", in.open)
		}
		in.mu.Unlock()
	}

	t.Run("one too many", func(t *testing.T) {
		visitor, _, over := open(t, in, https)
		baton, list := handOver()
		<-over
		next := New(Config{Pods: service})
		if err := next.Resume(baton, list, func(net.Conn) (net.Conn, bool) { return nil, false }); err == nil || len(next.open) != 0 {
			t.Errorf("%v, %v", err, next.open)
		}
		baton.Drop()
		if n, err := visitor.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
	})

	t.Run("keys that cannot be", func(t *testing.T) {
		if !https {
			return // there are none
		}
		_, _, over := open(t, in, https)
		baton, list := handOver()
		<-over
		for i := range list {
			list[i].TLS.Suite = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
		}
		next := New(Config{Pods: service})
		var bounded closed
		if err := next.Resume(baton, list[:1], func(c net.Conn) (net.Conn, bool) { bounded.Conn = c; return &bounded, true }); err == nil || !bounded.is || len(next.open) != 0 {
			t.Errorf("%v, its place is free: %v, %v", err, bounded.is, next.open)
		}
		baton.Drop()
	})

	t.Run("the pod has as many as it can have", func(t *testing.T) {
		_, _, over := open(t, in, https)
		baton, list := handOver()
		<-over
		next := New(Config{Pods: service})
		next.open["shop"] = &requests{all: maxOpen, each: map[string]int{}}
		var bounded closed
		if err := next.Resume(baton, list, func(c net.Conn) (net.Conn, bool) { bounded.Conn = c; return &bounded, true }); !errors.Is(err, errTooMany) || !bounded.is {
			t.Errorf("%v, its place is free: %v", err, bounded.is)
		}
		baton.Drop()
	})

	t.Run("the pod is gone", func(t *testing.T) {
		baton, err := handover.New()
		if err != nil {
			t.Fatal(err)
		}
		visitor, app, over := open(t, in, https)
		list := in.HandOver(baton)
		<-over
		for i := range list {
			list[i].Pod = "gone"
		}
		if err := New(Config{Pods: service}).Resume(baton, list, freely); !errors.Is(err, pods.ErrNotFound) {
			t.Errorf("%v", err)
		}
		baton.Drop()
		for _, c := range []net.Conn{visitor, app} {
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d, %v", n, err)
			}
		}
	})

	t.Run("what is read and cannot be written", func(t *testing.T) {
		in := New(Config{Pods: service})
		visitor, _, over := open(t, in, https)
		if err := visitor.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = visitor.Write(bytes.Repeat([]byte("x"), 64<<20)) // the app takes nothing
		baton, err := handover.New()
		if err != nil {
			t.Fatal(err)
		}
		if list := in.HandOver(baton); len(list) != 0 {
			t.Errorf("%+v goes over with a hole in it", list)
		}
		baton.Drop()
		_ = visitor.Close()
		in.mu.Lock()
		for l := range in.lasting {
			_ = l.back.Close()
		}
		in.mu.Unlock()
		<-over
	})
}

// What goes over carries only so much that nobody has read.
func TestUnreadIsBounded(t *testing.T) {
	t.Parallel()
	near, far := pair(t, "tcp", "127.0.0.1:0")
	server, client := secure(t, near, far, tls.VersionTLS13)
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	receive(t, server, "he") // and the rest waits
	l := &lasting{front: newTap(server), back: newTap(near)}
	close(l.front.parked)
	close(l.back.parked)
	for room, want := range map[int]int{2: 2, 3: 0, 10: 7} {
		keys, ok := l.rest(t.Context(), &room)
		if ok != (want != 2) || room != want || ok && string(keys.Data) != "llo" {
			t.Errorf("%v, %d, want %d", ok, room, want)
		}
	}
}

// A visitor who resets a connection on its way costs nobody else anything.
func TestGoneOnTheWay(t *testing.T) {
	t.Parallel()
	baton, err := handover.New()
	if err != nil {
		t.Fatal(err)
	}
	defer baton.Drop()
	near, far := pair(t, "tcp", "127.0.0.1:0")
	n, err := baton.Keep(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(far.(*net.TCPConn).SetLinger(0), far.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("it was not reset: %v", err)
	}
	if c, err := handedConn[*net.TCPConn](baton, n); !errors.Is(err, errGone) {
		t.Errorf("%v, %v", c, err)
	}
}

// Over TLS 1.2 a connection stays in this program, and its end is waited for like that of
// any request; over TLS 1.3 it goes over, and until then and afterwards it ends as such a
// connection does: with a word in this program, and with none that is not the next one's.
func TestWhatGoesOver(t *testing.T) {
	t.Parallel()
	for version, over := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		near, far := pair(t, "tcp", "127.0.0.1:0")
		server, _ := secure(t, near, far, version)
		back, _ := pair(t, "unix", filepath.Join(t.TempDir(), "s"))
		if goesOver(server, back) != over {
			t.Errorf("%s: it goes over: %v", tls.VersionName(version), !over)
		}
	}
	for _, frozen := range []bool{false, true} {
		near, far := pair(t, "tcp", "127.0.0.1:0")
		server, _ := secure(t, near, far, tls.VersionTLS13)
		l := &lasting{front: newTap(server), back: newTap(near)}
		if frozen {
			l.freeze()
		}
		if err := l.front.Close(); err != nil {
			t.Error(err)
		}
		if _, err := near.Write(nil); (err == nil) != frozen {
			t.Errorf("it goes over: %v, and it is closed: %v", frozen, err)
		}
		_ = near.Close()
		said, err := io.ReadAll(far)
		const size = 24 // of a record with an alert
		bye := len(said) >= size && bytes.HasPrefix(said[len(said)-size:], []byte("\x17\x03\x03\x00\x13"))
		if err != nil || bye == frozen {
			t.Errorf("it goes over: %v, and the visitor hears a last word: %v, %v", frozen, bye, err)
		}
		close(l.front.parked)
		if !frozen && l.front.rests(context.Background()) {
			t.Error("what was closed goes over")
		}
	}
}
