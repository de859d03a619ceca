package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"podgate/store"
)

// Verify reads a backup to its end and proves that it is whole: every sum, every
// name, nothing missing and nothing too much. identities open an encrypted one.
func Verify(ctx context.Context, r io.Reader, identities ...Identity) (*Manifest, error) {
	return scan(ctx, r, identities, nil, nil)
}

// taker gets what a scan has found to be in order, each entry after its folders.
type taker interface {
	// take gets an entry that is no part of the description. content is h.Size bytes.
	take(e *entry, content io.Reader) error
}

// entry is one entry of a backup.
type entry struct {
	*tar.Header
	body  io.Reader
	parts []extent // of a file with holes, else nil
	size  int64    // of the file
	pod   store.PodID
	layer int    // of a pod
	path  string // below the data folder, for pods without the layer
}

// removed reports whether it is the list of what was no longer there.
func (e *entry) removed() bool {
	if e.pod == "" {
		return e.path == nameRemoved // no part of a backup, so only of a copy
	}
	return e.path == path.Join(treePods, string(e.pod), nameRemoved)
}

// decrypted begins to read what may be encrypted.
func decrypted(r io.Reader, identities []Identity) (*bufio.Reader, error) {
	const magic = "age-encryption.org/"
	source := bufio.NewReaderSize(r, 1<<20)
	begin, err := source.Peek(len(magic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	if string(begin) != magic {
		if len(identities) > 0 && len(begin) > 0 {
			return nil, fmt.Errorf("%w: it is not encrypted, and a key was given for it: somebody may have exchanged it; leave --identity out if it is to be so", ErrKey)
		}
		return source, nil
	}
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: it is encrypted; give the file with the key with --identity", ErrKey)
	}
	opened, err := age.Decrypt(source, identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, fmt.Errorf("%w: it was made for other keys than those of --identity; give the one that belongs to it", ErrKey)
	case err != nil:
		return nil, fmt.Errorf("%w at its beginning: %w", ErrDamaged, err)
	}
	return bufio.NewReaderSize(opened, 1<<20), nil
}

// unpacked begins to read a backup.
func unpacked(r io.Reader, identities []Identity) (*zstd.Decoder, *bufio.Reader, error) {
	plain, err := decrypted(r, identities)
	if err != nil {
		return nil, nil, err
	}
	if begin, err := plain.Peek(4); string(begin) != "\x28\xb5\x2f\xfd" {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, nil, fmt.Errorf("%w; name a file that «podgate backup» has made", ErrNotBackup)
	}
	packed, err := zstd.NewReader(plain, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(2))
	return packed, plain, err
}

// scanner reads a backup once, from its beginning to its end, in bounded memory.
type scanner struct {
	ctx      context.Context
	tar      *tar.Reader
	take     taker
	packs    *packReader                             // has the contents; nil: they are in the tar
	accept   func(PodExport) (most int64, err error) // of the file of a pod; nil: it is a server's
	only     store.PodID                             // the one pod of the file
	most     int64                                   // bytes that it may take; 0: any
	takes    int64                                   // bytes, and leastFile of each that has fewer
	manifest Manifest
	index    hash.Hash // of the lines that the index must have
	listed   []byte    // the sum of the index that is there
	entries  int
	bytes    int64
	last     string   // the name before, without the slash of a folder
	rank     int      // of it
	folders  []string // in which it is
	linked   map[string]bool
	links    int // bytes of these
	pods     map[store.PodID]bool
	buffer   []byte
}

func scan(ctx context.Context, r io.Reader, identities []Identity, packs *packReader, to taker) (*Manifest, error) {
	return scanPacked(ctx, r, identities, func(s *scanner) { s.packs, s.take = packs, to })
}

// scanPacked reads what is compressed, with a scanner as prepare leaves it.
func scanPacked(ctx context.Context, r io.Reader, identities []Identity, prepare func(*scanner)) (*Manifest, error) {
	packed, plain, err := unpacked(r, identities)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	counted := &offset{r: packed}
	s := newScanner(ctx, counted, nil)
	prepare(s)
	if err := s.all(); err != nil {
		return nil, s.where(err, counted.n)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(counted, 1)); err != nil || n > 0 {
		return nil, s.where(errors.New("something follows its end"), counted.n)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(plain, 1)); err != nil || n > 0 {
		return nil, s.where(errors.New("something follows its end"), counted.n)
	}
	return &s.manifest, ctx.Err()
}

func newScanner(ctx context.Context, r io.Reader, to taker) *scanner {
	return &scanner{ctx: ctx, tar: tar.NewReader(r), take: to, index: sha256.New(), linked: map[string]bool{}, pods: map[store.PodID]bool{}, buffer: make([]byte, 128<<10)}
}

// offset counts what was read.
type offset struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (o *offset) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.n += int64(n)
	return n, err
}

