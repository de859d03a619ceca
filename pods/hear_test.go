package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods/wire"
)

const (
	heardHead = "HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
	heardWell = `{"state":{"app":"running","reason":"well"}}` + "\n"
)

// listen opens a stream to an agent that does what script says, and returns what its
// first state is. It is closed with the test.
func listenTo(t *testing.T, script func(net.Conn)) (*hearing, wire.State, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return hostile(t, script).hear(ctx, time.Now())
}

// stays is a script that says something and then nothing more.
func stays(said string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, said)
		_, _ = io.Copy(io.Discard, c)
	}
}

// What an agent says in place of a stream of states is refused at once, or when its
// time is over.
func TestHearRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script func(net.Conn)
		late   bool
	}{
		"closes at once":      {script: func(net.Conn) {}},
		"silence":             {stays(""), true},
		"a head and silence":  {stays(heardHead), true},
		"half a head":         {stays(heardHead[:20]), true},
		"half a line":         {stays(heardHead + heardWell[:10]), true},
		"half a line and end": {script: says("%s", heardHead+heardWell[:10])},
		"endless head":        {script: forever("HTTP/1.0 200 OK\r\n", "X-A: b\r\n")},
		"a giant line":        {script: forever(heardHead, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
		"a long line":         {script: stays(heardHead + strings.Replace(heardWell, "well", strings.Repeat("x", maxHeardLine), 1))},
		"rubbish":             {script: stays(heardHead + "hello\n")},
		"another event":       {script: stays(heardHead + `{"exit":{"code":0}}` + "\n")},
		"another type":        {script: stays(strings.Replace(heardHead, "x-ndjson", "json", 1) + heardWell)},
		"parts":               {script: stays(strings.Replace(heardHead, "HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", 1) + "1\r\n{\r\n")},
		"a length":            {script: stays(strings.Replace(heardHead, "OK", "OK\r\nContent-Length: 9999", 1) + heardWell)},
		"a refusal":           {script: says("%s", body("400 Bad", "application/json", `{"code":"bad_request"}`))},
		"a redirect":          {script: says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n")},
		"another protocol":    {script: stays("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				_, state, err := listenTo(t, c.script)
				if took := time.Since(began); err == nil || errors.Is(err, context.DeadlineExceeded) != c.late || took > glanceTimeout {
					t.Errorf("%+v, %v after %s", state, err, took)
				}
			})
		})
	}
}

// A stream that was well ends with the first thing that is not a state, and with a line
// that does not end in time.
func TestHearEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then   func(net.Conn)
		within time.Duration
	}{
		"end":           {then: func(net.Conn) {}},
		"half a line":   {stays(heardWell[:10]), lineTime},
		"half, and end": {then: says("%s", heardWell[:10])},
		"drop by drop": {func(c net.Conn) {
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = io.WriteString(c, " ")
			}
		}, lineTime},
		"a giant line": {then: forever("", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
		"rubbish":      {then: stays("hello\n")},
		"no state":     {then: stays("{}\n")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _, err := listenTo(t, func(conn net.Conn) {
					_, _ = io.WriteString(conn, heardHead+heardWell)
					time.Sleep(time.Hour) // an agent says nothing for as long as nothing changes
					c.then(conn)
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				state, err := h.next()
				if took := time.Since(began) - time.Hour; err == nil || took < 0 || took > c.within {
					t.Errorf("%+v, %v after %s more than an hour", state, err, took)
				}
				h.close()
				time.Sleep(2 * time.Second) // the script notices
			})
		})
	}
}

