package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// UpgradeTerminal is what a connection becomes after POST /v1/terminal: frames
// both ways. Each is its kind, the length of its content as two bytes, the high
// one first, and the content, of at most MaxFrame bytes.
const UpgradeTerminal = "podgate-terminal"

// The kinds of frames.
const (
	FrameData byte = 'd' // both ways: what is typed, and what is shown
	FrameSize byte = 's' // to the agent: a Size as JSON
	FrameEnd  byte = 'e' // from the agent, its last: an Event with Exit or Fault
)

const (
	MaxFrame     = 32 << 10 // bytes of a frame's content
	MaxTerminals = 4        // open in one pod
	MaxSide      = 1000     // columns or rows of one
	frameHeader  = 3
)

// Size is how large a terminal is, in characters: 1 to MaxSide each way.
type Size struct {
	Columns int `json:"columns"`
	Rows    int `json:"rows"`
}

// Valid reports whether there can be a terminal of that size.
func (s Size) Valid() bool {
	return s.Columns >= 1 && s.Columns <= MaxSide && s.Rows >= 1 && s.Rows <= MaxSide
}

// TerminalRequest opens a terminal with a shell in the app folder. The shell sees
// what ExecRequest's command would. When either side ends the connection, and when
// the shell ends, all that it started is killed.
type TerminalRequest struct {
	Size
	Env map[string]string `json:"env,omitempty"`
}

// AppendFrame appends a frame to buf. Its content has at most MaxFrame bytes.
func AppendFrame(buf []byte, kind byte, content []byte) []byte {
	buf = append(buf, kind)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(content)))
	return append(buf, content...)
}

// ReadFrame reads one frame into buf, which has room for MaxFrame bytes.
func ReadFrame(r io.Reader, buf []byte) (kind byte, content []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[1:]))
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("wire: frame of %d bytes", n)
	}
	_, err = io.ReadFull(r, buf[:n])
	return head[0], buf[:n], err
}