// takeError is one of the taker's, which says nothing of the backup.
type takeError struct{ error }

func (e takeError) Unwrap() error { return e.error }

// where gives what is wrong with a backup its place.
func (s *scanner) where(err error, at int64) error {
	var taken takeError
	var fetched fetchError
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case errors.As(err, &taken):
		return taken.error
	case errors.As(err, &fetched):
		return fmt.Errorf("read the backup: %w", fetched.error)
	case errors.Is(err, ErrNewer), errors.Is(err, ErrKey), errors.Is(err, ErrNotBackup):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		err = errors.New("its end is missing")
	}
	behind := ""
	if s.last != "" {
		behind = fmt.Sprintf(", behind %q", s.last)
	}
	return fmt.Errorf("%w at byte %d of its contents%s: %w; take another one", ErrDamaged, at, behind, err)
}

// all reads every entry.
func (s *scanner) all() error {
	for {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		h, err := s.tar.Next()
		if errors.Is(err, io.EOF) {
			if s.rank != rankManifest {
				return errors.New("the manifest is missing")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if s.last == "" && h.Name != nameHead {
			return fmt.Errorf("%w; name a file that «podgate backup» has made", ErrNotBackup)
		}
		body, err := s.body(h)
		if err != nil {
			return fmt.Errorf("the entry %q: %w", h.Name, err)
		}
		e, err := s.entry(h)
		if err != nil {
			return fmt.Errorf("the entry %q: %w", h.Name, err)
		}
		e.body = body
		if err := s.withinPod(e); err != nil {
			return err
		}
		if err := s.content(e); err != nil {
			return err
		}
	}
}

// body is the content of an entry. Where it is in packs, the header becomes what it is
// in a backup that is one file.
func (s *scanner) body(h *tar.Header) (io.Reader, error) {
	size, ok := h.PAXRecords[recordChunks]
	if !ok {
		return s.tar, nil
	}
	if s.packs == nil {
		return nil, errors.New("its content is beside this file; name the folder, or the storage, that all of it is in")
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n <= 0 || h.Size%refSize != 0 {
		return nil, errors.New("its size cannot be")
	}
	h.Size = n
	delete(h.PAXRecords, recordChunks)
	return s.packs.content(s.tar, n), nil
}

// The order of what is at the top.
const (
	rankNone = iota
	rankHead
	rankDatabase
	rankSettings
	rankCerts
	rankPods
	rankIndex
	rankManifest
)

// rankOf returns the place of a name in the order, and how many of its first parts
// have no entry of their own.
func rankOf(name string) (rank, bare int) {
	switch name {
	case nameHead:
		return rankHead, 0
	case nameDatabase:
		return rankDatabase, 0
	case nameSettings:
		return rankSettings, 0
	case nameIndex:
		return rankIndex, 0
	case nameManifest:
		return rankManifest, 0
	}
	switch first, _, _ := strings.Cut(name, "/"); first {
	case treeCerts:
		return rankCerts, 0
	case treePods:
		return rankPods, 3 // pods/ID/LAYER
	}
	return rankNone, 0
}

// entry judges a header.
func (s *scanner) entry(h *tar.Header) (*entry, error) {
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	rank, bare := rankOf(name)
	switch {
	case rank == rankNone:
		return nil, errors.New("it has no place in a backup")
	case rank < s.rank || rank == s.rank && comparePaths(name, s.last) <= 0:
		return nil, errors.New("it is there twice, or out of order")
	case (rank >= rankIndex || rank == rankDatabase) && rank != s.rank+1:
		if rank != rankIndex || s.rank < rankDatabase {
			return nil, errors.New("something in front of it is missing")
		}
	case rank > rankDatabase && s.rank < rankDatabase:
		return nil, errors.New("the database in front of it is missing")
	}
	e := &entry{Header: h, size: h.Size, path: name}
	if rank == rankPods {
		if err := s.podEntry(e, name); err != nil {
			return nil, err
		}
	}
	if err := s.place(name, bare, h.Typeflag); err != nil {
		return nil, err
	}
	s.rank, s.last = rank, name
	return e, s.kind(e, rank)
}

// checkName refuses what could lead out, or is longer than a backup has it.
func checkName(name string) error {
	if len(name) > maxPath+100 {
		return errors.New("its name is too long")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 || strings.IndexByte(part, 0) >= 0 {
			return errors.New("its name leads somewhere else")
		}
	}
	return nil
}

// podEntry takes the name of a pod's entry apart.
func (s *scanner) podEntry(e *entry, name string) error {
	parts := strings.SplitN(name, "/", 4)
	if len(parts) < 4 || !plainID(store.PodID(parts[1])) || len(parts[2]) != 1 || parts[2][0] < '1' || parts[2][0] > '0'+maxLayers {
		return errors.New("it is of no pod")
	}
	top, _, _ := strings.Cut(parts[3], "/")
	if top != podTrees[0] && top != podTrees[1] && parts[3] != nameRemoved {
		return errors.New("it has no place in a pod")
	}
	e.pod, e.layer, e.path = store.PodID(parts[1]), int(parts[2][0]-'0'), path.Join(treePods, parts[1], parts[3])
	if strings.Join(parts[:3], "/") != firstParts(s.last, 3) {
		clear(s.linked) // another layer
		s.links = 0
	}
	s.pods[e.pod] = true
	return nil
}

// firstParts returns the first n parts of a path.
func firstParts(name string, n int) string {
	for i := range len(name) {
		if name[i] == '/' {
			if n--; n == 0 {
				return name[:i]
			}
		}
	}
	return name
}

// place holds a name against the folders that were there in front of it.
func (s *scanner) place(name string, bare int, kind byte) error {
	dir := path.Dir(name)
	for len(s.folders) > 0 && s.folders[len(s.folders)-1] != dir {
		s.folders = s.folders[:len(s.folders)-1]
	}
	if len(s.folders) == 0 && strings.Count(name, "/") != bare {
		return errors.New("the folder that it is in is missing")
	}
	if kind == tar.TypeDir {
		if len(s.folders) > maxDepth {
			return errors.New("it is too deep")
		}
		s.folders = append(s.folders, name)
	}
	return nil
}

// kind holds what an entry is against what may be there.
func (s *scanner) kind(e *entry, rank int) error {
	top := rank != rankPods && rank != rankCerts || e.removed()
	for key := range e.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("it has holes in another form than a backup has them")
		}
	}
	switch {
	case e.Size < 0 || e.Size > math.MaxInt64/2:
		return errors.New("its size cannot be")
	case e.Typeflag != tar.TypeDir && (e.path == treeCerts || e.pod != "" && slices.Contains(podTrees, strings.TrimPrefix(e.path, path.Join(treePods, string(e.pod))+"/"))):
		return errors.New("it is no folder")
	case e.Typeflag == tar.TypeReg:
		return s.file(e)
	case top:
		return errors.New("it is no file")
	case e.Size != 0:
		return errors.New("it has contents and is no file")
	case e.Typeflag == tar.TypeDir:
		return nil
	case rank != rankPods:
		return errors.New("it is neither a file nor a folder")
	case e.Typeflag == tar.TypeSymlink && e.Linkname != "" && len(e.Linkname) <= maxPath && strings.IndexByte(e.Linkname, 0) < 0:
		return nil
	case e.Typeflag == tar.TypeLink && s.linked[e.Linkname]:
		return nil
	}
	return errors.New("it is no file, folder or link, or a link to what is not there")
}

// file judges a plain file, which may have holes.
func (s *scanner) file(e *entry) error {
	if _, ok := e.PAXRecords[recordLinked]; ok {
		if s.links += len(e.Name) + nameCost; s.links > maxLinked {
			return errors.New("too many files have several names")
		}
		s.linked[e.Name] = true
	}
	sparse, ok := e.PAXRecords[recordSparse]
	if !ok {
		return nil
	}
	if e.pod == "" {
		return errors.New("its size cannot be")
	}
	return e.holes(sparse)
}

// holes reads where the parts of a file with holes are.
func (e *entry) holes(sparse string) (err error) {
	e.size, err = strconv.ParseInt(e.PAXRecords[recordSize], 10, 64)
	if err != nil || e.size < e.Size {
		return errors.New("its size cannot be")
	}
	if e.parts, err = parseExtents(sparse, e.size, e.Size); e.parts == nil {
		e.parts = []extent{}
	}
	return err
}

// content reads what an entry holds, proves it and hands it on.
func (s *scanner) content(e *entry) error {
	sum := sha256.New()
	content := io.TeeReader(e.body, sum)
	switch s.rank {
	case rankHead:
		if err := s.head(content); err != nil {
			return err
		}
	case rankIndex:
		if err := s.drain(content); err != nil {
			return err
		}
		s.listed = sum.Sum(nil)
		if string(s.index.Sum(nil)) != string(s.listed) {
			return errors.New("the index and the contents differ")
		}
		return nil
	case rankManifest:
		return s.readManifest(content)
	default:
		if s.take != nil {
			if err := s.take.take(e, content); err != nil {
				return err
			}
		}
		if err := s.drain(content); err != nil {
			return err
		}
	}
	s.entries++
	s.bytes += e.Size
	_, err := io.WriteString(s.index, indexLine(e.Header, sum.Sum(nil)))
	return err
}

// drain reads to the end of an entry.
func (s *scanner) drain(content io.Reader) error {
	for {
		_, err := content.Read(s.buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// decode reads one of the small JSON documents.
func decode(content io.Reader, most int64, v any) error {
	raw, err := io.ReadAll(io.LimitReader(content, most+1))
	if err != nil {
		return err
	}
	if int64(len(raw)) > most || bytes.Count(raw, []byte("{")) > maxPods+1 || bytes.Count(raw, []byte(",")) > 20*maxPods {
		return errors.New("the description is too large")
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("the description cannot be read: %w", err)
	}
	return nil
}

// head reads what the backup is, before anything else of it is judged.
func (s *scanner) head(content io.Reader) error {
	h := &s.manifest.Head
	var raw json.RawMessage
	if err := decode(content, maxHead, &raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, h); err != nil {
		return fmt.Errorf("the description cannot be read: %w", err)
	}
	switch {
	case h.Application == podApplication && s.accept == nil:
		return takeError{fmt.Errorf("%w; «podgate pod import» makes a pod of it", ErrPodFile)}
	case h.Application == application && s.accept != nil:
		return takeError{errors.New("this is the backup of a whole server; «podgate restore» makes a server of it")}
	case h.Application != application && h.Application != podApplication || h.Format < 1:
		return fmt.Errorf("%w; name a file that «podgate backup» has made", ErrNotBackup)
	case h.Format > Format:
		return fmt.Errorf("%w (%s): its form is %d, and this one reads up to %d; install that version", ErrNewer, h.Version, h.Format, Format)
	}
	if s.accept != nil {
		return s.podHead(raw)
	}
	return nil
}

// readManifest holds the manifest against what was there.
func (s *scanner) readManifest(content io.Reader) error {
	var m Manifest
	if err := decode(content, maxManifest, &m); err != nil {
		return err
	}
	for _, p := range m.Pods {
		if s.pods[p.ID] != (p.Files > 0) {
			return fmt.Errorf("the pod %s is missing, or has files and should have none", p.Name)
		}
		delete(s.pods, p.ID)
	}
	switch {
	case m.Head != s.manifest.Head:
		return errors.New("its description and its manifest differ")
	case m.Entries != s.entries || m.Bytes != s.bytes || m.Index != hex.EncodeToString(s.listed):
		return errors.New("the manifest and the contents differ")
	case len(s.pods) > 0:
		return errors.New("there are files of a pod that the manifest does not name")
	case m.StoreFormat > store.Format:
		return fmt.Errorf("%w (%s): its database has format %d, and this one reads up to %d; install that version", ErrNewer, m.Version, m.StoreFormat, store.Format)
	}
	s.manifest = m
	return nil
}
