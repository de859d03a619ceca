package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"regexp/syntax"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
)

// Bounds of one search beside those of a walk.
const (
	maxSearched   = 128 << 20 // bytes that are read
	maxSearchFile = 16 << 20  // bytes of a file; larger ones are left out
	maxSearchLine = 1 << 20   // bytes of a line; what comes after is left out
	maxRegexSize  = 2000      // instructions, about: the time of a match grows with them
	sniff         = 8000      // bytes at the start that tell text from the rest
	matchText     = 300       // bytes that are shown of a line
	matchLead     = 80        // of them before the match
)

// serveDir is GET /v1/dir.
func (a *agent) serveDir(w http.ResponseWriter, r *http.Request) error {
	q, err := parseDir(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := a.folders.dir(q.Path)
	if err != nil {
		return err
	}
	asked, _ := cleanPath(q.Path)
	l := wire.Listing{Path: asked, Entries: []wire.FileInfo{}}
	room := maxWalkText
	walk := q.walk(r.Context())
	walk.visit = func(e walked) error {
		info := fileInfo(e.info)
		if info.Name = e.rel; info.Type == "symlink" {
			info.Target, _ = e.root.Readlink(e.base)
		}
		room -= len(info.Name) + len(info.Target)
		if len(l.Entries) == q.Limit || room < 0 && len(l.Entries) > 0 {
			return errCut
		}
		l.Entries = append(l.Entries, info)
		return nil
	}
	if l.Walk, err = a.walkFrom(s, walk, q.Cursor); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, l)
	return nil
}

// serveSearch is GET /v1/search.
func (a *agent) serveSearch(w http.ResponseWriter, r *http.Request) error {
	q, err := parseSearch(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := a.folders.dir(q.Path)
	if err != nil {
		return err
	}
	asked, _ := cleanPath(q.Path)
	walk := q.walk(r.Context())
	search := &search{walk: walk, pattern: q.Pattern, limit: q.Limit, room: maxWalkText, out: wire.Found{Path: asked, Matches: []wire.Match{}}}
	walk.visit = search.visit
	if search.out.Walk, err = a.walkFrom(s, walk, q.Cursor); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, search.out)
	return nil
}

// walk begins the walk of a query.
func (q dirQuery) walk(ctx context.Context) *walk {
	return &walk{ctx: ctx, deep: q.Recursive, glob: q.Glob, asked: q.Path + "/" + q.Named}
}

// search looks for a pattern in the files of a walk.
type search struct {
	*walk
	pattern *regexp.Regexp
	limit   int
	room    int   // bytes of what is told
	read    int64 // bytes
	line    []byte
	out     wire.Found
}

func (s *search) visit(e walked) error {
	switch {
	case !e.info.Mode().IsRegular():
		return nil
	case e.info.Size() > maxSearchFile:
		s.skip(e.rel)
		return nil
	case s.read > 0 && s.read+e.info.Size() > maxSearched:
		return errCut
	}
	f, err := e.root.OpenFile(e.base, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		s.skip(e.rel)
		return nil
	}
	defer f.Close()
	// Exchanged meanwhile, or by a link that took its place.
	if info, err := f.Stat(); err != nil || !os.SameFile(e.info, info) || !info.Mode().IsRegular() {
		return nil
	}
	return s.file(e, bufio.NewReaderSize(io.LimitReader(f, maxSearchFile), 64<<10))
}

// file looks through one file.
func (s *search) file(e walked, r *bufio.Reader) error {
	if start, _ := r.Peek(sniff); bytes.IndexByte(start, 0) >= 0 {
		s.out.Binary++
		return nil
	}
	s.out.Files++
	for n := 1; ; n++ {
		line, size, err := s.readLine(r)
		s.read += int64(size)
		if size == 0 && err != nil {
			return nil // the end, or what cannot be read
		}
		if n <= e.line {
			continue
		}
		if at := s.pattern.FindIndex(line); at != nil {
			if err := s.found(e, n, line, at[0]); err != nil {
				return err
			}
		}
		if (n%1000 == 0 || size > r.Size()) && (s.ctx.Err() != nil || time.Now().After(s.until)) {
			s.walk.last, s.walk.line = e.rel, n
			return errCut
		}
	}
}

// found tells of a line with a match at a place in it. When there is no more room,
// the search goes on after the one before.
func (s *search) found(e walked, n int, line []byte, at int) error {
	m := wire.Match{Path: e.rel, Line: n, Text: around(line, at)}
	s.room -= len(m.Path) + len(m.Text)
	if len(s.out.Matches) == s.limit || s.room < 0 && len(s.out.Matches) > 0 {
		return errCut
	}
	s.out.Matches = append(s.out.Matches, m)
	s.walk.last, s.walk.line = e.rel, n
	return nil
}

// readLine reads a line without its end and returns how many bytes it had, of
// which at most maxSearchLine are kept until the next one is read.
func (s *search) readLine(r *bufio.Reader) (line []byte, size int, err error) {
	s.line = s.line[:0]
	for {
		part, err := r.ReadSlice('\n')
		size += len(part)
		s.line = append(s.line, part[:min(len(part), maxSearchLine-len(s.line))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(s.line, "\r\n"), size, err
		}
	}
}

// around is the part of a line that is shown, as text.
func around(line []byte, at int) string {
	from := 0
	if len(line) > matchText {
		from = max(0, min(at-matchLead, len(line)-matchText))
	}
	to := min(len(line), from+matchText)
	for from > 0 && from < to && !utf8.RuneStart(line[from]) {
		from++
	}
	for to < len(line) && to > from && !utf8.RuneStart(line[to]) {
		to--
	}
	text := strings.ToValidUTF8(string(line[from:to]), "�")
	if from > 0 {
		text = "…" + text
	}
	if to < len(line) {
		text += "…"
	}
	return text
}

// compilePattern makes a pattern of a query, whose size is bounded before it is
// built.
func compilePattern(query string, regex, ignoreCase bool) (*regexp.Regexp, error) {
	if query == "" || len(query) > wire.MaxQuery || strings.ContainsAny(query, "\x00\n") {
		return nil, badRequest("query must be 1 to %d bytes of one line", wire.MaxQuery)
	}
	if !regex {
		query = regexp.QuoteMeta(query)
	}
	if ignoreCase {
		query = "(?i)" + query
	}
	tree, err := syntax.Parse(query, syntax.Perl)
	if err != nil {
		return nil, badRequest("query is not a regular expression that can be used (the syntax is RE2, without look-around and back-references): %.200v", err)
	}
	if weight(tree) > maxRegexSize {
		return nil, badRequest("query is a regular expression that is too large; repeat less in it")
	}
	return regexp.Compile(query)
}

// weight is about how many instructions a regular expression comes to.
func weight(re *syntax.Regexp) int {
	sum := 1
	if re.Op == syntax.OpLiteral {
		sum = len(re.Rune)
	}
	for _, sub := range re.Sub {
		sum += weight(sub)
	}
	if re.Op == syntax.OpRepeat {
		sum *= max(re.Min, re.Max, 1)
	}
	return min(sum, maxRegexSize+1)
}
