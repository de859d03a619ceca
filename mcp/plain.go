package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/pods"
)

// This file is the short way of a call. The SDK makes a session, a connection, a stream
// and two goroutines for each request and reads its body six times, which is many times
// the work of a tool that only looks something up. Nearly all calls have the same form,
// so those are answered here, with the bytes that the SDK would answer with.
//
// The rules of the protocol stay the SDK's: what stands around a call (see form) must be
// the same, byte for byte, as around an earlier call that the SDK let through to a tool,
// and what remains is read strictly. Everything else is the SDK's to answer or refuse.

// plainCall is a body that is one call of a tool and has nothing unusual.
type plainCall struct {
	id        []byte // a whole number or a string, as it stands in the body
	tool      []byte
	arguments json.RawMessage // an object; nil: none
	meta      []byte          // the same of _meta
}

// maxPlainDepth is how deep arguments and _meta of a plain call may go. The SDK has a
// bound of its own.
const maxPlainDepth = 100

// plainOf reads a body as a plain call. Whoever sends names twice, unknown ones, or
// writes them with escapes, may mean something else than is understood here; then it is
// none.
func plainOf(body []byte) (c plainCall, ok bool) {
	s := scanner{rest: body}
	var version, method, params bool
	ok = s.object(func(name string) bool {
		switch {
		case name == "jsonrpc" && !version:
			version = true
			word, ok := s.word()
			return ok && string(word) == "2.0"
		case name == "id" && c.id == nil:
			return s.id(&c.id)
		case name == "method" && !method:
			method = true
			word, ok := s.word()
			return ok && string(word) == "tools/call"
		case name == "params" && !params:
			params = true
			return s.params(&c)
		}
		return false
	})
	s.space()
	ok = ok && !wantsProgress(body)
	return c, ok && len(s.rest) == 0 && version && method && c.id != nil && c.tool != nil
}

func (s *scanner) params(c *plainCall) bool {
	return s.object(func(name string) (ok bool) {
		switch {
		case name == "name" && c.tool == nil:
			c.tool, ok = s.word()
		case name == "arguments" && c.arguments == nil:
			c.arguments, ok = s.raw()
		case name == "_meta" && c.meta == nil:
			c.meta, ok = s.raw()
		}
		return ok
	})
}

// calls is what peek returns of such a body.
func (c *plainCall) calls() []call {
	calls := []call{{ID: c.id, Method: "tools/call"}}
	calls[0].Params.Name = string(c.tool)
	return calls
}

// scanner reads the part of JSON that a plain call needs.
type scanner struct{ rest []byte }

func (s *scanner) space() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\n' || s.rest[0] == '\t' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

