package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/restic/chunker"
	"golang.org/x/sync/errgroup"
)

// The sizes of chunks and packs, in bytes. A pack is in memory as a whole, three times
// while it is written.
const (
	leastChunk  = 256 << 10
	mostChunk   = 4 << 20 // they are 1 MiB on average
	packSize    = 8 << 20 // of a pack before compression
	mostPack    = packSize + packSize/4
	packsAtOnce = 2
	mostChunks  = 1_000_000 // that are remembered, at about 100 bytes each
)

// chunkID is the SHA-256 of a chunk. It is known in the data folder only.
type chunkID [sha256.Size]byte

// ref is where a chunk is.
type ref struct{ pack, offset, length uint32 }

// refSize is what a ref takes where it is written, in bytes.
const refSize = 12

func (r ref) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, r.pack)
	b = binary.BigEndian.AppendUint32(b, r.offset)
	return binary.BigEndian.AppendUint32(b, r.length)
}

func parseRef(b []byte) ref {
	return ref{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
}

// Packs takes the contents of a backup that is kept in a Storage: cut into chunks where
// the contents say so, each of them written once a generation.
type Packs struct {
	storage    Storage
	recipients []Recipient
	generation string
	at         time.Time // of the backup, which its name says too
	polynomial chunker.Pol
	chunks     map[chunkID]ref
	files      *knownFiles
	size       int // of a pack before compression, in bytes
	mu         sync.Mutex
	stored     []int64 // the sizes of packs as they are in the Storage, by number
	next       uint32  // the number of the pack that is filled
	raw        []byte
	ctx        context.Context
	group      *errgroup.Group
	encoder    *zstd.Encoder
	cut        *chunker.Chunker
	chunk      []byte
}

// begin makes ready to take contents.
func (p *Packs) begin(ctx context.Context) (err error) {
	p.group, p.ctx = errgroup.WithContext(ctx)
	p.group.SetLimit(packsAtOnce)
	p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(packsAtOnce))
	p.cut = chunker.NewWithBoundaries(nil, p.polynomial, leastChunk, mostChunk)
	return err
}

// add takes a content of size bytes, and returns its SHA-256 and where its chunks are.
func (p *Packs) add(content io.Reader, size int64) (sum chunkID, refs []ref, err error) {
	if size <= leastChunk {
		p.chunk = slices.Grow(p.chunk[:0], int(size))[:size]
		if _, err := io.ReadFull(content, p.chunk); err != nil {
			return sum, nil, err
		}
		sum = sha256.Sum256(p.chunk)
		r, err := p.store(sum, p.chunk)
		return sum, []ref{r}, err
	}
	whole := sha256.New()
	p.cut.ResetWithBoundaries(content, p.polynomial, leastChunk, mostChunk)
	for {
		c, err := p.cut.Next(p.chunk)
		if errors.Is(err, io.EOF) {
			return chunkID(whole.Sum(nil)), refs, nil
		}
		if err != nil {
			return sum, nil, err
		}
		p.chunk = c.Data
		_, _ = whole.Write(c.Data) // never fails
		r, err := p.store(sha256.Sum256(c.Data), c.Data)
		if err != nil {
			return sum, nil, err
		}
		refs = append(refs, r)
	}
}

// store puts a chunk into the pack that is filled, unless it is in one already.
func (p *Packs) store(id chunkID, chunk []byte) (ref, error) {
	if r, ok := p.chunks[id]; ok {
		return r, nil
	}
	if len(p.raw)+len(chunk) > p.size && len(p.raw) > 0 {
		if err := p.flush(); err != nil {
			return ref{}, err
		}
	}
	r := ref{p.next, uint32(len(p.raw)), uint32(len(chunk))}
	p.raw = append(p.raw, chunk...)
	if len(p.chunks) < mostChunks {
		p.chunks[id] = r
	}
	return r, nil
}

