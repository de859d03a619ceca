package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/pods/wire"
)

// Bounds on what one answer of an agent may be. The agent belongs to the pod,
// so each is chosen for the worst that an honest one can say, not for trust.
const (
	maxAnswerHeader = 16 << 10 // bytes
	maxSmallAnswer  = 1 << 20  // bytes of a State, Usage, FileInfo or Fault
	maxListAnswer   = 24 << 20 // bytes of a listing or of log lines
	maxAgentConns   = 128      // streams to one agent at a time
	maxIdleConns    = 4        // of them kept when idle
	agentIdle       = time.Minute
	agentTimeout    = 20 * time.Second // one plain request, answer included
	walkTimeout     = time.Minute      // one that goes through many files
	drainTimeout    = time.Second      // for the end of a stream after its last event
)

// client speaks the protocol of pods/agent to the agent of one pod. It holds a
// few idle connections; close lets go of them. It never follows a redirect,
// because it uses the transport itself.
type client struct {
	transport *http.Transport
	dial      func(context.Context) (net.Conn, error)
}

func newClient(dial func(context.Context) (net.Conn, error)) *client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &client{dial: dial, transport: &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:              protocols,
		DisableCompression:     true,
		MaxConnsPerHost:        maxAgentConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        agentIdle,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// errHostile is an answer outside the protocol. Its text is for the log.
var errHostile = errors.New("agent broke the protocol")

// request sends one request and returns the answer when its status is 200, and
// the agent's *wire.Fault or errHostile otherwise. The caller closes the body.
// contentType belongs to body and may be empty.
func (c *client) request(ctx context.Context, method, path string, query url.Values, body []byte, contentType string) (*http.Response, error) {
	req, err := newRequest(ctx, method, path, query, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if contentType == "application/json" {
		req.Header.Set("Accept", ndjson)
	}
	return c.send(req)
}

func newRequest(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	u := url.URL{Scheme: "http", Host: "agent", Path: path, RawQuery: query.Encode()}
	return http.NewRequestWithContext(ctx, method, u.String(), body)
}

// send is the end of request.
func (c *client) send(req *http.Request) (*http.Response, error) {
	// Until the answer begins; what an agent streams may last.
	_, span := trace.Start(req.Context(), "agent "+req.URL.Path, trace.Client)
	res, err := c.transport.RoundTrip(req)
	span.End(err)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readFault(res)
}

// readFault makes an error of a refusal.
func readFault(res *http.Response) error {
	var f wire.Fault
	if res.StatusCode < 400 || res.StatusCode > 599 {
		return fmt.Errorf("%w: status %d", errHostile, res.StatusCode)
	}
	if err := decode(res.Body, maxSmallAnswer, &f); err != nil {
		return fmt.Errorf("status %d: %w", res.StatusCode, err)
	}
	return &f
}

// decode reads one JSON value of at most limit bytes and nothing after it.
func decode(r io.Reader, limit int64, v any) error {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if int64(len(raw)) > limit {
		return fmt.Errorf("%w: answer of more than %d bytes", errHostile, limit)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%w: %v", errHostile, err)
	}
	return nil
}

// get fetches one JSON value of at most limit bytes.
func (c *client) get(ctx context.Context, path string, query url.Values, limit int64, v any) error {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	res, err := c.request(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decode(res.Body, limit, v)
}

func (c *client) state(ctx context.Context) (wire.State, error) {
	var s wire.State
	err := c.get(ctx, wire.PathState, nil, maxSmallAnswer, &s)
	return cleanState(s), err
}

func (c *client) usage(ctx context.Context) (wire.Usage, error) {
	var u wire.Usage
	err := c.get(ctx, wire.PathUsage, nil, maxSmallAnswer, &u)
	u.Memory, u.Disk, u.Processes, u.CPU = max(0, u.Memory), max(0, u.Disk), max(0, u.Processes), max(0, u.CPU)
	return u, err
}

func (c *client) list(ctx context.Context, query url.Values) (wire.Listing, error) {
	var l wire.Listing
	if err := c.get(ctx, wire.PathDir, query, maxListAnswer, &l); err != nil {
		return wire.Listing{}, err
	}
	if len(l.Entries) > wire.MaxEntries || len(l.Cursor) > wire.MaxCursor {
		return wire.Listing{}, fmt.Errorf("%w: %d entries", errHostile, len(l.Entries))
	}
	return l, nil
}

func (c *client) search(ctx context.Context, query url.Values) (wire.Found, error) {
	var f wire.Found
	if err := c.get(ctx, wire.PathSearch, query, maxListAnswer, &f); err != nil {
		return wire.Found{}, err
	}
	if len(f.Matches) > wire.MaxMatches || len(f.Cursor) > wire.MaxCursor {
		return wire.Found{}, fmt.Errorf("%w: %d matches", errHostile, len(f.Matches))
	}
	return f, nil
}

// post sends v and fetches one JSON value of at most limit bytes.
func (c *client) post(ctx context.Context, path string, v any, limit int64, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	return c.postLong(ctx, path, v, limit, answer)
}

// postLong is post for what takes as long as ctx lets it.
func (c *client) postLong(ctx context.Context, path string, v any, limit int64, answer any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	res, err := c.request(ctx, http.MethodPost, path, nil, body, "application/json")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decode(res.Body, limit, answer)
}

func (c *client) delete(ctx context.Context, path string, recursive bool) (info wire.FileInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	query := url.Values{"path": {path}}
	if recursive {
		query.Set("recursive", "1")
	}
	res, err := c.request(ctx, http.MethodDelete, wire.PathFile, query, nil, "")
	if err != nil {
		return info, err
	}
	defer res.Body.Close()
	err = decode(res.Body, maxSmallAnswer, &info)
	return info, err
}

func (c *client) makeFolder(ctx context.Context, path string) (info wire.FileInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	res, err := c.request(ctx, http.MethodPut, wire.PathDir, url.Values{"path": {path}}, nil, "")
	if err != nil {
		return info, err
	}
	defer res.Body.Close()
	err = decode(res.Body, maxSmallAnswer, &info)
	return info, err
}

func (c *client) logs(ctx context.Context, query url.Values) ([]wire.LogLine, error) {
	var lines []wire.LogLine
	if err := c.get(ctx, wire.PathLogs, query, maxListAnswer, &lines); err != nil {
		return nil, err
	}
	if len(lines) > wire.MaxLines {
		return nil, fmt.Errorf("%w: %d log lines", errHostile, len(lines))
	}
	return cleanLines(lines), nil
}

// fileQuery names a file to be written. mode 0 leaves the mode to the agent.
func fileQuery(path string, mode uint32) url.Values {
	query := url.Values{"path": {path}}
	if mode != 0 {
		query.Set("mode", "0"+strconv.FormatUint(uint64(mode), 8))
	}
	return query
}

// read returns at most limit bytes of a file from offset. Info has no name:
// the protocol does not repeat it.
func (c *client) read(ctx context.Context, path string, offset, limit int64) (FileContent, error) {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	query := url.Values{"path": {path}, "offset": {strconv.FormatInt(offset, 10)}, "limit": {strconv.FormatInt(limit, 10)}}
	res, err := c.request(ctx, http.MethodGet, wire.PathFile, query, nil, "")
	if err != nil {
		return FileContent{}, err
	}
	defer res.Body.Close()
	info, err := fileHeader(res.Header)
	if err != nil {
		return FileContent{}, err
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return FileContent{}, err
	}
	if int64(len(content)) > limit {
		return FileContent{}, fmt.Errorf("%w: more than the %d bytes asked for", errHostile, limit)
	}
	end := offset + int64(len(content))
	return FileContent{Info: info, Offset: offset, Content: content, More: end < info.Size}, nil
}

func fileHeader(h http.Header) (wire.FileInfo, error) {
	size, err := strconv.ParseInt(h.Get("X-File-Size"), 10, 64)
	if err != nil || size < 0 {
		return wire.FileInfo{}, fmt.Errorf("%w: X-File-Size %.40q", errHostile, h.Get("X-File-Size"))
	}
	mode, err := strconv.ParseUint(h.Get("X-File-Mode"), 8, 12)
	if err != nil {
		return wire.FileInfo{}, fmt.Errorf("%w: X-File-Mode %.40q", errHostile, h.Get("X-File-Mode"))
	}
	modified, err := time.Parse(time.RFC3339, h.Get("X-File-Modified"))
	if err != nil {
		return wire.FileInfo{}, fmt.Errorf("%w: X-File-Modified %.40q", errHostile, h.Get("X-File-Modified"))
	}
	return wire.FileInfo{Type: "file", Size: size, Mode: fmt.Sprintf("%04o", mode), Modified: modified}, nil
}

// stream posts v and hands every event to each until each returns done. total
// bounds the bytes of the whole answer.
func (c *client) stream(ctx context.Context, path string, v any, total int64, each func(wire.Event) (done bool, err error)) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	res, err := c.request(ctx, http.MethodPost, path, nil, body, "application/json")
	if err != nil {
		cancel()
		return err
	}
	if err = wantEvents(res.Header); err == nil {
		err = readEvents(res.Body, total, each)
	}
	if err != nil {
		cancel()
		return errors.Join(err, res.Body.Close())
	}
	go drain(res.Body, cancel)
	return nil
}

const ndjson = "application/x-ndjson"

// wantEvents refuses an answer that is no stream of events.
func wantEvents(h http.Header) error {
	if kind, _, _ := strings.Cut(h.Get("Content-Type"), ";"); strings.TrimSpace(kind) != ndjson {
		return fmt.Errorf("%w: stream of type %.60q", errHostile, h.Get("Content-Type"))
	}
	return nil
}

// drain reads the end of a stream, so that its connection can be used again,
// but does not wait for an agent that never ends it.
func drain(body io.ReadCloser, cancel context.CancelFunc) {
	timer := time.AfterFunc(drainTimeout, cancel)
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 4<<10)) // an error only means that the connection is not used again
	_ = body.Close()
	timer.Stop()
	cancel()
}

