// Package tlsrecord is the record layer of TLS 1.3 (RFC 8446 section 5) without the
// handshake: it goes on with a server's connection whose keys are known. By it a
// connection that crypto/tls has accepted goes over to the next program in the same
// process, as often as there is one.
package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Types of what is in records (RFC 8446 section 5.1), of the one handshake message that
// clients may send after the handshake, and alerts (section 6).
const (
	kindAlert     = 21
	kindHandshake = 22
	kindData      = 23

	messageKeyUpdate = 24

	alertCloseNotify      = 0
	alertUnexpected       = 10
	alertBadRecord        = 20
	alertOverflow         = 22
	alertIllegalParameter = 47
	alertDecode           = 50
	alertInternal         = 80
	alertUserCanceled     = 90

	levelWarning = 1
	levelFatal   = 2

	legacyMajor, legacyMinor = 3, 3 // what records say of the version, which means nothing
)

const (
	headerSize = 5
	maxContent = 1 << 14          // bytes of one record
	maxSealed  = maxContent + 256 // with all that protects it
	minRead    = 512              // bytes that are asked of the connection at least

	// maxIdle is how many records in a row may bring no data: keys that change, padding,
	// alerts without a meaning. crypto/tls allows as many.
	maxIdle = 16

	// renewAfter is how many records one key of ours protects: fewer than the 2^24.5 of
	// RFC 8446 section 5.5.
	renewAfter = 1 << 24

	// closeTime is how long the last word may take.
	closeTime = 5 * time.Second
)

// fault is what the other side did wrong, or cannot go on, with the alert that says so.
type fault struct {
	alert byte
	what  string
}

// Error implements error.
func (f *fault) Error() string { return "tlsrecord: " + f.what }

func unexpected(what string) *fault { return &fault{alertUnexpected, what} }

var (
	tooLong     = &fault{alertOverflow, "a record is too long"}
	errShutdown = errors.New("tlsrecord: the connection is closed for writing")
)

// Conn is a connection over TLS 1.3. Like that of crypto/tls it is safe for one who reads,
// one who writes and whoever sets deadlines or closes it; a write that has failed or timed
// out is the last one, and a read that has timed out can be tried again.
type Conn struct {
	net.Conn // below
	suite    *suite

	reading sync.Mutex
	in      half
	raw     bytes.Buffer // records, the last in part
	message []byte       // the beginning of a handshake message
	data    []byte       // to be read; in the memory of raw
	idle    int          // records in a row that brought none
	readErr error        // why nothing more is read

	asked atomic.Bool // the other side wants a new key of ours

	writing  sync.Mutex
	out      half
	writeErr error // why nothing more is written
}

// Resume goes on with a connection that has come to the state s over c, which it takes
// over unless there is an error: a state that cannot be.
func Resume(c net.Conn, s State) (*Conn, error) {
	kind, err := suiteOf(s.Suite)
	if err != nil {
		return nil, err
	}
	if len(s.Message) >= keyUpdateSize {
		return nil, errors.New("tlsrecord: a handshake message waits that is complete")
	}
	it := &Conn{Conn: c, suite: kind, message: bytes.Clone(s.Message), data: bytes.Clone(s.Data)}
	if it.in, err = newHalf(kind, s.In); err != nil {
		return nil, err
	}
	if it.out, err = newHalf(kind, s.Out); err != nil {
		return nil, err
	}
	it.raw.Write(s.Raw)
	it.asked.Store(s.Asked)
	return it, nil
}