// flush has the pack written while the next is filled.
func (p *Packs) flush() error {
	raw, number, name := p.raw, p.next, packName(p.generation, p.next, len(p.recipients) > 0)
	p.mu.Lock()
	p.stored = append(p.stored, 0)
	p.mu.Unlock()
	p.raw, p.next = make([]byte, 0, p.size), p.next+1
	p.group.Go(func() error {
		var b bytes.Buffer
		err := Encrypt(&b, p.recipients, func(w io.Writer) error {
			_, err := w.Write(p.encoder.EncodeAll(raw, make([]byte, 0, len(raw)+len(raw)/100+1024)))
			return err
		})
		if err == nil {
			err = p.storage.Put(p.ctx, name, bytes.NewReader(b.Bytes()))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stored[number] = int64(b.Len())
		return err
	})
	return context.Cause(p.ctx) // of a pack that could not be written
}

// end returns when all packs are written, or err, or why they are not.
func (p *Packs) end(err error) error {
	if err == nil && len(p.raw) > 0 {
		err = p.flush()
	}
	put := p.group.Wait()
	return cmpOr(put, errors.Join(err, p.encoder.Close()))
}

// packReader reads the chunks of a generation.
type packReader struct {
	ctx        context.Context
	storage    Storage
	generation string
	encrypted  bool
	identities []Identity
	decoder    *zstd.Decoder
	held       []heldPack // the last that were used, the newest first
}

type heldPack struct {
	number uint32
	raw    []byte
}

// mostHeld is how many packs a reader keeps in memory: a file's chunks may be in
// several.
const mostHeld = 8

func newPackReader(ctx context.Context, s Storage, m Made, identities []Identity) (*packReader, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(mostPack), zstd.WithDecoderConcurrency(1))
	return &packReader{ctx: ctx, storage: s, generation: m.Generation, encrypted: m.Encrypted, identities: identities, decoder: d}, err
}

// fetchError is one of the Storage, which says nothing of the backup.
type fetchError struct{ error }

func (e fetchError) Unwrap() error { return e.error }

// pack returns what a pack holds.
func (p *packReader) pack(number uint32) ([]byte, error) {
	if i := slices.IndexFunc(p.held, func(h heldPack) bool { return h.number == number }); i >= 0 {
		h := p.held[i]
		copy(p.held[1:], p.held[:i])
		p.held[0] = h
		return h.raw, nil
	}
	name := packName(p.generation, number, p.encrypted)
	sealed, err := readObject(p.ctx, p.storage, name, 2*mostPack)
	if isAbsent(err) {
		return nil, fmt.Errorf("%s is missing in %s", name, p.storage)
	}
	if err != nil {
		return nil, fetchError{err}
	}
	if p.encrypted && len(p.identities) == 0 {
		return nil, fmt.Errorf("%w: it is encrypted; give the file with the key with --identity", ErrKey)
	}
	plain, err := decrypted(bytes.NewReader(sealed), p.identities)
	if err != nil {
		return nil, err
	}
	packed, err := io.ReadAll(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	raw, err := p.decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(p.held) == mostHeld {
		p.held = p.held[:mostHeld-1]
	}
	p.held = slices.Insert(p.held, 0, heldPack{number, raw})
	return raw, nil
}

// content is the content of an entry, of size bytes, whose refs are given.
func (p *packReader) content(refs io.Reader, size int64) io.Reader {
	return &chunkReader{packs: p, refs: refs, left: size}
}

type chunkReader struct {
	packs *packReader
	refs  io.Reader
	left  int64
	rest  []byte // of the chunk
}

// Read implements io.Reader.
func (c *chunkReader) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		var raw [refSize]byte
		_, err := io.ReadFull(c.refs, raw[:])
		switch {
		case errors.Is(err, io.EOF) && c.left == 0:
			return 0, io.EOF
		case errors.Is(err, io.EOF):
			return 0, errors.New("its chunks are shorter than it is")
		case err != nil:
			return 0, err
		}
		r := parseRef(raw[:])
		pack, err := c.packs.pack(r.pack)
		if err != nil {
			return 0, err
		}
		end := int64(r.offset) + int64(r.length)
		if r.length == 0 || end > int64(len(pack)) || int64(r.length) > c.left {
			return 0, errors.New("one of its chunks cannot be")
		}
		c.rest = pack[r.offset:end]
		c.left -= int64(r.length)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
