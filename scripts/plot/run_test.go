package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseRun(t *testing.T) {
	t.Parallel()
	r := parsed(t, `
commit: 0123abc
goos: linux
pkg: podgate/store
cpu: Some Processor
BenchmarkA/part=1-2         	     100	   1500 ns/op	  2 KiB	  7 x-a
BenchmarkA/part=1-2         	     100	   2500 ns/op	  4 KiB
    bench_test.go:60: made in 3s
BenchmarkBroken-2           	     100	   25 ns/op	 12
BenchmarkWord-2             	     100	   many ns/op
BenchmarkInfinite-2         	     100	   Inf ns/op
BenchmarkNotANumber-2       	     100	   1 ns/op	  NaN y
BenchmarkAlone
Benchmarking is no result   	     100	   25 ns/op
Upper: no fact
pkg: podgate
BenchmarkA/part=1-16        	     1	   5 cpu-ms/op
BenchmarkRate               	     1	   5 MB/s	 3 MiB-resident
PASS
ok  	podgate/store	13.859s
`)
	for i, want := range map[id]float64{
		{"podgate/store", "A/part=1", "ns/op"}: 2000e-9, {"podgate/store", "A/part=1", "KiB"}: 3 << 10, {"podgate/store", "A/part=1", "x-a"}: 7,
		{"podgate", "A/part=1", "cpu-ms/op"}: 5e-3, {"podgate", "Rate", "MB/s"}: 5, {"podgate", "Rate", "MiB-resident"}: 3 << 20,
	} {
		if got := r.median(i); math.Abs(got-want) > want*1e-12 {
			t.Errorf("%s: %v, want %v", i, got, want)
		}
	}
	if len(r.values) != 6 || len(r.lacking()) != 0 {
		t.Errorf("%d figures, %v lacking: %v", len(r.values), r.lacking(), r.values)
	}
	if !slices.Equal(r.facts["cpu"], []string{"Some Processor"}) || !slices.Equal(r.facts["commit"], []string{"0123abc"}) || r.facts["Upper"] != nil {
		t.Errorf("facts %v", r.facts)
	}
	if got := r.median(id{"podgate", "Absent", "ns/op"}); !math.IsNaN(got) || !slices.Equal(r.lacking(), []string{"podgate BenchmarkAbsent ns/op"}) {
		t.Errorf("%v, %v", got, r.lacking())
	}
}

// Names that have a number at the star and are otherwise the same, and no others.
func TestAcross(t *testing.T) {
	t.Parallel()
	r := parsed(t, `pkg: podgate
BenchmarkX/10-clients-2 1 3 a/s
BenchmarkX/10-clients-2 1 5 a/s
BenchmarkX/9-clients-2 1 1 a/s
BenchmarkX/9-clients-of-others-2 1 7 a/s
BenchmarkX/-clients-2 1 7 a/s
BenchmarkX/ten-clients-2 1 7 a/s
BenchmarkX/-1-clients-2 1 7 a/s
BenchmarkX/11-clients-2 1 7 b/s
BenchmarkY/n=5 1 7 a/s
`)
	if got, want := r.across(id{"podgate", "X/*-clients", "a/s"}), []point{{9, 1}, {10, 4}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := r.across(id{"podgate", "Y/n=*", "a/s"}), []point{{5, 7}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.across(id{"podgate", "Z/n=*", "a/s"}); len(got) != 0 || len(r.lacking()) != 1 {
		t.Errorf("%v, %v", got, r.lacking())
	}
}

// Whatever is read, every figure is a number, and what is read is read again as it was
// from lines made of it.
func FuzzParseRun(f *testing.F) {
	f.Add("pkg: podgate\nBenchmarkA/n=1-2 1 5 ns/op 3 x\nkey: value\n")
	f.Add("BenchmarkA 1 1e309 ns/op\nBenchmark 1 5 x\nBenchmarkÄ-2 1 -5 µs\n")
	f.Add("pkg:\tx y \nBenchmarkA 1 0x1p-2 KiB/\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRun(strings.NewReader(text))
		if err != nil {
			return // a line of more than a mebibyte
		}
		var again bytes.Buffer
		for i, list := range r.values {
			for _, v := range list {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("%v is %v", i, list)
				}
				fmt.Fprintf(&again, "pkg: %s\nBenchmark%s-1 1 %v %s\n", i.pkg, i.name, v/scale(i.unit), i.unit)
			}
			_ = r.across(id{i.pkg, strings.Replace(i.name, "1", "*", 1), i.unit})
		}
		second, err := parseRun(&again)
		if err != nil {
			t.Fatal(err)
		}
		for i, list := range r.values {
			if i.pkg != "" && math.Abs(slices.Max(list)) < 1e290 && math.Abs(slices.Min(list)) < 1e290 && len(second.values[i]) != len(list) {
				t.Fatalf("%v has %v, and read again %v", i, list, second.values[i])
			}
		}
	})
}
