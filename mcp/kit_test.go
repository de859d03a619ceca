package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/connlimit"
	"podgate/internal/web"
	"podgate/mcp"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// The protocol versions with which most is tested: the newest with an
// initialize handshake, and the newest of all.
const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

var eras = []string{legacy, modern}

// args are the arguments of a tool.
type args = map[string]any

// bench is the endpoint over the fake runtime, behind a bearer check that takes
// names for tokens.
type bench struct {
	testing.TB
	db   *store.DB
	pods *pods.Service
	fake *podstest.Fake
	url  string
	log  *logBuffer

	endpoint mcp.Endpoint

	history *history.Recorder

	mu     sync.Mutex
	actors map[string]authz.Actor
}

// newBench has one person, ann, with all scopes.
func newBench(t testing.TB, change ...func(*pods.Config)) *bench {
	t.Helper()
	b := &bench{TB: t, db: storetest.New(t), fake: podstest.NewFake(t), log: &logBuffer{}, actors: map[string]authz.Actor{}}
	b.pods = podstest.ServiceOver(t, b.db, b.fake, change...)
	log := slog.New(slog.NewTextHandler(b.log, nil))
	b.history = history.New(history.Config{DB: b.db, Now: time.Now})
	handler, err := mcp.New(mcp.Config{Pods: b.pods, Issuer: "https://pods.example", Version: "1.2.3", History: b.history, Log: log, InsufficientScope: insufficient, Watch: unwatched})
	if err != nil {
		t.Fatal(err)
	}
	b.endpoint = handler
	b.Cleanup(func() { _ = handler.Close() })
	stack := &web.Stack{Log: log, Now: time.Now}
	srv := httptest.NewServer(connlimit.Deadlines(stack.Handle(b.bearer(handler), web.WriteJSONError)))
	t.Cleanup(srv.Close)
	b.url = srv.URL
	b.person("ann")
	return b
}

// insufficient stands for package oauth: it shows what it was asked for.
func insufficient(w http.ResponseWriter, _ *http.Request, needed []store.Scope) {
	w.Header().Set("Needed", fmt.Sprint(needed))
	w.WriteHeader(http.StatusForbidden)
}

// unwatched stands for package oauth: here nobody takes anything away.
func unwatched(r *http.Request, _ func(authz.Actor) error) (*http.Request, func()) {
	return r, func() {}
}

func (b *bench) bearer(next http.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		b.mu.Lock()
		actor, ok := b.actors[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		b.mu.Unlock()
		if !ok {
			return web.Fault(http.StatusUnauthorized, "invalid_token", "no such token", nil)
		}
		next.ServeHTTP(w, r.WithContext(authz.WithActor(r.Context(), actor)))
		return nil
	}
}

// person adds somebody with a team of their own name.
func (b *bench) person(name string) authz.Actor {
	b.Helper()
	w := storetest.Populate(b, b.db, name, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	a := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	b.as(name, a)
	return a
}

// as makes token stand for an actor.
func (b *bench) as(token string, a authz.Actor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.actors[token] = a
}

func (b *bench) actor(token string) authz.Actor {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.actors[token]
}

// pod makes a pod of ann's.
func (b *bench) pod(name string) pods.Pod {
	b.Helper()
	p, err := b.pods.Create(b.Context(), b.actor("ann"), pods.CreateRequest{Name: name, Preset: "static"}, nil)
	if err != nil {
		b.Fatalf("create %s: %v", name, err)
	}
	return p
}

// carrier puts the token on each request.
type carrier struct {
	token string
	next  http.RoundTripper
}

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+c.token)
	return c.next.RoundTrip(r)
}

// client is the SDK's own client.
type client struct {
	*sdk.ClientSession
	b *bench

	mu       sync.Mutex
	progress []*sdk.ProgressNotificationParams
}

