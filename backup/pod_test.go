package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/store"
)

// accepting takes a pod of at most so many bytes.
func accepting(most int64) func(PodExport) (int64, error) {
	return func(PodExport) (int64, error) { return most, nil }
}

// A pod is elsewhere what it was, with what a server says of it. Neither a server's
// backup nor a pod's file is taken for the other.
func TestPodFile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pod := s.pod("a", map[string]string{"home/x": "y", "logs/app.log": "hello\n"})
	oddFiles(t, filepath.Join(pod, "home"))
	must(t, os.Remove(filepath.Join(pod, "home", "holes"))) // to read it takes a while
	s.pod("b", map[string]string{"home/secret": "of another"})
	want := stateOf(t, pod)
	is := PodExport{ID: "a", Name: "shop", Preset: "static", Plan: "small", Release: 2, Deploys: 3, Names: []string{"KEY"}, Env: map[string]string{"KEY": "v"}, Network: store.Network{Mode: "none"}}
	var b bytes.Buffer
	_, err := WritePod(t.Context(), &b, s.source(), is)
	must(t, err)
	if _, err := Verify(t.Context(), bytes.NewReader(b.Bytes())); !errors.Is(err, ErrPodFile) {
		t.Error(err)
	}
	whole, _ := s.backup()
	if _, err := ReadPod(t.Context(), s.dir, bytes.NewReader(whole), accepting(1<<30)); err == nil || !strings.Contains(err.Error(), "podgate restore") {
		t.Error(err)
	}
	dir := t.TempDir()
	f, err := ReadPod(t.Context(), dir, &b, accepting(1<<30))
	must(t, err)
	defer f.Close()
	if fmt.Sprint(f.PodExport) != fmt.Sprint(is) {
		t.Errorf("%+v, want %+v", f.PodExport, is)
	}
	only(t, dir)
	path, err := f.Unpack(t.Context(), filepath.Join(dir, "aside"))
	must(t, err)
	got := stateOf(t, path)
	delete(got, ".")
	delete(want, ".")
	sameTree(t, got, want)
	leftIn(t, s.dir)
}

// The file of a pod may come from a stranger.
func TestHostilePodFiles(t *testing.T) {
	t.Parallel()
	home := folderPart("pods/a/1/home")
	head := func(change func(*PodHead)) PodHead {
		h := PodHead{Head{podApplication, Format, "v1", time.Unix(1, 0).UTC()}, PodExport{ID: "a", Name: "shop"}}
		if change != nil {
			change(&h)
		}
		return h
	}
	program := file("pods/a/1/home/x", "#!/bin/sh\n")
	program.Mode = 0o6755
	for name, c := range map[string]struct {
		head  PodHead
		parts []part
		want  string // "": it is right
	}{
		"right":                 {head(nil), []part{home, program}, ""},
		"a path out":            {head(nil), []part{home, file("pods/a/1/home/../../x", "")}, "leads somewhere else"},
		"below a link":          {head(nil), []part{home, linkPart(tar.TypeSymlink, "pods/a/1/home/l", "/etc"), file("pods/a/1/home/l/x", "")}, "missing"},
		"a link to elsewhere":   {head(nil), []part{home, linkPart(tar.TypeLink, "pods/a/1/home/l", "pods/b/1/home/x")}, "link to what is not there"},
		"a device":              {head(nil), []part{home, linkPart(tar.TypeBlock, "pods/a/1/home/l", "")}, "no file"},
		"a database":            {head(nil), []part{file(nameDatabase, "x"), home}, "out of order"},
		"settings":              {head(nil), []part{file(nameSettings, "x"), home}, "out of order"},
		"certificates":          {head(nil), []part{folderPart("certificates"), home}, "out of order"},
		"another pod":           {head(nil), []part{home, folderPart("pods/b/1/home")}, "another pod"},
		"no files":              {head(nil), nil, "no files"},
		"a newer form":          {head(func(h *PodHead) { h.Format++ }), []part{home}, "install that version"},
		"an id that leads":      {head(func(h *PodHead) { h.Pod.ID = "../b" }), []part{home}, "cannot be"},
		"no such release":       {head(func(h *PodHead) { h.Pod.Release = 1 }), []part{home}, "cannot be"},
		"too large":             {head(nil), []part{home, file("pods/a/1/home/x", strings.Repeat("x", 20_000))}, "--plan"},
		"folders that are free": {head(nil), []part{home, folderPart("pods/a/1/home/1"), folderPart("pods/a/1/home/2"), folderPart("pods/a/1/home/3"), folderPart("pods/a/1/home/4")}, "--plan"},
		"a size that lies":      {head(nil), []part{home, file("pods/a/1/home/x", "abc").with(recordSize, "99", recordSparse, "0+9")}, "bytes"},
	} {
		raw := forgeAs(t, c.head, Manifest{Head: c.head.Head}, c.parts, nil)
		dir := t.TempDir()
		f, err := ReadPod(t.Context(), dir, bytes.NewReader(raw), accepting(24_000))
		only(t, dir)
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
			path, err := f.Unpack(t.Context(), filepath.Join(dir, "aside"))
			must(t, err)
			if info, err := os.Stat(filepath.Join(path, "home/x")); err != nil || info.Mode() != 0o755 {
				t.Errorf("setuid or worse: %v %v", info.Mode(), err)
			}
			if _, err := os.Stat(filepath.Join(path, "logs")); err != nil {
				t.Error("without logs in the file there are none:", err)
			}
		}
		if err == nil {
			f.Close()
		}
	}
	refusal := errors.New("no")
	raw := forgeAs(t, head(nil), Manifest{Head: head(nil).Head}, []part{home}, nil)
	if _, err := ReadPod(t.Context(), t.TempDir(), bytes.NewReader(raw), func(PodExport) (int64, error) { return 0, refusal }); !errors.Is(err, refusal) {
		t.Error(err)
	}
	for at := 0; at < len(raw); at += max(1, len(raw)/50) {
		if _, err := ReadPod(t.Context(), t.TempDir(), bytes.NewReader(raw[:at]), accepting(24_000)); err == nil {
			t.Errorf("cut off at %d it is taken for whole", at)
		}
	}
	if _, err := ReadPod(t.Context(), filepath.Join(t.TempDir(), "absent"), bytes.NewReader(raw), accepting(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
