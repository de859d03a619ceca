package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

// Bounds of requests beside those of wire.go.
const (
	maxAppBody   = 512 << 10
	maxMoveBody  = 64 << 10 // two paths, however they are escaped
	maxEditBody  = 13 << 20 // two pieces and a path, however they are escaped
	maxExecBody  = 16 << 20 // MaxFile of stdin as base64, and the rest
	maxCommand   = 128<<10 - 1
	maxEnv       = 256 << 10 // of all names and values together
	maxKeep      = 16 << 20  // of max_output
	maxGrep      = 1000
	maxWait      = 10 * time.Minute
	defaultLines = 100
)

type writeQuery struct {
	Path string
	Mode *fs.FileMode // nil: as it was, else 0644
	Max  int64        // bytes of content
	Was  string       // SHA-256 in hex or wire.Absent; empty: whatever it was
}

type readQuery struct {
	Path          string
	Offset, Limit int64
	Whole         bool // instead of Offset and Limit
}

type receiveQuery struct {
	ID, Path    string
	Unpack      bool
	Offset, Max int64
}

type deleteQuery struct {
	Path      string
	Recursive bool
}

type dirQuery struct {
	Path      string
	Recursive bool
	Glob      glob
	Named     string // the glob as it was given
	Cursor    string
	Limit     int
}

type searchQuery struct {
	dirQuery
	Pattern *regexp.Regexp
}

type logQuery struct {
	Follow bool
	Lines  int
	Since  time.Time
	Before time.Time
	Grep   string
	Source string
	Stream string
}

// query is a request's parameters, of which each may come once and all must be
// known.
type query map[string]string

func parseQuery(raw string, known ...string) (query, error) {
	vals, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query cannot be read: %v", err)
	}
	q := query{}
	for _, k := range sortedKeys(vals) {
		if !slices.Contains(known, k) {
			return nil, badRequest("unknown parameter %q; known are %s", k, strings.Join(known, ", "))
		}
		if len(vals[k]) != 1 {
			return nil, badRequest("parameter %s is given more than once", k)
		}
		q[k] = vals[k][0]
	}
	return q, nil
}

// number reads a decimal parameter from lo to hi; def when it is absent.
func (q query) number(name string, def, lo, hi int64) (int64, error) {
	s, ok := q[name]
	if !ok {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) < lo || int64(n) > hi {
		return 0, badRequest("%s must be a number from %d to %d", name, lo, hi)
	}
	return int64(n), nil
}

// flag reads a parameter that is 1 or absent.
func (q query) flag(name string) (bool, error) {
	s, ok := q[name]
	if ok && s != "1" {
		return false, badRequest("%s must be 1, or left out", name)
	}
	return ok, nil
}

// parseImport reads the largest size of a new home, in bytes.
func parseImport(raw string) (int64, error) {
	q, err := parseQuery(raw, "max")
	if err != nil {
		return 0, err
	}
	n, err := q.number("max", 0, 1, wire.MaxTransfer)
	if err == nil && n == 0 {
		err = badRequest("max is missing")
	}
	return n, err
}

func parseWrite(raw string) (writeQuery, error) {
	q, err := parseQuery(raw, "path", "mode", "max", "was")
	if err != nil {
		return writeQuery{}, err
	}
	limit, err := q.number("max", wire.MaxFile, 0, wire.MaxTransfer)
	if err != nil {
		return writeQuery{}, err
	}
	out := writeQuery{Path: q["path"], Max: limit, Was: q["was"]}
	if _, err := hex.DecodeString(out.Was); out.Was != "" && out.Was != wire.Absent && (err != nil || len(out.Was) != hex.EncodedLen(sha256.Size)) {
		return writeQuery{}, badRequest("was must be a SHA-256 in hex, or %s", wire.Absent)
	}
	if s, ok := q["mode"]; ok {
		n, err := strconv.ParseUint(s, 8, 32)
		if err != nil || n > 0o777 || len(s) > 5 {
			return writeQuery{}, badRequest("mode must be octal, 0000 to 0777")
		}
		m := fs.FileMode(n)
		out.Mode = &m
	}
	return out, checkPath(out.Path)
}

func parseMakeDir(raw string) (path string, err error) {
	q, err := parseQuery(raw, "path")
	if err != nil {
		return "", err
	}
	return q["path"], checkPath(q["path"])
}

