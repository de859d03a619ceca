package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/control"
	"podgate/store"
)

// What a pod used is shown by the hour, and all of it to programs; what is older than a
// day is not.
func TestPodUse(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	craftShop(t, data)
	g := giver{t: t, more: []string{"--data", data}}
	g.says("Nothing was measured", "pod use shop")
	g.refuses(`There is no pod "other"`, "pod use other")

	hour := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	at := func(minutes int, memory, cpu int64) store.UsageSample {
		return store.UsageSample{Pod: "crafted", At: hour.Add(time.Duration(minutes) * time.Minute), UsagePoint: store.UsagePoint{Memory: memory, CPU: cpu, In: 1024, Out: 512}}
	}
	db, err := store.Open(filepath.Join(data, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []store.UsageSample{at(-23*60, 1, 1), at(0, 30<<20, 150_000), at(55, 20<<20, 0), at(65, 10<<20, 30_000)} {
		if err := db.PutUsage([]store.UsageSample{s}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(g.must("pod use shop"), "\n")
	if len(lines) != 4 || strings.Join(strings.Fields(lines[1]), " ") != hour.Format("2006-01-02 15:04Z")+" 30 MiB 0.25 2048 bytes 1024 bytes" || !strings.Contains(lines[2], hour.Add(time.Hour).Format("15:04Z")+"  10 MiB  0.10") {
		t.Errorf("%q", lines)
	}
	var used control.PodUse
	if err := json.Unmarshal([]byte(g.must("pod use shop --json")), &used); err != nil || used.Step != 300 || len(used.Points) != 3 || !used.Points[1].At.Equal(hour.Add(55*time.Minute)) || used.Points[0].CPU != 150_000 || used.Points[2].Sent != 512 {
		t.Errorf("%+v, %v", used, err)
	}
}
