package podpages_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"podgate/store"
	"podgate/ui/pagetest"
)

// drawn is a chart as a page shows it.
type drawn struct {
	words string
	areas []string
	hours map[string]string // hour → highest value
	order []string          // of the hours, as they are written
}

// chartsOf are the charts of a pod's page by name.
func chartsOf(a pagetest.Answer) map[string]drawn {
	all := map[string]drawn{}
	for _, figure := range a.All("figure") {
		d := drawn{hours: map[string]string{}}
		name, at := "", ""
		for n := range figure.Descendants() {
			switch {
			case n.Type != html.ElementNode:
			case n.Data == "figcaption":
				name, d.words, _ = strings.Cut(pagetest.Text(n), " ")
			case n.Data == "path":
				d.areas = append(d.areas, pagetest.Attr(n, "d"))
			case n.Data == "time":
				at = pagetest.Attr(n, "datetime")
				d.order = append(d.order, pagetest.Text(n))
			case n.Data == "td":
				d.hours[at] = pagetest.Text(n)
			}
		}
		all[name] = d
	}
	return all
}

// Charts and tables put what was used where it was used, show what nobody measured as
// a gap, and call nothing «now» that is over.
func TestCharts(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	p, err := s.DB.PodByName("blog")
	if err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	b.Enter("ada@example.com")
	if a := b.Get("/pod/blog"); len(chartsOf(a)) != 0 || !strings.Contains(a.Text(), "Nothing was measured.") {
		t.Errorf("before anything was measured: %s", a.Text())
	}
	// Each hour has used as many MiB as its number, in one step a hundred more; from
	// 15:00 to 16:00 nobody measured.
	s.Clock.Advance(37 * time.Minute) // it is 12:37
	first := time.Date(2026, 2, 28, 12, 40, 0, 0, time.UTC)
	var samples []store.UsageSample
	for at := first; !at.After(s.Clock.Now()); at = at.Add(store.UsageStep) {
		if at.Hour() == 15 {
			continue
		}
		memory := int64(at.Hour()) << 20
		if at.Minute() == 20 {
			memory += 100 << 20
		}
		samples = append(samples, store.UsageSample{Pod: p.ID, At: at, UsagePoint: store.UsagePoint{Memory: memory, CPU: 150_000, In: 1 << 20, Out: 2 << 20}})
	}
	if err := s.DB.PutUsage(samples); err != nil {
		t.Fatal(err)
	}
	got := chartsOf(b.Get("/pod/blog"))
	memory := got["Memory"]
	for name, want := range map[string]string{
		"Memory": "12 MB now, at most 123 MB of 256 MB", "CPU": "0.50 cores now, at most 0.50 cores of 0.50 cores", "Network": "3 MB now, at most 3 MB in 5 minutes, visitors included",
	} {
		if got[name].words != want {
			t.Errorf("%s: %q, want %q", name, got[name].words, want)
		}
	}
	// 12:40 is at the left end; 15:00 is 28 steps later and 16:00 40.
	if len(memory.areas) != 2 || !strings.HasPrefix(memory.areas[0], "M0 48L0 ") || !strings.HasSuffix(memory.areas[0], "H28V48Z") || !strings.HasPrefix(memory.areas[1], "M40 48L40 ") || !strings.HasSuffix(memory.areas[1], "H288V48Z") {
		t.Errorf("the areas are %q", memory.areas)
	}
	checkHours(t, memory, func(at time.Time) string {
		switch {
		case at.Hour() == 15:
			return "not known"
		case at.Equal(first.Truncate(time.Hour)):
			return "12 MB" // its other steps are over a day old
		}
		return fmt.Sprintf("%d MB", 100+at.Hour())
	})
	if !slices.Equal(memory.order[:2], []string{"28 February 2026, 12:00 UTC", "13:00 UTC"}) || memory.order[12] != "1 March 2026, 00:00 UTC" {
		t.Errorf("the rows are called %q", memory.order)
	}
	// Ten hours after the last step everything stands ten hours further back.
	if _, err := s.Pods.Stop(t.Context(), s.Actor(ada, "red"), "blog", nil); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(10 * time.Hour)
	got = chartsOf(b.Get("/pod/blog"))
	if memory = got["Memory"]; memory.words != "stopped now, at most 123 MB of 256 MB" || len(memory.areas) != 1 || !strings.HasSuffix(memory.areas[0], "H168V48Z") {
		t.Errorf("after ten hours: %s, %q", memory.words, memory.areas)
	}
	checkHours(t, memory, func(at time.Time) string {
		switch {
		case at.After(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)):
			return "not known"
		case at.Equal(first.Add(10 * time.Hour).Truncate(time.Hour)):
			return "22 MB"
		}
		return fmt.Sprintf("%d MB", 100+at.Hour())
	})
	s.Clock.Advance(24 * time.Hour)
	if got := chartsOf(b.Get("/pod/blog")); len(got) != 0 {
		t.Errorf("a day later: %+v", got)
	}
}

// checkHours compares the rows of a table, of which there is one for each hour of a day
// that does not begin with one.
func checkHours(t *testing.T, d drawn, want func(time.Time) string) {
	t.Helper()
	if len(d.hours) != 25 {
		t.Errorf("%d hours: %v", len(d.hours), d.hours)
	}
	for hour, got := range d.hours {
		at, err := time.Parse(time.RFC3339, hour)
		if err != nil || got != want(at) {
			t.Errorf("%s: %s, want %s, %v", hour, got, want(at), err)
		}
	}
}
