// Package metrics keeps the numbers of a server and shows them in the text format of
// Prometheus. It knows nothing of what is counted; it hides the library that counts.
package metrics

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of a look at the numbers.
const (
	atOnce   = 2 // looks under way; more are answered 503
	lookTime = 10 * time.Second
)

// Set is all numbers of one server. It is safe for concurrent use.
type Set struct {
	registry *prometheus.Registry
	names    []string
}

// New returns a set that has what the Go runtime and the system say of the process.
func New() *Set {
	s := &Set{registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Names returns the names of the numbers that were made, in that order; those of the
// process are not among them.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// Counter is a number that only grows, one for each combination of its labels' values.
// The values must come from a closed set.
type Counter struct{ vec *prometheus.CounterVec }

// Counter makes a counter.
func (s *Set) Counter(name, help string, labels ...string) Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	s.registry.MustRegister(vec)
	s.names = append(s.names, name)
	return Counter{vec}
}

// Add adds n, which is not negative.
func (c Counter) Add(n int, values ...string) { c.vec.WithLabelValues(values...).Add(float64(n)) }

// Durations is how long something took, as a histogram in seconds.
type Durations struct{ vec *prometheus.HistogramVec }

// latencies are bounds in seconds, from what a read of memory takes to a deploy.
var latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// Durations makes a histogram.
func (s *Set) Durations(name, help string, labels ...string) Durations {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencies}, labels)
	s.registry.MustRegister(vec)
	s.names = append(s.names, name)
	return Durations{vec}
}

// Observe adds one that took so long.
func (d Durations) Observe(took time.Duration, values ...string) {
	d.vec.WithLabelValues(values...).Observe(took.Seconds())
}

// Kind says how a sampled number behaves.
type Kind int

const (
	Gauge Kind = iota // goes up and down
	Total             // only grows, until the server starts anew
)

// Number is one that is looked up when somebody asks.
type Number struct {
	kind Kind
	name string
	desc *prometheus.Desc
}

// sample is a group of numbers that one look gives.
type sample struct {
	numbers []*Number
	look    func(put func(n *Number, value float64, labels ...string))
}

// Describe implements prometheus.Collector.
func (s *sample) Describe(out chan<- *prometheus.Desc) {
	for _, n := range s.numbers {
		out <- n.desc
	}
}

// Collect implements prometheus.Collector.
func (s *sample) Collect(out chan<- prometheus.Metric) {
	s.look(func(n *Number, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if n.kind == Total {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(n.desc, kind, value, labels...)
	})
}

// Group begins a group: numbers are added to it, and Sampled says where they come from.
type Group struct{ numbers []*Number }

// Number adds a number to the group.
func (g *Group) Number(kind Kind, name, help string, labels ...string) *Number {
	n := &Number{kind, name, prometheus.NewDesc(name, help, labels, nil)}
	g.numbers = append(g.numbers, n)
	return n
}

// Sampled has look called whenever somebody asks for the numbers of g. It puts each
// combination of labels once; what it leaves out is not shown.
func (s *Set) Sampled(g Group, look func(put func(n *Number, value float64, labels ...string))) {
	s.registry.MustRegister(&sample{slices.Clone(g.numbers), look})
	for _, n := range g.numbers {
		s.names = append(s.names, n.name)
	}
}

// Handler shows the numbers. A fault of one group leaves the others in place; more
// than two looks at once are answered 503.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce, Timeout: lookTime, ErrorHandling: promhttp.ContinueOnError})
}