// State returns where the connection is, for [Resume]. Nobody may use it afterwards but to
// close what is below. One that has failed, or ended in either direction, has none.
func (c *Conn) State() (State, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := errors.Join(c.readErr, c.writeErr); err != nil {
		return State{}, err
	}
	return State{
		Suite: c.suite.id, In: Half{c.in.secret, c.in.seq}, Out: Half{c.out.secret, c.out.seq},
		Raw: bytes.Clone(c.raw.Bytes()), Message: c.message, Data: bytes.Clone(c.data), Asked: c.asked.Load(),
	}, nil
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn. The end is [io.EOF], if the other side said so or hung up
// between two records.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(c.data) == 0 {
		if err := c.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

// receive takes one record.
func (c *Conn) receive() error {
	if c.readErr != nil {
		return c.readErr
	}
	record, err := c.next()
	var kind byte
	var content []byte
	if err == nil {
		kind, content, err = c.in.open(record)
	}
	if err == nil {
		err = c.heed(kind, content)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.readErr = err
	if f, ok := errors.AsType[*fault](err); ok {
		c.complain(f)
	}
	return err
}

// next waits for a whole record. Its memory is good until the next call.
func (c *Conn) next() ([]byte, error) {
	if err := c.fill(headerSize); err != nil {
		return nil, err
	}
	header := c.raw.Bytes()
	size := headerSize + int(header[3])<<8 + int(header[4])
	if size > headerSize+maxSealed {
		return nil, tooLong
	}
	if err := c.fill(size); err != nil {
		return nil, err
	}
	return c.raw.Next(size), nil
}

// fill reads until so many bytes are there.
func (c *Conn) fill(size int) error {
	for c.raw.Len() < size {
		c.raw.Grow(max(size-c.raw.Len(), minRead))
		room := c.raw.AvailableBuffer()
		n, err := c.Conn.Read(room[:cap(room)])
		c.raw.Write(room[:n])
		if err == io.EOF && c.raw.Len() > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && c.raw.Len() < size {
			return err
		}
	}
	return nil
}

// heed does what a record asks for.
func (c *Conn) heed(kind byte, content []byte) error {
	c.idle++
	if kind == kindData && len(content) > 0 {
		c.idle = 0
	}
	switch {
	case c.idle > maxIdle:
		return unexpected("too many records bring nothing")
	case kind != kindHandshake && len(c.message) > 0:
		return unexpected("something else stands within a handshake message")
	case len(content) > maxContent:
		return tooLong
	}
	switch kind {
	case kindData:
		c.data = content
		return nil
	case kindAlert:
		return heedAlert(content)
	case kindHandshake:
		if len(content) == 0 {
			return unexpected("a part of a handshake message is empty")
		}
		c.message = append(c.message, content...)
		return c.heedMessage()
	}
	return unexpected("a record of an unknown type")
}

func heedAlert(content []byte) error {
	if len(content) != 2 {
		return &fault{alertDecode, "an alert has a wrong length"}
	}
	switch content[1] {
	case alertCloseNotify:
		return io.EOF
	case alertUserCanceled: // which some send before they close
		return nil
	}
	return &net.OpError{Op: "remote error", Err: tls.AlertError(content[1])}
}

const keyUpdateSize = 5 // bytes of the message

// heedMessage does what a handshake message asks for, once it is complete. A client may
// only change its key (RFC 8446 section 4.6.3). If it wants a new one of ours, too, that
// comes with the next data, so that who asks often and listens to nothing gets one.
func (c *Conn) heedMessage() error {
	m := c.message
	switch {
	case m[0] != messageKeyUpdate:
		return unexpected("a handshake message that clients do not send then")
	case len(m) < 4:
		return nil
	case m[1] != 0 || m[2] != 0 || m[3] != keyUpdateSize-4:
		return &fault{alertDecode, "a change of keys has a wrong length"}
	case len(m) < keyUpdateSize:
		return nil
	case len(m) > keyUpdateSize:
		return unexpected("what follows a change of keys has the old key")
	case m[4] > 1:
		return &fault{alertIllegalParameter, "a change of keys wants something unknown"}
	}
	c.message = nil
	if m[4] == 1 {
		c.asked.Store(true)
	}
	return c.in.renew()
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for n < len(p) {
		if err := c.keepFresh(); err != nil {
			return n, err
		}
		part := p[n:min(n+maxContent, len(p))]
		if err := c.send(kindData, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, c.writeErr
}

// keepFresh changes our key, if the other side asked for that or it is worn.
func (c *Conn) keepFresh() error {
	if !c.asked.Load() && c.out.seq < renewAfter {
		return nil
	}
	return c.update(0)
}

// update changes our key. With want = 1 the other side is to change its own, too.
func (c *Conn) update(want byte) error {
	c.asked.Store(false)
	if err := c.send(kindHandshake, []byte{messageKeyUpdate, 0, 0, 1, want}); err != nil {
		return err
	}
	c.writeErr = c.out.renew()
	return c.writeErr
}

var sealing = sync.Pool{New: func() any { return new([]byte) }}

// send writes a record. If that fails, the other side cannot tell any more where the next
// one begins.
func (c *Conn) send(kind byte, content []byte) error {
	if c.writeErr != nil {
		return c.writeErr
	}
	room := sealing.Get().(*[]byte)
	defer sealing.Put(room)
	*room, c.writeErr = c.out.seal((*room)[:0], kind, content)
	if c.writeErr == nil {
		_, c.writeErr = c.Conn.Write(*room)
	}
	return c.writeErr
}

// complain says what was wrong, after which nothing more is said.
func (c *Conn) complain(f *fault) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.writeErr == nil {
		_ = c.SetWriteDeadline(time.Now().Add(closeTime))
		_ = c.send(kindAlert, []byte{levelFatal, f.alert}) // it ends in any case
		c.writeErr = f
	}
}

// CloseWrite says that nothing more comes, and leaves the connection below open.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.bye()
}

func (c *Conn) bye() error {
	if c.writeErr != nil {
		if c.writeErr == errShutdown {
			return nil
		}
		return c.writeErr
	}
	_ = c.SetWriteDeadline(time.Now().Add(closeTime)) // it is closed then, which the write says
	err := c.send(kindAlert, []byte{levelWarning, alertCloseNotify})
	if err == nil {
		c.writeErr = errShutdown
	}
	return err
}

// Close implements net.Conn. A write that goes on ends by it.
func (c *Conn) Close() error {
	if c.writing.TryLock() {
		_ = c.bye() // it is closed either way
		c.writing.Unlock()
	}
	return c.Conn.Close()
}
