package doctor

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// streamGap is how far apart two events must arrive to have come by
	// themselves: half of what the server puts between them.
	streamGap = 50 * time.Millisecond
	// streamGaps of the four must be seen. A proxy that collects shows one at
	// most, behind the first event.
	streamGaps = 2
	// streamTries is how often a stream that comes all at once is tried: a busy
	// machine may have slept through it.
	streamTries = 3
)

// checkStreaming sees whether the events of a stream arrive when they are sent
// or all at its end.
func checkStreaming(ctx context.Context, p *probe) outcome {
	for range streamTries {
		gaps, result := p.stream(ctx)
		if result.level != OK {
			return result
		}
		if gaps >= streamGaps {
			return good("events arrive as they are sent")
		}
	}
	return fault("a stream arrives all at once, at its end: something in front collects it. Long calls then look dead, and clients give up on them",
		"Switch response buffering off in the proxy for /api/ (nginx: proxy_buffering off), and compression of text/event-stream.")
}

// stream reads one stream as a client does, which takes gzip if it is given,
// and returns between how many of its events time passed.
func (p *probe) stream(ctx context.Context) (gaps int, result outcome) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	a := ask{method: http.MethodPost, url: doctorPath, header: http.Header{"Accept": {"text/event-stream"}, "Accept-Encoding": {"gzip"}}}
	resp, err := p.begin(ctx, a)
	if err != nil {
		return 0, fault("POST "+doctorPath+": "+words(err), "See that the proxy passes /api/ on to podgate.")
	}
	defer resp.Body.Close()
	switch got := answerOf(a, resp); {
	case got.status == http.StatusNotFound:
		return 0, outcome{level: Skipped, text: noDoctor}
	case got.status != http.StatusOK:
		return 0, p.astray(got)
	}
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			return 0, brokenStream(err)
		}
	}
	return p.readEvents(io.LimitReader(body, maxAnswer))
}

// hear takes what the first event says; if that is no passage, nothing is said
// of it.
func (p *probe) hear(data string) {
	var said passage
	if json.Unmarshal([]byte(data), &said) == nil {
		p.passed = &said
	}
}

func brokenStream(err error) outcome {
	return fault("a stream breaks off: "+words(err), "Let the proxy keep connections open while something comes through them, and pass text/event-stream unchanged.")
}

// readEvents notes when events arrive; the first holds the passage.
func (p *probe) readEvents(body io.Reader) (gaps int, result outcome) {
	var last time.Time
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		now := p.Now()
		if last.IsZero() {
			p.hear(data)
		} else if now.Sub(last) >= streamGap {
			gaps++
		}
		last = now
	}
	if err := lines.Err(); err != nil {
		return 0, brokenStream(err)
	}
	if last.IsZero() {
		return 0, fault("a stream came empty", "Something in front changes answers. Let it pass text/event-stream unchanged.")
	}
	return gaps, outcome{level: OK}
}