// take reads one character, with what space is before it.
func (s *scanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// object reads an object that is not empty. member reads the value of a name.
func (s *scanner) object(member func(name string) bool) bool {
	if !s.take('{') {
		return false
	}
	for {
		name, ok := s.word()
		if !ok || !s.take(':') || !member(string(name)) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// word reads a string that has no escapes and is of printable ASCII.
func (s *scanner) word() (word []byte, ok bool) {
	if !s.take('"') {
		return nil, false
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			word, s.rest = s.rest[:i:i], s.rest[i+1:]
			return word, true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// id reads a whole number that every reader of JSON takes for the same, or a word.
func (s *scanner) id(into *[]byte) bool {
	s.space()
	from := s.rest
	if _, ok := s.word(); !ok {
		digits := bytes.TrimPrefix(s.rest, []byte("-"))
		n := 0
		for n < len(digits) && '0' <= digits[n] && digits[n] <= '9' {
			n++
		}
		if n == 0 || n > 15 || digits[0] == '0' && (n > 1 || len(digits) < len(s.rest)) {
			return false
		}
		s.rest = digits[n:]
	}
	*into = from[:len(from)-len(s.rest)]
	return true
}

// raw reads an object as it is.
func (s *scanner) raw() (object []byte, ok bool) {
	s.space()
	depth, text := 0, false
	for i := 0; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > maxPlainDepth {
				return nil, false
			}
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 { // at the first character already, where that begins no object
			object, s.rest = s.rest[:i+1:i+1], s.rest[i+1:]
			return object, object[0] == '{' && json.Valid(object)
		}
	}
	return nil, false
}

// Bounds of what is remembered of forms: they are those of clients, of which there are
// few, so more than that is somebody's game.
const (
	maxForms = 1024
	maxForm  = 4 << 10 // bytes
)

// forms are those in which the SDK has let a call through to a tool.
type forms struct {
	mu    sync.RWMutex
	known map[string]bool
}

func (f *forms) knows(form []byte) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.known[string(form)]
}

// learn remembers a form; past maxForms any other one makes room.
func (f *forms) learn(form string) {
	if form == "" || f.knows([]byte(form)) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[string]bool{}
	}
	if len(f.known) >= maxForms {
		for other := range f.known {
			delete(f.known, other)
			break
		}
	}
	f.known[form] = true
}

// formHeaders are what the SDK looks at of a request, but for those that repeat what
// stands in the body.
var formHeaders = []string{"Content-Type", "Accept", "Mcp-Protocol-Version", "Last-Event-Id"}

// appendForm appends the form of a plain call: all by which the SDK decides whether it
// may go to its tool, and how the answer looks, but for the tool and its arguments. A
// form of no bytes has no short way.
func (c *plainCall) appendForm(dst []byte, h http.Header) []byte {
	// From the first revision that has extensions on, headers repeat method and tool.
	if version := h["Mcp-Protocol-Version"]; len(version) > 0 && version[0] >= tasksRevision &&
		(h.Get("Mcp-Method") != "tools/call" || h.Get("Mcp-Name") != string(c.tool)) {
		return dst[:0]
	}
	for _, name := range formHeaders {
		for _, value := range h[name] { // net/http lets no control characters in
			dst = append(append(dst, value...), 1)
		}
		dst = append(dst, 0)
	}
	if dst = append(dst, c.meta...); len(dst) > maxForm {
		return dst[:0]
	}
	return dst
}

// answers holds buffers for answers.
var answers = sync.Pool{New: func() any { return new([]byte) }}

// maxKept is the largest buffer that is kept for the next answer, in bytes.
const maxKept = 64 << 10

// quick answers a plain call of a known form, and reports whether it did.
func (e *endpoint) quick(w http.ResponseWriter, r *http.Request, c *caller) bool {
	call := c.plain
	if call == nil {
		return false
	}
	var buffer [512]byte
	form := call.appendForm(buffer[:0], r.Header)
	tool := e.declared[string(call.tool)]
	if len(form) == 0 || tool == nil {
		return false
	}
	extends := r.Header.Get("Mcp-Protocol-Version") >= tasksRevision
	if !e.forms.knows(form) || extends && e.asTask[string(call.tool)] {
		c.form = string(form)
		return false
	}
	out := tool(r.Context(), call.arguments, nil)
	if revoked(r.Context()) {
		return true // see hangUp
	}
	held := answers.Get().(*[]byte)
	body := (*held)[:0]
	body = append(append(append(body, `{"jsonrpc":"2.0","id":`...), call.id...), `,"result":`...)
	meta := e.serverMeta
	if !extends {
		meta = nil
	}
	body = append(out.append(body, meta), '}')
	h := w.Header()
	h["Cache-Control"], h["Content-Type"] = plainCache, plainType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = w.Write(body) // nobody is there
	if cap(body) <= maxKept {
		*held = body
		answers.Put(held)
	}
	return true
}

// The headers of such answers. Nobody changes them.
var (
	plainCache = []string{"no-cache, no-transform"}
	plainType  = []string{"application/json"}
)

// toolCall is one call of a tool: it checks the arguments, and whatever goes wrong is the
// reply as well. progress may be nil.
type toolCall func(ctx context.Context, arguments json.RawMessage, progress pods.Progress) reply

// reply is the answer of a tool, ready to be sent.
type reply struct {
	text   string
	blocks []string // more text
	data   []byte   // JSON; nil: none
	failed bool

	wire []byte // what appendContent appends, for an answer that is sent more than once
}

// result is the answer for the SDK.
func (a reply) result() *sdk.CallToolResult {
	result := &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: a.text}}, IsError: a.failed}
	for _, text := range a.blocks {
		result.Content = append(result.Content, &sdk.TextContent{Text: text})
	}
	if a.data != nil {
		result.StructuredContent = json.RawMessage(a.data)
	}
	return result
}

// append appends the answer as the SDK writes it: with meta, that of the server, for the
// revisions in which each answer says whose it is.
func (a reply) append(dst []byte, meta []byte) []byte {
	dst = append(dst, '{')
	if meta != nil {
		dst = append(append(append(dst, `"_meta":`...), meta...), ',')
	}
	if a.wire != nil {
		dst = append(dst, a.wire...)
	} else {
		dst = a.appendContent(dst)
	}
	if a.failed {
		dst = append(dst, `,"isError":true`...)
	}
	if meta != nil {
		dst = append(dst, `,"resultType":"complete"`...)
	}
	return append(dst, '}')
}

// appendContent appends what is for reading, and the same as data.
func (a reply) appendContent(dst []byte) []byte {
	dst = append(dst, `"content":[`...)
	dst = appendBlock(dst, a.text)
	for _, text := range a.blocks {
		dst = appendBlock(append(dst, ','), text)
	}
	dst = append(dst, ']')
	if a.data != nil {
		dst = append(append(dst, `,"structuredContent":`...), a.data...)
	}
	return dst
}

func appendBlock(dst []byte, text string) []byte {
	return append(appendString(append(dst, `{"type":"text","text":`...), text), '}')
}

// appendString appends a string as encoding/json writes it.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			dst = append(append(dst, s[from:i]...), `\n`...)
			from = i + 1
		case c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
			// What comes once in a while is written by who knows all of it.
			rest, _ := json.Marshal(s[from:]) // a string always encodes
			return append(dst, rest[1:]...)
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// serverMeta is the _meta of answers in which the server says who it is.
func serverMeta(impl *sdk.Implementation) []byte {
	meta, err := json.Marshal(map[string]any{sdk.MetaKeyServerInfo: impl})
	if err != nil {
		panic(fmt.Sprintf("mcp: %v", err)) // our own words; a bug
	}
	return meta
}
