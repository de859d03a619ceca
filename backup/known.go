package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// nameCache is the file in the data folder that remembers what the newest backup holds
// and where. A server that encrypts cannot read its backups, so there is no other way to
// know. Without it the next backup is whole.
const nameCache = "backup.cache"

// cacheFormat rises when what is in the file changes.
const cacheFormat = 2

// cacheHead is the first line of the file.
type cacheHead struct {
	Format     int     `json:"format"`
	Storage    string  `json:"storage"`
	Recipients string  `json:"recipients"` // the sum of the settings
	Generation string  `json:"generation"`
	Last       string  `json:"last"` // the name of the newest backup
	Polynomial uint64  `json:"polynomial"`
	Packs      []int64 `json:"packs"` // their sizes, by number
	Chunks     int     `json:"chunks"`
}

// known is one file whose contents are kept, in the state that it had.
type known struct {
	path    string // ID/home/…
	inode   uint64
	changed int64 // ctime, ns since 1970
	sum     chunkID
	size    int64 // of what is kept
	refs    []ref
}

// knownFiles are those of the backup before, and collects those of this one. Both are in
// the order of a walk over all pods.
type knownFiles struct {
	before *bufio.Reader // nil: there is none
	next   *known
	now    *spool
	err    error
}

// find returns what is kept of a file that is as it was, or nil. Callers ask in order.
func (k *knownFiles) find(path string, is facts, size int64) *known {
	for k.err == nil && k.before != nil && (k.next == nil || comparePaths(k.next.path, path) < 0) {
		if k.next, k.err = readKnown(k.before); errors.Is(k.err, io.EOF) {
			k.before, k.next, k.err = nil, nil, nil
		}
	}
	n := k.next
	if k.err != nil || n == nil || n.path != path || n.inode != is.inode || n.changed != is.changed || n.size != size {
		return nil
	}
	return n
}

func (k *knownFiles) note(n *known) error {
	b := binary.AppendUvarint(nil, uint64(len(n.path)))
	b = append(b, n.path...)
	for _, v := range []uint64{n.inode, uint64(n.changed), uint64(n.size)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, n.sum[:]...)
	b = binary.AppendUvarint(b, uint64(len(n.refs)))
	for _, r := range n.refs {
		b = r.append(b)
	}
	_, err := k.now.Write(b)
	return err
}

func readKnown(r *bufio.Reader) (*known, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n+24+sha256.Size) // the sum of the file was right
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	f := b[n:]
	k := &known{path: string(b[:n]), inode: binary.BigEndian.Uint64(f), changed: int64(binary.BigEndian.Uint64(f[8:])), size: int64(binary.BigEndian.Uint64(f[16:])), sum: chunkID(f[24:])}
	count, err := binary.ReadUvarint(r)
	for range count {
		var raw [refSize]byte
		if err == nil {
			_, err = io.ReadFull(r, raw[:])
		}
		k.refs = append(k.refs, parseRef(raw[:]))
	}
	return k, err
}

// cache is the file, open behind its chunks.
type cache struct {
	cacheHead
	file   *os.File
	chunks map[chunkID]ref
	files  *bufio.Reader
}

// openCache reads the file; nil when there is none that can be used.
func openCache(dir string) (c *cache, err error) {
	f, err := os.Open(filepath.Join(dir, nameCache))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if c == nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil || info.Size() < sha256.Size {
		return nil, err
	}
	end := info.Size() - sha256.Size
	sum, want := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.CopyN(sum, f, end); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(f, want); err != nil || !bytes.Equal(sum.Sum(nil), want) {
		return nil, err // damaged, so the next backup is whole
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, end), 64<<10)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	found := &cache{file: f, chunks: map[chunkID]ref{}, files: r}
	if err := json.Unmarshal(line, &found.cacheHead); err != nil || found.Format != cacheFormat {
		return nil, nil // of another version
	}
	for range found.Chunks {
		var b [sha256.Size + refSize]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		found.chunks[chunkID(b[:sha256.Size])] = parseRef(b[sha256.Size:])
	}
	return found, nil
}

// writeCache puts the file in its place.
func writeCache(dir string, head cacheHead, p *Packs) error {
	files, _, err := p.files.now.rewind()
	if err != nil {
		return err
	}
	head.Format, head.Chunks = cacheFormat, len(p.chunks)
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return Create(filepath.Join(dir, nameCache), true, func(w io.Writer) error {
		out := &summed{bufio.NewWriterSize(w, 64<<10), sha256.New()}
		_, err := out.Write(append(line, '\n'))
		for id, r := range p.chunks {
			if err == nil {
				_, err = out.Write(r.append(id[:]))
			}
		}
		if err == nil {
			_, err = io.Copy(onlyWriter{out}, files) // a bufio.Writer would go around the sum
		}
		if err == nil {
			_, err = out.Writer.Write(out.sum.Sum(nil))
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", nameCache, err)
		}
		return out.Flush()
	})
}

// summed is a writer that knows the sum of what was written.
type summed struct {
	*bufio.Writer
	sum hash.Hash
}

// Write implements io.Writer.
func (s *summed) Write(p []byte) (int, error) {
	_, _ = s.sum.Write(p) // never fails
	return s.Writer.Write(p)
}
