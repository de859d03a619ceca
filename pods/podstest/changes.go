package podstest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"podgate/pods"
	"podgate/pods/wire"
)

func testEditFile(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.prints("shop", "printf 'a\\nb\\na\\n' > f; chmod 750 f; ln -s f link; ln -s /etc/passwd out; mkfifo pipe; mkdir dir; head -c 11000000 /dev/zero | tr '\\0' a > large")
	edit := func(path, old, replacement string, all bool) (wire.Edited, error) {
		return b.EditFile(t.Context(), b.actor, "shop", path, old, replacement, all)
	}
	for _, c := range []struct {
		path, old, with string
		all             bool
		want            error
		says            string
	}{
		{"f", "a", "x", false, pods.ErrBadInput, "found 2 times in /home/pod/app/f, on lines 1, 3;"},
		{"f", "c", "x", true, pods.ErrBadInput, "found 0 times"},
		{"f", "", "x", false, pods.ErrBadInput, "old is empty"},
		{"f", "b", "\x00", false, pods.ErrBadInput, "must be text"},
		{"f", "b", strings.Repeat("x", wire.MaxPiece+1), false, pods.ErrTooLarge, "at most"},
		{"large", "a", "b", true, pods.ErrTooLarge, "too large for an edit"},
		{"absent", "a", "b", false, pods.ErrNoFile, "absent"},
		{"dir", "a", "b", false, pods.ErrBadInput, "directory"},
		{"pipe", "a", "b", false, pods.ErrBadInput, "not a regular file"},
		{"out", "root", "evil", true, pods.ErrPath, "out of"},
		{"/etc/passwd", "root", "evil", true, pods.ErrPath, "outside"},
		{"", "a", "b", false, pods.ErrPath, "empty"},
	} {
		if out, err := edit(c.path, c.old, c.with, c.all); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s, %.20q: %+v %v, want %v", c.path, c.old, out, err, c.want)
		}
	}
	if got := b.prints("shop", "cat f; ls"); got != "a\nb\na\ndir\nf\nindex.html\nlarge\nlink\nout\npipe\n" {
		t.Errorf("after refusals: %q", got)
	}
	if out, err := edit("link", "a", "c\nc", true); err != nil || out.Replaced != 2 || out.Name != "/home/pod/app/link" || out.Mode != "0750" || out.Size != 10 || len(out.Lines) != 2 || out.Lines[1] != 4 {
		t.Errorf("%+v %v", out, err)
	}
	if got := b.prints("shop", "cat f; readlink link"); got != "c\nc\nb\nc\nc\nf\n" {
		t.Errorf("%q", got)
	}
}

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
