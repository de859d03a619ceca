package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	maxStrings = 16 << 10 // bytes of the environment, and of the command, of an image
	factsFile  = "image.json"
	rootFolder = "root"
)

// Image is one that is unpacked.
type Image struct {
	Digest string `json:"digest"` // of its manifest: sha256:…
	Root   string `json:"-"`      // the folder with its files
	Facts
}

// Facts are what an image says of itself, and how large it is.
type Facts struct {
	Env        []string `json:"env,omitempty"`        // KEY=value
	Entrypoint []string `json:"entrypoint,omitempty"` // with Command after it, what it starts
	Command    []string `json:"command,omitempty"`
	WorkDir    string   `json:"work_dir,omitempty"` // absolute
	Ports      []int    `json:"ports,omitempty"`    // of TCP, in order
	Size       int64    `json:"size"`               // bytes on the disk, about
	Files      int      `json:"files"`
}

// factsOf are what of a configuration podgate honours. Everything in a pod is the
// pod's own user, so the user that an image wants is not among it.
func factsOf(c v1.Config) (Facts, error) {
	f := Facts{Entrypoint: c.Entrypoint, Command: c.Cmd, WorkDir: c.WorkingDir}
	length := len(f.WorkDir)
	for _, kv := range c.Env {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "" && !strings.ContainsRune(kv, 0) {
			f.Env = append(f.Env, kv)
		}
		length += len(kv)
	}
	for _, word := range slices.Concat(f.Entrypoint, f.Command) {
		if strings.ContainsRune(word, 0) {
			return Facts{}, refuse("its command has a zero byte")
		}
		length += len(word)
	}
	if length > maxStrings {
		return Facts{}, refuse("its environment and command are over %d KiB together", maxStrings>>10)
	}
	if !filepath.IsAbs(f.WorkDir) || strings.ContainsRune(f.WorkDir, 0) {
		f.WorkDir = ""
	}
	for exposed := range c.ExposedPorts {
		text, kind, _ := strings.Cut(exposed, "/")
		if port, err := strconv.ParseUint(text, 10, 16); err == nil && port > 0 && (kind == "" || kind == "tcp") {
			f.Ports = append(f.Ports, int(port))
		}
	}
	slices.Sort(f.Ports)
	f.Ports = slices.Compact(f.Ports)
	return f, nil
}

// folderOf is the name of the folder of a digest.
func folderOf(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// digestOf is the digest whose folder has that name; empty: it is no such folder.
func digestOf(folder string) string {
	hex, ok := strings.CutPrefix(folder, "sha256-")
	if !ok || !validDigest("sha256:"+hex) {
		return ""
	}
	return "sha256:" + hex
}

func validDigest(digest string) bool {
	_, err := v1.NewHash(digest)
	return err == nil && strings.HasPrefix(digest, "sha256:")
}

// load reads what is known of an unpacked image. The error is fs.ErrNotExist when it is
// not there.
func (s *Store) load(digest string) (Image, error) {
	if !validDigest(digest) {
		return Image{}, fmt.Errorf("%q is no digest", short(digest))
	}
	folder := filepath.Join(s.cfg.Dir, folderOf(digest))
	raw, err := os.ReadFile(filepath.Join(folder, factsFile))
	if err != nil {
		return Image{}, err
	}
	i := Image{Root: filepath.Join(folder, rootFolder)}
	if err := json.Unmarshal(raw, &i); err != nil || i.Digest != digest {
		return Image{}, errors.Join(err, fmt.Errorf("%s is damaged; delete the folder %s", factsFile, folder))
	}
	return i, nil
}

// Kept is an image that a reference names.
type Kept struct {
	Reference string    `json:"reference"`
	Digest    string    `json:"digest"`
	Pulled    time.Time `json:"pulled"`
}
