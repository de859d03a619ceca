package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	batchSize   = 512             // spans of one request
	sendEvery   = 5 * time.Second // fewer wait so long
	sendTimeout = 10 * time.Second
	lastTimeout = 2 * time.Second // for what is left when the server ends
	maxAnswer   = 4 << 10         // bytes of the collector's answer that are read
	tellEvery   = time.Minute     // how often the log hears of the same trouble
)

// Config says where spans go.
type Config struct {
	Endpoint string      // the collector's base address, such as http://127.0.0.1:4318
	Header   http.Header // sent with every request, such as a key
	Sample   float64     // which share of traces is kept that begin here, from 0 to 1
	Version  string      // of the program, as service.version
	Log      *slog.Logger
	Now      func() time.Time
}

// New returns a Tracer; Run sends what it collects.
func New(cfg Config) *Tracer {
	return &Tracer{cfg: cfg, threshold: thresholdOf(cfg.Sample), wake: make(chan struct{}, 1)}
}

// Run sends spans until ctx ends, and then what is left.
func (t *Tracer) Run(ctx context.Context) {
	client := &http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
			defer cancel()
			_ = t.sendAll(last, client) // nobody reads the log any more
			return
		case <-t.wake:
		case <-tick.C:
		}
		if err := t.sendAll(ctx, client); err != nil && t.cfg.Now().Sub(told) >= tellEvery {
			told = t.cfg.Now()
			t.cfg.Log.Warn("traces could not be sent", "endpoint", t.cfg.Endpoint, "error", err)
		}
	}
}

// sendAll sends what waits. A batch that is not taken is dropped: a collector that is down
// must not cost memory.
func (t *Tracer) sendAll(ctx context.Context, client *http.Client) error {
	for {
		t.mu.Lock()
		n := min(len(t.waiting), batchSize)
		batch := t.waiting[:n:n]
		if t.waiting = t.waiting[n:]; len(t.waiting) == 0 {
			t.waiting = nil
		}
		t.mu.Unlock()
		if n == 0 {
			return nil
		}
		lost, err := t.send(ctx, client, batch)
		t.dropped.Add(int64(lost))
		if err != nil {
			return err
		}
	}
}

// send returns how many spans of the batch were not taken.
func (t *Tracer) send(ctx context.Context, client *http.Client, batch []*Span) (lost int, err error) {
	body, err := json.Marshal(t.request(batch))
	if err != nil {
		return len(batch), err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.cfg.Endpoint, "/")+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		return len(batch), err
	}
	for key, values := range t.cfg.Header {
		req.Header[key] = values
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return len(batch), err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return len(batch), fmt.Errorf("the collector answers %s: %.200q", resp.Status, answer)
	}
	// It may take a part only (OTLP specification, «Partial Success»).
	var took struct {
		Partial struct {
			Rejected json.Number `json:"rejectedSpans"`
			Message  string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if err == nil && json.Unmarshal(answer, &took) == nil {
		if n, _ := took.Partial.Rejected.Int64(); n > 0 {
			return int(min(n, int64(len(batch)))), errors.New("the collector rejects spans: " + strconv.Quote(took.Partial.Message))
		}
	}
	return 0, nil
}

// The messages of ExportTraceServiceRequest that podgate fills, in the JSON form of OTLP:
// ids in hex, 64-bit numbers as text.
type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []wireSpan `json:"spans"`
	}
	wireSpan struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		ParentID   string     `json:"parentSpanId,omitempty"`
		Name       string     `json:"name"`
		Kind       Kind       `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes,omitempty"`
		Status     status     `json:"status"`
	}
	status struct {
		Code int `json:"code,omitempty"` // 2: failed
	}
	keyValue struct {
		Key   string   `json:"key"`
		Value anyValue `json:"value"`
	}
	anyValue struct {
		String *string `json:"stringValue,omitempty"`
		Int    string  `json:"intValue,omitempty"`
	}
)

const statusError = 2

func (t *Tracer) request(batch []*Span) exportRequest {
	scope := scopeSpans{}
	scope.Scope.Name = "podgate"
	for _, s := range batch {
		w := wireSpan{
			TraceID: hex.EncodeToString(s.trace[:]), SpanID: hex.EncodeToString(s.id[:]), Name: s.name, Kind: s.kind,
			Start: strconv.FormatInt(s.start.UnixNano(), 10), End: strconv.FormatInt(s.end.UnixNano(), 10),
		}
		if s.parent != (spanID{}) {
			w.ParentID = hex.EncodeToString(s.parent[:])
		}
		if s.failed {
			w.Status.Code = statusError
		}
		for _, a := range s.attributes {
			w.Attributes = append(w.Attributes, a.wire())
		}
		scope.Spans = append(scope.Spans, w)
	}
	of := resource{[]keyValue{attribute{key: "service.name", text: "podgate"}.wire(), attribute{key: "service.version", text: t.cfg.Version}.wire()}}
	return exportRequest{[]resourceSpans{{of, []scopeSpans{scope}}}}
}

func (a attribute) wire() keyValue {
	if a.whole {
		return keyValue{a.key, anyValue{Int: strconv.FormatInt(a.value, 10)}}
	}
	return keyValue{a.key, anyValue{String: &a.text}}
}
