package podpages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/ui/page"
)

// Bounds of the log's pages.
const (
	logRows     = 200
	maxSearch   = 200      // bytes
	maxDownload = 16 << 20 // bytes of log in one download
	maxLogSaves = 4        // downloads at a time; each waits in memory
	saveTime    = 5 * time.Minute
	networkPace = 2 * time.Second
)

func (s *Pages) logRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/logs", s.onPod(s.serveLogs)),
		s.Get("/pod/:name/logs/events", s.onPod(s.serveLogEvents)),
		s.Get("/pod/:name/logs/download", s.onPod(s.serveLogDownload)),
	}
}

// logKind is a part of the log that can be shown alone.
type logKind struct {
	Word, Name     string
	source, stream string
}

var logKinds = []logKind{
	{"", "Everything", "", ""},
	{"app", "App", "app", ""},
	{"errors", "App, errors only", "app", "stderr"},
	{"worker", "Workers", "worker", ""},
	{"cron", "Timed commands", "cron", ""},
	{"install", "Install", "install", ""},
	{"agent", "podgate", "agent", ""},
	{"network", "Refused connections", sourceNetwork, ""},
}

// sourceNetwork is the source of lines about what a pod was refused.
const sourceNetwork = "network"

// logsPage is the content of logs.html.
type logsPage struct {
	Head     podHead
	Kinds    []logKind
	Show     string
	Search   string
	Lines    []logLine
	Fault    string // why there are none
	Older    string // addresses; empty: there is nothing
	Newer    string
	Download string
	Events   string // empty: nothing is followed here
}

// logLine is a line as the page and its script show it.
type logLine struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"` // empty: the app
	Bad    bool      `json:"bad,omitempty"`
	Spans  []span    `json:"spans"`
	Cut    int       `json:"cut,omitempty"` // characters that are not shown
	Day    bool      `json:"-"`             // another than that of the line before
}

// logChoice reads which lines are wanted. What there is no such part of is all.
func logChoice(q url.Values) (logKind, pods.LogQuery) {
	kind := logKinds[0]
	for _, k := range logKinds {
		if k.Word == q.Get("show") {
			kind = k
		}
	}
	search := strings.ToValidUTF8(strings.ReplaceAll(text.Cut(q.Get("q"), maxSearch), "\x00", ""), "")
	return kind, pods.LogQuery{Source: kind.source, Stream: kind.stream, Grep: search}
}

// logAddress is an address below the log with the same choice.
func logAddress(o opened, below string, kind logKind, search string, more ...string) string {
	q := url.Values{}
	for name, value := range map[string]string{"show": kind.Word, "q": search} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	address := "/pod/" + o.Name + "/logs" + below
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	return address
}

// serveLogs is GET /pod/:name/logs: the newest lines, or those before a time.
// Query: show, q, before.
func (s *Pages) serveLogs(w http.ResponseWriter, r *http.Request, o opened) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	kind, query := logChoice(r.URL.Query())
	view := logsPage{
		Head: s.head(o, pod, "Logs"), Kinds: logKinds, Show: kind.Word, Search: query.Grep,
		Download: logAddress(o, "/download", kind, query.Grep),
	}
	query.Lines = logRows + 1
	if before := r.URL.Query().Get("before"); before != "" {
		if query.Before, err = time.Parse(time.RFC3339, before); err != nil {
			return web.Fault(http.StatusBadRequest, "invalid_request", "There is no such page of this log. Begin at its newest lines.", err)
		}
		view.Newer = logAddress(o, "", kind, query.Grep)
	}
	lines, err := s.pods.Logs(r.Context(), o.Actor, o.Name, query)
	switch {
	case errors.Is(err, pods.ErrNotFound), err != nil && !pods.IsPublic(err):
		return s.podError(err)
	case err != nil:
		view.Fault = sentence(err)
	}
	if len(lines) > logRows {
		lines = lines[1:]
		view.Older = logAddress(o, "", kind, query.Grep, "before", lines[0].Time.Format(time.RFC3339Nano))
	}
	view.Lines = showLines(lines)
	if view.Newer == "" {
		after := s.Now()
		if len(lines) > 0 {
			after = lines[len(lines)-1].Time
		}
		view.Events = logAddress(o, "/events", kind, query.Grep, "after", after.UTC().Format(time.RFC3339Nano))
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "logs", page.Frame{
		Title: "Logs · " + o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"logs.js"},
	})
}

func showLines(lines []wire.LogLine) []logLine {
	shown := make([]logLine, len(lines))
	for i, l := range lines {
		shown[i] = showLine(l)
		shown[i].Day = i == 0 || !sameDay(lines[i-1].Time, l.Time)
	}
	return shown
}

func showLine(l wire.LogLine) logLine {
	v := logLine{At: l.Time.UTC(), Source: l.Source, Bad: l.Stream != "stdout"}
	if l.Source == "app" {
		v.Source = ""
	}
	v.Spans, v.Cut = spansOf(l.Text)
	return v
}

func sameDay(a, b time.Time) bool {
	return a.UTC().Format(time.DateOnly) == b.UTC().Format(time.DateOnly)
}

// logNews is what an event of the log's stream says.
type logNews struct {
	Lines []logLine `json:"lines"`
	Lost  int64     `json:"lost,omitempty"` // lines that came too fast for this reader
}

