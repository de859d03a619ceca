package mcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
)

// listTTL is how long a client may keep the lists of tools and prompts, which
// change with a new podgate, and that of tools when its person takes a scope away.
const listTTL = 5 * time.Minute

// Config is what the endpoint needs. All fields but Issuer and
// History are required.
type Config struct {
	Pods    *pods.Service
	Issuer  string            // podgate's public URL, for the server's description
	Version string            // podgate's
	History *history.Recorder // of the audit list; nil: none
	Log     *slog.Logger
	// InsufficientScope answers 403 with the challenge that names the scopes
	// which the operation needs.
	InsufficientScope func(w http.ResponseWriter, r *http.Request, needed []store.Scope)
	// Watch returns the request with the actor as it is now and a context that
	// ends, because of [authz.ErrRevoked], as soon as the access is taken away
	// or mayGoOn refuses the actor that is left. stop ends the watch.
	Watch func(r *http.Request, mayGoOn func(authz.Actor) error) (watched *http.Request, stop func())
	// Called hears of every call of a tool: how it ended in a word, "ok" or one of a
	// few others, and after how long. nil: nobody counts.
	Called func(tool, outcome string, took time.Duration)
}

// endpoint is the handler of POST /api/mcp.
type endpoint struct {
	cfg        Config
	tools      map[string]authz.Action // what each tool does
	declared   map[string]toolCall
	forms      forms           // of calls that need not go through the SDK
	serverMeta []byte          // the _meta of their answers
	later      []string        // the tools that are listed last, in their order
	plain      http.Handler    // answers with one JSON object
	stream     http.Handler    // answers with events, so that progress can be sent
	bodies     bodies          // of the requests that are being answered
	asTask     map[string]bool // the tools whose calls may go on as tasks
	tasks      tasks
	grace      time.Duration // before a call becomes a task
}

// Endpoint is the handler of the endpoint. Close ends the calls that go on
// without their requests.
type Endpoint interface {
	http.Handler
	Close() error
}

// New returns the handler. It must stand behind the bearer check.
func New(cfg Config) (Endpoint, error) {
	if cfg.Pods == nil || cfg.Log == nil || cfg.InsufficientScope == nil || cfg.Watch == nil {
		return nil, errors.New("mcp: Pods, Log, InsufficientScope and Watch are required")
	}
	e := &endpoint{cfg: cfg, tools: map[string]authz.Action{}, declared: map[string]toolCall{}, asTask: map[string]bool{}, grace: taskGrace}
	e.over(e.newServer())
	return e, nil
}

// Close implements Endpoint.
func (e *endpoint) Close() error {
	e.tasks.close()
	return nil
}

// over puts the transport in front of a server.
func (e *endpoint) over(server *sdk.Server) {
	pick := func(*http.Request) *sdk.Server { return server }
	options := sdk.StreamableHTTPOptions{
		Stateless: true, MaxRequestBodyBytes: maxRequest, PropagateRequestCancellation: true,
		// Package main refuses foreign Host headers before anything else, and
		// knows the public name that the SDK would refuse behind a proxy.
		DisableLocalhostProtection: true,
	}
	e.stream = sdk.NewStreamableHTTPHandler(pick, &options)
	options.JSONResponse = true
	e.plain = sdk.NewStreamableHTTPHandler(pick, &options)
}

// newServer builds the one server that all requests share: tools are declared
// and their schemas resolved once.
func (e *endpoint) newServer() *sdk.Server {
	impl := &sdk.Implementation{Name: "podgate", Title: "podgate", Version: e.cfg.Version, WebsiteURL: e.cfg.Issuer}
	e.serverMeta = serverMeta(impl)
	s := sdk.NewServer(impl, &sdk.ServerOptions{
		Instructions: instructions,
		// No change of a list is announced: requests are answered one by one, and
		// what was taken away meanwhile is refused in words.
		// Resources are offered, and empty, because some clients ask for the
		// list without looking at the capabilities.
		Capabilities: &sdk.ServerCapabilities{Tools: &sdk.ToolCapabilities{}, Prompts: &sdk.PromptCapabilities{}, Resources: &sdk.ResourceCapabilities{}, Extensions: map[string]any{tasksExtension: struct{}{}}},
		SetCacheable: func(_ context.Context, r sdk.Request, c *sdk.Cacheable) {
			c.TTLMs = int(listTTL.Milliseconds())
			if _, tools := r.(*sdk.ListToolsRequest); tools {
				c.CacheScope = "private" // see listWithoutTaken
			}
		},
	})
	s.AddReceivingMiddleware(e.listWithKinds, e.listWithoutTaken, e.listInOrder, e.withTasks)
	e.addTaskMethods(s)
	e.addCatalogueTools(s)
	e.addPodTools(s)
	e.addExecTool(s)
	e.addFileTools(s)
	e.addLogTool(s)
	e.addDeployTools(s)
	e.addLinkTools(s)
	e.addEnvTool(s)
	e.addChangeTools(s)
	e.addSearchTools(s)
	e.addJobTools(s)
	e.addSnapshotTools(s)
	addPrompts(s)
	return s
}

