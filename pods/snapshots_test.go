package pods_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
)

// moving is a house with a clock, which notes what makes room.
type moving struct {
	*house
	now time.Time

	mu      sync.Mutex
	evicted []pods.Evicted
}

// gone says what has made room since it was asked last.
func (m *moving) gone() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, e := range m.evicted {
		what := "pod " + e.Pod.Name
		if e.Snapshot != "" {
			what = "snapshot of " + e.Pod.Name
		}
		all = append(all, what+", "+e.Why)
	}
	m.evicted = nil
	return strings.Join(all, "; ")
}

func newMoving(t *testing.T, change ...func(*pods.Config)) *moving {
	t.Helper()
	m := &moving{now: day}
	m.house = newHouse(t, append(change, func(c *pods.Config) {
		c.Now = func() time.Time { return m.now }
		c.Evicted = func(e pods.Evicted) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.evicted = append(m.evicted, e)
		}
	})...)
	return m
}

// snapshot takes one by hand and returns its id.
func (m *moving) snapshot(t *testing.T, name string) string {
	t.Helper()
	m.now = m.now.Add(time.Minute)
	made, err := m.TakeSnapshot(t.Context(), m.ann, name, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func (m *moving) whys(t *testing.T, name string) string {
	t.Helper()
	list, err := m.Snapshots(m.ann, name)
	if err != nil {
		t.Fatal(err)
	}
	var whys []string
	for _, s := range list {
		whys = append(whys, s.Why)
	}
	return strings.Join(whys, " ")
}

// folders are the names of what there is of a pod's snapshots on the disk.
func (m *moving) folders(t *testing.T, id store.PodID) []string {
	t.Helper()
	found, err := m.fake.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, id := range found[id] {
		names = append(names, string(id))
	}
	slices.Sort(names)
	return names
}

// settled waits until a restore that was cut off is finished.
func (m *moving) settled(t *testing.T, id store.PodID) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		rec, err := m.db.Pod(id)
		if err == nil && rec.Restore == nil && m.status(t, "shop").Status == "running" {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", rec, err)
		}
	}
}

// put writes a file of that many bytes into a pod's home.
func (m *moving) put(t *testing.T, id store.PodID, name string, bytes int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.fake.Dir(id), "home", name), make([]byte, bytes), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *moving) deploy(t *testing.T, name string) pods.Deployment {
	t.Helper()
	m.now = m.now.Add(time.Minute)
	d, _ := m.Deploy(t.Context(), m.ann, pods.DeployRequest{Name: name, Files: []pods.SourceFile{{Path: "index.html"}}}, nil) // the script has no deploys
	return d
}

