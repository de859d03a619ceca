package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxIndexes      = 4      // in each other
	maxArchiveFiles = 10_000 // of an archive of a layout
	layoutIndex     = "index.json"
	layoutMark      = "oci-layout"
)

// openFile opens an image that is a layout folder, an archive of one, or what docker
// save writes.
func openFile(path string) (v1.Image, func(), error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, refuse("%v", err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, nil, refuse("is neither a file nor a folder")
	}
	var l *layout
	if info.IsDir() {
		l, err = openFolder(path)
	} else if l, err = openArchive(path); err == nil && !l.has(layoutMark) {
		l.Close()
		return openSaved(path)
	}
	if err != nil {
		return nil, nil, err
	}
	image, err := l.image()
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return image, func() { l.Close() }, nil
}

func openSaved(path string) (v1.Image, func(), error) {
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return nil, nil, refuse("is neither a layout nor an archive with one image: %v", err)
	}
	return image, func() {}, nil
}

// layout is a folder as the OCI image layout specification describes it, or an archive
// of one.
type layout struct {
	open  func(name string) (io.ReadCloser, error)
	close func() error
}

func (l *layout) Close() error { return l.close() }

// openFolder follows no link out of the folder.
func openFolder(path string) (*layout, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	open := func(name string) (io.ReadCloser, error) {
		info, err := root.Stat(name)
		if err == nil && !info.Mode().IsRegular() {
			err = refuse("%s is no file", name)
		}
		if err != nil {
			return nil, err
		}
		return root.Open(name)
	}
	return &layout{open, root.Close}, nil
}

// openArchive notes where in an archive its files are.
func openArchive(name string) (*layout, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	type place struct{ at, size int64 }
	places := map[string]place{}
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err == nil && len(places) >= maxArchiveFiles {
			err = errors.New("it has too many files")
		}
		if err != nil {
			f.Close()
			return nil, refuse("cannot be read as an archive: %v", err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			f.Close()
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			places[path.Clean(h.Name)] = place{at, h.Size}
		}
	}
	open := func(name string) (io.ReadCloser, error) {
		p, ok := places[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(bufio.NewReaderSize(io.NewSectionReader(f, p.at, p.size), 64<<10)), nil
	}
	return &layout{open, f.Close}, nil
}

func (l *layout) has(name string) bool {
	f, err := l.open(name)
	return err == nil && f.Close() == nil
}

// read returns a small file.
func (l *layout) read(name string) ([]byte, error) {
	f, err := l.open(name)
	if err != nil {
		return nil, refuse("%s is not there, or cannot be read", name)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = refuse("%s is over %d MiB", name, maxManifest>>20)
	}
	return b, err
}

func blobName(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// blob returns a small file that is named after its digest.
func (l *layout) blob(h v1.Hash) ([]byte, error) {
	if h.Algorithm != "sha256" {
		return nil, refuse("%s is a digest of a kind that podgate does not know", short(h.Algorithm))
	}
	b, err := l.read(blobName(h))
	if err != nil {
		return nil, err
	}
	if got, _, err := v1.SHA256(bytes.NewReader(b)); err != nil || got != h {
		return nil, refuse("%s is not what its name says", blobName(h))
	}
	return b, nil
}

// image chooses the one image of the layout that is for this machine.
func (l *layout) image() (v1.Image, error) {
	raw, err := l.read(layoutIndex)
	if err != nil {
		return nil, err
	}
	d, err := l.choose(raw, maxIndexes)
	if err != nil {
		return nil, err
	}
	manifest, err := l.blob(d.Digest)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&layoutImage{layout: l, raw: manifest, kind: d.MediaType})
}

// choose returns the one manifest of an index that is for this machine.
func (l *layout) choose(raw []byte, deep int) (v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return v1.Descriptor{}, refuse("its index cannot be read: %v", err)
	}
	var fit []v1.Descriptor
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.Satisfies(platform()) {
			fit = append(fit, d)
		}
	}
	if len(fit) != 1 {
		return v1.Descriptor{}, refuse("holds %d images for %s, where there must be one", len(fit), platform())
	}
	if !fit[0].MediaType.IsIndex() {
		return fit[0], nil
	}
	if deep == 0 {
		return v1.Descriptor{}, refuse("has too many indexes in each other")
	}
	inner, err := l.blob(fit[0].Digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.choose(inner, deep-1)
}

// layoutImage is one image of a layout.
type layoutImage struct {
	layout *layout
	raw    []byte
	kind   types.MediaType
}

func (i *layoutImage) MediaType() (types.MediaType, error) { return i.kind, nil }
func (i *layoutImage) RawManifest() ([]byte, error)        { return i.raw, nil }

func (i *layoutImage) RawConfigFile() ([]byte, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	return i.layout.blob(m.Config.Digest)
}

func (i *layoutImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	for _, d := range m.Layers {
		if d.Digest == h {
			return &layoutLayer{i.layout, d}, nil
		}
	}
	return nil, fmt.Errorf("there is no layer %s", h)
}

// layoutLayer is one layer of it. Whoever unpacks it compares the content.
type layoutLayer struct {
	layout *layout
	d      v1.Descriptor
}

func (l *layoutLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l *layoutLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l *layoutLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }

func (l *layoutLayer) Compressed() (io.ReadCloser, error) {
	f, err := l.layout.open(blobName(l.d.Digest))
	if err != nil {
		return nil, refuse("%s is not there, or cannot be read", blobName(l.d.Digest))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, l.d.Size), f}, nil
}
