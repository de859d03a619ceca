// Package trace tells an OpenTelemetry collector where the time of requests goes. It has
// the part of OpenTelemetry that a server needs which watches itself: spans with a few
// attributes, sent in batches as JSON over HTTP (OTLP 1.x).
//
// The SDK of OpenTelemetry is not used for it: linked in, with what it needs, it makes the
// program 3.4 MB larger, and a pod starts the program several times.
package trace

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is the place of a span in a conversation, as OTLP numbers it.
type Kind int

// The kinds that podgate has.
const (
	Internal Kind = 1
	Server   Kind = 2
	Client   Kind = 3
)

// Bounds of what waits to be sent. What comes when it is full is dropped and counted.
const (
	maxWaiting    = 4096
	maxAttributes = 16
	maxValue      = 256 // bytes of a value
)

type (
	traceID [16]byte
	spanID  [8]byte
)

// Parent is where a trace comes from that somebody else began.
type Parent struct {
	trace   traceID
	span    spanID
	sampled bool
}

// ParseParent reads the traceparent header of W3C Trace Context (section 3.2); ok is
// false for everything else, which is to be ignored.
func ParseParent(header string) (p Parent, ok bool) {
	version, rest, _ := strings.Cut(header, "-")
	trace, rest, _ := strings.Cut(rest, "-")
	span, flags, _ := strings.Cut(rest, "-")
	if version == "00" && len(flags) != 2 || len(version) != 2 || version == "ff" || len(trace) != 32 || len(span) != 16 || len(flags) < 2 || len(flags) > 2 && flags[2] != '-' {
		return Parent{}, false
	}
	var v, f [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{v[:], version}, {p.trace[:], trace}, {p.span[:], span}, {f[:], flags[:2]}} {
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil || strings.ToLower(part.from) != part.from {
			return Parent{}, false
		}
	}
	p.sampled = f[0]&1 == 1
	return p, p.trace != traceID{} && p.span != spanID{}
}

// Tracer collects spans until Run sends them. A nil one collects nothing.
type Tracer struct {
	cfg       Config
	threshold uint64 // traces whose id begins below it are kept

	mu      sync.Mutex
	waiting []*Span
	dropped atomic.Int64
	wake    chan struct{}
}

// Span is a stretch of time in which something was done. Its methods do nothing on a nil
// one, which is that of a trace that is not kept. It is used by one goroutine at a time.
type Span struct {
	tracer     *Tracer
	trace      traceID
	id, parent spanID
	name       string
	kind       Kind
	start, end time.Time
	attributes []attribute
	failed     bool
}

type attribute struct {
	key   string
	text  string
	value int64
	whole bool // value has it
}

type spanKey struct{}

// Root begins the first span of a trace here, with the parent that the request named, if
// who sent it is to be believed. The returned context carries it; ctx itself and nil where
// the trace is not kept.
func (t *Tracer) Root(ctx context.Context, name string, kind Kind, parent *Parent) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	s := &Span{tracer: t, name: name, kind: kind, start: t.cfg.Now()}
	if parent != nil {
		if !parent.sampled {
			return ctx, nil
		}
		s.trace, s.parent = parent.trace, parent.span
	} else {
		_, _ = rand.Read(s.trace[:]) // never fails
		if binary.BigEndian.Uint64(s.trace[8:]) > t.threshold {
			return ctx, nil
		}
	}
	_, _ = rand.Read(s.id[:])
	return context.WithValue(ctx, spanKey{}, s), s
}

// Start begins a span within that of ctx; ctx itself and nil where there is none.
func Start(ctx context.Context, name string, kind Kind) (context.Context, *Span) {
	parent, _ := ctx.Value(spanKey{}).(*Span)
	if parent == nil {
		return ctx, nil
	}
	s := &Span{tracer: parent.tracer, trace: parent.trace, parent: parent.id, name: name, kind: kind, start: parent.tracer.cfg.Now()}
	_, _ = rand.Read(s.id[:])
	return context.WithValue(ctx, spanKey{}, s), s
}

// Do is Start around a call.
func Do[T any](ctx context.Context, name string, call func() (T, error)) (T, error) {
	_, s := Start(ctx, name, Internal)
	v, err := call()
	s.End(err)
	return v, err
}

// Run is Do for a call that returns nothing else.
func Run(ctx context.Context, name string, call func() error) error {
	_, s := Start(ctx, name, Internal)
	err := call()
	s.End(err)
	return err
}

// Set notes a word about the span, which is cut when it is long. Words of strangers, and
// anything that is secret, do not belong here.
func (s *Span) Set(key, value string) {
	if s != nil && len(s.attributes) < maxAttributes {
		s.attributes = append(s.attributes, attribute{key: key, text: strings.ToValidUTF8(value[:min(len(value), maxValue)], "")})
	}
}

// SetInt is Set for a number.
func (s *Span) SetInt(key string, value int64) {
	if s != nil && len(s.attributes) < maxAttributes {
		s.attributes = append(s.attributes, attribute{key: key, value: value, whole: true})
	}
}

// Fail says that what was done did not come to a good end.
func (s *Span) Fail() {
	if s != nil {
		s.failed = true
	}
}

// End ends the span, with an error if there was one, whose words are not told: they may
// have what only the log may hold.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	s.end, s.failed = s.tracer.cfg.Now(), s.failed || err != nil
	s.tracer.collect(s)
}

func (t *Tracer) collect(s *Span) {
	t.mu.Lock()
	if len(t.waiting) >= maxWaiting {
		t.mu.Unlock()
		t.dropped.Add(1)
		return
	}
	t.waiting = append(t.waiting, s)
	enough := len(t.waiting) == batchSize
	t.mu.Unlock()
	if enough {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped is how many spans were never sent: there were too many, or the collector did
// not take them.
func (t *Tracer) Dropped() int64 { return t.dropped.Load() }

// thresholdOf makes of a share of all traces the bound of their ids.
func thresholdOf(share float64) uint64 {
	if share >= 1 {
		return math.MaxUint64
	}
	return uint64(share * float64(1<<63) * 2)
}
