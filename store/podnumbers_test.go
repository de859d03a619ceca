package store

import (
	"fmt"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func numbers(t *testing.T, db *DB) map[PodID]int {
	t.Helper()
	all, err := db.Pods()
	if err != nil {
		t.Fatal(err)
	}
	got := map[PodID]int{}
	for _, p := range all {
		got[p.ID] = p.Number
	}
	return got
}

// Each pod has a number that no other of its region has, also while it is being
// deleted; then it is free.
func TestPodNumbers(t *testing.T) {
	t.Parallel()
	db, err := Open(t.TempDir() + "/podgate.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.CreateTeam(Team{ID: "lab", Slug: "lab"}))
	create := func(id, region string) {
		t.Helper()
		must(db.CreatePod(Pod{ID: PodID(id), Name: id, Team: "lab", Region: region, Number: 7}, t0, func([]Pod) error { return nil }))
	}
	create("c", "here")
	create("a", "here")
	create("b", "here")
	create("d", "here2")
	must(db.SetWant("a", WantGone))
	create("e", "here")
	want := map[PodID]int{"c": 1, "a": 2, "b": 3, "d": 1, "e": 4}
	if got := numbers(t, db); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	must(db.ForgetPod("a", t0))
	must(db.ForgetPod("c", t0))
	create("f", "here")
	create("g", "here")
	create("h", "here")
	want = map[PodID]int{"b": 3, "d": 1, "e": 4, "f": 1, "g": 2, "h": 5}
	if got := numbers(t, db); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	must(db.Check())
}

// Pods of before get numbers, and none a new home in place of a lost one.
func TestPodNumbersOfAnOlderFormat(t *testing.T) {
	t.Parallel()
	path := unpackFixture(t, 6)
	withBolt(t, path, func(tx *bolt.Tx) error {
		for i, region := range []string{"local", "local", "far", "local"} {
			id := fmt.Sprint("q", i)
			record := fmt.Sprintf(`{"id":%q,"name":%q,"team":"lab","region":%q,"want":"stopped","created":"2026-01-02T03:04:05Z"}`, id, id, region)
			for bucket, entry := range map[string][2]string{"pods": {id, record}, "pods_by_name": {id, id}, "pods_by_team": {"lab\x00" + id, id}} {
				if err := tx.Bucket([]byte(bucket)).Put([]byte(entry[0]), []byte(entry[1])); err != nil {
					return err
				}
			}
		}
		return tx.Bucket([]byte("pods")).Put([]byte("z"), []byte("no record"))
	})
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("pods")).Delete([]byte("z")) })
	if err != nil {
		t.Fatal(err)
	}
	want := map[PodID]int{"pod": 1, "q0": 2, "q1": 3, "q2": 1, "q3": 4}
	if got := numbers(t, db); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if p, err := db.Pod("q2"); err != nil || !p.Made {
		t.Errorf("%+v, %v", p, err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}
