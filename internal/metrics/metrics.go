// Package metrics keeps the numbers of a server and shows them in the text format of
// Prometheus, version 0.0.4. It knows nothing of what is counted.
package metrics

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of a look at the numbers.
const (
	atOnce   = 2 // looks under way; more are answered 503
	lookTime = 10 * time.Second
)

// Set is all numbers of one server. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	names   []string
	counted []*family
	samples []sample
}

// New returns a set that has what the Go runtime and the system say of the process.
func New() *Set { return &Set{} }

// Names returns the names of the numbers that were made, in that order; those of the
// process are not among them.
func (s *Set) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// head is what numbers of one name share.
type head struct {
	name, help, kind string
	labels           []string
}

// Types of numbers, as the format calls them.
const (
	kindCounter   = "counter"
	kindGauge     = "gauge"
	kindHistogram = "histogram"
	kindSummary   = "summary"
)

// family is the numbers of one name that are counted as things happen.
type family struct {
	head
	mu   sync.Mutex
	each map[string]*series // by the values of the labels
}

// series is one number, or one histogram.
type series struct {
	values []string
	sum    float64
	counts []uint64 // one for each bound, not added up
	all    uint64   // how many in all
}

func (s *Set) count(h head) *family {
	f := &family{head: h, each: map[string]*series{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, h.name)
	s.counted = append(s.counted, f)
	return f
}

// change changes the series of these values of the labels. Their number is the writer's
// mistake, which must not be shown under other labels.
func (f *family) change(values []string, do func(*series)) {
	if len(values) != len(f.labels) {
		panic("metrics: " + f.name + " has other labels")
	}
	var space [128]byte
	key := space[:0]
	for _, v := range values {
		key = append(append(key, v...), 0xff) // which is in no text
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.each[string(key)]
	if one == nil {
		one = &series{values: slices.Clone(values)}
		f.each[string(key)] = one
	}
	do(one)
}

// Counter is a number that only grows, one for each combination of its labels' values.
// The values must come from a closed set.
type Counter struct{ family *family }

// Counter makes a counter.
func (s *Set) Counter(name, help string, labels ...string) Counter {
	return Counter{s.count(head{name, help, kindCounter, labels})}
}

// Add adds n, which is not negative.
func (c Counter) Add(n int, values ...string) {
	c.family.change(values, func(one *series) { one.sum += float64(n) })
}

// Durations is how long something took, as a histogram in seconds.
type Durations struct{ family *family }

// latencies are bounds in seconds, from what a read of memory takes to a deploy.
var latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// Durations makes a histogram.
func (s *Set) Durations(name, help string, labels ...string) Durations {
	return Durations{s.count(head{name, help, kindHistogram, labels})}
}

// Observe adds one that took so long.
func (d Durations) Observe(took time.Duration, values ...string) {
	seconds := took.Seconds()
	d.family.change(values, func(one *series) {
		if one.counts == nil {
			one.counts = make([]uint64, len(latencies))
		}
		one.sum += seconds
		one.all++
		if i, _ := slices.BinarySearch(latencies, seconds); i < len(latencies) { // a bound counts what is as long
			one.counts[i]++
		}
	})
}

// Kind says how a sampled number behaves.
type Kind int

const (
	Gauge Kind = iota // goes up and down
	Total             // only grows, until the server starts anew
)

// Number is one that is looked up when somebody asks.
type Number struct{ head head }

// sample is a group of numbers that one look gives.
type sample struct {
	numbers []*Number
	look    func(put func(n *Number, value float64, labels ...string))
}

// Group begins a group: numbers are added to it, and Sampled says where they come from.
type Group struct{ numbers []*Number }

// Number adds a number to the group.
func (g *Group) Number(kind Kind, name, help string, labels ...string) *Number {
	n := &Number{head{name, help, kindGauge, labels}}
	if kind == Total {
		n.head.kind = kindCounter
	}
	g.numbers = append(g.numbers, n)
	return n
}

// Sampled has look called whenever somebody asks for the numbers of g. It puts each
// combination of labels once; what it leaves out is not shown.
func (s *Set) Sampled(g Group, look func(put func(n *Number, value float64, labels ...string))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range g.numbers {
		s.names = append(s.names, n.head.name)
	}
	s.samples = append(s.samples, sample{slices.Clone(g.numbers), look})
}

// Handler shows the numbers. What one group puts wrongly is left out, and the others stay
// in place; more than two looks at once are answered 503, and one that takes long.
func (s *Set) Handler() http.Handler {
	slots := make(chan struct{}, atOnce)
	return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, "others are looking at the numbers just now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(s.text())) // whoever asked is gone
	}), lookTime, "the numbers took too long\n")
}

