package ingress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"podgate/internal/connlimit"
	"podgate/internal/handover"
	"podgate/internal/tlsrecord"
)

// This file is how connections that have changed protocols, as WebSockets do, go over to
// the next program: from then on they are bytes in both directions, which need nothing but
// the two descriptors, and the keys where a visitor came by https. Those of TLS 1.2 cannot
// be handed over.

// parkTime is how long a lasting connection may take to bring what was read of it to the
// other side, until the next program takes it.
const parkTime = 500 * time.Millisecond

// maxUnread is how much of what visitors have sent over https may wait in this program for
// all that goes over, in bytes. What does not fit stays behind.
const maxUnread = 16 << 20

// lasting is one that can go over.
type lasting struct {
	pod, visitor string // the pod's name, and as what its limits count who visits
	front, back  *tap   // to the visitor, and to the app
}

// Handed is a connection that goes over. Numbers are of descriptors.
type Handed struct {
	Pod     string `json:"pod"`
	Visitor string `json:"visitor"`
	Front   int    `json:"front"`
	Back    int    `json:"back"`

	TLS *tlsrecord.State `json:"tls,omitempty"` // of the visitor's side; nil: it has none
}

// tap is a connection whose reads can be ended without anything being lost: what was read
// before has been written to the other side when the next read is.
type tap struct {
	net.Conn
	parked chan struct{} // closed when a read was ended like this

	mu     sync.Mutex
	frozen bool
	once   sync.Once
	broken bool // it ended in part or whole, or a write failed
}

func newTap(c net.Conn) *tap { return &tap{Conn: c, parked: make(chan struct{})} }

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	if t.isFrozen() {
		return t.park()
	}
	n, err := t.Conn.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && t.isFrozen() {
		return t.park()
	}
	t.ends(err)
	return n, err
}

// park says the end of the stream, after which a proxy waits for the other direction.
func (t *tap) park() (int, error) {
	t.once.Do(func() { close(t.parked) })
	return 0, io.EOF
}

// Write implements net.Conn.
func (t *tap) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.ends(err)
	return n, err
}

// CloseWrite ends our half, unless it goes over.
func (t *tap) CloseWrite() error {
	if t.isFrozen() {
		return nil
	}
	t.ends(io.EOF)
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn. One that goes over is left alone: the next program speaks with
// its keys, and what is set on a socket is set for both.
func (t *tap) Close() error {
	t.mu.Lock()
	frozen := t.frozen
	t.broken = t.broken || !frozen
	t.mu.Unlock()
	if frozen {
		return nil
	}
	return t.Conn.Close()
}

func (t *tap) isFrozen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frozen
}

func (t *tap) ends(err error) {
	if err != nil {
		t.mu.Lock()
		t.broken = true
		t.mu.Unlock()
	}
}

// freeze ends the reads of both sides. Neither may end while the other does not know yet:
// that would close what goes over.
func (l *lasting) freeze() {
	l.front.mu.Lock()
	l.back.mu.Lock()
	l.front.frozen, l.back.frozen = true, true
	l.back.mu.Unlock()
	l.front.mu.Unlock()
	for _, t := range []*tap{l.front, l.back} {
		_ = t.SetReadDeadline(time.Unix(1, 0)) // it is closed then, and broken
	}
}

// cut closes both sides, which takes as long as the other ends make it.
func (l *lasting) cut() {
	_ = l.back.Conn.Close()
	_ = l.front.Conn.Close()
}

