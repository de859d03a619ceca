package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
)

const (
	answerTime  = 15 * time.Second
	answerTries = 3 // an app may listen an instant before it can answer
	answerPause = 300 * time.Millisecond
	answerStart = 500 // bytes of the body that are told
)

// askApp is what a first visitor of the app gets; nil when it gives no answer in HTTP.
func (a *agent) askApp(ctx context.Context, spec wire.AppSpec) *wire.Answer {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for try := 1; ; try++ {
		answer := a.askOnce(ctx, spec)
		if answer != nil || try == answerTries {
			return answer
		}
		select {
		case <-time.After(answerPause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *agent) askOnce(ctx context.Context, spec wire.AppSpec) *wire.Answer {
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dialPort(ctx, spec.Port, probeTime) },
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
	if err != nil {
		return nil
	}
	if u, err := url.Parse(spec.URL); err == nil && u.Host != "" {
		req.Host = u.Host
		req.Header.Set("X-Forwarded-Host", u.Host)
		req.Header.Set("X-Forwarded-Proto", u.Scheme)
	}
	req.Header.Set("User-Agent", "podgate")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	kind := res.Header.Get("Content-Type")
	answer := &wire.Answer{Status: res.StatusCode, Type: kind[:min(len(kind), 100)]}
	start, _ := io.ReadAll(io.LimitReader(res.Body, answerStart)) // what came before an error is the start as well
	for len(start) > 0 && !utf8.Valid(start) && answerStart-len(start) < utf8.UTFMax {
		start = start[:len(start)-1]
	}
	if text := string(start); utf8.ValidString(text) && !strings.ContainsRune(text, 0) {
		answer.Start = text
	}
	return answer
}
