// Package echo is the server's side of «podgate doctor»: one endpoint without
// a token, by which a client sees what stands between it and the server.
//
// POST /api/doctor with a body counts the body and throws it away, so that a
// limit in front shows. Without a body it answers with five events, a tenth of
// a second apart, so that a proxy that collects streams shows; the first says
// whether the request's Host and X-Forwarded-For arrived as they should.
//
// Anybody may ask, so it gives nothing away that the caller did not send (no
// address, no version), keeps nothing, and is bounded: in bytes, in time, in
// how many are answered at once, and by a rate limit for each address and in
// all. Pages of other origins cannot read it: it sends no CORS headers.
package echo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"podgate/internal/ratelimit"
	"podgate/internal/web"
)

const (
	// MaxBody bounds a body, in bytes: that of the MCP endpoint.
	MaxBody = 16 << 20
	// events are sent this far apart.
	events   = 5
	interval = 100 * time.Millisecond
	// atOnce bounds how many requests are answered at the same time, and
	// atOnceEach how many of one address: a body may take a minute to arrive.
	atOnce     = 8
	atOnceEach = 2
)

// Config is what the endpoint needs.
type Config struct {
	Issuers []string       // the public URL, and what else the server is called
	Proxies []netip.Prefix // whose X-Forwarded-For is believed
	Now     func() time.Time
}

type endpoint struct {
	hosts   []string // in lower case
	proxies []netip.Prefix
	now     func() time.Time
	limit   *ratelimit.Limiter

	mu   sync.Mutex
	open map[string]int // requests being answered, by address
}

// Routes returns the endpoint's route.
func Routes(c Config) ([]web.Route, error) {
	e := &endpoint{
		proxies: c.Proxies, now: c.Now,
		// One examination asks three to five times.
		limit: ratelimit.New(15, 10*time.Second, 120, 500*time.Millisecond),
		open:  map[string]int{},
	}
	for _, issuer := range c.Issuers {
		u, err := url.Parse(issuer)
		if err != nil {
			return nil, err
		}
		e.hosts = append(e.hosts, u.Hostname())
	}
	return []web.Route{{Method: http.MethodPost, Path: "/api/doctor", Handler: e.serve, Errors: web.WriteJSONError}}, nil
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	key := ratelimit.AddrKey(web.ClientAddr(r, e.proxies))
	wait, ok := e.limit.Allow(key, e.now())
	if !ok {
		return web.TooMany(wait, "examinations")
	}
	if !e.enter(key) {
		return web.TooMany(interval, "examinations at once")
	}
	defer e.leave(key)
	w.Header().Set("Cache-Control", "no-store")
	if r.ContentLength != 0 {
		return count(w, r)
	}
	return e.stream(w, r)
}

// enter takes a slot for an address; false when it has its share, or all are
// taken.
func (e *endpoint) enter(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := 0
	for _, n := range e.open {
		taken += n
	}
	if taken >= atOnce || e.open[key] >= atOnceEach {
		return false
	}
	e.open[key]++
	return true
}

func (e *endpoint) leave(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[key]--; e.open[key] == 0 {
		delete(e.open, key)
	}
}

// count answers how many bytes arrived.
func count(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > MaxBody {
		return &http.MaxBytesError{Limit: MaxBody} // before a client sends all of it
	}
	n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	web.WriteJSON(w, http.StatusOK, map[string]int64{"received": n})
	return nil
}

// passage is what the first event says of the request's way here.
type passage struct {
	Host      bool `json:"host"`
	Forwarded bool `json:"forwarded"`
	Trusted   bool `json:"trusted"`
}

func (e *endpoint) passage(r *http.Request) passage {
	name := ""
	if u, err := url.Parse("//" + r.Host); err == nil {
		name = u.Hostname()
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	trusted := err == nil && slices.ContainsFunc(e.proxies, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) })
	return passage{Host: slices.Contains(e.hosts, strings.ToLower(name)), Forwarded: r.Header.Get("X-Forwarded-For") != "", Trusted: trusted}
}

// stream sends the events, with the headers of the MCP endpoint's streams.
func (e *endpoint) stream(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	first, err := json.Marshal(e.passage(r))
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	control := http.NewResponseController(w)
	for i, data := 0, string(first); i < events; i, data = i+1, "{}" {
		if i > 0 {
			select {
			case <-r.Context().Done():
				return nil // nobody is left to read
			case <-tick.C:
			}
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return nil // likewise
		}
		// What cannot flush sends all at its end, which is what the client is to see.
		_ = control.Flush()
	}
	return nil
}
