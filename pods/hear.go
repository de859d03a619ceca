package pods

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"podgate/pods/wire"
)

// Bounds of a stream through which an agent says how its app is whenever that changes.
// The agent is next to hostile code: what is beyond them costs its own pod the stream,
// or the newest news, and the server nothing.
const (
	maxHeardLine = 64 << 10         // bytes of a state; an agent that has more to say is asked
	hearBuffer   = 4 << 10          // bytes that are kept for each stream
	lineTime     = 10 * time.Second // until a line that has begun ends
	maxHearPause = time.Minute      // between two streams that are refused, or break soon
	// So many states are taken at once, and then one in a while, which is longer for
	// one that is long; what comes meanwhile waits in the socket, and then the agent.
	hearBurst = 10
	hearPause = 250 * time.Millisecond
	hearSize  = 8 << 10 // bytes that take as long again
)

// hearing is an open stream of states. There is one for each pod that runs, so it is
// one connection with one small buffer.
type hearing struct {
	ctx    context.Context // ends when nobody listens any more
	close  context.CancelFunc
	conn   net.Conn
	lines  *bufio.Reader
	opened time.Time // by the clock of the service
	due    time.Time // when the next state would be taken if there were no burst
}

// hear asks the agent how the app is, and goes on listening: until ctx ends, or the
// stream is closed, by whoever has it. now is noted as the time when it was opened. The
// agent is silent when the error is context.DeadlineExceeded; with another error it may
// be asked for its state alone.
func (c *client) hear(ctx context.Context, now time.Time) (*hearing, wire.State, error) {
	first, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	conn, err := c.dial(first)
	if err != nil {
		return nil, wire.State{}, errors.Join(err, first.Err())
	}
	h := &hearing{conn: conn, opened: now}
	h.ctx, h.close = context.WithCancel(ctx)
	context.AfterFunc(h.ctx, func() { _ = conn.Close() })
	late := context.AfterFunc(first, h.close)
	state, err := h.open()
	if !late() || err != nil {
		h.close()
		return nil, wire.State{}, errors.Join(err, first.Err())
	}
	return h, state, nil
}

// open begins the stream and returns the first state. In HTTP/1.0 a body has no parts,
// and needs no buffer of its own.
func (h *hearing) open() (wire.State, error) {
	if _, err := io.WriteString(h.conn, "GET "+wire.PathState+"?follow=1 HTTP/1.0\r\nHost: agent\r\n\r\n"); err != nil {
		return wire.State{}, err
	}
	bounded := &io.LimitedReader{R: h.conn, N: maxAnswerHeader}
	h.lines = bufio.NewReaderSize(bounded, hearBuffer)
	res, err := http.ReadResponse(h.lines, nil)
	switch {
	case err != nil:
		return wire.State{}, err
	case res.StatusCode != http.StatusOK || len(res.TransferEncoding) > 0 || res.ContentLength >= 0:
		return wire.State{}, fmt.Errorf("%w: status %d, %d bytes %v", errHostile, res.StatusCode, res.ContentLength, res.TransferEncoding)
	}
	if err := wantEvents(res.Header); err != nil {
		return wire.State{}, err
	}
	bounded.N = math.MaxInt64
	return h.next()
}

// next waits until the agent says how its app is. Of what it has said by then, the
// newest counts.
func (h *hearing) next() (wire.State, error) {
	if wait := time.Until(h.due.Add(-hearBurst * hearPause)); wait > 0 {
		sleep(h.ctx, wait)
	}
	if _, err := h.lines.Peek(1); err != nil {
		return wire.State{}, err
	}
	late := time.AfterFunc(lineTime, h.close)
	line, err := readLine(h.lines, nil, maxHeardLine)
	for err == nil && h.waits() {
		line, err = readLine(h.lines, line[:0], maxHeardLine)
	}
	late.Stop()
	if err != nil {
		return wire.State{}, err
	}
	if now := time.Now(); h.due.Before(now) {
		h.due = now
	}
	h.due = h.due.Add(hearPause + hearPause*time.Duration(len(line))/hearSize)
	var e wire.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return wire.State{}, fmt.Errorf("%w: event: %v", errHostile, err)
	}
	if e.State == nil {
		return wire.State{}, fmt.Errorf("%w: an event without a state", errHostile)
	}
	return cleanState(*e.State), nil
}

// waits reports whether another line is there already.
func (h *hearing) waits() bool {
	there, err := h.lines.Peek(h.lines.Buffered())
	return err == nil && bytes.IndexByte(there, '\n') >= 0
}
