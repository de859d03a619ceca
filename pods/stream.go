package pods

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"podgate/pods/wire"
)

const (
	maxEventLine = 1 << 20  // bytes of one event: a State with its log lines
	maxAppStream = 64 << 20 // bytes of an app action: what an install prints
	execSlack    = 2 << 20  // bytes of an exec beyond its output: framing and the last event
)

// readEvents decodes one JSON event a line and hands them to each until it
// returns done or an error. A stream that ends before that, a line longer than
// maxEventLine, more than total bytes, and anything that is no event are
// errors.
func readEvents(r io.Reader, total int64, each func(wire.Event) (done bool, err error)) error {
	limited := &io.LimitedReader{R: r, N: total}
	lines := bufio.NewReaderSize(limited, 32<<10)
	var buf []byte
	for {
		line, err := readLine(lines, buf[:0], maxEventLine)
		switch {
		case err != nil && limited.N <= 0:
			return fmt.Errorf("%w: stream of more than %d bytes", errHostile, total)
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		buf = line
		var e wire.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%w: event: %v", errHostile, err)
		}
		if done, err := each(e); done || err != nil {
			return err
		}
	}
}

// readLine appends one line of at most so many bytes, without its end, to buf.
func readLine(r *bufio.Reader, buf []byte, most int) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(buf)+len(part) > most {
			return buf, fmt.Errorf("%w: event of more than %d bytes", errHostile, most)
		}
		buf = append(buf, part...)
		switch {
		case err == nil:
			return buf[:len(buf)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return buf, err
		}
	}
}

// readUpgrade reads the answer to an upgrade byte by byte up to its empty line, so
// that nothing of the stream that follows is swallowed.
func readUpgrade(conn net.Conn, protocol string) (net.Conn, error) {
	r := bufio.NewReaderSize(conn, 4<<10)
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) >= maxAnswerHeader {
			return nil, fmt.Errorf("%w: header of more than %d bytes", errHostile, maxAnswerHeader)
		}
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		head = append(head, b)
	}
	body := io.MultiReader(bytes.NewReader(head), r)
	res, err := http.ReadResponse(bufio.NewReaderSize(body, len(head)), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errHostile, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer res.Body.Close()
		return nil, readFault(res)
	}
	if !strings.EqualFold(res.Header.Get("Upgrade"), protocol) {
		return nil, fmt.Errorf("%w: upgrade to %.40q", errHostile, res.Header.Get("Upgrade"))
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	return &upgraded{Conn: conn, rest: bytes.Clone(rest)}, nil
}

// upgraded is a connection of which some bytes were read too early.
type upgraded struct {
	net.Conn
	rest []byte
}

func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.rest) > 0 {
		n := copy(p, u.rest)
		u.rest = u.rest[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// NetConn returns the connection below.
func (u *upgraded) NetConn() net.Conn { return u.Conn }

// CloseWrite ends our half of the stream, or says that the runtime's streams
// cannot do that, so that a proxy ends both halves instead of waiting.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