func parseDelete(raw string) (deleteQuery, error) {
	q, err := parseQuery(raw, "path", "recursive")
	if err != nil {
		return deleteQuery{}, err
	}
	recursive, err := q.flag("recursive")
	return deleteQuery{q["path"], recursive}, errors.Join(err, checkPath(q["path"]))
}

func parseMove(body []byte) (wire.MoveRequest, error) {
	var r wire.MoveRequest
	if err := decode(body, &r); err != nil {
		return wire.MoveRequest{}, err
	}
	for name, p := range map[string]string{"from": r.From, "to": r.To} {
		if err := checkPath(p); err != nil {
			return wire.MoveRequest{}, badRequest("%s: %v", name, asFault(err).Message)
		}
	}
	return r, nil
}

func parseReceive(raw string) (receiveQuery, error) {
	q, err := parseQuery(raw, "id", "path", "unpack", "offset", "max")
	if err != nil {
		return receiveQuery{}, err
	}
	out := receiveQuery{ID: q["id"], Path: q["path"]}
	if out.Path == "" {
		out.Path = podApp + "/x" // nobody asks where what is dropped would have gone
	}
	if out.Unpack, err = q.flag("unpack"); err != nil {
		return receiveQuery{}, err
	}
	if out.Offset, err = q.number("offset", 0, 0, wire.MaxTransfer); err != nil {
		return receiveQuery{}, err
	}
	if out.Max, err = q.number("max", 0, 0, wire.MaxTransfer); err != nil {
		return receiveQuery{}, err
	}
	return out, errors.Join(checkID(out.ID), checkPath(out.Path))
}

// checkID accepts what can be a part of a file's name.
func checkID(id string) error {
	if id == "" || len(id) > 64 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return badRequest("id must be 1 to 64 lower-case letters and digits")
	}
	return nil
}

func parseFinish(body []byte) (wire.FinishRequest, error) {
	var r wire.FinishRequest
	if err := decode(body, &r); err != nil {
		return wire.FinishRequest{}, err
	}
	if r.Size < 0 || r.Max < 0 || r.Mode > 0o777 {
		return wire.FinishRequest{}, badRequest("size, max or mode is out of bounds")
	}
	return r, errors.Join(checkID(r.ID), checkPath(r.Path))
}

func parseEdit(body []byte) (wire.EditRequest, error) {
	var r wire.EditRequest
	if err := decode(body, &r); err != nil {
		return wire.EditRequest{}, err
	}
	switch {
	case r.Old == "":
		return wire.EditRequest{}, badRequest("old is empty: give the piece that is to be replaced, or write the whole file")
	case r.Old == r.New:
		return wire.EditRequest{}, badRequest("old and new are the same, so there is nothing to change")
	case len(r.Old) > wire.MaxPiece || len(r.New) > wire.MaxPiece:
		return wire.EditRequest{}, faultf(wire.FaultTooLarge, "old and new may have at most %d bytes each; write the whole file instead", wire.MaxPiece)
	case strings.ContainsRune(r.New, 0):
		return wire.EditRequest{}, badRequest("new has a NUL byte")
	case r.Grow < 0:
		return wire.EditRequest{}, badRequest("grow must not be negative")
	}
	return r, checkPath(r.Path)
}

func parseRead(raw string) (readQuery, error) {
	q, err := parseQuery(raw, "path", "offset", "limit", "whole")
	if err != nil {
		return readQuery{}, err
	}
	if whole, err := q.flag("whole"); whole || err != nil {
		if q["limit"] != "" {
			err = badRequest("whole goes without limit")
		}
		off, oerr := q.number("offset", 0, 0, 1<<62)
		return readQuery{Path: q["path"], Offset: off, Whole: true}, errors.Join(err, oerr, checkPath(q["path"]))
	}
	off, err := q.number("offset", 0, 0, 1<<62)
	if err != nil {
		return readQuery{}, err
	}
	limit, err := q.number("limit", wire.MaxRead, 1, wire.MaxRead)
	if err != nil {
		return readQuery{}, err
	}
	return readQuery{Path: q["path"], Offset: off, Limit: limit}, checkPath(q["path"])
}

func parseDir(raw string) (dirQuery, error) {
	q, err := parseQuery(raw, "path", "recursive", "glob", "cursor", "limit")
	if err != nil {
		return dirQuery{}, err
	}
	recursive, err := q.flag("recursive")
	if err != nil {
		return dirQuery{}, err
	}
	return q.dir(recursive, wire.MaxEntries)
}

