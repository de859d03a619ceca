package metrics

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func shown(t *testing.T, s *Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %v\n%s", w.Code, w.Header(), w.Body)
	}
	return w.Body.String()
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	s := New()
	asked := s.Counter("asked_total", "How often.", "by", "code")
	took := s.Durations("took_seconds", "How long.", "by")
	var g Group
	now := g.Number(Gauge, "now", "How many.", "of")
	ever := g.Number(Total, "ever_total", "How many ever.")
	looks := 0
	s.Sampled(g, func(put func(*Number, float64, ...string)) {
		looks++
		put(now, 3, "a\"\n\\b")
		put(ever, float64(looks))
	})
	asked.Add(2, "ada", "200")
	asked.Add(1, "ada", "200")
	asked.Add(1, "bob", "429")
	took.Observe(30*time.Millisecond, "ada")
	shown(t, s)
	text := shown(t, s)
	for _, line := range []string{
		`asked_total{by="ada",code="200"} 3`, `asked_total{by="bob",code="429"} 1`, "# TYPE asked_total counter",
		`took_seconds_bucket{by="ada",le="0.025"} 0`, `took_seconds_bucket{by="ada",le="0.05"} 1`, `took_seconds_count{by="ada"} 1`,
		`now{of="a\"\n\\b"} 3`, "# TYPE now gauge", "ever_total 2", "# TYPE ever_total counter", "# TYPE go_goroutines gauge",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in:\n%s", line, text)
		}
	}
	if got := s.Names(); !slices.Equal(got, []string{"asked_total", "took_seconds", "now", "ever_total"}) {
		t.Errorf("names %v", got)
	}
}

// What one group does wrong leaves the others to be seen.
func TestAFaultyGroup(t *testing.T) {
	t.Parallel()
	s := New()
	var bad, good Group
	twice := bad.Number(Gauge, "twice", "Put twice.")
	once := good.Number(Gauge, "once", "Put once.")
	s.Sampled(bad, func(put func(*Number, float64, ...string)) { put(twice, 1); put(twice, 2) })
	s.Sampled(good, func(put func(*Number, float64, ...string)) { put(once, 1) })
	if text := shown(t, s); !strings.Contains(text, "\nonce 1\n") {
		t.Errorf("only:\n%s", text)
	}
}
