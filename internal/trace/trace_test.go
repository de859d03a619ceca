package trace

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector takes what is sent to it.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	answer string
	spans  []wireSpan
	keys   []string // the Authorization of each request
}

func newCollector(t *testing.T) *collector {
	c := &collector{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got exportRequest
		raw, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(raw, &got)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keys = append(c.keys, r.Header.Get("Authorization"))
		if c.status == http.StatusOK {
			c.spans = append(c.spans, got.ResourceSpans[0].ScopeSpans[0].Spans...)
		}
		w.WriteHeader(c.status)
		_, _ = io.WriteString(w, c.answer)
	}))
	t.Cleanup(c.Close)
	return c
}

// collect runs a tracer that sends to c until do is done and everything is sent.
func (c *collector) collect(t *testing.T, cfg Config, do func(*Tracer)) *Tracer {
	t.Helper()
	cfg.Endpoint, cfg.Version, cfg.Now = c.URL, "v1", time.Now
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	tracer := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { tracer.Run(ctx); close(ended) }()
	do(tracer)
	cancel()
	<-ended
	return tracer
}

func TestSpans(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	header := http.Header{"Authorization": {"Bearer key"}}
	c.collect(t, Config{Sample: 1, Header: header}, func(tracer *Tracer) {
		ctx, root := tracer.Root(t.Context(), "GET pages", Server, nil)
		root.Set("word", strings.Repeat("ä", 300))
		root.SetInt("number", 1<<60)
		n, err := Do(ctx, "store read", func() (int, error) {
			return 7, Run(ctx, "inner", func() error { return nil })
		})
		if n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		_, bad := Start(ctx, "agent", Client)
		bad.End(errors.New("with a secret"))
		root.End(nil)
	})
	byName := map[string]wireSpan{}
	for _, s := range c.spans {
		byName[s.Name] = s
	}
	root := byName["GET pages"]
	if len(c.spans) != 4 || root.ParentID != "" || root.Kind != Server || len(root.TraceID) != 32 || len(root.SpanID) != 16 || root.Status.Code != 0 || root.Start > root.End {
		t.Fatalf("%+v", c.spans)
	}
	if a := root.Attributes; len(a) != 2 || *a[0].Value.String != strings.Repeat("ä", 128) || a[1].Value.Int != "1152921504606846976" {
		t.Errorf("attributes: %+v", a)
	}
	for _, name := range []string{"store read", "agent", "inner"} {
		if s := byName[name]; s.ParentID != root.SpanID || s.TraceID != root.TraceID {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := byName["agent"]; s.Status.Code != statusError || s.Kind != Client {
		t.Errorf("%+v", s)
	}
	if c.keys[0] != "Bearer key" {
		t.Errorf("the key is %q", c.keys)
	}
	if raw, _ := json.Marshal(c.spans); strings.Contains(string(raw), "secret") {
		t.Errorf("the words of an error are told: %s", raw)
	}
}

// What others began goes on, as they want it kept or not; of our own a share is kept.
func TestSampling(t *testing.T) {
	t.Parallel()
	const kept, dropped = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	c := newCollector(t)
	c.collect(t, Config{Sample: 0}, func(tracer *Tracer) {
		for _, header := range []string{kept, dropped, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", ""} {
			var parent *Parent
			if p, ok := ParseParent(header); ok {
				parent = &p
			}
			ctx, s := tracer.Root(t.Context(), "x", Server, parent)
			if want := header == kept; (s != nil) != want || (ctx != t.Context()) != want {
				t.Errorf("%q: %v", header, s)
			}
			s.Set("a", "b")
			s.Fail()
			s.End(nil)
		}
	})
	if len(c.spans) != 1 || c.spans[0].TraceID != "0af7651916cd43dd8448eb211c80319c" || c.spans[0].ParentID != "b7ad6b7169203331" {
		t.Errorf("%+v", c.spans)
	}
	tracer, n := New(Config{Sample: 0.25, Now: time.Now}), 0
	for range 2000 {
		if _, s := tracer.Root(t.Context(), "x", Server, nil); s != nil {
			n++
		}
	}
	if n < 350 || n > 650 { // seven standard deviations
		t.Errorf("%d of 2000 are kept, want about 500", n)
	}
	var none *Tracer
	if ctx, s := none.Root(t.Context(), "x", Server, nil); s != nil || ctx != t.Context() {
		t.Error("a tracer that is not there traces")
	}
}

// A collector that is down, or full, costs neither memory nor time of requests.
func TestCollectorThatFails(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	c.status, c.answer = http.StatusServiceUnavailable, "full"
	log := &strings.Builder{}
	tracer := c.collect(t, Config{Sample: 1, Log: slog.New(slog.NewTextHandler(log, nil))}, func(tracer *Tracer) {
		for range batchSize {
			_, s := tracer.Root(t.Context(), "x", Server, nil)
			s.End(nil)
		}
		for start := time.Now(); tracer.Dropped() < batchSize; time.Sleep(time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Fatal("the batch is not given up")
			}
		}
	})
	if !strings.Contains(log.String(), "503") || !strings.Contains(log.String(), "full") || tracer.waiting != nil {
		t.Errorf("%s, %d wait", log, len(tracer.waiting))
	}
	idle := New(Config{Sample: 1, Now: time.Now}) // nobody runs it
	for range maxWaiting + 10 {
		_, s := idle.Root(t.Context(), "x", Server, nil)
		s.End(nil)
	}
	if len(idle.waiting) != maxWaiting || idle.Dropped() != 10 {
		t.Errorf("%d wait, %d dropped", len(idle.waiting), idle.Dropped())
	}
	c.status, c.answer = http.StatusOK, `{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}`
	tracer = c.collect(t, Config{Sample: 1}, func(tracer *Tracer) {
		for range 5 {
			_, s := tracer.Root(t.Context(), "x", Server, nil)
			s.End(nil)
		}
	})
	if tracer.Dropped() != 3 {
		t.Errorf("%d dropped, want those that were rejected", tracer.Dropped())
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-will-be")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01")
	f.Add("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, header string) {
		p, ok := ParseParent(header)
		if ok && (p.trace == traceID{} || p.span == spanID{} || len(header) < 55 || strings.HasPrefix(header, "ff")) {
			t.Errorf("%q is taken", header)
		}
	})
}

func TestParseParent(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for header, want := range map[string]bool{
		"00-" + trace + "-" + span + "-01": true, "00-" + trace + "-" + span + "-00": true, "cc-" + trace + "-" + span + "-01-more": true, "01-" + trace + "-" + span + "-01": true,
		"00-" + trace + "-" + span + "-01-more": false, "ff-" + trace + "-" + span + "-01": false, "00-" + trace + "-" + span: false, "00-" + strings.Repeat("0", 32) + "-" + span + "-01": false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false, "00-" + strings.ToUpper(trace) + "-" + span + "-01": false, "": false, "cc-" + trace + "-" + span + "-01more": false,
	} {
		if _, ok := ParseParent(header); ok != want {
			t.Errorf("%q: %v", header, ok)
		}
	}
}

// What is not traced costs nothing but a look.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name   string
		sample float64
	}{{"off", 0}, {"on", 1}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			tracer := New(Config{Sample: c.sample, Now: time.Now})
			ctx, _ := tracer.Root(b.Context(), "x", Server, nil)
			for b.Loop() {
				_, s := Start(ctx, "y", Internal)
				s.End(nil)
				tracer.waiting = nil
			}
		})
	}
}
