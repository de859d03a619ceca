package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// spool takes a quarter of the room on its disk at most. It is a file without a name in the data folder, which is gone with the process
// whatever happens to it: written once, then read from its beginning.
type spool struct {
	file *os.File
	*bufio.Writer
}

func newSpool(dir string) (*spool, error) {
	room, err := roomOn(dir)
	if err != nil {
		return nil, err
	}
	f, err := nameless(dir)
	if err != nil {
		return nil, fmt.Errorf("make a file beside the database: %w", err)
	}
	return &spool{f, bufio.NewWriterSize(&bounded{f, room / 4, errSpool}, 64<<10)}, nil
}

// unnamed makes a file and takes its name away.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".backup-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// rewind ends the writing and returns what was written, and how much it is.
func (s *spool) rewind() (*bufio.Reader, int64, error) {
	if err := s.Flush(); err != nil {
		return nil, 0, err
	}
	size, err := s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0, err
	}
	_, err = s.file.Seek(0, io.SeekStart)
	return bufio.NewReaderSize(s.file, 64<<10), size, err
}

func (s *spool) close() { _ = s.file.Close() } // it has no name, so nothing is lost

// seen is one file as a pass has met it.
type seen struct {
	path string
	mode uint32
	size int64
	facts
}

// list is what a pass has met, in the order of the walk.
type list struct {
	*spool
	rest *bufio.Reader
	next seen
	end  bool
}

func (l *list) add(s seen) error {
	b := binary.AppendUvarint(nil, uint64(len(s.path)))
	b = append(b, s.path...)
	b = binary.BigEndian.AppendUint32(b, s.mode)
	for _, n := range []uint64{uint64(s.size), s.inode, uint64(s.changed)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	_, err := l.Write(b)
	return err
}

// begin reads the list from its beginning.
func (l *list) begin() (err error) {
	if l.rest, _, err = l.rewind(); err != nil {
		return err
	}
	return l.advance()
}

// advance reads the next file into l.next.
func (l *list) advance() error {
	n, err := binary.ReadUvarint(l.rest)
	if err == io.EOF {
		l.end = true
		return nil
	}
	if err != nil {
		return err
	}
	b := make([]byte, n+28)
	if _, err := io.ReadFull(l.rest, b); err != nil {
		return err
	}
	fields := b[n:]
	l.next = seen{path: string(b[:n]), mode: binary.BigEndian.Uint32(fields), size: int64(binary.BigEndian.Uint64(fields[4:]))}
	l.next.inode, l.next.changed = binary.BigEndian.Uint64(fields[12:]), int64(binary.BigEndian.Uint64(fields[20:]))
	return nil
}

// comparePaths orders paths as a walk meets them: a folder, what is in it, and then
// what comes after it by name. No name contains a NUL.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return strings.Compare(a[i:i+1], b[i:i+1])
	}
	return len(a) - len(b)
}
