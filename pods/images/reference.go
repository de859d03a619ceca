package images

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	filePrefix   = "file:"
	maxReference = 512 // bytes
	dockerHub    = "docker.io"
)

// repository is the name of one as the OCI distribution specification has it. What the
// library takes beyond that would lead elsewhere in a registry.
var repository = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
})

// Reference names an image. The zero value names none.
type Reference struct {
	text string
	file string         // path of a layout folder or an archive; empty: in a registry
	at   name.Reference // in a registry
}

// Parse reads a reference as people write it: «docker.io/library/node:24-slim», also
// with a digest («@sha256:…»), or «file:» and the absolute path of an OCI layout folder,
// an archive of one, or what «docker save» writes. Without a registry it is Docker
// Hub's, without a tag «latest».
func Parse(text string) (Reference, error) {
	if len(text) > maxReference {
		return Reference{}, fmt.Errorf("the name of an image is over %d bytes long", maxReference)
	}
	if path, ok := strings.CutPrefix(text, filePrefix); ok {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Reference{}, fmt.Errorf(`%q is not a file; write file: and a clean absolute path, such as "file:/srv/images/app.tar"`, text)
		}
		return Reference{text: text, file: path}, nil
	}
	at, err := name.ParseReference(text)
	if err != nil || !repository().MatchString(at.Context().RepositoryStr()) {
		return Reference{}, fmt.Errorf(`%q is not the name of an image; write for example "docker.io/library/node:24-slim", or "file:/srv/images/app.tar"`, text)
	}
	r := Reference{at: at}
	r.text = r.Registry() + "/" + r.Repository()
	if tag, ok := at.(name.Tag); ok {
		r.text += ":" + tag.TagStr()
	} else {
		r.text += "@" + at.Identifier()
	}
	if len(r.text) > maxReference {
		return Reference{}, errors.New("the name of the image is too long")
	}
	return r, nil
}

// String is the one way to write the reference.
func (r Reference) String() string { return r.text }

// IsFile reports whether the image is in a file or folder of this machine.
func (r Reference) IsFile() bool { return r.file != "" }

// Registry is the host, with its port, of the registry; empty for a file.
func (r Reference) Registry() string {
	if r.at == nil {
		return ""
	}
	if host := r.at.Context().RegistryStr(); host != name.DefaultRegistry {
		return host
	}
	return dockerHub
}

// Repository is the name within the registry, such as library/node; empty for a file.
func (r Reference) Repository() string {
	if r.at == nil {
		return ""
	}
	return r.at.Context().RepositoryStr()
}
