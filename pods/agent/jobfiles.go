package agent

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"podgate/pods/wire"
)

// What jobs leave on the disk: a folder each with a record and with what it
// printed, in segments of equal size. Of these the first and the newest are kept.
const (
	jobSegment   = 256 << 10
	jobSegments  = 4        // of one job, 1 MiB
	maxJobRecord = 64 << 10 // bytes
	jobRecord    = "job.json"
	jobPrefix    = "out." // of a segment, before its number
)

// jobFolder is where all jobs leave their files. The app may have been there, so
// reading takes any content and nothing outside is reached.
type jobFolder struct{ root *os.Root }

func openJobFolder(dir string) (*jobFolder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &jobFolder{root}, nil
}

// newJobID is short, because models repeat it, and never used again.
func newJobID() string { return strings.ToLower(rand.Text()[:8]) }

// isJobID accepts what newJobID returns.
func isJobID(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(s) == 8
}

// load returns the records there are, and removes what is none.
func (f *jobFolder) load() []wire.Job {
	names, _ := fs.ReadDir(f.root.FS(), ".")
	var found []wire.Job
	for _, entry := range names {
		id := entry.Name()
		info, err := parseJobRecord(f.read(path.Join(id, jobRecord), maxJobRecord))
		if err != nil || !isJobID(id) || info.ID != id || len(found) >= 2*wire.MaxJobs {
			f.remove(id)
			continue
		}
		found = append(found, info)
	}
	return found
}

// parseJobRecord reads a record, which may be anything.
func parseJobRecord(b []byte) (wire.Job, error) {
	var info wire.Job
	if err := json.Unmarshal(b, &info); err != nil {
		return wire.Job{}, err
	}
	states := []string{wire.JobRunning, wire.JobExited, wire.JobStopped, wire.JobTimedOut, wire.JobInterrupted}
	if !slices.Contains(states, info.State) || len(info.Command) > wire.MaxJobCommand || len(info.Dir) > maxPath || len(info.Reason) > wire.MaxJobCommand || len(info.Signal) > 20 || info.Lost < 0 {
		return wire.Job{}, fmt.Errorf("not a job")
	}
	info.Output = 0
	return info, nil
}

func (f *jobFolder) create(info wire.Job) error {
	if err := f.root.Mkdir(info.ID, 0o700); err != nil {
		return err
	}
	if err := f.save(info); err != nil {
		f.remove(info.ID)
		return err
	}
	return nil
}

// save writes a record beside the old one, then in its place.
func (f *jobFolder) save(info wire.Job) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	name := path.Join(info.ID, jobRecord)
	f.root.Remove(name + ".new")
	file, err := f.root.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return f.root.Rename(name+".new", name)
}

func (f *jobFolder) remove(id string) { f.root.RemoveAll(id) }

// read returns at most limit bytes of a regular file, and nothing of anything
// else.
func (f *jobFolder) read(name string, limit int64) []byte {
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(file, limit))
	return b
}

// jobOutput is what one job printed. In which segment a byte is follows from its
// offset alone.
type jobOutput struct {
	folder *jobFolder
	id     string

	mu   sync.Mutex
	file *os.File // the newest segment, while the job runs
	size int64    // bytes written, with those that are not kept any more
	lost int64    // bytes that could not be written
}

// output finds what a job has printed so far.
func (f *jobFolder) output(id string) *jobOutput {
	o := &jobOutput{folder: f, id: id}
	entries, _ := fs.ReadDir(f.root.FS(), id)
	newest := int64(-1)
	for _, e := range entries {
		number, isSegment := strings.CutPrefix(e.Name(), jobPrefix)
		if n, err := strconv.ParseInt(number, 10, 32); isSegment && err == nil && n > newest {
			newest = n
		}
	}
	if newest >= 0 {
		o.size = newest*jobSegment + int64(len(f.read(o.segment(newest), jobSegment)))
	}
	return o
}

func (o *jobOutput) segment(n int64) string {
	return path.Join(o.id, jobPrefix+strconv.FormatInt(n, 10))
}

// add appends what the job printed. It never waits for anything but the disk.
func (o *jobOutput) add(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(b) > 0 {
		room := jobSegment - o.size%jobSegment
		part := b[:min(int64(len(b)), room)]
		n := o.write(part)
		o.size += int64(n)
		o.lost += int64(len(part) - n)
		b = b[len(part):]
	}
}

// write puts b into the segment of the present size and returns how much of it
// is there.
func (o *jobOutput) write(b []byte) int {
	if o.file == nil || o.size%jobSegment == 0 {
		if err := o.next(o.size / jobSegment); err != nil {
			return 0
		}
	}
	n, _ := o.file.Write(b)
	return n
}

// next begins segment n and gives up the oldest beyond those that are kept.
func (o *jobOutput) next(n int64) error {
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
	f, err := o.folder.root.OpenFile(o.segment(n), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return errors.New("not a file of ours")
	}
	o.file = f
	if old := n - jobSegments + 1; old > 0 {
		o.folder.root.Remove(o.segment(old))
	}
	return nil
}

func (o *jobOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

func (o *jobOutput) sizes() (size, lost int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size, o.lost
}

// read returns at most limit bytes from offset on, or the newest when offset is
// negative. What is not kept any more is skipped; the beginning is not joined to
// what comes after such a gap.
func (o *jobOutput) read(offset, limit int64) (from int64, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if offset < 0 {
		offset = max(0, o.size-limit)
	}
	from = min(max(offset, 0), o.size)
	if resumes := max(0, (o.size-1)/jobSegment-(jobSegments-2)) * jobSegment; from >= jobSegment && from < resumes {
		from = resumes
	}
	data = []byte{}
	for at := from; at < o.size && int64(len(data)) < limit; at = from + int64(len(data)) {
		part := o.folder.read(o.segment(at/jobSegment), jobSegment)
		skip := at % jobSegment
		if int64(len(part)) <= skip {
			break
		}
		part = part[skip:]
		data = append(data, part[:min(int64(len(part)), limit-int64(len(data)))]...)
	}
	return from, data
}
