package podpages

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// chart is what a pod used of something during the last day, as a picture and as a
// table of hours.
type chart struct {
	Name, Words string // what it is, and how much now and at most
	Width       int
	Areas       []string // paths of the parts that are known, one after the other
	Class       string
	Hours       []hour
}

// hour is a row of the table.
type hour struct {
	At    time.Time
	Dated bool // the row says its day, too
	Value string
}

const chartHeight = 48

// reading is how something is read from what was measured, and put into words.
type reading struct {
	name  string
	value func(store.UsagePoint) float64
	limit float64 // 0: none
	words func(float64) string
	most  string // what stands behind the highest value
}

// charts draws what a pod used; none where nothing was measured during the last day.
func (s *Pages) charts(o opened, pod pods.Pod) ([]chart, error) {
	used, err := s.pods.Used(o.Actor, o.Name)
	if err != nil {
		return nil, err
	}
	last := s.Now().UTC().Truncate(store.UsageStep)
	day := fullDay(used, last)
	if !slices.ContainsFunc(day, func(p store.UsagePoint) bool { return p.Known }) {
		return nil, nil
	}
	size := func(v float64) string { return page.BytesWords(int64(v)) }
	var list []chart
	for _, r := range []reading{
		{"Memory", func(p store.UsagePoint) float64 { return float64(p.Memory) }, float64(pod.Limits.Memory), size, ""},
		{"CPU", func(p store.UsagePoint) float64 { return float64(p.CPU) / float64(store.UsageStep.Milliseconds()) }, pod.Limits.CPUs, func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " cores" }, ""},
		{"Network", func(p store.UsagePoint) float64 { return float64(p.In + p.Out) }, 0, size, " in 5 minutes, visitors included"},
	} {
		list = append(list, draw(r, day, last, pod.Status == "stopped"))
	}
	return list, nil
}

// fullDay puts what was measured at its place in the day that ends with the step that
// begins at last, so that a gap is seen as one.
func fullDay(used store.Usage, last time.Time) []store.UsagePoint {
	day := make([]store.UsagePoint, store.UsagePoints)
	ahead := len(day) - len(used.Points) - int(last.Sub(used.Newest)/store.UsageStep)
	for i, p := range used.Points {
		if at := ahead + i; at >= 0 && at < len(day) {
			day[at] = p
		}
	}
	return day
}

// draw makes a chart whose top is the limit, or the highest value where there is none.
func draw(r reading, day []store.UsagePoint, last time.Time, stopped bool) chart {
	highest := 0.0
	for _, p := range day {
		if p.Known {
			highest = max(highest, r.value(p))
		}
	}
	top := max(highest, r.limit)
	if top == 0 {
		top = 1
	}
	words := r.now(day, stopped) + ", at most " + r.words(highest)
	if r.limit > 0 {
		words += " of " + r.words(r.limit)
	}
	return chart{
		Name: r.name, Words: words + r.most, Width: len(day), Class: "chart-" + strings.ToLower(r.name),
		Areas: areas(day, func(p store.UsagePoint) float64 { return r.value(p) / top }), Hours: r.hours(day, last),
	}
}

// now are the words for the present. The step that goes on may not be measured yet.
func (r reading) now(day []store.UsagePoint, stopped bool) string {
	if stopped {
		return "stopped now"
	}
	for _, p := range []store.UsagePoint{day[len(day)-1], day[len(day)-2]} {
		if p.Known {
			return r.words(r.value(p)) + " now"
		}
	}
	return "not known now"
}

// areas are the paths of what is known, each from the bottom up and back.
func areas(points []store.UsagePoint, share func(store.UsagePoint) float64) (paths []string) {
	for i := 0; i < len(points); {
		if !points[i].Known {
			i++
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "M%d %d", i, chartHeight)
		for ; i < len(points) && points[i].Known; i++ {
			y := chartHeight - share(points[i])*(chartHeight-2)
			fmt.Fprintf(&b, "L%d %.1fH%d", i, y, i+1)
		}
		fmt.Fprintf(&b, "V%dZ", chartHeight)
		paths = append(paths, b.String())
	}
	return paths
}

// hours are the highest values of each hour by the clock.
func (r reading) hours(day []store.UsagePoint, last time.Time) (list []hour) {
	highest := -1.0 // of the last row; negative: not known
	for i, p := range day {
		at := last.Add(time.Duration(i-len(day)+1) * store.UsageStep).Truncate(time.Hour)
		if n := len(list); n == 0 || !list[n-1].At.Equal(at) {
			list = append(list, hour{At: at, Dated: n == 0 || at.Hour() == 0, Value: "not known"})
			highest = -1
		}
		if p.Known && r.value(p) > highest {
			highest = r.value(p)
			list[len(list)-1].Value = r.words(highest)
		}
	}
	return list
}