// text is all numbers, by name.
func (s *Set) text() string {
	s.mu.Lock()
	counted, samples := slices.Clone(s.counted), slices.Clone(s.samples)
	s.mu.Unlock()
	all := processNumbers()
	for _, f := range counted {
		all = append(all, f.listed())
	}
	for _, group := range samples {
		all = append(all, group.listed()...)
	}
	slices.SortFunc(all, func(a, b *listing) int { return strings.Compare(a.name, b.name) })
	var out strings.Builder
	for _, one := range all {
		one.write(&out)
	}
	return out.String()
}

func (f *family) listed() *listing {
	out := newListing(f.head)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.each {
		if f.kind != kindHistogram {
			out.put(one.sum, one.values)
			continue
		}
		var text strings.Builder
		labels := pairs(f.labels, one.values)
		var sum uint64
		for i, n := range one.counts {
			sum += n
			writeLine(&text, f.name+"_bucket", labels, pair("le", number(latencies[i])), float64(sum))
		}
		writeLine(&text, f.name+"_bucket", labels, pair("le", number(math.Inf(1))), float64(one.all))
		writeLine(&text, f.name+"_sum", labels, "", one.sum)
		writeLine(&text, f.name+"_count", labels, "", float64(one.all))
		out.each[labels] = text.String()
	}
	return out
}

func (s sample) listed() (all []*listing) {
	of := map[*Number]*listing{}
	for _, n := range s.numbers {
		of[n] = newListing(n.head)
		all = append(all, of[n])
	}
	s.look(func(n *Number, value float64, labels ...string) {
		if out := of[n]; out != nil {
			out.put(value, labels)
		}
	})
	return all
}

// listing is the numbers of one name as they are shown.
type listing struct {
	head
	each map[string]string // lines, by their labels
}

func newListing(h head) *listing { return &listing{h, map[string]string{}} }

// put adds a number, unless there is one with these labels, or it has others than its
// name is to have.
func (s *listing) put(value float64, labels []string) {
	if len(labels) != len(s.labels) {
		return
	}
	key := pairs(s.labels, labels)
	if _, there := s.each[key]; there {
		return
	}
	var text strings.Builder
	writeLine(&text, s.name, key, "", value)
	s.each[key] = text.String()
}

func (s *listing) write(out *strings.Builder) {
	if len(s.each) == 0 {
		return
	}
	out.WriteString("# HELP " + s.name + " " + inHelp.Replace(s.help) + "\n# TYPE " + s.name + " " + s.kind + "\n")
	for _, labels := range slices.Sorted(maps.Keys(s.each)) {
		out.WriteString(s.each[labels])
	}
}

// writeLine writes one number. more is a further label.
func writeLine(out *strings.Builder, name, labels, more string, value float64) {
	if labels != "" && more != "" {
		labels += ","
	}
	if labels += more; labels != "" {
		labels = "{" + labels + "}"
	}
	out.WriteString(name + labels + " " + number(value) + "\n")
}

// pairs is labels with their values, in the order of their names.
func pairs(names, values []string) string {
	var all []string
	for i, name := range names {
		all = append(all, pair(name, values[i]))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func pair(name, value string) string {
	return name + `="` + inLabel.Replace(strings.ToValidUTF8(value, "\uFFFD")) + `"`
}

var (
	inLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	inHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
