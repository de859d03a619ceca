package podpages

import (
	"fmt"
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
	Name, Now string // what it is, and the newest value in words
	Peak      string
	Width     int
	Areas     []string // paths of the parts that are known, one after the other
	Class     string
	Hours     []hour
}

// hour is a row of the table.
type hour struct {
	At    time.Time
	Value string
}

const (
	chartHeight = 48
	stepsAnHour = int(time.Hour / store.UsageStep)
)

// charts draws what a pod used; none before anything was measured.
func (s *Pages) charts(o opened, pod pods.Pod) ([]chart, error) {
	used, err := s.pods.Used(o.Actor, o.Name)
	if err != nil || len(used.Points) == 0 {
		return nil, err
	}
	points := fullDay(used, s.Now())
	step := store.UsageStep
	cores := func(p store.UsagePoint) float64 { return float64(p.CPU) / float64(step.Milliseconds()) }
	memory := draw("Memory", points, func(p store.UsagePoint) float64 { return float64(p.Memory) }, float64(pod.Limits.Memory), func(v float64) string { return page.BytesWords(int64(v)) })
	cpu := draw("CPU", points, cores, pod.Limits.CPUs, func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " cores" })
	in := func(p store.UsagePoint) float64 { return float64(p.In + p.Out) }
	network := draw("Network", points, in, 0, func(v float64) string { return page.BytesWords(int64(v)) + " in 5 minutes" })
	list := []chart{memory, cpu, network}
	for i := range list {
		for h := range list[i].Hours {
			back := len(list[i].Hours) - 1 - h
			list[i].Hours[h].At = used.Newest.Truncate(time.Hour).Add(-time.Duration(back) * time.Hour)
		}
	}
	return list, nil
}

// fullDay puts the points at the right end of a day that ends now, so that a gap since
// the newest is seen as one.
func fullDay(used store.Usage, now time.Time) []store.UsagePoint {
	points := make([]store.UsagePoint, store.UsagePoints)
	late := max(0, int(now.Sub(used.Newest)/store.UsageStep))
	if late >= len(points) {
		return points
	}
	end := len(points) - late
	from := max(0, end-len(used.Points))
	copy(points[from:end], used.Points[len(used.Points)-(end-from):])
	return points
}

// draw makes a chart whose top is the limit, or the highest value where there is none.
func draw(name string, points []store.UsagePoint, value func(store.UsagePoint) float64, limit float64, words func(float64) string) chart {
	c := chart{Name: name, Width: len(points), Class: "chart-" + strings.ToLower(name), Now: "not known"}
	highest := 0.0
	for _, p := range points {
		if p.Known {
			highest = max(highest, value(p))
			c.Now = words(value(p))
		}
	}
	c.Peak = "at most " + words(highest)
	if limit > 0 {
		c.Peak += " of " + words(limit)
	}
	top := max(highest, limit)
	if top == 0 {
		top = 1
	}
	c.Areas = areas(points, func(p store.UsagePoint) float64 { return value(p) / top })
	c.Hours = hours(points, value, words)
	return c
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

// hours are the highest values of each hour.
func hours(points []store.UsagePoint, value func(store.UsagePoint) float64, words func(float64) string) (list []hour) {
	for at := 0; at < len(points); at += stepsAnHour {
		highest, known := 0.0, false
		for _, p := range points[at:min(at+stepsAnHour, len(points))] {
			if p.Known {
				highest, known = max(highest, value(p)), true
			}
		}
		h := hour{Value: "not known"}
		if known {
			h.Value = words(highest)
		}
		list = append(list, h)
	}
	return list
}
