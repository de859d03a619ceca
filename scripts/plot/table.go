package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// A table of figures, as Markdown has it.
type table struct {
	name string
	head string // the cells of the first line, with bars between them
	rows func(*run) [][]cell
}

// A cell says what stands in a place of a table, by a run.
type cell func(*run) string

// A quantity is a number that a run tells; not a number where it does not.
type quantity func(*run) float64

func (t table) markdown(r *run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", t.head, strings.Repeat("---|", strings.Count(t.head, "|")+1))
	for _, row := range t.rows(r) {
		for _, c := range row {
			b.WriteString(strings.TrimRight("| "+c(r), " ") + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// of is the median of a figure. The package is named without podgate/.
func of(pkg, name, unit string) quantity {
	return func(r *run) float64 { return r.median(figureID(pkg, name, unit)) }
}

func figureID(pkg, name, unit string) id {
	return id{strings.TrimSuffix("podgate/"+pkg, "/"), name, unit}
}

// over is one quantity by another: how many times it is the other.
func over(a, b quantity) quantity { return func(r *run) float64 { return a(r) / b(r) } }

func plus(a, b quantity) quantity { return func(r *run) float64 { return a(r) + b(r) } }

func words(s string) cell { return func(*run) string { return s } }

// with puts quantities into words, each where the form has %s.
func with(form string, cells ...cell) cell {
	return func(r *run) string {
		var said []any
		for _, c := range cells {
			said = append(said, c(r))
		}
		return fmt.Sprintf(form, said...)
	}
}

// shown makes a cell of a quantity, and a dash of one that is not there.
func shown(q quantity, form func(float64) string) cell {
	return func(r *run) string {
		v := q(r)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "–"
		}
		return form(v)
	}
}

// took is a time, per is a rate a second, size is one of memory or files, times is a
// ratio, and percent a part.
func took(q quantity) cell {
	return shown(q, func(v float64) string {
		for _, u := range []struct {
			one  float64
			name string
		}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}} {
			if v >= u.one {
				return figures(v/u.one) + " " + u.name
			}
		}
		return figures(v/1e-9) + " ns"
	})
}

func per(q quantity) cell { return shown(q, func(v float64) string { return figures(v) + "/s" }) }

func size(q quantity) cell {
	return shown(q, func(v float64) string {
		for _, u := range []struct {
			one  float64
			name string
		}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
			if v >= u.one {
				return figures(v/u.one) + " " + u.name
			}
		}
		return figures(v) + " B"
	})
}

func times(q quantity) cell {
	return shown(q, func(v float64) string {
		if v >= 100 {
			return figures(v)
		}
		return fmt.Sprintf("%.2f", v)
	})
}

func percent(q quantity) cell { return shown(q, func(v float64) string { return figures(v) + " %" }) }

// An aim is what a quantity should be.
type limit struct {
	most  bool // or at least
	bound float64
	said  string
}

func atLeast(bound float64) limit { return limit{false, bound, "≥ " + figures(bound)} }
func atMost(bound float64) limit  { return limit{true, bound, "≤ " + figures(bound)} }

// within is atMost for a quantity with a unit, which the words have.
func within(bound float64, said string) limit { return limit{true, bound, "≤ " + said} }

// judged is the aim and, in the cell after it, whether it is met.
func judged(q quantity, l limit) []cell {
	return []cell{words(l.said), shown(q, func(v float64) string {
		if l.most && v <= l.bound || !l.most && v >= l.bound {
			return "met"
		}
		return "**missed**"
	})}
}

// unjudged is in the place of both where there is no aim.
func unjudged() []cell { return []cell{words(""), words("")} }

// row is a line of a table: cells, and an aim.
func row(verdict []cell, cells ...cell) []cell { return append(cells, verdict...) }

// tablePlace is a line of a page in whose place a table comes.
var tablePlace = regexp.MustCompile(`(?m)^<!-- table: ([a-z]*) -->\n`)

// fill returns the page with its tables as they are by a run. Each has one place.
func fill(page string, tables []table, r *run) (string, error) {
	var faults []error
	made := map[string]string{}
	for _, t := range tables {
		made[t.name] = t.markdown(r)
	}
	filled := tablePlace.ReplaceAllStringFunc(page, func(place string) string {
		name := tablePlace.FindStringSubmatch(place)[1]
		text, known := made[name]
		if !known {
			faults = append(faults, fmt.Errorf("table %q is not known, or has a place before this one", name))
		}
		delete(made, name)
		return text
	})
	for _, name := range slices.Sorted(maps.Keys(made)) {
		faults = append(faults, fmt.Errorf("table %q has no place", name))
	}
	return filled, errors.Join(faults...)
}
