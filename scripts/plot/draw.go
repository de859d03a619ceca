package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A plot is a picture of figures that depend on a size.
type plot struct {
	name  string // of the file, without .svg
	title string
	x, y  axis
	lines []line
}

type axis struct {
	label string
	log   bool
	unit  float64            // one of it in seconds or bytes; 0: 1
	names map[float64]string // of places that are words, which stand at equal distances
}

// A line is a figure at sizes. Its label stands at its end.
type line struct {
	label  string
	kind   kind
	points func(*run) []point
}

// kind says whose figures a line has.
type kind int

const (
	ours kind = iota
	oursToo
	oursThird
	rivals
	rivalsToo
	aim // not measured
)

// looks has the class and the marker of each kind: who does not tell colours apart has the
// shapes and the words.
var looks = map[kind]struct{ class, marker string }{
	ours:      {"a", `<circle cx="%s" cy="%s" r="4"/>`},
	oursToo:   {"b", `<path d="M%s %sm0-5 5 5-5 5-5-5z"/>`},
	rivals:    {"c", `<path d="M%s %sm-4-4h8v8h-8z"/>`},
	oursThird: {"d", `<path d="M%s %sm0-5 5 9h-10z"/>`},
	rivalsToo: {"d", `<path d="M%s %sm0-5 5 9h-10z"/>`},
	aim:       {"e", ""},
}

// The colours are of Okabe and Ito's palette, darker or lighter where the background asks
// for it. The background is drawn: whoever shows the picture may have another one than the
// reader's system says.
const style = `text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-size:15px;font-weight:600;fill:#1f2328}` +
	`.bg{fill:#fff;stroke:#d0d7de}.g{stroke:#d8dee4}.l{fill:none;stroke-width:2}.r{stroke-dasharray:6 3}` +
	`.a{stroke:#0072b2;fill:#0072b2}.b{stroke:#007a5a;fill:#007a5a}.c{stroke:#b84c00;fill:#b84c00}.d{stroke:#9c4a80;fill:#9c4a80}.e{stroke:#6e7781;fill:#6e7781}` +
	`text.n{stroke:none;font-weight:600}.l{fill:none}.e.l{stroke-width:1.5;stroke-dasharray:2 4}` +
	`@media(prefers-color-scheme:dark){text{fill:#9198a1}.t{fill:#f0f6fc}.bg{fill:#0d1117;stroke:#3d444d}.g{stroke:#2a313c}` +
	`.a{stroke:#56b4e9;fill:#56b4e9}.b{stroke:#2fc79a;fill:#2fc79a}.c{stroke:#f0913a;fill:#f0913a}.d{stroke:#d993bd;fill:#d993bd}.e{stroke:#9198a1;fill:#9198a1}.l{fill:none}}`

// The picture, and within it the field in which lines run.
const (
	width, height = 720.0, 360.0
	left, right   = 64.0, 540.0
	top, bottom   = 68.0, 308.0
)

// drawn is a line with its points, in units of the axes.
type drawn struct {
	line
	at []point
	y  float64 // of its label
}