// app changes what the app does and returns its state after that.
func (c *client) app(ctx context.Context, r wire.AppRequest, p Progress) (wire.State, error) {
	var state wire.State
	err := c.stream(ctx, wire.PathApp, r, maxAppStream, func(e wire.Event) (bool, error) {
		switch {
		case e.Fault != nil:
			return true, e.Fault
		case e.State != nil:
			state = cleanState(*e.State)
			return true, nil
		}
		p.say(e.Stream, e.Data)
		return false, nil
	})
	return state, err
}

// exec runs a command and keeps the newest bytes of each stream, at most kept
// of them: the end of a long output says how it went. The output that came
// before an error is returned with it. The agent sends at most r.MaxOutput bytes
// of a stream, and no more is read, whatever it sends.
func (c *client) exec(ctx context.Context, r wire.ExecRequest, kept int, p Progress) (ExecResult, error) {
	stdout, stderr := &tail{limit: kept}, &tail{limit: kept}
	var out ExecResult
	total := int64(r.MaxOutput)*3 + execSlack
	err := c.stream(ctx, wire.PathExec, r, total, func(e wire.Event) (bool, error) {
		switch {
		case e.Fault != nil:
			return true, e.Fault
		case e.Exit != nil:
			out.end(e.Exit)
			if e.Exit.TimedOut {
				return true, errExecTime
			}
			return true, nil
		case e.Stream == "stderr":
			stderr.add(e.Data)
		default:
			stdout.add(e.Data)
		}
		p.say(e.Stream, e.Data)
		return false, nil
	})
	out.Stdout, out.DroppedStdout = stdout.newest()
	out.Stderr, out.DroppedStderr = stderr.newest()
	return out, err
}

