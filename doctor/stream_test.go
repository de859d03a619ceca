package doctor

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Five events, by the time between them, as proxies of all kinds let them
// through.
func TestReadEvents(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		pauses []time.Duration
		end    error
		gaps   int
		level  Level
	}{
		"as they are sent": {[]time.Duration{0, 100 * ms, 100 * ms, 100 * ms, 100 * ms}, nil, 4, OK},
		"a slow machine":   {[]time.Duration{0, 100 * ms, 190 * ms, 10 * ms, 100 * ms}, nil, 3, OK},
		"at the end":       {[]time.Duration{400 * ms, 0, 0, 0, 0}, nil, 0, OK},
		"the first aside":  {[]time.Duration{0, 400 * ms, 0, 0, 0}, nil, 1, OK},
		"in packets":       {[]time.Duration{0, 20 * ms, 20 * ms, 20 * ms, 20 * ms}, nil, 0, OK},
		"none":             {nil, nil, 0, Fault},
		"cut":              {[]time.Duration{0, 100 * ms}, errors.New("gone"), 0, Fault},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			go func() {
				for _, pause := range c.pauses {
					time.Sleep(pause)
					io.WriteString(w, ": a comment\n\ndata: {\"host\":true}\n\n")
				}
				w.CloseWithError(c.end)
			}()
			p := &probe{Options: Options{Now: time.Now}}
			gaps, result := p.readEvents(r)
			if gaps != c.gaps || result.level != c.level || (p.passed != nil && p.passed.Host) != (len(c.pauses) > 0) {
				t.Errorf("%s: %d gaps, %+v, %+v", name, gaps, result, p.passed)
			}
		})
	}
}

// One line without end is no event and no memory.
func TestReadEventsBoundsLines(t *testing.T) {
	t.Parallel()
	p := &probe{Options: Options{Now: time.Now}}
	if _, result := p.readEvents(strings.NewReader("data: " + strings.Repeat("x", 1<<20))); result.level != Fault || !strings.Contains(result.text, "breaks off") {
		t.Errorf("%+v", result)
	}
}
