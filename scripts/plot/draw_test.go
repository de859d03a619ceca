package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is drawn into testdata")

// examples are the plots of testdata, by the name of the file.
var examples = map[string]plot{
	"plain": {
		name: "plain", title: "Things",
		x: axis{label: "how many there are", log: true}, y: axis{label: "things a second"},
		lines: []line{
			{"podgate", ours, grown("store", "Thing/size=*", "ours/s")},
			{"the other one", rivals, grown("store", "Thing/size=*", "theirs/s")},
			{"aim: 0.8 of the first", aim, part(0.8, grown("store", "Thing/size=*", "ours/s"))},
		},
	},
	"log": {
		name: "log", title: "Logs",
		x: axis{label: "size", log: true}, y: axis{label: "microseconds", log: true, unit: 1e-6},
		lines: []line{{"podgate", ours, grown("store", "Log/size=*", "ns/op")}, {"aim: 5 ms", aim, level(5e-3, grown("store", "Log/size=*", "ns/op"))}},
	},
	"words": {
		name: "words", title: `<Words> & "more"`,
		x:     axis{label: "used for", names: map[float64]string{0: "not yet", 30: "a month", 365: "a year"}},
		y:     axis{label: "milliseconds", unit: 1e-3},
		lines: []line{{"podgate", ours, grown("", "Words/days=*", "cpu-ms/op")}},
	},
}

func parsed(t testing.TB, text string) *run {
	t.Helper()
	r, err := parseRun(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each example is drawn as it stands in testdata, which somebody has looked at.
func TestDraw(t *testing.T) {
	t.Parallel()
	for name, p := range examples {
		file := filepath.Join("testdata", name+".txtar")
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.draw(parsed(t, string(archive.Files[0].Data)))
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, got)
		if *update {
			archive.Files = append(archive.Files[:1], txtar.File{Name: name + ".svg", Data: got})
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if len(archive.Files) != 2 || !bytes.Equal(got, archive.Files[1].Data) {
			t.Errorf("%s is drawn otherwise; «go test ./scripts/plot -run TestDraw -update» writes it, look at it then:\n%s", name, got)
		}
	}
}

// active is what a picture in a document may not have: what runs, and what fetches.
var active = regexp.MustCompile(`(?i)<script|<foreignObject|<image|<use|href|url\(|@import|@font-face|\bon[a-z]+=`)

// wellFormed wants an SVG that is XML, small, says what it is, and neither runs nor
// fetches anything.
func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	elements := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
	if elements["svg"] != 1 || elements["title"] != 1 || elements["desc"] != 1 || !bytes.Contains(svg, []byte("prefers-color-scheme:dark")) {
		t.Errorf("has %v", elements)
	}
	if len(svg) > 10<<10 {
		t.Errorf("%d bytes", len(svg))
	}
	if found := active.Find(svg); found != nil {
		t.Errorf("has %q", found)
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) || bytes.Contains(svg, []byte("%!")) {
		t.Errorf("has what is no number:\n%s", svg)
	}
}

// What would be drawn wrongly is not drawn at all.
func TestNotDrawn(t *testing.T) {
	t.Parallel()
	two := "pkg: podgate\nBenchmarkX/n=1 1 %s x/s\nBenchmarkX/n=2 1 5 x/s\n"
	for name, c := range map[string]struct {
		run, says string
		lines     []line
		log       bool
	}{
		"no line":         {fmt.Sprintf(two, "1"), "no line", nil, false},
		"nothing":         {"", "0 points", []line{{"a", ours, grown("", "X/n=*", "x/s")}}, false},
		"one point":       {"pkg: podgate\nBenchmarkX/n=1 1 5 x/s\n", "1 points", []line{{"a", ours, grown("", "X/n=*", "x/s")}}, false},
		"zero on a log":   {fmt.Sprintf(two, "0"), "a is 0 at 1", []line{{"a", ours, grown("", "X/n=*", "x/s")}}, true},
		"another's lack":  {fmt.Sprintf(two, "1"), "b is NaN", []line{{"b", ours, beside(of("", "Y", "x/s"), grown("", "X/n=*", "x/s"))}}, false},
		"another package": {fmt.Sprintf(two, "1"), "0 points", []line{{"a", ours, grown("store", "X/n=*", "x/s")}}, false},
		"another unit":    {fmt.Sprintf(two, "1"), "0 points", []line{{"a", ours, grown("", "X/n=*", "y/s")}}, false},
	} {
		p := plot{name: "p", lines: c.lines, y: axis{log: c.log}}
		if svg, err := p.draw(parsed(t, c.run)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.says, svg)
		}
	}
}

func TestRoundTicks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log         bool
		least, most float64
		want        string
	}{
		{false, 3, 97, "0 20 40 60 80 100"},
		{false, 3900, 4600, "0 1 k 2 k 3 k 4 k 5 k"},
		{false, 0.1, 0.31, "0 0.1 0.2 0.3 0.4"},
		{false, 0, 0, "0 0.2 0.4 0.6 0.8 1"},
		{false, -5, 5, "-6 -4 -2 0 2 4 6"},
		{true, 3, 97, "2 5 10 20 50 100"},
		{true, 10, 100, "10 20 50 100"},
		{true, 0.026, 9, "0.01 0.1 1 10"},
		{true, 5, 5, "5 10"},
		{true, 1, 2e6, "1 10 100 1 k 10 k 100 k 1 M 10 M"},
	} {
		s := newScale(c.log, c.least, c.most, 300, 0)
		var got []string
		for _, v := range s.roundTicks() {
			got = append(got, short(math.Round(v*1e9)/1e9))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("from %v to %v: %v, want %s", c.least, c.most, got, c.want)
		}
		for _, v := range []float64{c.least, c.most} {
			if at := s.at(v); at < -1e-6 || at > 300+1e-6 {
				t.Errorf("from %v to %v: %v is at %v", c.least, c.most, v, at)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64][2]string{
		0: {"0", "0"}, 0.072: {"0.072", "0.072"}, 5.678: {"5.678", "5.68"}, 56.34: {"56.34", "56.3"}, 999.6: {"999.6", "1,000"}, 4210: {"4.21 k", "4,210"},
		1e6: {"1 M", "1,000,000"}, 2.5e9: {"2.5 G", "2,500,000,000"}, -1234: {"-1.234 k", "-1,234"}, 0.00001234: {"1.234e-05", "0.0000123"},
	} {
		if got := [2]string{short(v), figures(v)}; got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// Labels keep apart, in the field, and near the ends of their lines.
func TestPlace(t *testing.T) {
	t.Parallel()
	up := newScale(false, 0, 100, bottom, top)
	for _, ends := range [][]float64{{50, 50, 50}, {0, 0, 1}, {100, 100}, {10, 90}} {
		lines := make([]drawn, len(ends))
		for i, y := range ends {
			lines[i].at = []point{{1, y}}
		}
		place(lines, up)
		for i, a := range lines {
			if a.y < top || a.y > bottom || math.Abs(a.y-up.at(ends[i])) > 40 {
				t.Errorf("%v: label %d at %v", ends, i, a.y)
			}
			for _, b := range lines[:i] {
				if math.Abs(a.y-b.y) < 15 {
					t.Errorf("%v: labels at %v and %v", ends, a.y, b.y)
				}
			}
		}
	}
}
