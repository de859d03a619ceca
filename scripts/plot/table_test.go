package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCells(t *testing.T) {
	t.Parallel()
	r := parsed(t, "pkg: podgate\nBenchmarkA 1 1500 ns/op 4210.4 x/s 3 MiB 0.7 ratio 12 %\nBenchmarkB 1 3000 ns/op 0 x/s\n")
	fast, slow := of("", "A", "ns/op"), of("", "B", "ns/op")
	for want, c := range map[string]cell{
		"1.5 µs":           took(fast),
		"4,210/s":          per(of("", "A", "x/s")),
		"3 MiB":            size(of("", "A", "MiB")),
		"0.70":             times(of("", "A", "ratio")),
		"12 %":             percent(of("", "A", "%")),
		"2.00":             times(over(slow, fast)),
		"4.5 µs":           took(plus(slow, fast)),
		"as long as 3 µs":  with("as long as %s", took(slow)),
		"–":                took(of("", "Absent", "ns/op")),
		"as long as –":     with("as long as %s", took(of("", "Absent", "ns/op"))),
		"words":            words("words"),
		"1 s":              took(func(*run) float64 { return 1 }),
		"20 ms":            took(func(*run) float64 { return 0.02 }),
		"26.4 ns":          took(func(*run) float64 { return 26.4e-9 }),
		"512 B":            size(func(*run) float64 { return 512 }),
		"1.5 GiB":          size(func(*run) float64 { return 1.5 * (1 << 30) }),
		"45 KiB":           size(func(*run) float64 { return 45 << 10 }),
		"≥ 0.9, missed":    verdict(of("", "A", "ratio"), atLeast(0.9)),
		"≥ 0.7, met":       verdict(of("", "A", "ratio"), atLeast(0.7)),
		"≤ 0.5, missed":    verdict(of("", "A", "ratio"), atMost(0.5)),
		"≤ 2 µs, met":      verdict(fast, within(2e-6, "2 µs")),
		"≤ 2 µs, missed":   verdict(slow, within(2e-6, "2 µs")),
		"≥ 1, –":           verdict(of("", "Absent", "ratio"), atLeast(1)),
		"≥ 1 (nothing), –": verdict(over(of("", "A", "x/s"), of("", "B", "x/s")), limit{false, 1, "≥ 1 (nothing)"}), // by zero
	} {
		if got := c(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// verdict is the cells of an aim in one.
func verdict(q quantity, l limit) cell {
	cells := judged(q, l)
	return func(r *run) string { return cells[0](r) + ", " + strings.Trim(cells[1](r), "*") }
}

func TestFill(t *testing.T) {
	t.Parallel()
	r := parsed(t, "pkg: podgate\nBenchmarkA 1 1500 ns/op\n")
	a := table{"a", "what | figure | ", fixed([][]cell{{words("x"), took(of("", "A", "ns/op")), words("")}})}
	const page = "# Title\n<!-- table: a -->\nEnd.\n"
	got, err := fill(page, []table{a}, r)
	if want := "# Title\n| what | figure |  |\n|---|---|---|\n| x | 1.5 µs | |\nEnd.\n"; err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	for name, wrong := range map[string]string{"no place": "# Title\n", "unknown": page + "<!-- table: b -->\n", "twice": page + page, "no line": "<!-- table: a -->"} {
		if got, err := fill(wrong, []table{a}, r); err == nil {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// Every row of every table has as many cells as its head, also when nothing is known.
func TestTablesAreWhole(t *testing.T) {
	t.Parallel()
	for _, r := range []*run{parsed(t, ""), parsed(t, everything(t))} {
		for _, table := range tables {
			lines := strings.Split(strings.TrimSuffix(table.markdown(r), "\n"), "\n")
			for _, line := range lines {
				if strings.Count(line, "|") != strings.Count(lines[0], "|") {
					t.Errorf("%s: %q has not as many cells as %q", table.name, line, lines[0])
				}
			}
		}
	}
}

// everything is a run that has whatever plots and tables ask for, at three sizes where
// they ask for all of them.
func everything(t *testing.T) string {
	t.Helper()
	text := "commit: 1\ngoos: linux\n"
	for range 10 {
		r := parsed(t, text)
		for _, table := range tables {
			_ = table.markdown(r)
		}
		for _, p := range plots {
			_, _ = p.draw(r) // what it lacks is what is asked
		}
		if len(r.lacks) == 0 {
			return text
		}
		for _, what := range r.lacking() {
			pkg, rest, _ := strings.Cut(what, " ")
			name, unit, _ := strings.Cut(rest, " ")
			for _, size := range []string{"1000", "10000", "100000"} {
				text += fmt.Sprintf("pkg: %s\n%s-2 1 5 %s\n", pkg, strings.Replace(name, "*", size, 1), unit)
				if !strings.Contains(name, "*") {
					break
				}
			}
		}
	}
	t.Fatalf("there is always more: %v", parsed(t, text).lacking())
	return ""
}

func TestCommand(t *testing.T) {
	t.Parallel()
	raw := everything(t)
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	const before = "what was there\n"
	if err := os.WriteFile(page, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	call := func(in string, args ...string) (string, error) {
		var out bytes.Buffer
		err := command(args, strings.NewReader(in), &out)
		return out.String(), err
	}
	if out, err := call("", "-out", dir, "-page", page); err == nil || !strings.Contains(err.Error(), "not in the run: ") {
		t.Errorf("of nothing: %s %v", out, err)
	}
	if now, err := os.ReadFile(page); err != nil || string(now) != before {
		t.Errorf("a run that lacks a plot changed the page: %v", err)
	}
	if out, err := call(raw, "-out", dir, "-page", page); err != nil {
		t.Errorf("%s %v", out, err)
	}
	filled, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := call(raw, "-table")
	if err != nil || strings.Count(printed, "\n|") < 3*len(tables) {
		t.Errorf("%v\n%s", err, printed)
	}
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "|") && !strings.Contains(string(filled), "\n"+line) {
			t.Errorf("the page lacks what -table prints: %s", line)
		}
	}
	drawn, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(drawn) != len(plots) {
		t.Errorf("%d plots, %v", len(drawn), err)
	}
	for _, args := range [][]string{{"a", "b"}, {"absent.txt"}, {"-unknown"}, {"-out", dir, "-page", filepath.Join(dir, "absent", "page.md")}, {"-out", filepath.Join(dir, "absent"), "-page", page}} {
		if out, err := call(raw, args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