// An agent that says more than the bounds is heard as often as these allow, waits for
// the rest, and nothing of it is kept.
func TestHearFlood(t *testing.T) {
	t.Parallel()
	const long = time.Minute
	for name, line := range map[string]string{
		"short": heardWell,
		"long":  `{"state":{"app":"running","reason":"` + strings.Repeat("x", maxHeardLine-100) + `"}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var taken atomic.Int64
				h, _, err := listenTo(t, func(c net.Conn) {
					_, err := io.WriteString(c, heardHead)
					for n := 0; err == nil; taken.Add(int64(n)) {
						n, err = io.WriteString(c, line)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				n := 1
				for began := time.Now(); time.Since(began) < long && n < 10_000; n++ {
					state, err := h.next()
					if err != nil || len(state.Reason) > 2*maxReason {
						t.Fatalf("%d characters, %v", len(state.Reason), err)
					}
				}
				h.close()
				each := hearPause + hearPause*time.Duration(len(line)-1)/hearSize
				if most := 3 + int((long+hearBurst*hearPause)/each); n > most || n < 3 {
					t.Errorf("it was heard %d times in %s, at most %d are allowed", n, long, most)
				}
				if most := int64(n * (hearBuffer + 2*len(line))); taken.Load() > most {
					t.Errorf("%d bytes were read, at most %d are allowed", taken.Load(), most)
				}
			})
		})
	}
}

// Of several states that wait, the newest counts, and all of them are made fit to show.
func TestHearTakesTheNewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var many strings.Builder
		for i := range 20 {
			fmt.Fprintf(&many, `{"state":{"app":"failed","reason":"\u001b[2J%d","pod":"another","name":"another"}}`+"\n", i)
		}
		h, first, err := listenTo(t, func(c net.Conn) {
			_, _ = io.WriteString(c, heardHead+heardWell)
			stays(many.String())(c)
		})
		if err != nil || first.Reason != "well" {
			t.Fatalf("%+v %v", first, err)
		}
		state, err := h.next()
		if err != nil || strings.Contains(state.Reason, "\x1b") || !strings.HasSuffix(state.Reason, "19") {
			t.Errorf("heard %+v, %v", state, err)
		}
		h.close()
	})
}

// What is heard through a stream from before a change counts no more, nor does an answer
// to a question from before it.
func TestBoardForgetsWhatWasBefore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := newBoard()
	stream := func() *hearing {
		h := &hearing{opened: now}
		h.ctx, h.close = context.WithCancel(t.Context())
		return h
	}
	shown := func() string {
		w, _, _, known := b.get("shop")
		if !known {
			return ""
		}
		return w.status
	}
	e, asks, _, wait := b.claim("shop", false, now)
	if _, again, _, waits := b.claim("shop", false, now); !asks || again || len(wait) != 1 || len(waits) != 1 {
		t.Error("a second one asks, or does not wait")
	}
	era, _, _ := b.question(e, now)
	b.changed("shop")
	late := stream()
	if b.answered(e, era, word{status: "old"}, late, false, now) || shown() != "" {
		t.Errorf("an answer from before the change counts: %q", shown())
	}
	era, _, _ = b.question(e, now)
	first := stream()
	if !b.answered(e, era, word{status: "running"}, first, false, now) || shown() != "running" || !b.heard(e, first, word{status: "failed"}, now) || shown() != "failed" {
		t.Errorf("shown is %q", shown())
	}
	b.changed("shop")
	if first.ctx.Err() == nil || b.heard(e, first, word{status: "stale"}, now) || shown() != "" {
		t.Errorf("the stream from before the change is heard: %q", shown())
	}
	era, _, _ = b.question(e, now)
	second := stream()
	b.answered(e, era, word{status: "running"}, second, false, now)
	b.broke(e, first, now)
	if b.heard(e, first, word{status: "stale"}, now) || shown() != "running" {
		t.Errorf("the end of the first stream counts for the second: %q", shown())
	}
	b.drop("shop")
	if second.ctx.Err() == nil || shown() != "" || b.answered(e, era, word{status: "old"}, stream(), false, now) {
		t.Errorf("after it was forgotten: %q", shown())
	}
	if _, _, ok := b.question(e, now); ok {
		t.Error("a pod that was forgotten is asked again")
	}
}
