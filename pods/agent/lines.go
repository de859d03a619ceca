package agent

import (
	"bytes"
	"errors"
	"os"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
)

// partialAfter is when the beginning of a line is logged although its end has
// not come, such as a prompt.
const partialAfter = 300 * time.Millisecond

// splitter cuts a stream into lines of at most MaxLineBytes.
type splitter struct{ rest []byte }

// feed takes the next bytes and returns the lines that are complete.
func (s *splitter) feed(b []byte) []string {
	var out []string
	for {
		i := bytes.IndexByte(b, '\n')
		part, ended := b, i >= 0
		if ended {
			part, b = b[:i], b[i+1:]
		}
		s.rest = append(s.rest, part...)
		for len(s.rest) > wire.MaxLineBytes {
			n := cutAt(s.rest, wire.MaxLineBytes)
			out = append(out, string(s.rest[:n]))
			s.rest = append(s.rest[:0], s.rest[n:]...)
		}
		if !ended {
			return out
		}
		out = append(out, string(bytes.TrimSuffix(s.rest, []byte{'\r'})))
		s.rest = s.rest[:0]
	}
}

// flush returns what there is of an unfinished line.
func (s *splitter) flush() []string {
	if len(s.rest) == 0 {
		return nil
	}
	out := string(s.rest)
	s.rest = s.rest[:0]
	return []string{out}
}

// cutAt moves n back to the beginning of a character, when b is UTF-8 there.
func cutAt(b []byte, n int) int {
	for i := range utf8.UTFMax {
		if utf8.RuneStart(b[n-i]) {
			return n - i
		}
	}
	return n
}

// readLines hands the lines of f to put, and raw bytes to tap when it is not
// nil, until f ends or is closed. It closes f.
func readLines(f *os.File, put func([]string), tap func([]byte)) {
	defer f.Close()
	var s splitter
	buf := make([]byte, chunkSize)
	for {
		if len(s.rest) > 0 {
			f.SetReadDeadline(time.Now().Add(partialAfter))
		}
		n, err := f.Read(buf)
		if n > 0 {
			if tap != nil {
				tap(buf[:n])
			}
			if lines := s.feed(buf[:n]); len(lines) > 0 {
				put(lines)
			}
		}
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil {
			if lines := s.flush(); len(lines) > 0 {
				put(lines)
			}
		}
		if late {
			f.SetReadDeadline(time.Time{})
			continue
		}
		if err != nil {
			return
		}
		f.SetReadDeadline(time.Time{})
	}
}
