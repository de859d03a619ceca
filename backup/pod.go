package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"podgate/store"
)

// podApplication tells the file of one pod from a backup.
const podApplication = "podgate pod"

// PodHead is backup.json in the file of one pod. The file is a backup without database,
// configuration and certificates, of one pod.
type PodHead struct {
	Head
	Pod PodExport `json:"pod"`
}

// PodExport is what a server says of a pod for another one.
type PodExport struct {
	ID      store.PodID       `json:"id"` // there
	Name    string            `json:"name"`
	Preset  string            `json:"preset"`
	Plan    string            `json:"plan"`
	Network store.Network     `json:"network,omitzero"`
	Release int               `json:"release,omitempty"` // the folder of its app
	Deploys int               `json:"deploys,omitempty"` // the number of its last deploy
	Stopped bool              `json:"stopped,omitempty"`
	Names   []string          `json:"env_names,omitempty"` // of its environment variables
	Env     map[string]string `json:"env,omitempty"`       // with values, if they are to be there
}

// ErrPodFile is that a file is of one pod and a backup was expected.
var ErrPodFile = errors.New("this is the file of one pod")

// WritePod writes the file of one pod to w. src needs no database.
func WritePod(ctx context.Context, w io.Writer, src Source, pod PodExport) (*Manifest, error) {
	return packed(ctx, w, &writer{Source: src, ctx: ctx, manifest: Manifest{Pods: []Pod{}}}, func(b *writer) error {
		head := PodHead{Head{podApplication, Format, b.Version, b.Now().UTC()}, pod}
		b.manifest.Head = head.Head
		if err := b.json(nameHead, head); err != nil {
			return err
		}
		root, err := os.OpenRoot(b.Dir)
		if err != nil {
			return err
		}
		defer root.Close()
		report := Pod{ID: pod.ID, Name: pod.Name, State: PodStill}
		if err := b.pod(root, &report); err != nil {
			return err
		}
		if report.State == PodAbsent {
			return errors.New("the pod has no files yet; start it once")
		}
		b.manifest.Pods = append(b.manifest.Pods, report)
		return nil
	})
}

// PodFile is the file of one pod, proved whole, in a file without a name.
type PodFile struct {
	PodExport
	Manifest *Manifest
	file     *spool
	size     int64
	scan     func(context.Context, taker) (*Manifest, error)
}

// ReadPod takes the file of a pod into a folder and proves it. accept hears what it is
// of before anything else is read, and says how many bytes the pod may have.
func ReadPod(ctx context.Context, dir string, r io.Reader, accept func(PodExport) (most int64, err error)) (*PodFile, error) {
	file, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	f := &PodFile{file: file}
	_, err = io.Copy(onlyWriter{file}, untilDone{ctx, r})
	if err == nil {
		_, f.size, err = file.rewind()
	}
	f.scan = func(ctx context.Context, to taker) (*Manifest, error) {
		return scanPacked(ctx, bufio.NewReader(io.NewSectionReader(file.file, 0, f.size)), nil, func(s *scanner) {
			s.take = to
			s.accept = func(pod PodExport) (int64, error) {
				if f.Manifest != nil { // the file was proved
					return 0, nil
				}
				f.PodExport = pod
				return accept(pod)
			}
		})
	}
	if err == nil {
		f.Manifest, err = f.scan(ctx, nil)
	}
	if err == nil && (len(f.Manifest.Pods) != 1 || f.Manifest.Pods[0].Files == 0) {
		err = fmt.Errorf("%w: it has no files", ErrDamaged)
	}
	if err != nil {
		return nil, errors.Join(err, file.file.Close())
	}
	return f, nil
}

// Close frees the file.
func (f *PodFile) Close() { f.file.close() }

// Unpack makes the folder of the pod, with home and logs, below dir, which is not there.
// It returns its path when the disk has all of it.
func (f *PodFile) Unpack(ctx context.Context, dir string) (path string, err error) {
	needs := f.Manifest.Bytes + int64(f.Manifest.Entries)*leastFile
	room, err := roomOn(filepath.Dir(dir))
	if err == nil && room < needs+needs/20 {
		err = fmt.Errorf("there are %d MiB of room on the server's disk, and the pod needs %d MiB; make room first", room>>20, (needs+needs/20)>>20+1)
	}
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	u := &unpacker{root: root}
	_, err = f.scan(ctx, u)
	path = filepath.Join(dir, treePods, string(f.ID))
	for _, name := range podTrees { // a pod that has no logs, say
		if made := os.Mkdir(filepath.Join(path, name), 0o700); made != nil && !errors.Is(made, fs.ErrExist) && err == nil {
			err = made
		}
	}
	if err = errors.Join(err, u.leave(0)); err != nil {
		return "", err
	}
	top, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	return path, errors.Join(syncAround(top), top.Close())
}

// podHead reads what the file of a pod is of.
func (s *scanner) podHead(raw []byte) error {
	var h PodHead
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("the description cannot be read: %w", err)
	}
	if !plainID(h.Pod.ID) || h.Pod.Release < 0 || h.Pod.Release > h.Pod.Deploys || h.Pod.Deploys > 1<<30 {
		return errors.New("the description of the pod cannot be")
	}
	most, err := s.accept(h.Pod)
	if err != nil {
		return takeError{err}
	}
	s.most, s.rank = most, rankPods // which is all that may follow
	s.only = h.Pod.ID
	return nil
}

// withinPod refuses what a pod cannot be.
func (s *scanner) withinPod(e *entry) error {
	switch {
	case s.only != "" && e.pod != "" && e.pod != s.only:
		return errors.New("it is of another pod")
	case s.only != "" && s.entries > maxFiles:
		return errors.New("there are more files than a pod may have")
	}
	s.takes += max(e.Size, leastFile)
	switch {
	case s.most > 0 && s.takes > s.most:
		return takeError{fmt.Errorf("the pod has more than the %d KiB that its plan allows here; take a larger one with --plan", s.most>>10)}
	}
	return nil
}

// Decrypt returns what r holds: what is encrypted is opened with identities.
func Decrypt(r io.Reader, identities ...Identity) (io.Reader, error) { return decrypted(r, identities) }
