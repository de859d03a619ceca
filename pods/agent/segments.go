package agent

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"podgate/pods/wire"
)

const (
	segmentBytes     = 1 << 20
	maxSegments      = 10 // of the app: 10 MiB
	maxOtherSegments = 4  // of each other source
	maxSlotSegments  = 3  // of each worker and cron line, of which there are eight at most
	appSeries        = "log"
	maxSeriesName    = 64
)

// series is the lines of one source: numbered files NAME.NUMBER of "nanoseconds
// TAB source TAB stream TAB text LF". Where an app can reach these files, they may
// hold anything: reading takes any content and writing bears any failure.
type series struct {
	root   *os.Root
	name   string
	file   *os.File // nil before the first line, and after a failure
	number int      // of the newest segment
	size   int

	second  int64 // the second that budget belongs to
	budget  int
	dropped int64 // bytes in that second
}

// position is a place between two lines of a series, positions one in each.
type (
	position  struct{ segment, size int }
	positions map[string]position
)

func segmentName(name string, number int) string { return fmt.Sprintf("%s.%09d", name, number) }

// listSegments finds the numbers of the segments there are, oldest first, by the
// name of their series.
func listSegments(root *os.Root) map[string][]int {
	entries, _ := fs.ReadDir(root.FS(), ".") // what cannot be read is not there
	found := map[string][]int{}
	for _, e := range entries {
		name, digits, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.Atoi(digits); err == nil && n > 0 && name != "" && len(name) <= maxSeriesName {
			found[name] = append(found[name], n)
		}
	}
	for _, numbers := range found {
		slices.Sort(numbers)
	}
	return found
}

// slotPart names the segments of one of several of a source. It goes by the place, not
// the name: names change from deploy to deploy, and nobody would take away the
// segments of those that are gone.
func slotPart(source string, slot int) string { return source + "-" + strconv.Itoa(slot+1) }

// most is how many segments the series keeps.
func (s *series) most() int {
	switch {
	case s.name == appSeries:
		return maxSegments
	case strings.Contains(s.name, "-"):
		return maxSlotSegments
	}
	return maxOtherSegments
}

// next begins a new file and deletes those beyond the limit. A start of the
// agent begins one too, so a line cut off by a kill stays alone.
func (s *series) next() error {
	s.close()
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL | os.O_APPEND | syscall.O_NOFOLLOW
	f, err := s.root.OpenFile(segmentName(s.name, s.number+1), flags, 0o600)
	if err != nil {
		return err
	}
	s.file, s.size = f, 0
	s.number++
	for _, n := range s.prunable(listSegments(s.root)[s.name]) {
		s.root.Remove(segmentName(s.name, n))
	}
	return nil
}

// prunable picks what goes: the oldest beyond the limit of files, and of the
// rest the oldest beyond the limit of bytes.
func (s *series) prunable(numbers []int) []int {
	var total int64
	for i := len(numbers) - 1; i >= 0; i-- {
		info, err := s.root.Lstat(segmentName(s.name, numbers[i]))
		if err == nil {
			total += info.Size()
		}
		if len(numbers)-i > 4*s.most() || total > int64(s.most()-1)*segmentBytes {
			return numbers[:i+1]
		}
	}
	return nil
}

func (s *series) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// account begins a new second's budget when now is in one, and returns what was
// dropped in the last.
func (s *series) account(now time.Time) (dropped int64) {
	if sec := now.Unix(); sec != s.second {
		dropped = s.dropped
		s.second, s.budget, s.dropped = sec, rateBytes, 0
	}
	return dropped
}

// afford takes text from the budget, or counts it as dropped.
func (s *series) afford(text string) bool {
	if len(text) > s.budget {
		s.dropped += int64(len(text)) + 1
		return false
	}
	s.budget -= len(text) + 1
	return true
}

func (s *series) write(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.file == nil || s.size+len(b) > segmentBytes {
		if s.next() != nil {
			return
		}
	}
	n, _ := s.file.Write(b)
	s.size += n
	if n < len(b) {
		s.close() // a full disk: begin anew, so that the half line ends its file
	}
}

// newestLines is the lines of a series before until that match, newest first: at
// most q.Lines and somewhat more than maxAnswer bytes.
func newestLines(root *os.Root, name string, numbers []int, q logQuery, until position) (found []wire.LogLine) {
	size := 0
	for _, n := range slices.Backward(numbers) {
		if n > until.segment {
			continue
		}
		data := readSegment(root, segmentName(name, n))
		if n == until.segment {
			data = data[:min(len(data), until.size)]
		}
		for len(data) > 0 && len(found) < q.Lines && size <= maxAnswer {
			i := bytes.LastIndexByte(data[:len(data)-1], '\n')
			raw := bytes.TrimSuffix(data[i+1:], []byte{'\n'})
			data = data[:i+1]
			if line, ok := parseLine(raw); ok && q.match(line) {
				found = append(found, line)
				size += len(line.Text)
			}
		}
	}
	return found
}

// readSegment reads what one segment may hold at most, from a regular file
// only: an app could have put anything in its place.
func readSegment(root *os.Root, name string) []byte {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(f, segmentBytes))
	return b
}
