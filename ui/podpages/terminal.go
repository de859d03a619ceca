package podpages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) terminalRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/terminal", s.onPod(s.serveTerminal)),
		{Method: http.MethodGet, Path: "/pod/:name/terminal/socket", Handler: s.serveTerminalSocket, Errors: web.WriteJSONError},
	}
}

// terminalPage is the content of terminal.html.
type terminalPage struct {
	Head    podHead
	Name    string
	May     bool // run commands
	Start   bool // start the pod, which is stopped
	Running bool // or about to
}

// serveTerminal is GET /pod/:name/terminal.
func (s *Pages) serveTerminal(w http.ResponseWriter, r *http.Request, o opened) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := terminalPage{Head: s.head(o, pod, "Terminal"), Name: o.Name, May: o.may(authz.Exec), Start: pod.Status == "stopped" && o.may(authz.ManagePod), Running: pod.Status != "stopped" && pod.Status != "stopping"}
	f := page.Frame{Title: "Terminal · " + o.Name, Here: "pods", Wide: true, Page: view}
	if view.May && view.Running {
		f.Scripts = []string{"terminal.js"}
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "terminal", f)
}

const (
	maxKeys     = 64 << 10 // bytes of one message of a browser
	maxUnseen   = 256 << 10
	socketStall = 30 * time.Second // for the browser to take what is sent
	pongTime    = 15 * time.Second
)

// Why a terminal ended, beside what ends it in package pods.
var (
	errSignedOut = errors.New("the session has ended")
	errLeft      = errors.New("the browser has left")
)

// serveTerminalSocket is GET /pod/:name/terminal/socket, a WebSocket. Binary messages
// are what is typed and shown. A text message is JSON: to us the size of the
// terminal, or how many bytes of it the page has shown since it last said so; from
// us, once, that the terminal is open. It ends with words that the page can show.
//
// A browser lets any page open a WebSocket to any address and sends our cookie
// along, so the origin is looked at before the session is.
func (s *Pages) serveTerminalSocket(w http.ResponseWriter, r *http.Request) error {
	if origin := r.Header.Get("Origin"); origin == "" || s.PageHost.SameOrigin(r) != nil {
		return web.Fault(http.StatusForbidden, "cross_origin", "Terminals are for podgate's own pages.", nil)
	}
	session, user, ok := s.Current(r)
	if !ok {
		return web.Fault(http.StatusUnauthorized, "unauthorized", "Sign in first.", nil)
	}
	p := page.Person{Session: session, User: user}
	actor, name, err := s.podOf(r, p)
	if err != nil {
		return err
	}
	if err := actor.AllowPod(authz.Exec, actor.Team.ID, name); err != nil {
		return web.Fault(http.StatusForbidden, "forbidden", "Your role in the team does not let you run commands.", err)
	}
	// The origin was looked at, by a rule that is stricter than the library's.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil // it has answered
	}
	conn.SetReadLimit(maxKeys)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	look := func() {
		if !s.StillSignedIn(r) {
			cancel(errSignedOut)
		}
	}
	defer s.Account.OnLossOf(user.ID, look)()
	look() // it may have ended before anybody watched
	query := r.URL.Query()
	size := wire.Size{Columns: number(query.Get("columns")), Rows: number(query.Get("rows"))}
	term, err := s.pods.Terminal(ctx, actor, name, size)
	if err != nil {
		s.endSocket(conn, err)
		return nil
	}
	began := s.Now()
	record := func(action store.AuditAction, object string) {
		s.Audit(r, p, store.AuditEntry{Action: action, Team: actor.Team.ID, TeamName: actor.Team.Slug, Object: object})
	}
	record(history.AuditTerminal, name)
	t := &socket{Terminal: term, conn: conn, pace: s.beat, look: look, room: make(chan struct{}, 1)}
	why := t.serve(ctx, cancel, s.endSocket)
	record(history.AuditTerminalEnd, fmt.Sprintf("%s, after %s: %s", name, page.Lasts(s.Now().Sub(began)), endWords(term, why)))
	return nil
}

// number is a small decimal number; 0 for anything else.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// socket is a terminal and the browser that shows it.
type socket struct {
	*pods.Terminal
	conn *websocket.Conn
	pace time.Duration // of its beat
	look func()        // ends it with its session
	room chan struct{} // holds a value when the page has shown something

	mu     sync.Mutex
	unseen int // bytes that were sent and that the page has not shown
}

// serve returns why the terminal ended, once it has, the browser has been told by
// end and nothing of it is left.
func (t *socket) serve(ctx context.Context, cancel context.CancelCauseFunc, end func(*websocket.Conn, error)) error {
	var all sync.WaitGroup
	all.Go(func() {
		err := t.show(ctx)
		cancel(err)
		end(t.conn, t.why(err))
	})
	all.Go(func() { t.beat(ctx, cancel) })
	err := t.take(ctx)
	cancel(err)
	all.Wait()
	why := t.why(err)
	_ = t.Close() // which is what ends it when nothing else has
	return why
}

