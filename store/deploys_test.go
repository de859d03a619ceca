package store

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// withPod returns a database with a pod that was never deployed.
func withPod(t *testing.T) *DB {
	t.Helper()
	db, err := Open(unpackFixture(t, 13))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestDeploys(t *testing.T) {
	t.Parallel()
	db := withPod(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first, err := db.BeginDeploy(Deploy{Pod: "pod", Action: "deploy", Source: "2 files", Release: -1, By: "ada", Began: t0})
	must(err)
	if first.Number != 1 || first.Release != 1 || first.State != DeployBuilding {
		t.Errorf("begun: %+v", first)
	}
	first.State, first.Ended = DeploySucceeded, t0.Add(time.Second)
	must(db.EndDeploy(first, &App{Release: 1, Preset: "nodejs", Env: map[string]string{"A": "b"}}))
	pod, err := db.Pod("pod")
	must(err)
	if pod.Release != 1 || pod.Preset != "nodejs" || pod.Env["A"] != "b" || pod.Env["KEY"] != "" || pod.Deploys != 1 {
		t.Errorf("the pod is %+v", pod)
	}
	second, err := db.BeginDeploy(Deploy{Pod: "pod", Action: "deploy", Release: -1, Began: t0})
	must(err)
	second.State, second.Reason, second.Lines = DeployFailed, "it printed this", []string{"line"}
	must(db.EndDeploy(second, nil))
	if last, err := db.LastDeploy(Pod{ID: "pod", Deploys: 2}); err != nil || !reflect.DeepEqual(last, second) {
		t.Errorf("last %+v, %v", last, err)
	}
	if now, _ := db.Pod("pod"); now.Release != 1 {
		t.Errorf("a deploy that failed changed the pod: %+v", now)
	}
	list, err := db.DeploysOf("pod")
	must(err)
	if !reflect.DeepEqual(list, []Deploy{second, first}) {
		t.Errorf("%+v", list)
	}
	must(db.Check())
	must(db.ForgetPod("pod", t0))
	if list, err := db.DeploysOf("pod"); err != nil || len(list) != 0 {
		t.Errorf("of a pod that is gone: %+v, %v", list, err)
	}
	if err := db.EndDeploy(second, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("the end of a deploy that is gone: %v", err)
	}
	if _, err := db.BeginDeploy(Deploy{Pod: "pod"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deploy of a pod that is gone: %v", err)
	}
	must(db.Check())
}

// Of many deploys the oldest are forgotten, and what a server left building has failed.
func TestDeploysAreBoundedAndCut(t *testing.T) {
	t.Parallel()
	db := withPod(t)
	for i := range KeptDeploys + 3 {
		if _, err := db.BeginDeploy(Deploy{Pod: "pod", Action: "reload", Source: fmt.Sprint(i), Began: t0}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.CutDeploys("cut", t0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	list, err := db.DeploysOf("pod")
	if err != nil || len(list) != KeptDeploys || list[0].Number != KeptDeploys+3 {
		t.Fatalf("%d are kept, %v", len(list), err)
	}
	for _, d := range list {
		if d.State != DeployFailed || d.Reason != "cut" || !d.Ended.Equal(t0.Add(time.Hour)) {
			t.Errorf("%+v", d)
		}
	}
	if err := db.SetWant("pod", WantGone); err != nil {
		t.Fatal(err)
	}
	if _, err := db.BeginDeploy(Deploy{Pod: "pod"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deploy of a pod that is being deleted: %v", err)
	}
}

// What format 13 knew of the last reload is the first deploy since.
func TestReloadFaultBecomesADeploy(t *testing.T) {
	t.Parallel()
	path := unpackFixture(t, 13)
	withBolt(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("pods"))
		raw := b.Get([]byte("pod"))
		return b.Put([]byte("pod"), append(raw[:len(raw)-1:len(raw)-1], []byte(`,"reload_fault":"npm said no"}`)...))
	})
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pod, err := db.Pod("pod")
	if err != nil {
		t.Fatal(err)
	}
	last, err := db.LastDeploy(pod)
	want := Deploy{Pod: "pod", Number: 1, Action: "reload", State: DeployFailed, Reason: "npm said no"}
	if err != nil || !reflect.DeepEqual(last, want) {
		t.Errorf("%+v, %v", last, err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}
