package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A server that is killed while it makes a pod, at whatever moment, leaves one that is
// whole soon after the next start, or none, whose name is free then. Of none there is
// anything on the disk.
func TestKillWhileAPodIsMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startProcess(t, dir)
	needSandbox(t, srv)
	if code, out, errs := srv.command("team", "add", "ann"); code != exitDone {
		t.Fatalf("%s%s", out, errs)
	}
	there := func(part string) []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "pods", "*", part))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	names := 0
	for i, moment := range []string{"", "home", "logs", "home/app", "home/data", "home/app/index.html"} {
		name := fmt.Sprint("pod-", i)
		before := there(moment)
		answered := make(chan int, 1)
		go func() {
			code, _, _ := srv.command("pod", "create", name, "--preset", "static")
			answered <- code
		}()
		made := exitFailed
		eventually(t, func() bool {
			select {
			case made = <-answered:
				return true // it was quicker than this looked
			default:
				runtime.Gosched()
				return moment == "" || len(there(moment)) > len(before)
			}
		})
		srv.Kill()
		if made == exitFailed {
			made = <-answered
		}
		eventually(t, func() bool {
			code, out, errs := srv.command("check")
			// What the server was starting may have its socket for an instant longer.
			if code != exitDone && !strings.Contains(errs, "connection reset") {
				t.Fatalf("killed at %q: %s%s", moment, out, errs)
			}
			return code == exitDone
		})
		srv = startProcess(t, dir)
		whole, said := false, ""
		defer func() {
			if t.Failed() {
				t.Logf("after %q the last answer was %s\n%s", moment, said, srv.Log)
			}
		}()
		eventually(t, func() bool {
			code, out, errs := runCommand("pod", "exec", "--data", dir, name, "--", "cat", "/home/pod/app/index.html")
			whole = code == exitDone && strings.Contains(out, name)
			said = fmt.Sprintf("%d %s%s", code, out, errs)
			return whole || code != exitDone && !strings.Contains(namesOfPods(t, srv), name+"\n")
		})
		if !whole && made == exitDone {
			t.Errorf("killed at %q: it was answered that the pod is made, and it is gone", moment)
		}
		if code, out, errs := srv.command("pod", "create", name, "--preset", "static"); (code == exitDone) == whole {
			t.Errorf("killed at %q: made once more: %s%s", moment, out, errs)
		}
		t.Logf("killed at %q: answered %v, then whole %v", moment, made == exitDone, whole)
		names++
	}
	if folders := there("home"); len(folders) != names || strings.Count(namesOfPods(t, srv), "\n") != names {
		t.Errorf("%d pods, %q, and %q", names, namesOfPods(t, srv), slices.Sorted(slices.Values(folders)))
	}
	if code := srv.Stop(); code != exitDone { // which takes away its cgroups
		t.Errorf("the server ended with code %d\n%s", code, srv.Log)
	}
}

// namesOfPods are the names of all pods, each with a line end.
func namesOfPods(t *testing.T, srv *testServer) string {
	t.Helper()
	code, out, errs := srv.command("pod", "list")
	if code != exitDone {
		t.Fatalf("%s%s", out, errs)
	}
	var names strings.Builder
	for line := range strings.Lines(out) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "pod-") {
			fmt.Fprintln(&names, name)
		}
	}
	return names.String()
}