func (b *bench) connect(token, version string) *client {
	b.Helper()
	c := &client{b: b}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	b.Cleanup(transport.CloseIdleConnections)
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "0"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.progress = append(c.progress, r.Params)
		},
	}).Connect(b.Context(), &sdk.StreamableClientTransport{
		Endpoint: b.url, HTTPClient: &http.Client{Transport: carrier{token, transport}}, DisableStandaloneSSE: true,
	}, &sdk.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		b.Fatalf("connect: %v", err)
	}
	b.Cleanup(func() { _ = session.Close() })
	c.ClientSession = session
	return c
}

// result calls a tool; a protocol error ends the test.
func (c *client) result(tool string, with args) *sdk.CallToolResult {
	c.b.Helper()
	if with == nil {
		with = args{}
	}
	res, err := c.CallTool(c.b.Context(), &sdk.CallToolParams{Name: tool, Arguments: with})
	if err != nil {
		c.b.Fatalf("%s %.200v: protocol error: %v", tool, with, err)
	}
	checkResult(c.b, tool, res)
	return res
}

// call calls a tool that must work and returns its structured answer.
func (c *client) call(tool string, with args) map[string]any {
	c.b.Helper()
	res := c.result(tool, with)
	if res.IsError {
		c.b.Fatalf("%s %.200v: %s", tool, with, text(res))
	}
	data, ok := res.StructuredContent.(map[string]any)
	if !ok {
		c.b.Fatalf("%s: structured answer is %T", tool, res.StructuredContent)
	}
	return data
}

// refused calls a tool that must not work and returns its words.
func (c *client) refused(tool string, with args) string {
	c.b.Helper()
	res := c.result(tool, with)
	if !res.IsError {
		c.b.Errorf("%s %.200v worked: %.500s", tool, with, text(res))
	}
	return text(res)
}

// checkResult holds for every answer of every tool.
func checkResult(t testing.TB, tool string, res *sdk.CallToolResult) {
	t.Helper()
	if len(res.Content) == 0 {
		t.Errorf("%s: no text", tool)
	}
	if n := len([]rune(text(res))); n > 100_000 || n == 0 {
		t.Errorf("%s: %d characters of text", tool, n)
	}
	data, _ := res.StructuredContent.(args)
	deploy, _ := data["deploy"].(args)
	pod, _ := data["pod"].(args)
	last, _ := pod["last_deploy"].(args)
	if res.IsError && res.StructuredContent != nil && data["timed_out"] != true && deploy["state"] != "failed" && last["state"] != "failed" {
		t.Errorf("%s: an error with a structured answer", tool)
	}
}

// text is all text of an answer.
func text(res *sdk.CallToolResult) string {
	var b strings.Builder
	for _, c := range res.Content {
		if t, ok := c.(*sdk.TextContent); ok {
			b.WriteString(t.Text)
		}
	}
	return b.String()
}

// message is a JSON-RPC request of one era, with the headers that it wants.
func message(version, method string, params args) (body []byte, header http.Header) {
	header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {version}}
	params = clone(params)
	if version == modern {
		meta, _ := params["_meta"].(args)
		meta = clone(meta)
		meta["io.modelcontextprotocol/protocolVersion"] = modern
		meta["io.modelcontextprotocol/clientInfo"] = args{"name": "test", "version": "0"}
		if meta["io.modelcontextprotocol/clientCapabilities"] == nil {
			meta["io.modelcontextprotocol/clientCapabilities"] = args{}
		}
		params["_meta"] = meta
		header.Set("Mcp-Method", method)
		for _, field := range []string{"name", "taskId"} {
			if name, ok := params[field].(string); ok {
				header.Set("Mcp-Name", name)
			}
		}
	}
	body, err := json.Marshal(args{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		panic(err) // of a test's own literal
	}
	return body, header
}

func clone(m args) args {
	c := args{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// logBuffer is a log to read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func remarshal(t testing.TB, from, to any) {
	t.Helper()
	raw, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}