// serveLogEvents is GET /pod/:name/logs/events: the lines after a time, as they
// come. Query: show, q, after, in whose place Last-Event-ID counts.
func (s *Pages) serveLogEvents(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.ReadLogs) {
		return noPod(nil)
	}
	kind, query := logChoice(r.URL.Query())
	query.Since = s.Now()
	for _, from := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")} {
		if t, err := time.Parse(time.RFC3339, from); err == nil {
			query.Since = t.Add(1) // nanosecond: no two lines have the same time
			break
		}
	}
	out, end, err := s.openStream(w, r, o.Person)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(out.ctx, pods.MaxFollow)
	defer cancel()
	query.Lines = pods.MaxLogLines
	if kind.source == sourceNetwork {
		s.followRefusals(ctx, r, out, o, query)
		return nil
	}
	if kind.Word == "" {
		beside := query
		beside.Source = sourceNetwork
		done := make(chan struct{})
		go func() { defer close(done); s.followRefusals(ctx, r, out, o, beside) }()
		defer func() { cancel(); <-done }()
	}
	err = s.pods.FollowLogs(ctx, o.Actor, o.Name, query, func(lines []wire.LogLine, lost int64) error {
		id := ""
		if len(lines) > 0 {
			id = lines[len(lines)-1].Time.Format(time.RFC3339Nano)
		}
		return out.send("lines", id, logNews{showLines(lines), lost})
	})
	if err != nil && ctx.Err() == nil {
		_ = out.send("pause", "", followEnds(err)) // the browser comes back by itself, and where it may not it says so
	}
	return nil
}

// followEnds says why lines come no more.
func followEnds(err error) string {
	switch {
	case errors.Is(err, pods.ErrNotRunning):
		return "The pod does not run. New lines appear here once it does."
	case errors.Is(err, pods.ErrInterrupted):
		return "The pod has ended. New lines appear here once it runs again."
	case errors.Is(err, pods.ErrBusy):
		return "Too many follow this log already. Close another page that shows it."
	case errors.Is(err, pods.ErrNotFound):
		return "This pod is not there for you any more."
	}
	return "The log cannot be followed at the moment."
}

// followRefusals sends what the pod was refused, which the server knows and the pod
// does not.
func (s *Pages) followRefusals(ctx context.Context, r *http.Request, out *stream, o opened, query pods.LogQuery) {
	tick := time.NewTicker(networkPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, _, err := s.podOf(r, o.Person); err != nil {
			return
		}
		lines, err := s.pods.Logs(ctx, o.Actor, o.Name, query)
		if err != nil {
			return
		}
		if len(lines) == 0 {
			continue
		}
		query.Since = lines[len(lines)-1].Time.Add(1)
		if out.send("lines", "", logNews{Lines: showLines(lines)}) != nil {
			return
		}
	}
}

// serveLogDownload is GET /pod/:name/logs/download: the log as far as it is kept and
// maxDownload lets it be, as text without what steers a terminal. Query: show, q.
func (s *Pages) serveLogDownload(w http.ResponseWriter, r *http.Request, o opened) error {
	leave, ok := s.logSaves.enter(o.User.ID)
	if !ok {
		return web.Fault(http.StatusTooManyRequests, "busy", "Others download logs at the moment, or you do already. Try again shortly.", nil)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), saveTime)
	defer cancel()
	_, query := logChoice(r.URL.Query())
	parts, cut, err := s.wholeLog(ctx, o, query)
	if err != nil {
		return s.podError(err)
	}
	saveHeaders(w, o.Name+"-log.txt", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	if cut {
		_, _ = io.WriteString(w, "(older lines are left out)\n")
	}
	for _, lines := range parts {
		if ctx.Err() != nil {
			panic(http.ErrAbortHandler) // so that nobody takes the part for the whole
		}
		for _, l := range lines {
			if _, err := fmt.Fprintf(w, "%s %s %s %s\n", l.Time.UTC().Format("2006-01-02T15:04:05.000Z"), l.Source, l.Stream, plainLine(l.Text)); err != nil {
				return nil // whoever asked is gone
			}
		}
	}
	return nil
}

// wholeLog reads backwards until there is no more, or enough.
func (s *Pages) wholeLog(ctx context.Context, o opened, query pods.LogQuery) (parts [][]wire.LogLine, cut bool, err error) {
	query.Lines = pods.MaxLogLines
	size := 0
	for {
		lines, err := s.pods.Logs(ctx, o.Actor, o.Name, query)
		if err != nil || len(lines) == 0 {
			slices.Reverse(parts)
			return parts, false, err
		}
		parts = append(parts, lines)
		for _, l := range lines {
			size += len(l.Text) + 60
		}
		if size > maxDownload {
			slices.Reverse(parts)
			return parts, true, nil
		}
		query.Before = lines[0].Time
	}
}

// plainLine is a line without what steers a terminal.
func plainLine(line string) string {
	var b strings.Builder
	for line != "" {
		spans, cut := spansOf(line)
		for _, s := range spans {
			b.WriteString(s.Text)
		}
		_, line = splitEnd(line, cut)
	}
	return b.String()
}

// splitEnd parts a line before its last n characters.
func splitEnd(line string, n int) (start, end string) {
	end, _ = text.End(line, n)
	return line[:len(line)-len(end)], end
}

// saveHeaders has the browser save what follows, whatever it is.
func saveHeaders(w http.ResponseWriter, name, contentType string) {
	page.SetHeaders(w, page.Plain)
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", attachment(name))
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// attachment is a Content-Disposition with a name of any characters (RFC 6266, RFC
// 8187), of which nothing can get out of the header or be a path.
func attachment(name string) string {
	name = strings.Map(func(c rune) rune {
		if c == '/' || c == '\\' {
			return '_'
		}
		return c
	}, text.Line(name, 150))
	if strings.Trim(name, ". ") == "" {
		name = "file"
	}
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`"%;\`, c) {
			return '_'
		}
		return c
	}, name)
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}
