package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// imageFile is where a pod's folder says which image the pod has as its root, beside
// home and logs. A pod with the machine's own files has none.
const imageFile = "image.json"

// imageNote is what is in it: pods.ImageStatus as JSON.
type imageNote struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	ReadOnly  string `json:"read_only,omitempty"`
}

// ImageOwner is the uid that unpacked images must belong to, so that pods see them as
// their own; -1: that of the server.
func ImageOwner() int {
	if os.Geteuid() == 0 {
		return podUID
	}
	return -1
}

// UsedImages returns the digests that the pods with folders in dir have as their root,
// running or not.
func UsedImages(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var used []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		note, err := readImageNote(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if note.Digest != "" {
			used = append(used, note.Digest)
		}
	}
	return used, nil
}

// readImageNote returns the zero note for a pod without an image.
func readImageNote(folder string) (note imageNote, err error) {
	raw, err := os.ReadFile(filepath.Join(folder, imageFile))
	if errors.Is(err, fs.ErrNotExist) {
		return imageNote{}, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &note)
	}
	if err != nil {
		return imageNote{}, fmt.Errorf("%s in %s: %w", imageFile, folder, err)
	}
	return note, nil
}

// imageEnviron is what every process of a pod with an image starts with: what the image
// wants, but for who the user is and where home is, which is the same in every pod.
func imageEnviron(wanted []string) []string {
	path := "PATH=" + home + "/.local/bin:"
	var env []string
	found := ""
	for _, kv := range wanted {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case "PATH":
			found = value
		case "HOME", "USER", "LOGNAME", "SHELL":
		case "GOPATH": // what Go fetches belongs into the home, which is on the disk
		default:
			env = append(env, kv)
		}
	}
	if found == "" {
		found = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return append([]string{path + found}, env...)
}
