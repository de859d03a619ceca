package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"
)

// ready tells the manager that the server is up, at first or again.
func (srv *server) ready() error { return srv.manager.Ready("ready at " + srv.issuer.String()) }

// tell notes that the manager could not be told something.
func (srv *server) tell(what string, err error) {
	if err != nil {
		srv.log.Error("the service manager cannot be told how the server is", "is", what, "error", err)
	}
}

// checksPerWatchdog is how often the server asks itself in the time after which its
// manager takes it for hung.
const checksPerWatchdog = 4

// keepAlive tells the manager that this server is not hung, as long as it answers. A
// server that does not is started anew by the manager.
func (srv *server) keepAlive() {
	if srv.manager.Watchdog == 0 {
		return
	}
	every := srv.manager.Watchdog / checksPerWatchdog
	srv.background(func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for asked := (chan error)(nil); ; {
			if asked == nil { // one question at a time, however long the answer takes
				asked = make(chan error, 1)
				go func() { asked <- srv.answersItself(ctx) }()
			}
			select {
			case err := <-asked:
				asked = nil
				if err != nil {
					srv.log.Error("the server does not answer itself", "error", err)
				} else {
					srv.tell("alive", srv.manager.Alive())
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			case <-tick.C:
				srv.log.Error("the server does not answer itself", "within", every)
			case <-ctx.Done():
				return
			}
		}
	})
}

// answersItself has the handler of all requests answer one, and the database be read. No
// connection is made, as those are bounded: whoever takes up all of them must not have
// the server ended.
func (srv *server) answersItself(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/healthz", nil)
	if err != nil {
		return err
	}
	r.RequestURI, r.RemoteAddr = r.URL.Path, "127.0.0.1:0"
	w := statusWriter{header: http.Header{}}
	srv.answer.ServeHTTP(&w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("/healthz answers %d", w.status)
	}
	_, err = srv.accounts.NeedsSetup()
	return err
}

// statusWriter is an answer of which only the status counts.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *statusWriter) WriteHeader(status int)      { w.status = status }

// toJournal says whether a file leads into the journal, as systemd tells by its device
// and inode. A shell in a service has the variable too, and another output.
func toJournal(lookup func(string) (string, bool), w io.Writer) bool {
	stream, _ := lookup("JOURNAL_STREAM")
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// priorities writes each record with the priority that the journal reads at the beginning
// of a line (sd-daemon(3)): a handler each for errors, warnings, notes and the rest.
type priorities [4]slog.Handler

func newPriorities(w io.Writer, handler func(io.Writer) slog.Handler) (p priorities) {
	for i, prefix := range []string{"<3>", "<4>", "<6>", "<7>"} {
		p[i] = handler(prefixed{w, prefix})
	}
	return p
}

func (p priorities) of(l slog.Level) slog.Handler {
	switch {
	case l >= slog.LevelError:
		return p[0]
	case l >= slog.LevelWarn:
		return p[1]
	case l >= slog.LevelInfo:
		return p[2]
	}
	return p[3]
}

func (p priorities) Enabled(ctx context.Context, l slog.Level) bool { return p.of(l).Enabled(ctx, l) }

func (p priorities) Handle(ctx context.Context, r slog.Record) error {
	return p.of(r.Level).Handle(ctx, r)
}

func (p priorities) WithAttrs(attrs []slog.Attr) slog.Handler {
	return p.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (p priorities) WithGroup(name string) slog.Handler {
	return p.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (p priorities) each(f func(slog.Handler) slog.Handler) priorities {
	for i, h := range p {
		p[i] = f(h)
	}
	return p
}

// prefixed begins what is written at once, which is a line, with a prefix.
type prefixed struct {
	to     io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	n, err := p.to.Write(append([]byte(p.prefix), line...))
	return max(0, n-len(p.prefix)), err
}
