package store_test

import (
	"errors"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// A deleted pod has no name or place in its team, and gets them again. Its number stays
// its own.
func TestDeletedPods(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", t0)
	allow := func([]store.Pod) error { return nil }
	pod := func(id store.PodID, name string) store.Pod {
		return store.Pod{ID: id, Name: name, Team: w.Team.ID, Region: "local", Want: store.WantRunning, Env: map[string]string{"KEY": "value"}}
	}
	until := t0.Add(7 * 24 * time.Hour)
	wantErr(t, db.CreatePod(pod("a", "shop"), t0, allow), nil)
	wantErr(t, db.DeletePod("a", t0, until), nil)
	wantErr(t, db.DeletePod("a", t0, until), store.ErrNotFound)
	if mine, err := db.PodsOf(w.Team.ID); err != nil || len(mine) != 0 {
		t.Errorf("the team has %v, %v", mine, err)
	}
	if _, err := db.PodByName("shop"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by name: %v", err)
	}
	for _, err := range []error{db.SetWant("a", store.WantRunning), db.SetWant("a", store.WantStopped)} {
		wantErr(t, err, store.ErrNotFound)
	}
	wantErr(t, db.CreatePod(pod("b", "shop"), t0, allow), nil)
	if other, err := db.Pod("b"); err != nil || other.Number != 2 {
		t.Errorf("the next has the number %d, %v", other.Number, err)
	}
	if kept, err := db.DeletedOf(w.Team.ID, t0); err != nil || len(kept) != 1 || kept[0].ID != "a" || kept[0].Env["KEY"] != "value" {
		t.Errorf("deleted: %+v, %v", kept, err)
	}
	if kept, err := db.DeletedOf(w.Team.ID, until); err != nil || len(kept) != 0 {
		t.Errorf("deleted, later: %+v, %v", kept, err)
	}
	_, err := db.UndeletePod("a", "shop", t0, allow)
	wantErr(t, err, store.ErrTaken)
	full := errors.New("full")
	_, err = db.UndeletePod("a", "old", t0, func(have []store.Pod) error {
		if len(have) != 1 || have[0].ID != "b" {
			t.Errorf("counted: %v", have)
		}
		return full
	})
	wantErr(t, err, full)
	_, err = db.UndeletePod("a", "old", until, allow)
	wantErr(t, err, store.ErrNotFound)
	back, err := db.UndeletePod("a", "old", t0, allow)
	if wantErr(t, err, nil); back.Name != "old" || back.Number != 1 || back.Want != store.WantRunning || !back.Deleted.IsZero() {
		t.Errorf("back: %+v", back)
	}
	// Who is gone for good leaves the name to whoever has it by then.
	wantErr(t, db.DeletePod("a", t0, until), nil)
	wantErr(t, db.GiveUpPod("a"), nil)
	wantErr(t, db.ForgetPod("a", until), nil)
	wantErr(t, db.GiveUpPod("a"), nil)
	wantErr(t, db.DeletePod("b", t0, until), nil)
	if _, err := db.RemoveTeam(w.Team.ID); err != nil {
		t.Errorf("remove the team: %v", err)
	}
	if p, err := db.Pod("b"); err != nil || !p.Until.IsZero() {
		t.Errorf("the pod of a team that is gone: %+v, %v", p, err)
	}
}

// Snapshots belong to their pod, and the one that a restore waits for stays.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", t0)
	all := func([]store.Snapshot) ([]store.SnapshotID, error) { return nil, nil }
	for _, id := range []store.PodID{"a", "b"} {
		wantErr(t, db.CreatePod(store.Pod{ID: id, Name: string(id), Team: w.Team.ID, Region: "local", Preset: "php", Want: store.WantRunning}, t0, func([]store.Pod) error { return nil }), nil)
	}
	add := func(id store.SnapshotID, after time.Duration, keep store.Keep) ([]store.SnapshotID, error) {
		return db.AddSnapshot(store.Snapshot{ID: id, Pod: "a", Created: t0.Add(after), Release: 3, Preset: "static"}, keep)
	}
	for id, after := range map[store.SnapshotID]time.Duration{"1": 1, "2": 2, "3": 3} {
		_, err := add(id, after, all)
		wantErr(t, err, nil)
	}
	no := errors.New("no")
	_, err := add("4", 4, func(list []store.Snapshot) ([]store.SnapshotID, error) { return nil, no })
	wantErr(t, err, no)
	dropped, err := add("4", 4, func(list []store.Snapshot) ([]store.SnapshotID, error) {
		return []store.SnapshotID{list[0].ID}, nil
	})
	if wantErr(t, err, nil); len(dropped) != 1 || dropped[0] != "1" {
		t.Errorf("dropped %v", dropped)
	}
	_, err = db.BeginRestore("b", store.Restore{From: "2", Old: "5"})
	wantErr(t, err, store.ErrNotFound)
	_, err = db.BeginRestore("a", store.Restore{From: "1", Old: "5"})
	wantErr(t, err, store.ErrNotFound)
	_, err = db.BeginRestore("a", store.Restore{From: "2", Old: "5"})
	wantErr(t, err, nil)
	_, err = db.BeginRestore("a", store.Restore{From: "3", Old: "6"})
	wantErr(t, err, store.ErrTaken)
	wantErr(t, db.ForgetSnapshot("2"), store.ErrTaken)
	wantErr(t, db.ForgetSnapshot("3"), nil)
	wantErr(t, db.ForgetSnapshot("3"), nil)
	p, _, err := db.EndRestore("a", &store.Snapshot{ID: "5", Pod: "a", Created: t0.Add(5)}, all)
	if wantErr(t, err, nil); p.Release != 3 || p.Preset != "static" || !p.Made || p.Restore != nil {
		t.Errorf("restored: %+v", p)
	}
	if list, err := db.SnapshotsOf("a"); err != nil || len(list) != 3 || list[0].ID != "2" || list[2].ID != "5" {
		t.Errorf("%+v, %v", list, err)
	}
	wantErr(t, db.ForgetPod("a", t0), nil)
	if list, err := db.Snapshots(); err != nil || len(list) != 0 {
		t.Errorf("after the pod: %+v, %v", list, err)
	}
}

