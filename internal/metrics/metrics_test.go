package metrics

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// Everything is shown once, in order, and as the format wants it.
func TestTheWholeText(t *testing.T) {
	t.Parallel()
	s := New()
	s.Counter("z_total", "Never counted.")
	took := s.Durations("b_seconds", "How\nlong, \\ and why.", "who")
	took.Observe(time.Millisecond, "x")
	took.Observe(2*time.Millisecond, "x")
	took.Observe(time.Hour, "x")
	var g Group
	odd := g.Number(Gauge, "a", "Odd.", "y", "x")
	stranger := (&Group{}).Number(Gauge, "c", "Of nobody.")
	s.Sampled(g, func(put func(*Number, float64, ...string)) {
		put(odd, 1e21, "2", "b")
		put(odd, .25, "1", "b")
		put(odd, 7, "1")
		put(odd, -1, "3", "a\xff")
		put(stranger, 1)
	})
	var ours strings.Builder
	for line := range strings.Lines(shown(t, s)) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			ours.WriteString(line)
		}
	}
	var want strings.Builder
	want.WriteString("# HELP a Odd.\n# TYPE a gauge\na{x=\"a\uFFFD\",y=\"3\"} -1\na{x=\"b\",y=\"1\"} 0.25\na{x=\"b\",y=\"2\"} 1e+21\n# HELP b_seconds How\\nlong, \\\\ and why.\n# TYPE b_seconds histogram\n")
	for _, bound := range []string{"0.001 1", "0.0025 2", "0.005 2", "0.01 2", "0.025 2", "0.05 2", "0.1 2", "0.25 2", "0.5 2", "1 2", "2.5 2", "5 2", "10 2", "30 2", "60 2", "300 2", "+Inf 3"} {
		le, n, _ := strings.Cut(bound, " ")
		want.WriteString(`b_seconds_bucket{who="x",le="` + le + `"} ` + n + "\n")
	}
	want.WriteString("b_seconds_sum{who=\"x\"} 3600.003\nb_seconds_count{who=\"x\"} 3\n")
	if ours.String() != want.String() {
		t.Errorf("%s\nwant\n%s", ours.String(), want.String())
	}
}

// What every Go program says of itself is there, and adds up.
func TestProcessNumbers(t *testing.T) {
	t.Parallel()
	text := shown(t, New())
	value := func(name string) float64 {
		_, rest, found := strings.Cut(text, "\n"+name+" ")
		number, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseFloat(number, 64)
		if !found || err != nil {
			t.Fatalf("%s is not there: %v\n%s", name, err, text)
		}
		return v
	}
	names := []string{
		"go_goroutines", "go_threads", "go_memstats_heap_inuse_bytes", "go_memstats_sys_bytes", "go_memstats_mallocs_total", "go_sched_gomaxprocs_threads", "go_gc_gomemlimit_bytes",
		"process_cpu_seconds_total", "process_max_fds",
	}
	if runtime.GOOS == "linux" {
		names = append(names, "process_open_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_start_time_seconds")
		if began := time.Unix(int64(value("process_start_time_seconds")), 0); time.Since(began) < -time.Minute || time.Since(began) > 24*time.Hour {
			t.Errorf("this process began at %v", began)
		}
		if resident, all := value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"); resident > all {
			t.Errorf("%v bytes are in memory, of %v", resident, all)
		}
	}
	for _, name := range names {
		if value(name) <= 0 {
			t.Errorf("%s is %v", name, value(name))
		}
	}
	value(`go_gc_duration_seconds{quantile="0.75"}`)
	value("go_gc_duration_seconds_count")
}

func TestLabelsOfAnotherNumber(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a number was counted without its label")
		}
	}()
	New().Counter("x_total", "X.", "label").Add(1)
}

// Who looks when many do hears that, and nothing waits.
func TestManyLooks(t *testing.T) {
	t.Parallel()
	s := New()
	begun, end := make(chan struct{}), make(chan struct{})
	var g Group
	g.Number(Gauge, "slow", "Slow.")
	s.Sampled(g, func(func(*Number, float64, ...string)) {
		begun <- struct{}{}
		<-end
	})
	h := s.Handler()
	look := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return w.Code
	}
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			if code := look(); code != http.StatusOK {
				t.Errorf("one that was let in: %d", code)
			}
		})
		<-begun
	}
	if code := look(); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
	close(end)
	all.Wait()
}

// Many count at once, and nothing is lost.
func TestCountingAtOnce(t *testing.T) {
	t.Parallel()
	s := New()
	c, d := s.Counter("x_total", "X.", "by"), s.Durations("y_seconds", "Y.", "by")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				c.Add(1, strconv.Itoa(i%2))
				d.Observe(time.Second, "same")
			}
		})
	}
	all.Wait()
	for _, line := range []string{`x_total{by="0"} 4000`, `x_total{by="1"} 4000`, `y_seconds_count{by="same"} 8000`, `y_seconds_bucket{by="same",le="1"} 8000`, `y_seconds_bucket{by="same",le="0.5"} 0`} {
		if text := shown(t, s); !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in:\n%s", line, text)
		}
	}
}
