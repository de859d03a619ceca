package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
)

func testLogs(t *testing.T) (*logs, *time.Time) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l, err := openLogs(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, &now
}

// path is where the app's segment of that number is.
func (l *logs) path(number int) string {
	return filepath.Join(l.root.Name(), segmentName(appSeries, number))
}

func texts(lines []wire.LogLine) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return strings.Join(out, "|")
}

func TestLogsFind(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	begin := *now
	l.add(sourceApp, "stdout", "one", "two")
	*now = begin.Add(time.Minute)
	l.add(sourceApp, "stderr", "three\tthree")
	l.add(sourceInstall, "stdout", "four")
	*now = begin.Add(2 * time.Minute)
	l.remark("five")
	for _, c := range []struct {
		q    logQuery
		want string
	}{
		{logQuery{Lines: 100}, "one|two|three\tthree|four|five"},
		{logQuery{Lines: 2}, "four|five"},
		{logQuery{Lines: 2, Source: sourceApp}, "two|three\tthree"},
		{logQuery{Lines: 9, Since: begin.Add(time.Minute)}, "three\tthree|four|five"},
		{logQuery{Lines: 9, Before: begin.Add(time.Minute)}, "one|two"},
		{logQuery{Lines: 9, Before: begin.Add(1)}, "one"}, // lines that came at once, too, are told apart
		{logQuery{Lines: 9, Stream: "stderr"}, "three\tthree"},
		{logQuery{Lines: 9, Grep: "hree\tt"}, "three\tthree"},
		{logQuery{Lines: 9, Grep: "o"}, "one|two|four"},
		{logQuery{Lines: 1, Grep: "o"}, "four"},
		{logQuery{Lines: 9, Source: sourceAgent}, "five"},
		{logQuery{Lines: 9, Grep: ".*"}, ""},
	} {
		if got := texts(l.find(c.q)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	got := l.find(logQuery{Lines: 1, Grep: "three"})[0]
	if want := (wire.LogLine{Time: begin.Add(time.Minute), Source: sourceApp, Stream: "stderr", Text: "three\tthree"}); got != want {
		t.Errorf("%+v", got)
	}
}

// Logs stay through restarts, and stay within their bound.
func TestLogsRotate(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	line := strings.Repeat("x", 1000)
	const n = 15000
	for i := range n {
		*now = now.Add(10 * time.Millisecond)
		l.add(sourceApp, "stdout", fmt.Sprint(i, line))
	}
	l.Close()
	var size int64
	files, _ := filepath.Glob(filepath.Join(l.root.Name(), "*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > maxSegments*segmentBytes || size < 8*segmentBytes {
		t.Errorf("%d bytes in %d files", size, len(files))
	}
	again, err := openLogs(l.root.Name(), l.now)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.add(sourceApp, "stdout", "after the restart")
	if got := again.find(logQuery{Lines: 2}); len(got) != 2 || !strings.HasPrefix(got[0].Text, fmt.Sprint(n-1)) || got[1].Text != "after the restart" {
		t.Errorf("%.100q", texts(got))
	}
	if got := again.find(logQuery{Lines: wire.MaxLines}); len(got) != wire.MaxLines {
		t.Errorf("%d lines", len(got))
	}
}

// Many short lives of the agent must not add up to ever more files.
func TestLogsOfManyStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 100 {
		l, err := openLogs(dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		l.remark("start %d", i)
		l.Close()
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) > 4*(maxSegments+maxOtherSegments)+2 { // of the app and of the agent
		t.Errorf("%d files", len(files))
	}
}

func TestLogsDamaged(t *testing.T) {
	t.Parallel()
	l, _ := testLogs(t)
	l.add(sourceApp, "stdout", "good")
	l.Close()
	junk := "\x00\x00garbage\n1\tapp\n99\tapp\tstdout\tx\xffy\nabc\tapp\tstdout\tbad time\n5\tevil\tstdout\tx\n\n123456\tapp\tstd"
	if err := os.WriteFile(l.path(l.series[appSeries].number+1), []byte(junk), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(l.path(l.series[appSeries].number+2), 0o700)
	os.Symlink("/etc/passwd", l.path(l.series[appSeries].number+3))
	again, err := openLogs(l.root.Name(), l.now)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.add(sourceApp, "stdout", "new")
	if got := texts(again.find(logQuery{Lines: 100})); got != "good|x\uFFFDy|new" {
		t.Errorf("%q", got)
	}
}

// The app may delete what it likes; the log goes on.
func TestLogsSurviveTheApp(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	l.add(sourceApp, "stdout", "lost")
	os.RemoveAll(l.root.Name())
	l.find(logQuery{Lines: 10})
	big := strings.Repeat("y", 1<<19)
	for range 4 {
		*now = now.Add(time.Second)
		l.add(sourceApp, "stdout", big)
	}
	if got := len(l.find(logQuery{Lines: 10})); got != 0 {
		t.Errorf("%d lines without a folder", got)
	}
}

func TestLogsRate(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	line := strings.Repeat("z", 8000)
	for range 2000 {
		l.add(sourceApp, "stdout", line)
	}
	l.remark("important")
	*now = now.Add(time.Second)
	l.add(sourceApp, "stdout", "calm again")
	got := texts(l.find(logQuery{Lines: 3}))
	if !strings.HasPrefix(got, "important|") || !strings.Contains(got, "bytes of output were dropped") || !strings.HasSuffix(got, "|calm again") {
		t.Errorf("%.200q", got)
	}
}

// A flood of the app pushes out and drops its own lines only.
func TestLogsFlood(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	l.remark("started")
	l.add(sourceInstall, "stdout", "installed")
	flood := strings.Repeat("x", 8000)
	for range 30 {
		*now = now.Add(time.Second)
		for range 600 {
			l.add(sourceApp, "stdout", flood)
		}
		l.add(sourceInstall, "stderr", "in between")
	}
	if got := texts(l.find(logQuery{Lines: 2, Source: sourceAgent})); !strings.HasPrefix(got, "started|") && !strings.Contains(got, "were dropped") {
		t.Errorf("agent: %.200q", got)
	}
	if got := l.find(logQuery{Lines: 100, Source: sourceInstall}); len(got) != 31 || got[0].Text != "installed" {
		t.Errorf("install: %.200q", texts(got))
	}
	if got := l.find(logQuery{Lines: 100, Grep: "started"}); len(got) != 1 {
		t.Errorf("the line of the agent: %q", texts(got))
	}
	got := l.find(logQuery{Lines: 2})
	if len(got) != 2 || got[0].Source != sourceApp || got[1].Text != "in between" {
		t.Errorf("the newest: %.200q", texts(got))
	}
}

// Of workers and cron lines each has a part and a budget of its own, whatever they are
// called, and all of them together are bounded.
func TestLogsOfWorkers(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	quiet, loud := slotPart(sourceWorker, 0), slotPart(sourceWorker, 1)
	l.addTo(quiet, sourceWorker, "stdout", "mail: once")
	flood := strings.Repeat("x", 8000)
	for range 10 {
		*now = now.Add(time.Second)
		for range 600 {
			l.addTo(loud, sourceWorker, "stdout", flood)
		}
		l.addTo(quiet, sourceWorker, "stderr", "mail: in between")
	}
	if got := l.find(logQuery{Lines: 100, Source: sourceWorker, Grep: "mail: "}); len(got) != 11 || got[0].Text != "mail: once" {
		t.Errorf("%d lines: %.200q", len(got), texts(got))
	}
	var size int64
	for _, n := range listSegments(l.root)[loud] {
		info, err := l.root.Stat(segmentName(loud, n))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size == 0 || size > maxSlotSegments*segmentBytes {
		t.Errorf("the loud one has %d bytes", size)
	}
}

// What is stored is read without an agent, also when it ended in mid-line, and
// nothing outside the folder is.
func TestStoredLogs(t *testing.T) {
	t.Parallel()
	l, now := testLogs(t)
	dir := l.root.Name()
	for _, source := range []string{sourceApp, sourceInstall, sourceAgent, sourceApp} {
		*now = now.Add(time.Second)
		l.add(source, "stdout", "of "+source)
	}
	l.Close()
	outside := filepath.Join(t.TempDir(), "secret")
	line := appendLine(nil, *now, sourceApp, "stdout", "secret")
	err := errors.Join(os.WriteFile(outside, line, 0o600), os.Symlink(outside, filepath.Join(dir, "log.000000007")),
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "evil.000000001")), syscall.Mkfifo(filepath.Join(dir, "log.000000008"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"":                       "of app|of install|of agent|of app",
		"lines=2":                "of agent|of app",
		"source=install&lines=5": "of install",
	} {
		if got, err := StoredLogs(dir, raw); err != nil || texts(got) != want {
			t.Errorf("%q: %q, %v", raw, texts(got), err)
		}
	}
	if got, err := StoredLogs(filepath.Join(dir, "none"), ""); err != nil || len(got) != 0 {
		t.Errorf("no folder: %v, %v", got, err)
	}
	var f *wire.Fault
	if _, err := StoredLogs(dir, "lines=0"); !errors.As(err, &f) {
		t.Errorf("a bad query: %v", err)
	}
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	var s splitter
	var got []string
	for _, b := range []string{"a\nb", "c\r\n\n", "d", "", "e"} {
		got = append(got, s.feed([]byte(b))...)
	}
	got = append(got, s.flush()...)
	if strings.Join(got, "|") != "a|bc||de" {
		t.Errorf("%q", got)
	}
	if s.flush() != nil {
		t.Error("a second flush has something")
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nb\r\n"), 3)
	f.Add([]byte(strings.Repeat("é", wire.MaxLineBytes)), 1000)
	f.Add([]byte(strings.Repeat("\xbf", 3*wire.MaxLineBytes)+"\n"), 7)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		var s splitter
		var lines []string
		step = max(1, step)
		for rest := b; len(rest) > 0; {
			n := min(step, len(rest))
			lines = append(lines, s.feed(rest[:n])...)
			rest = rest[n:]
		}
		lines = append(lines, s.flush()...)
		for _, l := range lines {
			if len(l) > wire.MaxLineBytes || strings.Contains(l, "\n") {
				t.Errorf("a line of %d bytes", len(l))
			}
			if utf8.Valid(b) && !utf8.ValidString(l) {
				t.Errorf("a character was cut in %q", l)
			}
		}
		all := func(s string) string { return strings.NewReplacer("\n", "", "\r", "").Replace(s) }
		if got, want := all(strings.Join(lines, "")), all(string(b)); got != want {
			t.Errorf("got %q of %q", got, want)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("1772366400000000000\tapp\tstdout\thello"))
	f.Add([]byte("\t\t\t"))
	f.Add([]byte("-1\tagent\tstderr\t\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, ok := parseLine(b)
		if !ok {
			return
		}
		written := appendLine(nil, l.Time, l.Source, l.Stream, l.Text)
		again, ok := parseLine(written[:len(written)-1])
		if len(l.Text) <= wire.MaxLineBytes && !strings.Contains(l.Text, "\n") && (!ok || again != l) {
			t.Errorf("%+v became %+v", l, again)
		}
	})
}

func TestLogsRequest(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if got := ask[[]wire.LogLine](a, "GET", wire.PathLogs, nil); got == nil || len(got) != 0 {
		t.Errorf("fresh logs: %v", got)
	}
	for _, q := range []string{"lines=0", "lines=1001", "lines=x", "since=yesterday", "source=kernel", "grep=" + strings.Repeat("x", 1001), "x=1", "lines=1&lines=2"} {
		a.refused(wire.FaultBadRequest, "GET", wire.PathLogs+"?"+q, nil)
	}
}