// draw returns the plot as SVG. The same figures give the same bytes.
func (p plot) draw(r *run) ([]byte, error) {
	lines, err := p.measured(r)
	if err != nil {
		return nil, err
	}
	var xs, ys []float64
	for _, l := range lines {
		for _, at := range l.at {
			xs, ys = append(xs, at.x), append(ys, at.y)
		}
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	across := newScale(p.x.log, xs[0], xs[len(xs)-1], left+12, right-12).at
	if p.x.names != nil {
		place := newScale(false, 0, float64(len(xs)-1), left+30, right-30)
		across = func(v float64) float64 { return place.at(float64(slices.Index(xs, v))) }
	}
	up := newScale(p.y.log, slices.Min(ys), slices.Max(ys), bottom, top)
	ticks := up.roundTicks()

	var b bytes.Buffer
	put := func(form string, args ...any) { fmt.Fprintf(&b, form+"\n", args...) }
	put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" role="img" aria-labelledby="t d">`, num(width), num(height))
	put(`<title id="t">%s</title>`, escape(p.title))
	put(`<desc id="d">%s</desc>`, escape(p.describe(lines)))
	put(`<style>%s</style>`, style)
	put(`<rect class="bg" x=".5" y=".5" width="%s" height="%s" rx="6"/>`, num(width-1), num(height-1))
	put(`<text class="t" x="16" y="28">%s</text>`, escape(p.title))
	put(`<text x="16" y="50">%s</text>`, escape(p.y.label))
	for _, v := range ticks {
		put(`<path class="g" d="M%s %sH%s"/><text x="%s" y="%s" text-anchor="end">%s</text>`, num(left), num(up.at(v)), num(right), num(left-8), num(up.at(v)+4), escape(short(v)))
	}
	last := math.Inf(-1)
	for _, v := range xs {
		if across(v)-last < 36 {
			continue // it would stand in the one before
		}
		last = across(v)
		put(`<path class="g" d="M%s %sv5"/><text x="%s" y="%s" text-anchor="middle">%s</text>`, num(last), num(bottom), num(last), num(bottom+20), escape(cmp.Or(p.x.names[v], short(v))))
	}
	put(`<text x="%s" y="%s" text-anchor="middle">%s</text>`, num((left+right)/2), num(height-14), escape(p.x.label))
	place(lines, up)
	for _, l := range lines {
		p.drawLine(put, l, across, up)
	}
	put(`</svg>`)
	return b.Bytes(), nil
}

// measured returns the lines with their figures. A plot that lacks one of them would say
// something else than its title.
func (p plot) measured(r *run) ([]drawn, error) {
	var lines []drawn
	for _, l := range p.lines {
		d := drawn{line: l}
		for _, at := range l.points(r) {
			at = point{at.x / cmp.Or(p.x.unit, 1), at.y / cmp.Or(p.y.unit, 1)}
			if math.IsNaN(at.y) || p.y.log && at.y <= 0 || p.x.log && at.x <= 0 {
				return nil, fmt.Errorf("%s: %s is %v at %v", p.name, l.label, at.y, at.x)
			}
			d.at = append(d.at, at)
		}
		if len(d.at) < 2 {
			return nil, fmt.Errorf("%s: %s has %d points; a line needs two", p.name, l.label, len(d.at))
		}
		lines = append(lines, d)
	}
	if len(lines) == 0 {
		return nil, errors.New(p.name + " has no line")
	}
	return lines, nil
}

// describe says the figures to who does not see the picture.
func (p plot) describe(lines []drawn) string {
	list := []string{fmt.Sprintf("%s by %s.", p.y.label, p.x.label)}
	for _, l := range lines {
		var values []string
		for _, at := range l.at {
			values = append(values, fmt.Sprintf("%s at %s", figures(at.y), cmp.Or(p.x.names[at.x], short(at.x))))
		}
		list = append(list, l.label+": "+strings.Join(values, ", ")+".")
	}
	return strings.Join(list, " ")
}

// place gives labels the height of the ends of their lines, or one near it where two would
// stand in each other.
func place(lines []drawn, up scaling) {
	const apart = 16
	order := make([]*drawn, len(lines))
	for i := range lines {
		lines[i].y = up.at(lines[i].at[len(lines[i].at)-1].y)
		order[i] = &lines[i]
	}
	slices.SortStableFunc(order, func(a, b *drawn) int { return cmp.Compare(a.y, b.y) })
	for i := 1; i < len(order); i++ {
		order[i].y = max(order[i].y, order[i-1].y+apart)
	}
	limit := bottom
	for _, l := range slices.Backward(order) {
		l.y = min(l.y, limit)
		limit = l.y - apart
	}
}

func (p plot) drawLine(put func(string, ...any), l drawn, across func(float64) float64, up scaling) {
	look, class := looks[l.kind], "l"
	if l.kind == rivals || l.kind == rivalsToo {
		class += " r"
	}
	var path strings.Builder
	for i, at := range l.at {
		fmt.Fprintf(&path, "%s%s %s", map[bool]string{true: "M", false: "L"}[i == 0], num(across(at.x)), num(up.at(at.y)))
	}
	end := l.at[len(l.at)-1]
	label := l.label
	if l.kind != aim {
		label += " " + figures(end.y)
	}
	put(`<path class="%s %s" d="%s"/>`, look.class, class, path.String())
	put(`<path class="g" d="M%s %sL%s %s"/>`, num(across(end.x)+7), num(up.at(end.y)), num(right+6), num(l.y))
	if look.marker != "" {
		put(`<g class="%s">`, look.class)
		for _, at := range l.at {
			put(look.marker, num(across(at.x)), num(up.at(at.y)))
		}
		put(`</g>`)
	}
	put(`<text class="%s n" x="%s" y="%s">%s</text>`, look.class, num(right+10), num(l.y+4), escape(label))
}

// scaling leads from values to places.
type scaling struct {
	log      bool
	min, max float64
	from, to float64
}

// newScale has the values between min and max in view. A scale that is not logarithmic
// begins with nothing: the height of a line says how much there is.
func newScale(log bool, least, most, from, to float64) scaling {
	s := scaling{log, least, most, from, to}
	if !log {
		s.min = min(least, 0)
	}
	if s.max <= s.min {
		s.max = s.min + 1
	}
	return s
}

func (s scaling) at(v float64) float64 {
	lo, hi := s.min, s.max
	if s.log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return s.from + (s.to-s.from)*(v-lo)/(hi-lo)
}

// roundTicks returns round values, and widens the scale to begin and end with one.
func (s *scaling) roundTicks() []float64 {
	steps := []float64{1, 2, 5}
	if s.log {
		if s.max/s.min > 200 {
			steps = []float64{1}
		}
		var all []float64
		for e := math.Floor(math.Log10(s.min)); e <= math.Ceil(math.Log10(s.max)); e++ {
			for _, step := range steps {
				all = append(all, step*math.Pow(10, e))
			}
		}
		// From the last one below to the first one above.
		for len(all) > 2 && all[1] <= s.min*(1+1e-9) {
			all = all[1:]
		}
		for len(all) > 2 && all[len(all)-2] >= s.max*(1-1e-9) {
			all = all[:len(all)-1]
		}
		s.min, s.max = all[0], all[len(all)-1]
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((s.max-s.min)/2)))
	for _, wider := range []float64{1, 2, 2.5, 5, 10} {
		if (s.max-s.min)/(step*wider) <= 5 {
			step *= wider
			break
		}
	}
	s.min, s.max = math.Floor(s.min/step)*step, math.Ceil(s.max/step-1e-9)*step
	var all []float64
	for i := 0.0; s.min+i*step <= s.max+step/2; i++ {
		all = append(all, s.min+i*step)
	}
	return all
}

// num is a place in a picture.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10+0, 'f', -1, 64) }

// short is a round number, such as 20 k or 1 M.
func short(v float64) string {
	for _, s := range []struct {
		one  float64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if math.Abs(v) >= s.one {
			return strconv.FormatFloat(v/s.one, 'g', 4, 64) + s.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// figures is a number with as many digits as are worth reading, such as 4,210, 56.3 or
// 0.072.
func figures(v float64) string {
	if math.Abs(v) >= 100 {
		return thousands(v)
	}
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if strings.Contains(s, "e") {
		s = strconv.FormatFloat(v, 'f', -1, 64)
		if f, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64); err == nil {
			s = strconv.FormatFloat(f, 'f', -1, 64)
		}
	}
	return s
}

// thousands is a whole number with commas.
func thousands(v float64) string {
	s := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if v < 0 {
		s = "-" + s
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder takes everything
	return b.String()
}