// rests waits until the reads have ended; false when that is not in time, or not all of it
// is well.
func (t *tap) rests(ctx context.Context) bool {
	select {
	case <-t.parked:
	case <-ctx.Done():
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.broken
}

// rest waits until both sides rest and returns the keys of the visitor's, nil where it has
// none; false when it cannot go over. unread is what may still wait, in bytes.
func (l *lasting) rest(ctx context.Context, unread *int) (*tlsrecord.State, bool) {
	if !l.front.rests(ctx) || !l.back.rests(ctx) {
		return nil, false
	}
	keys, err := keysOf(l.front)
	if err != nil || keys == nil {
		return nil, err == nil
	}
	n := len(keys.Raw) + len(keys.Message) + len(keys.Data)
	if n > *unread {
		return nil, false
	}
	*unread -= n
	return keys, true
}

// layer is a connection over another one.
type layer interface{ NetConn() net.Conn }

// secured is the TLS of a connection; nil where there is none.
func secured(c net.Conn) layer {
	for {
		switch below := c.(type) {
		case *tls.Conn:
			return below
		case *tlsrecord.Conn:
			return below
		case layer:
			c = below.NetConn()
		default:
			return nil
		}
	}
}

// keysOf is what another program needs to go on with a connection that rests; nil where
// there is no TLS.
func keysOf(c net.Conn) (*tlsrecord.State, error) {
	var s tlsrecord.State
	var err error
	switch secure := secured(c).(type) {
	case *tls.Conn:
		s, err = tlsrecord.Of(secure)
	case *tlsrecord.Conn:
		s, err = secure.State()
	default:
		return nil, nil
	}
	return &s, err
}

// socket is what is below a connection; nil where it is nothing that could be kept.
func socket(c net.Conn) syscall.Conn {
	for {
		switch below := c.(type) {
		case syscall.Conn:
			return below
		case layer:
			c = below.NetConn()
		default:
			return nil
		}
	}
}

// NetConn returns the connection below.
func (t *tap) NetConn() net.Conn { return t.Conn }

// goesOver reports whether the next program can go on with a connection of a visitor to an
// app.
func goesOver(front, back net.Conn) bool {
	_, err := keysOf(front)
	return err == nil && socket(front) != nil && socket(back) != nil
}

// upgrade goes on with a request whose app has changed the protocol, as the visitor wanted.
// who says whose it is.
func (in *Ingress) upgrade(w http.ResponseWriter, r *http.Request, x *exchange, res *http.Response, who lasting) {
	back := newTap(x.conn)
	defer back.Close()
	if x.upload != nil {
		if <-x.upload; !x.whole {
			panic(http.ErrAbortHandler) // the app has not read what comes before
		}
	}
	x.unwatch()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // it is no connection that could change
	}
	l := &lasting{who.pod, who.visitor, newTap(conn), back}
	defer l.front.Close()
	defer context.AfterFunc(r.Context(), func() { _ = back.Close() })()
	if err := l.start(buffered, x.in, res.Header); err != nil {
		in.cfg.Log.Debug("a protocol could not be changed", "host", r.Host, "error", err)
		return
	}
	if goesOver(conn, x.conn) {
		in.keep(l)
		defer in.forget(l)
		in.cfg.Lasts(r.Context())
	}
	l.pump()
}

// start tells the visitor that the protocol is changed, and brings to either side what the
// other has said since.
func (l *lasting) start(front *bufio.ReadWriter, back *bufio.Reader, h http.Header) error {
	cleanAnswer(h)
	early, err := front.Reader.Peek(front.Reader.Buffered())
	if err == nil && len(early) > 0 {
		_, err = l.back.Write(early)
	}
	if err != nil {
		return err
	}
	late, err := back.Peek(back.Buffered())
	if err != nil {
		return err
	}
	_, err = front.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	err = errors.Join(err, h.WriteSubset(front, map[string]bool{"Content-Length": true, "Transfer-Encoding": true}))
	_, err2 := front.WriteString("\r\n" + string(late))
	return errors.Join(err, err2, front.Flush())
}

