package ingress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/handover"
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

// pair is two ends of one connection.
func pair(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if far, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// open has an ingress serve a lasting connection to the pod shop, and returns the ends of
// visitor and app, and what is closed when it is served no more.
func open(t *testing.T, in *Ingress) (visitor, app net.Conn, over <-chan struct{}) {
	t.Helper()
	front, visitor := pair(t, "tcp", "127.0.0.1:0")
	back, app := pair(t, "unix", filepath.Join(t.TempDir(), "s"))
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
	db := storetest.New(t)
	service := podstest.ServiceOver(t, db, podstest.NewFake(t))
	w := storetest.Populate(t, db, "ann", time.Now())
	actor := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	if _, err := service.Create(t.Context(), actor, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err != nil {
		t.Fatal(err)
	}
	in := New(Config{Pods: service})
	visitor, app, over := open(t, in)
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
	for range 2 {
		baton, list := handOver()
		if len(list) != 1 || list[0].Pod != "shop" || list[0].Visitor != "somebody" {
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
		visitor, _, over := open(t, in)
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

	t.Run("the pod has as many as it can have", func(t *testing.T) {
		_, _, over := open(t, in)
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
		visitor, app, over := open(t, in)
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
		visitor, _, over := open(t, in)
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
