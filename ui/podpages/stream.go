package podpages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"podgate/internal/web"
	"podgate/ui/page"
)

// Bounds of the answers that go on while a page is open.
const (
	maxStreams    = 400
	personStreams = 24 // each tab has one
	streamStall   = 15 * time.Second
	streamBeat    = 25 * time.Second // proxies end what is silent
)

// stream is an answer of server-sent events (HTML, section 9.2). What is sent waits
// for nobody but its own reader, and for that one not long.
type stream struct {
	ctx     context.Context // ends with the request and with the session
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration // how long it waits for its reader
	pace    time.Duration // of its beat
	mu      sync.Mutex
}

// errSessionOver ends the stream of a session that has ended.
var errSessionOver = errors.New("the session has ended")

// openStream begins a stream for a page of ours, and for nobody else's: pods' pages
// are at hosts for which the browser has the cookie, too. end must be called.
func (s *Pages) openStream(w http.ResponseWriter, r *http.Request, p page.Person) (out *stream, end func(), err error) {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return nil, nil, web.Fault(http.StatusForbidden, "cross_origin", "This is for podgate's own pages.", nil)
	}
	leave, ok := s.streams.enter(p.User.ID)
	if !ok {
		return nil, nil, web.Fault(http.StatusTooManyRequests, "busy", "Too many pages follow something already. Close one, then reload this page.", nil)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	lost := make(chan struct{}, 1)
	stop := s.Account.OnLossOf(p.User.ID, func() {
		select {
		case lost <- struct{}{}:
		default:
		}
	})
	lost <- struct{}{} // it may have ended before anybody watched
	out = &stream{ctx: ctx, w: w, control: http.NewResponseController(w), stall: s.stall, pace: s.beat}
	var watching sync.WaitGroup
	end = func() { stop(); cancel(nil); watching.Wait(); leave() }
	h := w.Header()
	page.SetHeaders(w, page.Plain)
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if err := out.write("retry: 3000\n\n"); err != nil {
		end()
		return nil, nil, err
	}
	watching.Go(func() {
		out.watch(lost, func() {
			if !s.StillSignedIn(r) {
				cancel(errSessionOver)
			}
		})
	})
	return out, end, nil
}

// watch looks again whenever something was taken from the person, and at each beat for
// sessions whose time is up, of which nobody is told. The beat keeps proxies from ending
// a stream in which nothing happens.
func (s *stream) watch(lost <-chan struct{}, look func()) {
	tick := time.NewTicker(s.pace)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-lost:
			look()
		case <-tick.C:
			look()
			if s.ctx.Err() != nil || s.write(": \n\n") != nil {
				return
			}
		}
	}
}

// send sends one event. With an id, the browser that comes back after a break says
// how far it came.
func (s *stream) send(event, id string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	head := ""
	if id != "" {
		head = "id: " + id + "\n"
	}
	return s.write(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", head, event, raw))
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Where no deadline can be set, as in HTTP/2 of some tests, the server's own counts.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.stall))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	err := s.control.Flush()
	_ = s.control.SetWriteDeadline(time.Time{})
	return err
}