// why is the reason of an end, of which the terminal knows more than the socket.
func (t *socket) why(err error) error {
	if known := t.Err(); known != nil {
		return known
	}
	return err
}

// show sends what the terminal shows, and no more than the page has shown in time:
// a browser takes messages faster than it can draw them, and would keep them all.
func (t *socket) show(ctx context.Context) error {
	if err := t.write(ctx, websocket.MessageText, []byte(`{"open":true}`)); err != nil {
		return err
	}
	buf := make([]byte, wire.MaxFrame)
	for {
		n, err := t.Read(buf)
		if err != nil {
			return err
		}
		for t.full() {
			select {
			case <-t.room:
			case <-t.Done():
				return t.Err()
			}
		}
		t.mu.Lock()
		t.unseen += n
		t.mu.Unlock()
		if err := t.write(ctx, websocket.MessageBinary, buf[:n]); err != nil {
			return err
		}
	}
}

func (t *socket) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unseen >= maxUnseen
}

func (t *socket) write(ctx context.Context, kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), socketStall) // ending it would cut the words at the end off
	defer cancel()
	if err := t.conn.Write(ctx, kind, b); err != nil {
		return errLeft
	}
	return nil
}

// take does what the page says, until it leaves.
func (t *socket) take(ctx context.Context) error {
	for {
		kind, b, err := t.conn.Read(context.WithoutCancel(ctx))
		if err != nil {
			return errLeft
		}
		if kind == websocket.MessageText {
			if err := t.order(b); err != nil {
				return err
			}
		} else if _, err := t.Write(b); err != nil {
			return err
		}
	}
}

var errNonsense = errors.New("the page said what podgate does not understand")

// order does what a text message says.
func (t *socket) order(b []byte) error {
	var m struct {
		wire.Size
		Seen int `json:"seen"`
	}
	if json.Unmarshal(b, &m) != nil || m.Seen < 0 {
		return errNonsense
	}
	if m.Seen == 0 {
		return t.Resize(m.Size)
	}
	t.mu.Lock()
	t.unseen = max(0, t.unseen-m.Seen)
	t.mu.Unlock()
	select {
	case t.room <- struct{}{}:
	default:
	}
	return nil
}

// beat finds out about browsers that have gone without a word, and about sessions whose
// time is up, of which nobody is told.
func (t *socket) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(t.pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if t.look(); ctx.Err() != nil {
				return
			}
			ping, stop := context.WithTimeout(context.WithoutCancel(ctx), pongTime) // as in write
			err := t.conn.Ping(ping)
			stop()
			if err != nil {
				cancel(errLeft)
				return
			}
		}
	}
}

// What a WebSocket's close says beside its words (RFC 6455, section 7.4.2).
const (
	codeShellEnded = websocket.StatusNormalClosure
	codeEnded      = websocket.StatusCode(4000)
	maxCloseWords  = 123 // bytes
)

// endSocket closes the socket and tells the browser why.
func (s *Pages) endSocket(conn *websocket.Conn, why error) {
	code := codeEnded
	if errors.Is(why, io.EOF) {
		code = codeShellEnded
	}
	words := endWords(nil, why)
	if words == unknownEnd {
		s.Log.Error("a terminal failed", "error", why)
	}
	_ = conn.Close(code, text.Cut(words, maxCloseWords)) // the browser may have gone
}

const unknownEnd = "something failed in podgate; its log knows more"

// endWords says to a person why a terminal ended. Without the terminal the words do
// not say how its shell did.
func endWords(t *pods.Terminal, why error) string {
	var denied *authz.Denied
	switch is := func(target error) bool { return errors.Is(why, target) }; {
	case is(io.EOF) && t != nil:
		code, _ := t.Exit()
		return fmt.Sprintf("its shell exited with code %d", code)
	case is(io.EOF):
		return "its shell has ended"
	case is(errSignedOut):
		return "you are signed out"
	case is(errLeft):
		return "the page was left"
	case is(errNonsense):
		return errNonsense.Error()
	case errors.As(why, &denied):
		return "you may not run commands here any more"
	case is(pods.ErrNotFound), is(pods.ErrNotMember):
		return "the pod is gone, or you are not in its team any more"
	case is(pods.ErrIdle):
		return fmt.Sprintf("nothing happened for %d minutes", pods.TerminalIdle/time.Minute)
	case is(pods.ErrInterrupted):
		return "the pod was stopped or started again, which ends all that runs there"
	case is(pods.ErrNotRunning):
		return "the pod does not run; start it first"
	case pods.IsPublic(why):
		_, words, _ := strings.Cut(why.Error(), ": ")
		return text.Line(inPages(words), maxCloseWords)
	}
	return unknownEnd
}