// Snapshots make room for newer ones, those that somebody asked for last; of these a
// deploy takes none away.
func TestSnapshotsMakeRoom(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	id := m.create(t, "shop").ID
	for range 2 {
		if d := m.deploy(t, "shop"); !strings.Contains(d.Snapshot, "has the files as they were before") {
			t.Errorf("a deploy says %q", d.Snapshot)
		}
	}
	first := m.snapshot(t, "shop")
	for range pods.MaxSnapshots - 2 {
		m.snapshot(t, "shop")
	}
	if got := m.gone(); got != "snapshot of shop, a newer one took its room" {
		t.Errorf("after nine by hand %q is gone", got)
	}
	if got := m.whys(t, "shop"); got != strings.TrimSpace(strings.Repeat("manual ", pods.MaxSnapshots-1))+" deploy" {
		t.Errorf("after nine by hand: %s", got)
	}
	m.deploy(t, "shop")
	if got := m.whys(t, "shop"); !strings.HasPrefix(got, "deploy manual") || strings.Count(got, "manual") != pods.MaxSnapshots-1 {
		t.Errorf("after a deploy: %s", got)
	}
	m.snapshot(t, "shop")
	if d := m.deploy(t, "shop"); !strings.Contains(d.Snapshot, "there is no snapshot") || !strings.Contains(d.Snapshot, "made by hand leave no room") {
		t.Errorf("a deploy without room says %q", d.Snapshot)
	}
	if got := m.whys(t, "shop"); strings.Contains(got, "deploy") {
		t.Errorf("after that: %s", got)
	}
	m.snapshot(t, "shop")
	m.now = m.now.Add(-24 * time.Hour) // a clock that is set back
	last := m.snapshot(t, "shop")
	list, err := m.Snapshots(m.ann, "shop")
	if !slices.ContainsFunc(list, func(s pods.Snapshot) bool { return s.ID == last }) {
		t.Error("the newest made room for older ones")
	}
	m.now = m.now.Add(24 * time.Hour)
	if err != nil || len(list) != pods.MaxSnapshots || slices.ContainsFunc(list, func(s pods.Snapshot) bool { return s.ID == first }) {
		t.Errorf("%d, %v", len(list), err)
	}
	if got := m.folders(t, id); len(got) != pods.MaxSnapshots {
		t.Errorf("on the disk: %q", got)
	}
	_, err = m.RestoreSnapshot(t.Context(), m.ann, "shop", list[0].ID, nil)
	wants(t, err, pods.ErrOverPlan, "delete one with delete_snapshot first")
	if err := m.DeleteSnapshot(t.Context(), m.ann, "shop", list[3].ID); err != nil {
		t.Fatal(err)
	}
	m.now = m.now.Add(time.Minute)
	if _, err = m.RestoreSnapshot(t.Context(), m.ann, "shop", list[0].ID, nil); err != nil {
		t.Errorf("with room: %v", err)
	}
	if got := m.whys(t, "shop"); !strings.HasPrefix(got, "restore manual") || len(m.folders(t, id)) != pods.MaxSnapshots {
		t.Errorf("after a restore: %s, %q", got, m.folders(t, id))
	}
}

// All snapshots of a pod have twice the disk of its plan, and a copy has no more.
func TestSnapshotsAreBoundedByThePlan(t *testing.T) {
	t.Parallel()
	tiny := pods.DefaultPlans()[0]
	tiny.Limits.Disk = 1 << 20
	m := newMoving(t, func(c *pods.Config) { c.Plans = []pods.Plan{tiny} })
	id := m.create(t, "shop").ID
	m.put(t, id, "file", 900_000)
	first, second := m.snapshot(t, "shop"), m.snapshot(t, "shop")
	third := m.snapshot(t, "shop")
	if got := m.folders(t, id); !slices.Equal(got, slices.Sorted(slices.Values([]string{second, third}))) {
		t.Errorf("after %s, %s and %s: %q", first, second, third, got)
	}
	if d := m.deploy(t, "shop"); !strings.Contains(d.Snapshot, "leave no room") {
		t.Errorf("a deploy says %q", d.Snapshot)
	}
	m.put(t, id, "file", 3<<20)
	_, err := m.TakeSnapshot(t.Context(), m.ann, "shop", "", nil)
	wants(t, err, pods.ErrNotCopied, "more than the 2 MiB")
	_, err = m.Clone(t.Context(), m.ann, pods.CloneRequest{Name: "shop", To: "twin"}, nil)
	wants(t, err, pods.ErrNotCopied, "more than the 2 MiB")
	if list, err := m.List(t.Context(), m.ann); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if d := m.deploy(t, "shop"); !strings.Contains(d.Snapshot, "leave no room") {
		t.Errorf("a deploy says %q", d.Snapshot)
	}
	if got := m.folders(t, id); len(got) != 2 {
		t.Errorf("left behind: %q", got)
	}
}