// dir reads what listings and searches have in common.
func (q query) dir(recursive bool, most int64) (dirQuery, error) {
	out := dirQuery{Path: q["path"], Recursive: recursive, Named: q["glob"], Cursor: q["cursor"]}
	if out.Path == "" {
		out.Path = podApp
	}
	n, err := q.number("limit", most, 1, most)
	if err != nil {
		return dirQuery{}, err
	}
	out.Limit = int(n)
	if out.Glob, err = parseGlob(q["glob"]); err != nil {
		return dirQuery{}, err
	}
	if _, _, err := wire.ParseCursor(out.Cursor); err != nil {
		return dirQuery{}, badRequest("%v", err)
	}
	return out, checkPath(out.Path)
}

func parseSearch(raw string) (searchQuery, error) {
	q, err := parseQuery(raw, "path", "query", "regex", "ignore_case", "glob", "cursor", "limit")
	if err != nil {
		return searchQuery{}, err
	}
	regex, err := q.flag("regex")
	if err != nil {
		return searchQuery{}, err
	}
	ignoreCase, err := q.flag("ignore_case")
	if err != nil {
		return searchQuery{}, err
	}
	dir, err := q.dir(true, wire.MaxMatches)
	if err != nil {
		return searchQuery{}, err
	}
	pattern, err := compilePattern(q["query"], regex, ignoreCase)
	return searchQuery{dir, pattern}, err
}

func checkPath(p string) error {
	_, err := cleanPath(p)
	return err
}

func parseLogs(raw string) (logQuery, error) {
	q, err := parseQuery(raw, "follow", "lines", "since", "before", "grep", "source", "stream")
	if err != nil {
		return logQuery{}, err
	}
	follow, err := q.flag("follow")
	if err != nil {
		return logQuery{}, err
	}
	least := int64(1)
	if follow {
		least = 0
	}
	n, err := q.number("lines", defaultLines, least, wire.MaxLines)
	if err != nil {
		return logQuery{}, err
	}
	out := logQuery{Follow: follow, Lines: int(n), Grep: q["grep"], Source: q["source"], Stream: q["stream"]}
	if len(out.Grep) > maxGrep {
		return logQuery{}, badRequest("grep is over %d bytes", maxGrep)
	}
	if out.Source != "" && !slices.Contains(sources, out.Source) {
		return logQuery{}, badRequest("source must be one of %s", strings.Join(sources, ", "))
	}
	if out.Stream != "" && out.Stream != "stdout" && out.Stream != "stderr" {
		return logQuery{}, badRequest("stream must be stdout or stderr")
	}
	for name, t := range map[string]*time.Time{"since": &out.Since, "before": &out.Before} {
		if s := q[name]; s != "" {
			if *t, err = time.Parse(time.RFC3339, s); err != nil {
				return logQuery{}, badRequest("%s must be a time such as 2026-01-31T12:00:00Z", name)
			}
		}
	}
	return out, nil
}

func parsePort(raw string) (int, error) {
	q, err := parseQuery(raw, "port")
	if err != nil {
		return 0, err
	}
	n, err := q.number("port", 0, 1, 65535)
	if err == nil && n == 0 {
		err = badRequest("port is missing")
	}
	return int(n), err
}

// decode reads exactly one JSON object with known fields only.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return badRequest("the body is empty; send a JSON object")
		}
		return badRequest("the body is not the expected JSON: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("the body goes on after the JSON object")
	}
	return nil
}

func parseExec(body []byte) (wire.ExecRequest, error) {
	var r wire.ExecRequest
	if err := decode(body, &r); err != nil {
		return wire.ExecRequest{}, err
	}
	if r.Dir == "" {
		r.Dir = podApp
	}
	switch maxMillis := int(wire.MaxExecTimeout / time.Millisecond); {
	case r.TimeoutMillis < 1 || r.TimeoutMillis > maxMillis:
		return wire.ExecRequest{}, badRequest("timeout_millis must be 1 to %d", maxMillis)
	case r.MaxOutput < 0 || r.MaxOutput > maxKeep:
		return wire.ExecRequest{}, badRequest("max_output must be 0 to %d", maxKeep)
	}
	return r, checkCommand(r.Command, r.Dir, r.Stdin, r.Env)
}

