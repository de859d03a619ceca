package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A run is what benchmarks said: by package, name and unit all values in the order in
// which they were printed. Times are in seconds and sizes in bytes, whatever the unit's
// prefix was.
type run struct {
	values map[id][]float64
	facts  map[string][]string // of the lines «key: value», each value once
	lacks  map[id]bool         // what was asked for and is not there
}

// id names one figure of a benchmark.
type id struct{ pkg, name, unit string }

func (i id) String() string { return fmt.Sprintf("%s Benchmark%s %s", i.pkg, i.name, i.unit) }

var (
	// factLine and resultLine are of the Go benchmark data format
	// (https://golang.org/design/14313-benchmark-format).
	factLine   = regexp.MustCompile(`^([a-z][^\s\p{Lu}:]*):[ \t]+(.*\S)\s*$`)
	resultLine = regexp.MustCompile(`^Benchmark(\P{Ll}\S*)\s+[0-9]+\s+(\S.*)$`)
	processors = regexp.MustCompile(`-[0-9]+$`)
)

// parseRun reads the output of one or more runs of go test -bench. Lines that are neither
// facts nor results say something to people and are passed over. Of a result whose line is
// not whole, as when a program under test printed into it, there is nothing.
func parseRun(in io.Reader) (*run, error) {
	r := &run{values: map[id][]float64{}, facts: map[string][]string{}, lacks: map[id]bool{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	pkg := ""
	for lines.Scan() {
		if m := factLine.FindStringSubmatch(lines.Text()); m != nil {
			if m[1] == "pkg" {
				pkg = m[2]
			} else if !slices.Contains(r.facts[m[1]], m[2]) {
				r.facts[m[1]] = append(r.facts[m[1]], m[2])
			}
		}
		if m := resultLine.FindStringSubmatch(lines.Text()); m != nil {
			r.add(pkg, processors.ReplaceAllLiteralString(m[1], ""), strings.Fields(m[2]))
		}
	}
	return r, lines.Err()
}

// add takes the pairs of a value and its unit in, if all of them are such.
func (r *run) add(pkg, name string, pairs []string) {
	if len(pairs)%2 != 0 {
		return
	}
	found := map[id]float64{}
	for pair := range slices.Chunk(pairs, 2) {
		value, err := strconv.ParseFloat(pair[0], 64)
		if value *= scale(pair[1]); err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return
		}
		found[id{pkg, name, pair[1]}] = value
	}
	for i, value := range found {
		r.values[i] = append(r.values[i], value)
	}
}

// scale is what one of a unit is in seconds or bytes, such as of ns/op, cpu-ms/op and
// KiB/stream; 1 for units of anything else. A megabyte of benchmarks is one of memory.
func scale(unit string) float64 {
	for _, part := range strings.FieldsFunc(unit, func(c rune) bool { return c == '-' || c == '/' }) {
		if s, ok := map[string]float64{"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "KiB": 1 << 10, "MiB": 1 << 20, "MB": 1 << 20}[part]; ok && unit != "MB/s" {
			return s
		}
	}
	return 1
}

// median is the middle value of a figure; not a number where there is none.
func (r *run) median(i id) float64 {
	list := slices.Sorted(slices.Values(r.values[i]))
	if len(list) == 0 {
		r.lacks[i] = true
		return math.NaN()
	}
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// lacking lists what was asked for in vain.
func (r *run) lacking() []string {
	var list []string
	for i := range r.lacks {
		list = append(list, i.String())
	}
	slices.Sort(list)
	return list
}

// A point is a figure at a size.
type point struct{ x, y float64 }

// across returns the figures of benchmarks whose names differ in a number, where name has
// a star, by that number.
func (r *run) across(i id) []point {
	before, after, _ := strings.Cut(i.name, "*")
	sizes := map[float64]id{}
	for each := range r.values {
		if each.pkg != i.pkg || each.unit != i.unit || len(each.name) <= len(before)+len(after) || !strings.HasPrefix(each.name, before) || !strings.HasSuffix(each.name, after) {
			continue
		}
		if n, err := strconv.ParseUint(each.name[len(before):len(each.name)-len(after)], 10, 53); err == nil {
			sizes[float64(n)] = each
		}
	}
	if len(sizes) == 0 {
		r.lacks[i] = true
	}
	var list []point
	for _, n := range slices.Sorted(maps.Keys(sizes)) {
		list = append(list, point{n, r.median(sizes[n])})
	}
	return list
}