// A plan with less disk than the files take is refused, whether the pod runs or not.
func TestPlanThatIsTooSmall(t *testing.T) {
	t.Parallel()
	plans := pods.DefaultPlans()[:2]
	plans[0].Limits.Disk = 1 << 20
	m := newMoving(t, func(c *pods.Config) { c.Plans = plans })
	p, err := m.Create(t.Context(), m.ann, pods.CreateRequest{Name: "shop", Preset: "static", Plan: plans[1].Name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, p.ID, "file", 2<<20)
	_, err = m.ChangePlan(t.Context(), m.ann, "shop", plans[0].Name, nil)
	wants(t, err, pods.ErrOverPlan, "its files take 2 MiB", "delete files first")
	if p := m.status(t, "shop"); p.Plan != plans[1].Name {
		t.Errorf("%+v", p)
	}
	m.put(t, p.ID, "file", 1<<10)
	if _, err := m.ChangePlan(t.Context(), m.ann, "shop", plans[0].Name, nil); err != nil {
		t.Error(err)
	}
}

// A plan with less disk takes snapshots that nobody asked for at once, whether the pod
// gets another plan or the plan itself becomes smaller. Those that were made by hand stand
// in the way of the first, and outlive the second.
func TestPlanThatShrinks(t *testing.T) {
	t.Parallel()
	plans := pods.DefaultPlans()[:2]
	plans[0].Limits.Disk, plans[1].Limits.Disk = 1<<20, 8<<20
	var cfg pods.Config
	m := newMoving(t, func(c *pods.Config) { c.Plans = plans }, func(c *pods.Config) { cfg = *c })
	p, err := m.Create(t.Context(), m.ann, pods.CreateRequest{Name: "shop", Preset: "static", Plan: plans[1].Name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, p.ID, "file", 900_000)
	var byHand []string
	for range 3 {
		byHand = append(byHand, m.snapshot(t, "shop"))
		m.deploy(t, "shop")
		m.put(t, p.ID, "file", 900_000)
	}
	_, err = m.ChangePlan(t.Context(), m.ann, "shop", plans[0].Name, nil)
	wants(t, err, pods.ErrOverPlan, "made by hand take 2 MiB", "delete some")
	if got := m.whys(t, "shop"); strings.Count(got, "deploy") != 3 || m.gone() != "" {
		t.Errorf("after a plan that was refused: %s", got)
	}
	if err := m.DeleteSnapshot(t.Context(), m.ann, "shop", byHand[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ChangePlan(t.Context(), m.ann, "shop", plans[0].Name, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.whys(t, "shop"); got != "manual manual" || len(m.folders(t, p.ID)) != 2 {
		t.Errorf("after a smaller plan: %s, %q", got, m.folders(t, p.ID))
	}
	const one = "snapshot of shop, its plan has less room"
	if got := m.gone(); got != one+"; "+one+"; "+one {
		t.Errorf("%q is gone", got)
	}

	if _, err := m.ChangePlan(t.Context(), m.ann, "shop", plans[1].Name, nil); err != nil {
		t.Fatal(err)
	}
	m.deploy(t, "shop")
	cfg.Plans = slices.Clone(plans)
	cfg.Plans[1].Limits.Disk = 500_000
	if err := m.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	m.reconcile(t)
	if got := m.whys(t, "shop"); got != "manual manual" || len(m.folders(t, p.ID)) != 2 || m.gone() != one {
		t.Errorf("after the plan became smaller: %s, %q", got, m.folders(t, p.ID))
	}
}

// Deleted pods count with the memory of their plans, as those that live do, so that a
// team cannot have more of the disk by them than by these; and they are measured.
func TestDeletedPodsHaveTheQuota(t *testing.T) {
	t.Parallel()
	plan := pods.DefaultPlans()[0]
	m := newMoving(t, func(c *pods.Config) {
		c.Plans, c.Quota = []pods.Plan{plan}, pods.Quota{Pods: 10, Memory: 2 * plan.Limits.Memory}
	})
	for i, name := range []string{"long", "middle", "short"} {
		m.put(t, m.create(t, name).ID, "file", 1<<20)
		if i == 0 {
			m.snapshot(t, name)
		}
		m.now = m.now.Add(time.Duration(10-i) * time.Hour)
		if err := m.Delete(t.Context(), m.ann, name, name); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.gone(); got != "pod short, the team has deleted more than it may have" {
		t.Errorf("%q is gone", got)
	}
	for range 2 { // the second from what is remembered
		u, err := m.Undoable(t.Context())
		if err != nil || u.Snapshots != 1 || u.DeletedPods != 2 || u.SnapshotBytes < 1<<20 || u.DeletedPodBytes < 2<<20 || u.DeletedPodBytes > 3<<20 {
			t.Errorf("%+v, %v", u, err)
		}
	}
}

// What a server that was killed has left is finished, taken back or swept, and what is
// not on the disk any more is forgotten.
func TestUndoAfterACrash(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	id := m.create(t, "shop").ID
	m.put(t, id, "kept", 1)
	snap := store.SnapshotID(m.snapshot(t, "shop"))
	lost := store.SnapshotID(m.snapshot(t, "shop"))
	m.put(t, id, "new", 1)
	dir := filepath.Join(filepath.Dir(m.fake.Dir(id)), ".snapshots")
	for _, path := range []string{".new-half/home", "unnoted/home"} {
		if err := os.MkdirAll(filepath.Join(dir, string(id), path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "nobody", "x"), 0o700), os.RemoveAll(filepath.Join(dir, string(id), string(lost)))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.db.BeginRestore(id, store.Restore{From: snap, Old: "before"}); err != nil {
		t.Fatal(err)
	}
	half := store.Pod{ID: "half", Name: "twin", Team: m.ann.Team.ID, Preset: "static", Plan: "small", Region: "here", Want: store.WantStopped, CopyOf: id, Created: day}
	if err := m.db.CreatePod(half, day, func([]store.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(m.fake.Dir("half"), ".fill", "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := m.Start(t.Context(), m.ann, "twin", nil)
	wants(t, err, pods.ErrBusy, "taken back")
	m.reconcile(t)
	m.settled(t, id)
	m.reconcile(t)
	if _, err := m.db.Pod("half"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the half copy: %v", err)
	}
	if _, err := os.Stat(m.fake.Dir("half")); err == nil {
		t.Error("its files are there")
	}
	for name, want := range map[string]bool{"kept": true, "new": false} {
		if _, err := os.Stat(filepath.Join(m.fake.Dir(id), "home", name)); (err == nil) != want {
			t.Errorf("%s after the restore: %v", name, err)
		}
	}
	if rec, err := m.db.Pod(id); err != nil || rec.Restore != nil {
		t.Errorf("%+v, %v", rec, err)
	}
	if got := m.folders(t, id); !slices.Equal(got, slices.Sorted(slices.Values([]string{string(snap), "before"}))) || m.whys(t, "shop") != "restore manual" {
		t.Errorf("snapshots: %q, %s", got, m.whys(t, "shop"))
	}
	if got := m.folders(t, "nobody"); len(got) != 0 {
		t.Errorf("of nobody: %q", got)
	}
	if p := m.status(t, "shop"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
	// One whose files are gone is taken back, and the pod goes on as it was.
	if _, err := m.db.BeginRestore(id, store.Restore{From: snap, Old: "again"}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, string(id), string(snap))); err != nil {
		t.Fatal(err)
	}
	_, err = m.Restart(t.Context(), m.ann, "shop", nil)
	wants(t, err, pods.ErrNotCopied, "not there any more")
	m.now = m.now.Add(time.Hour)
	m.reconcile(t)
	if p := m.status(t, "shop"); p.Status != "running" || m.whys(t, "shop") != "restore" {
		t.Errorf("%+v, %s", p, m.whys(t, "shop"))
	}
}

// A deploy goes on when its snapshot cannot be made, and what is no word of ours is not
// told.
func TestDeployWithoutASnapshot(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	id := m.create(t, "shop").ID
	m.fake.FailCopies(errors.New("a private reason"))
	if d := m.deploy(t, "shop"); !strings.Contains(d.Snapshot, "no snapshot of before this deploy") || strings.Contains(d.Snapshot, "private") || d.Deploy.Number != 1 {
		t.Errorf("%+v", d)
	}
	_, err := m.TakeSnapshot(t.Context(), m.ann, "shop", "", nil)
	wants(t, err, pods.ErrNotCopied)
	if got := m.folders(t, id); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	m.fake.FailCopies(nil)
	for _, note := range []string{"two\nlines", strings.Repeat("x", 201), "\x1b[2J"} {
		_, err := m.TakeSnapshot(t.Context(), m.ann, "shop", note, nil)
		wants(t, err, pods.ErrBadInput, "a note is one line")
	}
	if n := m.fake.Count("snapshot"); n != 2 {
		t.Errorf("%d were tried", n)
	}
}

// A deleted pod can be brought back for as long as is said, as the team's quota allows;
// of a team only so many are kept.
func TestUndelete(t *testing.T) {
	t.Parallel()
	m := newMoving(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 2, Memory: 1 << 40} })
	ids := map[string]store.PodID{}
	for i, name := range []string{"three", "two", "one", "junk"} { // junk lives shortest
		ids[name] = m.create(t, name).ID
		m.now = m.now.Add(time.Duration(10-i) * time.Hour)
		if err := m.Delete(t.Context(), m.ann, name, name); err != nil {
			t.Fatal(err)
		}
	}
	list, err := m.DeletedPods(m.ann)
	if err != nil || len(list) != 2 || list[0].Name != "two" || list[1].Name != "three" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{"one", "junk"} {
		if _, err := os.Stat(m.fake.Dir(ids[name])); err == nil {
			t.Error("the files of the youngest are there")
		}
	}
	m.create(t, "four")
	m.create(t, "five")
	_, err = m.Undelete(t.Context(), m.ann, "two", "", nil)
	wants(t, err, pods.ErrOverQuota, "2 pods of 2")
	limited := m.ann
	limited.Grant, limited.Limits = "grant", store.Limits{Prefix: "f"}
	m.now = m.now.Add(100 * time.Hour)
	if err := m.Delete(t.Context(), limited, "four", "four"); err != nil { // it may push out its own alone
		t.Fatal(err)
	}
	if list, err := m.DeletedPods(m.ann); err != nil || len(list) != 2 || list[0].Name != "two" {
		t.Errorf("%+v, %v", list, err)
	}
	m.create(t, "four")
	m.now = m.now.Add(20 * time.Hour)
	if err := m.Delete(t.Context(), m.ann, "four", "four"); err != nil { // takes the place of two
		t.Fatal(err)
	}
	_, err = m.Undelete(t.Context(), m.ann, "two", "", nil)
	wants(t, err, pods.ErrNotFound, "no pod two in the last 7 days")
	_, err = m.Undelete(t.Context(), m.bob, "three", "", nil)
	wants(t, err, pods.ErrNotFound)
	viewer, connection := m.ann, m.ann
	viewer.Role, connection.Grant = store.RoleMember, "grant"
	for _, a := range []authz.Actor{viewer, connection} {
		var denied *authz.Denied
		if _, err := m.Undelete(t.Context(), a, "three", "", nil); !errors.As(err, &denied) {
			t.Errorf("%+v: %v", a, err)
		}
		if err := m.Purge(t.Context(), a, "three", "three"); !errors.As(err, &denied) {
			t.Errorf("purge, %+v: %v", a, err)
		}
	}
	_, err = m.Undelete(t.Context(), m.ann, "three", "No Name", nil)
	wants(t, err, pods.ErrInvalidName)
	if p, err := m.Undelete(t.Context(), m.ann, "three", "", nil); err != nil || p.Status != "running" || p.ID != ids["three"] {
		t.Errorf("%+v, %v", p, err)
	}
	wants(t, m.Purge(t.Context(), m.ann, "four", "other"), pods.ErrBadInput, "nothing was deleted")
	// A clock that is wrong for less than an hour takes nothing away.
	gone, err := m.DeletedPods(m.ann)
	if err != nil {
		t.Fatal(err)
	}
	m.now = m.now.Add(10 * pods.Reserved)
	m.reconcile(t)
	m.now = m.now.Add(-10 * pods.Reserved)
	if now, err := m.DeletedPods(m.ann); err != nil || len(now) != len(gone) || len(gone) == 0 {
		t.Errorf("after a step of the clock there are %+v, %v", now, err)
	}
	m.SetPurgePause(0)
	m.now = m.now.Add(pods.Reserved)
	_, err = m.Undelete(t.Context(), m.ann, "four", "", nil)
	wants(t, err, pods.ErrNotFound)
	m.reconcile(t)
	if all, err := m.db.Pods(); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A disk that is nearly full gets room from what can be spared: deleted pods first, the
// oldest before others, then snapshots that nobody asked for.
func TestRoomOnAFullDisk(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	kept := m.create(t, "kept").ID
	m.deploy(t, "kept")
	m.snapshot(t, "kept")
	m.deploy(t, "kept")
	for _, name := range []string{"one", "two"} {
		m.create(t, name)
		m.now = m.now.Add(time.Hour)
		if err := m.Delete(t.Context(), m.ann, name, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Create(t.Context(), m.bob, pods.CreateRequest{Name: "his", Preset: "static"}, nil); err != nil {
		t.Fatal(err)
	}
	m.now = m.now.Add(-100 * time.Hour) // the oldest of all, of a team that has one
	if err := m.Delete(t.Context(), m.bob, "his", "his"); err != nil {
		t.Fatal(err)
	}
	m.now = m.now.Add(100 * time.Hour)
	m.fake.SetShort(true)
	m.gone()
	for i, want := range []string{"1 deploy manual deploy", "1 deploy manual deploy", "0 deploy manual deploy", "0 deploy manual", "0 manual", "0 manual"} {
		m.reconcile(t)
		list, err := m.DeletedPods(m.ann)
		if got := fmt.Sprint(len(list), " ", m.whys(t, "kept")); err != nil || got != want || i == 0 && list[0].Name != "two" {
			t.Errorf("after %d rounds: %s, %v; want %s", i+1, got, err, want)
		}
	}
	if got := m.folders(t, kept); len(got) != 1 {
		t.Errorf("on the disk: %q", got)
	}
	const why = ", the disk is nearly full"
	if got := m.gone(); got != "pod one"+why+"; pod his"+why+"; pod two"+why+"; snapshot of kept"+why+"; snapshot of kept"+why {
		t.Errorf("%q is gone", got)
	}
	if p := m.status(t, "kept"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
}

// A pod that is brought back while its delete still ends it waits for that, and is one
// pod afterwards: what it may reach is decided in one place.
func TestUndeleteWaitsForTheDelete(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	id := m.create(t, "shop").ID
	var gates []*egress.Gate
	m.fake.OnStart(func(_ context.Context, spec pods.Spec, _ func(string)) error {
		gates = append(gates, spec.Gate)
		return nil
	})
	stopping, goOn := make(chan struct{}), make(chan struct{})
	m.fake.OnStop(func() { close(stopping); <-goOn })
	deleted, back := make(chan error, 1), make(chan error, 1)
	go func() { deleted <- m.Delete(t.Context(), m.ann, "shop", "shop") }()
	<-stopping
	go func() {
		_, err := m.Undelete(t.Context(), m.ann, "shop", "", nil)
		back <- err
	}()
	if rec, err := m.db.Pod(id); err != nil || rec.Deleted.IsZero() {
		t.Errorf("while it is being ended: %+v, %v", rec, err)
	}
	m.fake.OnStop(nil)
	close(goOn)
	if err := errors.Join(<-deleted, <-back); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){m.Stop, m.Start} {
		if _, err := do(t.Context(), m.ann, "shop", nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(gates) != 2 || gates[0] != gates[1] {
		t.Errorf("the gates of its starts: %v", gates)
	}
}
