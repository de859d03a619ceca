package podstest

import (
	"errors"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

// testSnapshots takes copies of a pod that runs, puts them back, and undoes that.
func testSnapshots(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	b.prints("shop", `cd; mkdir -p data/deep; echo kept > data/deep/file; chmod 640 data/deep/file; ln data/deep/file data/second; ln -s deep/file data/link
		ln -s /etc/passwd data/out; mkfifo data/pipe; printf 'x' > "data/a
b"; truncate -s 900M data/sparse; printf end >> data/sparse; mkdir data/shut; chmod 500 data/shut`)
	first, err := b.TakeSnapshot(t.Context(), b.actor, "shop", "mine", nil)
	must(t, "take a snapshot", err)
	if first.Why != "manual" || first.Note != "mine" || first.By == "" || first.Bytes < 4096 || first.Bytes > 1<<20 || first.LeftOut != 1 || len(first.Such) != 1 || !strings.Contains(first.Such[0], "data/pipe") || first.Moving {
		t.Errorf("%+v", first)
	}
	d := b.deploy("shop", "index.html", "two")
	b.shows("shop", "two")
	b.prints("shop", "rm -rf ~/data/deep; echo new > ~/data/new")
	list, err := b.Snapshots(b.actor, "shop")
	if err != nil || len(list) != 2 || list[0].Why != "deploy" || list[0].Release != 1 || list[1].ID != first.ID || !strings.Contains(d.Snapshot, list[0].ID) {
		t.Fatalf("%+v, %v, %q", list, err, d.Snapshot)
	}

	p, err := b.RestoreSnapshot(t.Context(), b.actor, "shop", first.ID, nil)
	if err != nil || p.Status != "running" {
		t.Fatalf("restore: %+v, %v", p, err)
	}
	b.shows("shop", "one")
	if got := b.prints("shop", `cd ~/data; cat deep/file second link; stat -c %a deep/file shut; readlink out; ls new 2>&1 >/dev/null | wc -l; cat "a
b"; stat -c %s sparse; tail -c 3 sparse; echo more >> second; cat deep/file; touch own && echo mine`); got != "kept\nkept\nkept\n640\n500\n/etc/passwd\n1\nx943718403\nendkept\nmore\nmine\n" {
		t.Errorf("after the restore: %q", got)
	}
	list, err = b.Snapshots(b.actor, "shop")
	if err != nil || len(list) != 3 || list[0].Why != "restore" || list[0].Release != 2 || list[0].Bytes < 4096 {
		t.Fatalf("%+v, %v", list, err)
	}
	// What was there is a snapshot, and the next deploy has a folder of its own.
	_, err = b.RestoreSnapshot(t.Context(), b.actor, "shop", list[0].ID, nil)
	must(t, "undo the restore", err)
	b.shows("shop", "two")
	if got := b.prints("shop", "cat ~/data/new"); got != "new\n" {
		t.Errorf("after the undo: %q", got)
	}
	if d := b.deploy("shop", "index.html", "three"); d.Deploy.Number != 3 {
		t.Errorf("%+v", d)
	}
	b.shows("shop", "three")

	// One of a pod that does not run, and of what is not there.
	_, err = b.Stop(t.Context(), b.actor, "shop", nil)
	must(t, "stop", err)
	p, err = b.RestoreSnapshot(t.Context(), b.actor, "shop", first.ID, nil)
	if err != nil || p.Status != "stopped" {
		t.Errorf("restore of a stopped pod: %+v, %v", p, err)
	}
	_, err = b.Start(t.Context(), b.actor, "shop", nil)
	must(t, "start", err)
	b.shows("shop", "one")
	for _, err := range []error{
		b.DeleteSnapshot(t.Context(), b.actor, "shop", first.ID), b.DeleteSnapshot(t.Context(), b.actor, "shop", first.ID),
	} {
		if err != nil && !errors.Is(err, pods.ErrNoSnapshot) {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := b.RestoreSnapshot(t.Context(), b.actor, "shop", first.ID, nil); !errors.Is(err, pods.ErrNoSnapshot) {
		t.Errorf("restore what was deleted: %v", err)
	}
}

// testClones makes a pod of another's files, and one of a snapshot.
func testClones(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	if _, err := b.SetEnv(t.Context(), b.actor, "shop", map[string]string{"KEY": "secret"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	b.write("shop", "/home/pod/data/kept", "kept")
	snap, err := b.TakeSnapshot(t.Context(), b.actor, "shop", "", nil)
	must(t, "take a snapshot", err)
	b.deploy("shop", "index.html", "two")

	c, err := b.Clone(t.Context(), b.actor, pods.CloneRequest{Name: "shop", To: "twin"}, nil)
	if err != nil || c.Status != "running" || c.Preset != "static" || len(c.Env) != 0 || len(c.WithoutEnv) != 1 || c.WithoutEnv[0] != "KEY" {
		t.Fatalf("clone: %+v, %v", c, err)
	}
	b.shows("twin", "two")
	if got := b.prints("twin", `cat ~/data/kept; echo changed > ~/data/kept; printf %s "$KEY"; test "$(id -u)" = "$(stat -c %u ~/data/kept)" && echo mine`); got != "keptmine\n" {
		t.Errorf("in the clone: %q", got)
	}
	if got := b.read("shop", "/home/pod/data/kept"); got != "kept" {
		t.Errorf("the clone shares its files: %q", got)
	}
	if d := b.deploy("twin", "index.html", "three"); d.Deploy.Number != 3 {
		t.Errorf("the next deploy of the clone: %+v", d.Deploy)
	}
	b.shows("twin", "three")
	b.shows("shop", "two")
	c, err = b.Clone(t.Context(), b.actor, pods.CloneRequest{Name: "shop", To: "older", Snapshot: snap.ID, WithEnv: true}, nil)
	if err != nil || len(c.Env) != 1 || len(c.WithoutEnv) != 0 {
		t.Fatalf("clone of a snapshot: %+v, %v", c, err)
	}
	b.shows("older", "one")
	if got := b.prints("older", `printf %s "$KEY"`); got != "secret" {
		t.Errorf("the variable is %q", got)
	}
	for _, c := range []struct {
		r    pods.CloneRequest
		want error
	}{
		{pods.CloneRequest{Name: "shop", To: "twin"}, pods.ErrNameTaken},
		{pods.CloneRequest{Name: "shop", To: "Not a name"}, pods.ErrInvalidName},
		{pods.CloneRequest{Name: "absent", To: "other"}, pods.ErrNotFound},
		{pods.CloneRequest{Name: "shop", To: "other", Snapshot: "absent"}, pods.ErrNoSnapshot},
	} {
		if _, err := b.Clone(t.Context(), b.actor, c.r, nil); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
	if list, err := b.List(t.Context(), b.actor); err != nil || len(list) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
}

// testUndelete brings a deleted pod back with its files and snapshots, also when
// another has its name by then.
func testUndelete(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.deploy("shop", "index.html", "one")
	snap, err := b.TakeSnapshot(t.Context(), b.actor, "shop", "", nil)
	must(t, "take a snapshot", err)
	b.write("shop", "/home/pod/data/kept", "kept")
	must(t, "delete", b.Delete(t.Context(), b.actor, "shop", "shop"))
	b.deploy("shop", "index.html", "the new one")
	gone, err := b.DeletedPods(b.actor)
	if err != nil || len(gone) != 1 || gone[0].Name != "shop" || gone[0].Until.Sub(gone[0].Deleted) != pods.Reserved {
		t.Fatalf("%+v, %v", gone, err)
	}
	if st := look(t, r, store.PodID(gone[0].ID)); st.Running {
		t.Errorf("it runs: %+v", st)
	}
	member := b.actor
	member.Role = store.RoleMember
	var denied *authz.Denied
	if _, err := b.Undelete(t.Context(), member, "shop", "back", nil); !errors.As(err, &denied) {
		t.Errorf("a member: %v", err)
	}
	if _, err := b.Undelete(t.Context(), b.actor, "shop", "", nil); !errors.Is(err, pods.ErrNameTaken) {
		t.Errorf("under a name that is taken: %v", err)
	}
	p, err := b.Undelete(t.Context(), b.actor, "shop", "back", nil)
	if err != nil || p.Name != "back" || p.Status != "running" {
		t.Fatalf("undelete: %+v, %v", p, err)
	}
	b.shows("back", "one")
	b.shows("shop", "the new one")
	if got := b.prints("back", "cat ~/data/kept; echo more >> ~/data/kept"); got != "kept" {
		t.Errorf("its file is %q", got)
	}
	_, err = b.RestoreSnapshot(t.Context(), b.actor, "back", snap.ID, nil)
	must(t, "restore", err)
	if got := b.run("back", "cat ~/data/kept"); got.Code == 0 {
		t.Errorf("restored: %+v", got)
	}
	b.shows("back", "one")
	must(t, "delete", b.Delete(t.Context(), b.actor, "back", "back"))
	must(t, "purge", b.Purge(t.Context(), b.actor, "back", "back"))
	if _, there := status(t, r, p.ID); there {
		t.Error("its files are still there")
	}
	if found, err := r.(pods.Copier).Snapshots(t.Context()); err != nil || len(found[p.ID]) != 0 {
		t.Errorf("its snapshots: %v, %v", found, err)
	}
}
