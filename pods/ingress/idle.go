package ingress

import (
	"context"
	"net"
	"slices"
	"syscall"
	"time"

	"podgate/internal/connlimit"
)

// idle are the connections to apps that wait for their next request, by pod. They are
// nobody's business until then; who takes one looks first whether it is as it was left.

// connect returns a connection to the app of a pod: one that was used before, unless it is
// to be a new one.
func (in *Ingress) connect(ctx context.Context, name string, anew bool) (l *link, used bool, err error) {
	if !anew {
		for l := in.takeIdle(name); l != nil; l = in.takeIdle(name) {
			// What an app says unasked must not become the answer to somebody.
			if l.quiet() {
				return l, true, nil
			}
			_ = l.conn.Close() // it has ended
		}
	}
	conn, pod, err := in.cfg.Pods.DialApp(ctx, name)
	if err != nil {
		return nil, false, &dialError{pageFor(err, pod.Status), err}
	}
	return newLink(connlimit.Timed(conn, in.cfg.AnswerTimeout)), false, nil
}

// takeIdle returns the connection that was used last; nil: there is none.
func (in *Ingress) takeIdle(name string) *link {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := in.idle[name]
	if len(list) == 0 {
		return nil
	}
	l := list[len(list)-1]
	list[len(list)-1] = nil
	in.idle[name] = list[:len(list)-1]
	return l
}

// keepIdle keeps a connection for the next request. One of which nobody could say whether
// it still rests is not kept.
func (in *Ingress) keepIdle(name string, l *link) {
	in.mu.Lock()
	kept := !in.closed && l.quiet != nil && len(in.idle[name]) < maxIdle
	if kept {
		l.stale = false
		in.idle[name] = append(in.idle[name], l)
		if !in.sweeping {
			in.sweeping = true
			time.AfterFunc(idleTimeout, in.sweep)
		}
	}
	in.mu.Unlock()
	if !kept {
		_ = l.conn.Close() // it has nothing more to say
	}
}

// sweep closes what was idle at the last sweep already. It comes again as long as there is
// something to look at.
func (in *Ingress) sweep() {
	in.mu.Lock()
	var old []*link
	for name, list := range in.idle {
		list = slices.DeleteFunc(list, func(l *link) bool {
			if l.stale {
				old = append(old, l)
			}
			gone := l.stale
			l.stale = true
			return gone
		})
		if in.idle[name] = list; len(list) == 0 {
			delete(in.idle, name)
		}
	}
	if in.sweeping = len(in.idle) > 0; in.sweeping {
		time.AfterFunc(idleTimeout, in.sweep)
	}
	in.mu.Unlock()
	for _, l := range old {
		_ = l.conn.Close() // it has nothing more to say
	}
}

// Close lets go of idle connections, and keeps no more.
func (in *Ingress) Close() {
	in.mu.Lock()
	lists := in.idle
	in.idle, in.closed = map[string][]*link{}, true
	in.mu.Unlock()
	for _, list := range lists {
		for _, l := range list {
			_ = l.conn.Close() // it has nothing more to say
		}
	}
}

// watch returns what tells without waiting whether a connection rests: nothing has come
// that nobody has read, not even its end. nil where nothing can tell.
func watch(c net.Conn) func() bool {
	for {
		switch below := c.(type) {
		case interface{ Quiet() bool }:
			return below.Quiet
		case syscall.Conn:
			return func() bool { return rests(below) }
		case layer:
			c = below.NetConn()
		default:
			return nil
		}
	}
}

func rests(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		nothing = err == syscall.EAGAIN
	})
	return err == nil && nothing
}
