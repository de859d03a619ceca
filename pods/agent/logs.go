package agent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/pods/wire"
)

// Sources of log lines.
const (
	sourceApp     = "app"
	sourceAgent   = "agent"
	sourceInstall = "install"
)

const (
	segmentBytes = 1 << 20
	maxSegments  = 10      // 10 MiB a pod in all
	maxAnswer    = 4 << 20 // bytes of text in one answer; older lines go first
	rateBytes    = 4 << 20 // written a second; what a source writes beyond is dropped and counted
)

// logs is the store of lines: numbered segment files of "nanoseconds TAB
// source TAB stream TAB text LF". An app can reach these files, so reading
// takes any content and writing bears any failure.
type logs struct {
	dir string
	now func() time.Time

	mu        sync.Mutex
	file      *os.File
	number    int
	size      int
	second    int64 // the second that budget belongs to
	budget    int
	dropped   int64 // bytes since the last remark about it
	followers map[*follower]struct{}
}

// position is a place between two lines.
type position struct{ segment, size int }

func openLogs(dir string, now func() time.Time) (*logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &logs{dir: dir, now: now, followers: map[*follower]struct{}{}}
	if seg := l.segments(); len(seg) > 0 {
		l.number = seg[len(seg)-1]
	}
	return l, l.nextSegment()
}

func (l *logs) path(number int) string {
	return filepath.Join(l.dir, fmt.Sprintf("log.%09d", number))
}

// segments lists the numbers of the segments there are, oldest first.
func (l *logs) segments() []int {
	names, _ := filepath.Glob(filepath.Join(l.dir, "log.*"))
	var out []int
	for _, n := range names {
		if i, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(n), "log.")); err == nil && i > 0 {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// nextSegment begins a new file and deletes those beyond the limit. A start of
// the agent begins one too, so a line cut off by a kill stays alone.
func (l *logs) nextSegment() error {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL | os.O_APPEND | syscall.O_NOFOLLOW
	f, err := os.OpenFile(l.path(l.number+1), flags, 0o600)
	if err != nil {
		return err
	}
	l.file, l.size = f, 0
	l.number++
	for _, n := range l.prunable(l.segments()) {
		os.Remove(l.path(n))
	}
	return nil
}

// prunable picks what goes: the oldest beyond the limit of files, and of the
// rest the oldest beyond the limit of bytes.
func (l *logs) prunable(seg []int) []int {
	var total int64
	for i := len(seg) - 1; i >= 0; i-- {
		info, err := os.Lstat(l.path(seg[i]))
		if err == nil {
			total += info.Size()
		}
		if len(seg)-i > 4*maxSegments || total > (maxSegments-1)*segmentBytes {
			return seg[:i+1]
		}
	}
	return nil
}

func (l *logs) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// remark writes a line of the agent's own.
func (l *logs) remark(format string, args ...any) {
	l.add(sourceAgent, "stdout", fmt.Sprintf(format, args...))
}

// add writes lines of one stream with the present time. It never waits for
// anything but the disk.
func (l *logs) add(source, stream string, lines ...string) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	put := func(source, stream, text string) {
		text = strings.ReplaceAll(text, "\n", "\r")
		b = appendLine(b, now, source, stream, text)
		l.hand(now, source, stream, text)
	}
	if sec := now.Unix(); sec != l.second {
		if l.dropped > 0 {
			put(sourceAgent, "stdout", fmt.Sprintf("%d bytes of output were dropped: more than %d a second", l.dropped, rateBytes))
		}
		l.second, l.budget, l.dropped = sec, rateBytes, 0
	}
	for _, text := range lines {
		if source != sourceAgent && len(text) > l.budget {
			l.dropped += int64(len(text)) + 1
			continue
		}
		l.budget -= len(text) + 1
		put(source, stream, text)
	}
	l.write(b)
}

func (l *logs) write(b []byte) {
	if len(b) == 0 {
		return
	}
	if l.file == nil || l.size+len(b) > segmentBytes {
		if l.nextSegment() != nil {
			return
		}
	}
	n, _ := l.file.Write(b)
	l.size += n
	if n < len(b) {
		// A full disk: begin anew, so that the half line ends its file.
		l.file.Close()
		l.file = nil
	}
}

// appendLine writes a line whose text has no LF.
func appendLine(b []byte, t time.Time, source, stream, text string) []byte {
	b = strconv.AppendInt(b, t.UnixNano(), 10)
	b = append(b, '\t')
	b = append(b, source...)
	b = append(b, '\t')
	b = append(b, stream...)
	b = append(b, '\t')
	b = append(b, text...)
	return append(b, '\n')
}

// parseLine reads one line of a segment without its LF; false when it is
// damaged.
func parseLine(b []byte) (wire.LogLine, bool) {
	f := bytes.SplitN(b, []byte{'\t'}, 4)
	if len(f) != 4 || len(f[3]) > wire.MaxLineBytes {
		return wire.LogLine{}, false
	}
	nanos, err := strconv.ParseInt(string(f[0]), 10, 64)
	source, stream := string(f[1]), string(f[2])
	if err != nil || source != sourceApp && source != sourceAgent && source != sourceInstall || stream != "stdout" && stream != "stderr" {
		return wire.LogLine{}, false
	}
	return wire.LogLine{
		Time: time.Unix(0, nanos).UTC(), Source: source, Stream: stream,
		Text: strings.ToValidUTF8(string(f[3]), "\uFFFD"),
	}, true
}

// find returns the last lines that q asks for, oldest first. Lines are taken
// until q.Lines or maxAnswer bytes are reached.
func (l *logs) find(q logQuery) []wire.LogLine {
	l.mu.Lock()
	end := position{l.number, l.size}
	l.mu.Unlock()
	return l.findUntil(q, end)
}

// findUntil is find for the lines before end.
func (l *logs) findUntil(q logQuery, end position) []wire.LogLine {
	l.mu.Lock()
	seg := l.segments()
	l.mu.Unlock()
	found, left := []wire.LogLine{}, maxAnswer
	for _, n := range slices.Backward(seg) {
		if n > end.segment {
			continue
		}
		data := readSegment(l.path(n))
		if n == end.segment {
			data = data[:min(len(data), end.size)]
		}
		for len(data) > 0 && len(found) < q.Lines {
			i := bytes.LastIndexByte(data[:len(data)-1], '\n')
			raw := bytes.TrimSuffix(data[i+1:], []byte{'\n'})
			data = data[:i+1]
			line, ok := parseLine(raw)
			if !ok || !q.match(line) {
				continue
			}
			if left -= len(line.Text); left < 0 {
				slices.Reverse(found)
				return found
			}
			found = append(found, line)
		}
	}
	slices.Reverse(found)
	return found
}

func (q logQuery) match(l wire.LogLine) bool {
	return (q.Source == "" || q.Source == l.Source) &&
		(q.Since.IsZero() || !l.Time.Before(q.Since)) &&
		(q.Grep == "" || strings.Contains(l.Text, q.Grep))
}

// readSegment reads what one segment may hold at most, from a regular file
// only: the app could have put anything in its place.
func readSegment(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
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

// serveLogs is GET /v1/logs.
func (a *agent) serveLogs(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogs(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if q.Follow {
		return a.followLogs(w, r, q)
	}
	writeJSON(w, http.StatusOK, a.logs.find(q))
	return nil
}
