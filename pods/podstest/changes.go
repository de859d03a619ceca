package podstest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"podgate/pods"
)

func testDeleteFile(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.prints("shop", "mkdir -p sub/deep empty; echo x > file; echo kept > kept; ln -s kept link; ln -s nowhere dangling; ln -s /etc out; ln -s ../.. sub/up; echo x > sub/deep/f; mkfifo pipe; ln -s .. \"$HOME/round\"")
	for path, kind := range map[string]string{"file": "file", "link": "symlink", "dangling": "symlink", "out": "symlink", "pipe": "other"} {
		if info, err := b.DeleteFile(t.Context(), b.actor, "shop", path, false); err != nil || info.Type != kind || info.Name != "/home/pod/app/"+path {
			t.Errorf("%s: %+v %v", path, info, err)
		}
	}
	for path, want := range map[string]error{
		"file": pods.ErrNoFile, "nowhere/x": pods.ErrNoFile, "sub": pods.ErrBadInput, "empty": pods.ErrBadInput, "": pods.ErrPath,
	} {
		if _, err := b.DeleteFile(t.Context(), b.actor, "shop", path, false); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	b.prints("shop", "ln -s /etc out")
	for _, path := range []string{".", "..", "/home/pod", "/home/pod/app", "/tmp", "/", "/etc/passwd", "out/passwd", "../../../etc/passwd", "sub/../../../pod", "/home/pod/round/pod"} {
		if info, err := b.DeleteFile(t.Context(), b.actor, "shop", path, true); !errors.Is(err, pods.ErrPath) {
			t.Errorf("%s: %+v %v", path, info, err)
		}
	}
	if _, err := b.DeleteFile(t.Context(), b.actor, "shop", "sub", true); err != nil {
		t.Error(err)
	}
	if got := b.prints("shop", "ls"); got != "empty\nindex.html\nkept\nout\n" {
		t.Errorf("what is left: %q", got)
	}
	if got := b.read("shop", "kept"); got != "kept\n" {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

func testMoveFile(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.prints("shop", "mkdir -p dir/sub empty; echo a > a; chmod 750 a; echo b > b; echo f > dir/sub/f; ln -s a link; ln -s /etc out")
	move := func(from, to string, overwrite bool) error {
		_, err := b.MoveFile(t.Context(), b.actor, "shop", from, to, overwrite)
		return err
	}
	for _, c := range []struct {
		from, to  string
		overwrite bool
		want      error
		says      string
	}{
		{"a", "b", false, pods.ErrBadInput, "set overwrite"},
		{"a", "dir", true, pods.ErrBadInput, "is a folder"},
		{"a", "new/", false, pods.ErrBadInput, "names a folder"},
		{"dir", "b", true, pods.ErrBadInput, "not a folder"},
		{"dir", "empty", true, pods.ErrBadInput, "is a folder"},
		{"dir", "dir/sub/new", false, pods.ErrBadInput, "into itself"},
		{"a", "/tmp/a", false, pods.ErrBadInput, "two disks"},
		{"missing", "x", false, pods.ErrNoFile, "missing"},
		{"a", "b/x", false, pods.ErrBadInput, "not a directory"},
		{".", "x", false, pods.ErrPath, "itself"},
		{"a", ".", true, pods.ErrPath, "itself"},
		{"/home/pod", "x", false, pods.ErrPath, "itself"},
		{"a", "/etc/podgate-test", false, pods.ErrPath, "outside"},
		{"a", "out/podgate-test", false, pods.ErrPath, "out of"},
		{"/etc/passwd", "x", false, pods.ErrPath, "outside"},
		{"out/passwd", "x", false, pods.ErrPath, "out of"},
		{"", "x", false, pods.ErrPath, "empty"},
		{"a", "", false, pods.ErrPath, "empty"},
	} {
		if err := move(c.from, c.to, c.overwrite); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s to %s: %v, want %v", c.from, c.to, err, c.want)
		}
	}
	if info, err := b.MoveFile(t.Context(), b.actor, "shop", "a", "new/deep/a", false); err != nil || info.Name != "/home/pod/app/new/deep/a" || info.Mode != "0750" || info.Type != "file" {
		t.Errorf("%+v %v", info, err)
	}
	for _, c := range [][2]string{{"b", "new/deep/a"}, {"link", "moved"}, {"dir", "../dir"}} {
		if err := move(c[0], c[1], true); err != nil {
			t.Error(err)
		}
	}
	if got := b.prints("shop", "cat new/deep/a ../dir/sub/f; readlink moved; ls"); got != "b\nf\na\nempty\nindex.html\nmoved\nnew\nout\n" {
		t.Errorf("%q", got)
	}
}
