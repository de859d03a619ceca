package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"podgate/pods/wire"
)

// Sources of log lines.
const (
	sourceApp     = "app"
	sourceAgent   = "agent"
	sourceInstall = "install"
	sourceWorker  = "worker"
	sourceCron    = "cron"
)

var sources = []string{sourceApp, sourceAgent, sourceInstall, sourceWorker, sourceCron}

const (
	maxAnswer = 4 << 20 // bytes of text in one answer; older lines go first
	rateBytes = 4 << 20 // written a second; what a source writes beyond is dropped and counted
)

// logs is the store of lines. Each source has segments of its own, so that one
// that floods pushes out nobody's lines but its own.
type logs struct {
	root *os.Root
	now  func() time.Time

	mu        sync.Mutex
	last      time.Time // of the newest line
	series    map[string]*series
	followers map[*follower]struct{}
}

func openLogs(dir string, now func() time.Time) (*logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &logs{root: root, now: now, series: map[string]*series{}, followers: map[*follower]struct{}{}}
	for name, numbers := range listSegments(root) {
		l.series[name] = &series{root: root, name: name, number: numbers[len(numbers)-1], size: segmentBytes}
	}
	if err := l.of(sourceApp).next(); err != nil {
		root.Close()
		return nil, err
	}
	return l, nil
}

// of returns the segments of a source, or of a part of one. Those of the app have the
// name that all lines once shared.
func (l *logs) of(part string) *series {
	name := part
	if part == sourceApp {
		name = appSeries
	}
	s := l.series[name]
	if s == nil {
		s = &series{root: l.root, name: name}
		l.series[name] = s
	}
	return s
}

func (l *logs) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.series {
		s.close()
	}
	l.root.Close()
}

// remark writes a line of the agent's own.
func (l *logs) remark(format string, args ...any) {
	l.add(sourceAgent, "stdout", fmt.Sprintf(format, args...))
}

// add writes lines of one stream with the present time. It never waits for
// anything but the disk.
func (l *logs) add(source, stream string, lines ...string) { l.addTo(source, source, stream, lines...) }

// addTo is add for a source of which there are several: each has a part of its own.
func (l *logs) addTo(part, source, stream string, lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.of(part)
	var b []byte
	put := func(source, stream, text string) {
		text = strings.ReplaceAll(text, "\n", "\r")
		now := l.tick()
		b = appendLine(b, now, source, stream, text)
		l.hand(now, source, stream, text)
	}
	if dropped := to.account(l.now()); dropped > 0 {
		put(sourceAgent, "stdout", fmt.Sprintf("%d bytes of output were dropped: more than %d a second", dropped, rateBytes))
	}
	for _, text := range lines {
		if source != sourceAgent && !to.afford(text) {
			continue
		}
		put(source, stream, text)
	}
	to.write(b)
}

// tick is the present time, and no two are the same: lines of different sources
// are put in order by it, and who reads on from a line names it by its time.
func (l *logs) tick() time.Time {
	now := l.now()
	if behind := l.last.Sub(now); behind >= 0 && behind < time.Millisecond {
		now = l.last.Add(1)
	}
	l.last = now
	return now
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
	if err != nil || !slices.Contains(sources, source) || stream != "stdout" && stream != "stderr" {
		return wire.LogLine{}, false
	}
	return wire.LogLine{
		Time: time.Unix(0, nanos).UTC(), Source: source, Stream: stream,
		Text: strings.ToValidUTF8(string(f[3]), "\uFFFD"),
	}, true
}

// find returns the last lines that q asks for, oldest first. Lines are taken
// until q.Lines or maxAnswer bytes are reached.
func (l *logs) find(q logQuery) []wire.LogLine { return findLines(l.root, q, l.end()) }

// end is the place behind the newest line.
func (l *logs) end() positions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endLocked()
}

func (l *logs) endLocked() positions {
	end := positions{}
	for name, s := range l.series {
		end[name] = position{s.number, s.size}
	}
	return end
}

// StoredLogs answers what PathLogs would, without following, from the folder in
// which an agent kept its lines, while none need be running. Whatever lies in the
// folder, nothing outside is read. raw is the query of the request; a bad one is a
// *wire.Fault.
func StoredLogs(dir, raw string) ([]wire.LogLine, error) {
	q, err := parseLogs(raw)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return findLines(root, q, nil), nil
}

// findLines is find for the lines before end, or all when it is nil.
func findLines(root *os.Root, q logQuery, end positions) []wire.LogLine {
	var newest [][]wire.LogLine
	for name, numbers := range listSegments(root) {
		until, ok := end[name]
		if end == nil {
			until = position{numbers[len(numbers)-1], segmentBytes}
		} else if !ok {
			continue // begun since
		}
		newest = append(newest, newestLines(root, name, numbers, q, until))
	}
	return merge(newest, q.Lines)
}

// merge puts lines that are each newest first into one order, oldest first, and
// leaves out the oldest of those that are too many.
func merge(newest [][]wire.LogLine, most int) []wire.LogLine {
	found, left := []wire.LogLine{}, maxAnswer
	for len(found) < most {
		best := -1
		for i, lines := range newest {
			if len(lines) > 0 && (best < 0 || lines[0].Time.After(newest[best][0].Time)) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		line := newest[best][0]
		newest[best] = newest[best][1:]
		if left -= len(line.Text); left < 0 {
			break
		}
		found = append(found, line)
	}
	slices.Reverse(found)
	return found
}

func (q logQuery) match(l wire.LogLine) bool {
	return (q.Source == "" || q.Source == l.Source) &&
		(q.Stream == "" || q.Stream == l.Stream) &&
		(q.Since.IsZero() || !l.Time.Before(q.Since)) &&
		(q.Before.IsZero() || l.Time.Before(q.Before)) &&
		(q.Grep == "" || strings.Contains(l.Text, q.Grep))
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
