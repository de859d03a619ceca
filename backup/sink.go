package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"strconv"
	"time"
)

// sink takes entries: for the backup itself, with a line each for the index, or for a
// spool, without.
type sink struct {
	ctx     context.Context
	tar     *tar.Writer
	index   io.Writer // nil in a spool
	entries int
	bytes   int64
	sum     hash.Hash
	buffer  []byte
	packs   *Packs  // get the contents; nil: the tar does
	refs    []ref   // of the last content that is in them
	last    chunkID // the sum of the last content
}

func newSink(ctx context.Context, w io.Writer, index io.Writer) *sink {
	return &sink{ctx: ctx, tar: tar.NewWriter(w), index: index, sum: sha256.New(), buffer: make([]byte, 128<<10)}
}

// put writes one entry. A content that ends early is filled up with zeros: the file
// shrank while it was read.
func (s *sink) put(h *tar.Header, content io.Reader) error {
	h.Format = tar.FormatPAX
	if h.ModTime.IsZero() {
		h.ModTime = time.Unix(0, 0) // as tar writes it
	}
	s.sum.Reset()
	if s.packs != nil && h.Size > 0 && h.Name != nameHead && h.Name != nameManifest {
		whole := io.MultiReader(untilDone{s.ctx, io.LimitReader(content, h.Size)}, zeros{})
		sum, refs, err := s.packs.add(io.LimitReader(whole, h.Size), h.Size)
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		return s.putRefs(h, refs, sum)
	}
	if err := s.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if h.Size > 0 {
		n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(s.tar, s.sum)}, untilDone{s.ctx, io.LimitReader(content, h.Size)}, s.buffer)
		if err == nil && n < h.Size {
			_, err = io.CopyBuffer(onlyWriter{io.MultiWriter(s.tar, s.sum)}, untilDone{s.ctx, io.LimitReader(zeros{}, h.Size-n)}, s.buffer)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return s.counted(h, chunkID(s.sum.Sum(nil)))
}

// counted notes an entry that was written.
func (s *sink) counted(h *tar.Header, sum chunkID) error {
	s.last = sum
	s.entries++
	s.bytes += h.Size
	if s.index == nil {
		return nil
	}
	_, err := io.WriteString(s.index, indexLine(h, sum[:]))
	return err
}

// putRefs writes one entry whose content, with that sum, is in packs.
func (s *sink) putRefs(h *tar.Header, refs []ref, sum chunkID) error {
	h.Format = tar.FormatPAX
	s.refs = refs
	raw := make([]byte, 0, len(refs)*refSize)
	for _, r := range refs {
		raw = r.append(raw)
	}
	there := *h
	there.Size, there.PAXRecords = int64(len(raw)), map[string]string{recordChunks: strconv.FormatInt(h.Size, 10)}
	maps.Copy(there.PAXRecords, h.PAXRecords)
	err := s.tar.WriteHeader(&there)
	if err == nil {
		_, err = s.tar.Write(raw)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return s.counted(h, sum)
}

// replay writes what a spool of entries holds.
func (s *sink) replay(from io.Reader) error {
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.put(h, r); err != nil {
			return err
		}
	}
}

// indexLine is what the index says of an entry: everything that restoring it heeds.
func indexLine(h *tar.Header, sum []byte) string {
	line := fmt.Sprintf("%s %c %04o %d.%09d %d %q", hex.EncodeToString(sum), h.Typeflag, h.Mode, h.ModTime.Unix(), h.ModTime.Nanosecond(), h.Size, h.Name)
	if h.Linkname != "" {
		line += " " + strconv.Quote(h.Linkname)
	}
	for _, key := range []string{recordSize, recordSparse, recordLinked} {
		if v, ok := h.PAXRecords[key]; ok {
			line += " " + key + "=" + v
		}
	}
	return line + "\n"
}

// onlyWriter keeps io.Copy from going around the buffer.
type onlyWriter struct{ io.Writer }

// untilDone is a reader that ends with a context: a file can be large.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// zeros is an endless reader.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