// Of a pod's snapshots those are trimmed that are named: none while one is being restored,
// and none of a pod that has gone meanwhile.
func TestTrimSnapshots(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", t0)
	p := store.Pod{ID: "a", Name: "shop", Team: w.Team.ID, Region: "local", Want: store.WantRunning}
	wantErr(t, db.CreatePod(p, t0, func([]store.Pod) error { return nil }), nil)
	keepAll := func([]store.Snapshot) ([]store.SnapshotID, error) { return nil, nil }
	for _, id := range []store.SnapshotID{"one", "two"} {
		_, err := db.AddSnapshot(store.Snapshot{ID: id, Pod: "a", Why: store.SnapshotDeploy, Created: t0}, keepAll)
		wantErr(t, err, nil)
	}
	trim := func(pod store.PodID) []store.SnapshotID {
		t.Helper()
		dropped, err := db.TrimSnapshots(pod, func(list []store.Snapshot) ([]store.SnapshotID, error) { return []store.SnapshotID{list[0].ID}, nil })
		wantErr(t, err, nil)
		return dropped
	}
	_, err := db.BeginRestore("a", store.Restore{From: "two", Old: "old"})
	wantErr(t, err, nil)
	if got := trim("a"); len(got) != 0 {
		t.Errorf("while one is restored %q went", got)
	}
	wantErr(t, db.DropRestore("a"), nil)
	if got := trim("a"); len(got) != 1 || got[0] != "one" {
		t.Errorf("%q went", got)
	}
	if list, err := db.SnapshotsOf("a"); err != nil || len(list) != 1 || list[0].ID != "two" {
		t.Errorf("%+v, %v", list, err)
	}
	if got := trim("gone"); len(got) != 0 {
		t.Errorf("of a pod that is gone %q went", got)
	}
}