// errExecTime is an exec that the agent ended because its time was up.
var errExecTime = errors.New("the command's time was up")

func (r *ExecResult) end(e *wire.Exit) {
	r.Code, r.Signal = e.Code, text.Line(e.Signal, 20)
	r.LostStdout, r.LostStderr = max(0, e.DroppedStdout), max(0, e.DroppedStderr)
	r.Duration = time.Duration(max(0, e.Millis)) * time.Millisecond
}

// tail keeps the newest limit bytes of what is added to it, in at most three
// times the memory.
type tail struct {
	limit   int
	buf     []byte
	dropped int64 // bytes that were cut off before buf
}

func (t *tail) add(data []byte) {
	t.buf = append(t.buf, data...)
	if len(t.buf) > 2*t.limit {
		t.cut()
	}
}

func (t *tail) cut() {
	if over := len(t.buf) - t.limit; over > 0 {
		t.dropped += int64(over)
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
}

// newest returns what is kept and how many bytes came before it.
func (t *tail) newest() ([]byte, int64) {
	t.cut()
	return t.buf, t.dropped
}

// dialPort opens a raw stream to a port of the pod's own loopback address.
// conn is a fresh stream to the agent and is closed on error.
func dialPort(ctx context.Context, conn net.Conn, port int) (net.Conn, error) {
	return upgrade(ctx, conn, fmt.Sprintf("GET %s?port=%d", wire.PathDial, port), nil, upgradeTCP)
}

const upgradeTCP = "podgate-tcp"

// upgrade sends a request, such as GET /path, that makes conn one of another
// protocol. conn is a fresh stream to the agent and is closed on error.
func upgrade(ctx context.Context, conn net.Conn, request string, body []byte, protocol string) (_ net.Conn, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			err = errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n%s", request, protocol, len(body), body); err != nil {
		return nil, err
	}
	return readUpgrade(conn, protocol)
}