// HandOver has the next program keep the connections that can go over. This one serves them
// no more.
func (in *Ingress) HandOver(next *handover.Baton) []Handed {
	in.mu.Lock()
	var all []*lasting
	for l := range in.lasting {
		all = append(all, l)
	}
	in.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), parkTime)
	defer cancel()
	var list []Handed
	kept := make([]Handed, len(all))
	for i, l := range all {
		front, err := next.Keep(socket(l.front))
		if err != nil {
			continue // it has just ended
		}
		back, err := next.Keep(socket(l.back))
		if err != nil {
			next.Forget(front)
			continue
		}
		kept[i] = Handed{Pod: l.pod, Visitor: l.visitor, Front: front, Back: back}
		l.freeze()
	}
	unread := maxUnread
	for i, l := range all {
		h := kept[i]
		if h.Pod == "" {
			continue
		}
		var ok bool
		if h.TLS, ok = l.rest(ctx, &unread); ok {
			list = append(list, h)
		} else {
			next.Forget(h.Front)
			next.Forget(h.Back)
			go l.cut()
		}
	}
	return list
}

// Resume goes on with connections that the program before has handed over. bound counts a
// visitor's connection among all, and refuses one that is too many. What cannot go on is
// closed with the baton, and the error says so.
func (in *Ingress) Resume(before *handover.Baton, list []Handed, bound func(net.Conn) (net.Conn, bool)) error {
	var faults []error
	for _, h := range list {
		if err := in.resume(before, h, bound); err != nil {
			faults = append(faults, fmt.Errorf("a visitor's connection to the pod %q: %w", h.Pod, err))
		}
	}
	return errors.Join(faults...)
}

func (in *Ingress) resume(before *handover.Baton, h Handed, bound func(net.Conn) (net.Conn, bool)) (err error) {
	front, err := handedConn[*net.TCPConn](before, h.Front)
	if err != nil {
		return err
	}
	back, err := handedConn[net.Conn](before, h.Back)
	if err != nil {
		return errors.Join(err, front.Close())
	}
	counted, err := in.cfg.Pods.Visit(h.Pod, back)
	if err != nil {
		return errors.Join(err, front.Close(), back.Close())
	}
	bounded, ok := bound(front)
	if !ok {
		return errors.Join(errTooMany, front.Close(), back.Close())
	}
	if h.TLS != nil {
		secure, err := tlsrecord.Resume(bounded, *h.TLS)
		if err != nil {
			return errors.Join(err, bounded.Close(), back.Close())
		}
		bounded = secure
	}
	if !in.readmit(h.Pod, h.Visitor) {
		return errors.Join(errTooMany, bounded.Close(), back.Close())
	}
	l := &lasting{h.Pod, h.Visitor, newTap(bounded), newTap(connlimit.Timed(counted, in.cfg.AnswerTimeout))}
	in.keep(l)
	go func() {
		defer in.leave(h.Pod, h.Visitor)
		defer in.forget(l)
		l.pump()
	}()
	return nil
}

var (
	errTooMany = errors.New("it is one too many")
	errGone    = errors.New("its other side is gone")
)

// handedConn is a connection of that kind which the program before has left.
func handedConn[C net.Conn](before *handover.Baton, n int) (none C, err error) {
	f, err := before.File(n, "connection")
	if err != nil {
		return none, err
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return none, err
	}
	if c.RemoteAddr() == nil { // it was reset since
		return none, errors.Join(errGone, c.Close())
	}
	kind, ok := c.(C)
	if !ok {
		return none, errors.Join(errors.New("it is another socket"), c.Close())
	}
	return kind, nil
}

// pump copies in both directions until both have ended, or one fails.
func (l *lasting) pump() {
	ended := make(chan error, 2)
	pipe := func(to, from *tap) {
		_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		if err == nil {
			err = to.CloseWrite()
		}
		ended <- err
	}
	go pipe(l.front, l.back)
	go pipe(l.back, l.front)
	if <-ended == nil {
		<-ended
	}
	_ = l.front.Close() // nothing more is to be said
	_ = l.back.Close()
}

func (in *Ingress) keep(l *lasting) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lasting[l] = true
}

func (in *Ingress) forget(l *lasting) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.lasting, l)
}
