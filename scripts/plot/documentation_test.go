package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var picture = regexp.MustCompile(`!\[[^\]]+\]\(plots/([a-z]+)\.svg\)`)

// What docs/performance.md shows is made of the run beside it, whole, and nothing else is
// there. A page that is not made of a run has no plots.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	const dir, page = "../../docs/plots/", "../../docs/performance.md"
	again := "is not made of docs/plots/run.txt; «go run ./scripts/plot docs/plots/run.txt» makes it"
	document, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(dir + "run.txt")
	if errors.Is(err, fs.ErrNotExist) && !picture.Match(document) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	r := parsed(t, string(raw))
	filled, err := fill(text, tables, r)
	if err != nil || filled != string(document) {
		t.Errorf("%s %s, %v", page, again, err)
	}
	shown := map[string]int{}
	for _, m := range picture.FindAllStringSubmatch(string(document), -1) {
		shown[m[1]]++
	}
	there, err := filepath.Glob(dir + "*")
	if err != nil || len(there) != len(plots)+1 || len(shown) != len(plots) {
		t.Errorf("%d files in docs/plots and %d plots shown, want those of %d and the run, %v", len(there), len(shown), len(plots), err)
	}
	for _, p := range plots {
		svg, err := os.ReadFile(dir + p.name + ".svg")
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := p.draw(r)
		if err != nil || !bytes.Equal(svg, want) {
			t.Errorf("docs/plots/%s.svg %s, %v", p.name, again, err)
		}
		wellFormed(t, svg)
		if shown[p.name] != 1 {
			t.Errorf("docs/performance.md shows %s %d times", p.name, shown[p.name])
		}
	}
	for _, what := range r.lacking() {
		t.Errorf("not in the run: %s", what)
	}
}

var measured = regexp.MustCompile(`(?m)^\s*(?:[A-Z_]+=1 )?bench \./?(\S*) '(\S+)'`)

// scripts/measure runs every benchmark that plots and tables show, and it is there.
func TestMeasureHasAll(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../measure")
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string][]*regexp.Regexp{}
	for _, m := range measured.FindAllStringSubmatch(string(script), -1) {
		runs[m[1]] = append(runs[m[1]], regexp.MustCompile(m[2]))
	}
	seen := map[string]bool{}
	for i := range parsed(t, everything(t)).values {
		top, _, _ := strings.Cut(i.name, "/")
		pkg := strings.TrimPrefix(strings.TrimPrefix(i.pkg, "podgate"), "/")
		name := "Benchmark" + top
		if seen[pkg+" "+name] {
			continue
		}
		seen[pkg+" "+name] = true
		if !slices.ContainsFunc(runs[pkg], func(r *regexp.Regexp) bool { return r.MatchString(name) }) {
			t.Errorf("scripts/measure does not run %s of %q", name, pkg)
		}
		if !declares(t, filepath.Join("../..", pkg), "func "+name+"(") {
			t.Errorf("%q has no %s", pkg, name)
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d benchmarks are shown", len(seen))
	}
}

// declares reports whether a test of a package has a line that begins so.
func declares(t *testing.T, dir, begin string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains("\n"+string(text), "\n"+begin)
	})
}