func parseTerminal(body []byte) (wire.TerminalRequest, error) {
	var r wire.TerminalRequest
	if err := decode(body, &r); err != nil {
		return wire.TerminalRequest{}, err
	}
	if !r.Valid() {
		return wire.TerminalRequest{}, badRequest("columns and rows must be 1 to %d", wire.MaxSide)
	}
	return r, checkEnv(r.Env)
}

func parseJob(body []byte) (wire.JobRequest, error) {
	var r wire.JobRequest
	if err := decode(body, &r); err != nil {
		return wire.JobRequest{}, err
	}
	if r.Dir == "" {
		r.Dir = podApp
	}
	if maxMillis := int(wire.MaxJobTimeout / time.Millisecond); r.TimeoutMillis < 0 || r.TimeoutMillis > maxMillis {
		return wire.JobRequest{}, badRequest("timeout_millis must be 0 to %d", maxMillis)
	}
	return r, checkCommand(r.Command, r.Dir, r.Stdin, r.Env)
}

// checkCommand checks what a command and a job have in common.
func checkCommand(command, dir string, stdin []byte, env map[string]string) error {
	switch {
	case strings.TrimSpace(command) == "":
		return badRequest("command is empty")
	case len(command) > maxCommand:
		return faultf(wire.FaultTooLarge, "command is over %d bytes; write it to a file and run that", maxCommand)
	case strings.ContainsRune(command, 0):
		return badRequest("command has a NUL byte")
	case len(stdin) > wire.MaxFile:
		return faultf(wire.FaultTooLarge, "stdin is over %d bytes", wire.MaxFile)
	}
	if err := checkPath(dir); err != nil {
		return err
	}
	return checkEnv(env)
}

type jobQuery struct {
	ID     string
	Offset int64 // -1: the newest
	Limit  int64
	Wait   time.Duration
}

func parseJobQuery(raw string) (jobQuery, error) {
	q, err := parseQuery(raw, "id", "offset", "limit", "wait_millis")
	if err != nil {
		return jobQuery{}, err
	}
	offset, err1 := q.number("offset", -1, 0, 1<<62)
	limit, err2 := q.number("limit", wire.MaxJobOutput, 0, wire.MaxJobOutput)
	wait, err3 := q.number("wait_millis", 0, 0, int64(wire.MaxJobWait/time.Millisecond))
	if err := errors.Join(err1, err2, err3); err != nil {
		return jobQuery{}, err
	}
	return jobQuery{q["id"], offset, limit, time.Duration(wait) * time.Millisecond}, nil
}

func parseApp(body []byte) (wire.AppRequest, error) {
	var r wire.AppRequest
	if err := decode(body, &r); err != nil {
		return wire.AppRequest{}, err
	}
	if r.WaitMillis < 0 || r.WaitMillis > int(maxWait/time.Millisecond) {
		return wire.AppRequest{}, badRequest("wait_millis must be 0 to %d", maxWait/time.Millisecond)
	}
	switch r.Action {
	case actionStop:
		return r, nil
	case actionStart, actionRestart, actionReload:
		if r.Spec == nil {
			return wire.AppRequest{}, badRequest("%s needs spec", r.Action)
		}
		return r, checkSpec(r.Spec)
	}
	return wire.AppRequest{}, badRequest("action must be start, stop, restart or reload")
}

func checkSpec(s *wire.AppSpec) error {
	switch _, known := preset.Find(s.Preset); {
	case !known:
		return badRequest("preset must be one of %s", strings.Join(preset.Names(), ", "))
	case s.Port < 1 || s.Port > 65535:
		return badRequest("port must be 1 to 65535")
	case !wire.Label(s.Name):
		return badRequest("name must be a DNS label")
	}
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(s.URL) > 2048 {
			return badRequest("url must be an http or https address")
		}
	}
	return checkEnv(s.Env)
}

func checkEnv(env map[string]string) error {
	total := 0
	for _, name := range sortedKeys(env) {
		v := env[name]
		if !isEnvName(name) {
			return badRequest("environment name %q must be letters, digits and _ and not start with a digit", name)
		}
		if strings.ContainsRune(v, 0) {
			return badRequest("the value of %s has a NUL byte", name)
		}
		// The kernel's own bound for one entry.
		if len(name)+len(v)+2 > 128<<10 {
			return faultf(wire.FaultTooLarge, "the value of %s is over %d bytes", name, 128<<10)
		}
		total += len(name) + len(v) + 2
	}
	if total > maxEnv {
		return faultf(wire.FaultTooLarge, "the environment is over %d bytes", maxEnv)
	}
	return nil
}

func isEnvName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