const instructions = `podgate runs small apps in pods: isolated Linux environments of one team, each with files, commands, logs and its own web address.

The short way: deploy takes a whole app as files, or a git repository, makes the pod, installs, starts and answers with the url and what a visitor gets there, or with what went wrong. Mend and deploy again, or change single files with write_file and use manage_pod with action reload; get_logs shows what the app printed. list_presets shows what kinds of app there are.

The app must listen on the port in the environment variable PORT. Files under /home/pod stay when a pod is stopped or restarted; a deploy replaces /home/pod/app and leaves /home/pod/data. What a pod may reach outside is decided by the people who own it: get_pod shows it, and get_logs with source network says what was refused and who can allow it. Names of pods are unique on this server.

Every deploy takes a snapshot of the pod's files first; restore_snapshot goes back to one, and that can be undone as well.`

// requestKey carries the context of the HTTP request to the tools. The SDK
// passes a context's values on but, for the older protocol versions, not its
// end; here a client that is gone can never hear the answer, so its command is
// stopped in every version.
type requestKey struct{}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		web.WriteJSONError(w, r, web.Fault(http.StatusMethodNotAllowed, "method_not_allowed", "This is an MCP endpoint: send POST with a JSON-RPC message.", nil))
		return
	}
	body, release, err := e.bodies.read(w, r)
	c := &caller{request: r, came: authz.FromContext(r.Context()), release: release}
	c.holders.Store(1)
	defer c.done()
	if err != nil {
		refuseBody(w, r, err)
		return
	}
	if err := c.read(body); err != nil {
		err.write(w, http.StatusBadRequest)
		return
	}
	r, stop := e.cfg.Watch(r, func(now authz.Actor) error { return e.mayGoOn(c.came, now, c.calls) })
	defer stop()
	defer hangUp(r)
	if needed := e.missing(authz.FromContext(r.Context()), c.calls); len(needed) > 0 {
		e.cfg.InsufficientScope(w, r, needed)
		return
	}
	if r = e.withVisitor(r, c.calls); !e.quick(w, r, c) {
		e.serve(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)), body)
	}
}

// read looks at what is asked for.
func (c *caller) read(body []byte) *rpcError {
	var err error
	if call, ok := plainOf(body); ok {
		c.plain, c.calls = &call, call.calls()
	} else if c.calls, err = peek(body); err == nil {
		err = checkTaskHeader(c.request, c.calls)
	}
	var refused *rpcError
	errors.As(err, &refused) // there is no other
	return refused
}

// serve lets the transport answer a body.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	// A client that wants progress gets events; all others one JSON object,
	// which is cheaper and passes every proxy.
	if wantsProgress(body) {
		w.Header().Set("X-Accel-Buffering", "no") // nginx collects a stream unless told
		e.stream.ServeHTTP(w, r)
		return
	}
	e.plain.ServeHTTP(w, r)
}

// wantsProgress reports whether a body asks for progress, or may.
func wantsProgress(body []byte) bool { return bytes.Contains(body, []byte(`"progressToken"`)) }

// withCaller returns a context that also ends when the HTTP request does.
func withCaller(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	request, ok := ctx.Value(requestKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(request, cancel)
	return ctx, func() { stop(); cancel() }
}

// revoked reports whether the request that made the call ended because its
// access was taken away.
func revoked(ctx context.Context) bool {
	return errors.Is(context.Cause(requestOf(ctx)), authz.ErrRevoked)
}
