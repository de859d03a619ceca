//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store/storetest"
)

// What writes in a pod is killed before the disk is full. The pod goes on, so that
// somebody can clean up, also after it was stopped; new ones are refused until there
// is room.
func TestWritersStopBeforeTheDiskIsFull(t *testing.T) {
	t.Parallel()
	storetest.OnSmallDisk(t, "256m", func(dir string) {
		r := open(t, Config{Dir: filepath.Join(dir, "pods")})
		spec := pods.Spec{ID: "a", Number: 1, Limits: limits}
		if err := r.Start(t.Context(), spec, quiet); err != nil {
			t.Fatal(err)
		}
		// At last it writes some megabytes a second: what a faster one has written by the
		// next look, the machine decides.
		got := command(t, r, "a", `x=$(head -c 100000 /dev/zero | tr '\0' x); sh -c '{ head -c 128M /dev/zero; while :; do printf %s "$0" || exit 7; sleep 0.005; done; } > big' "$x"; echo ended with $?`)
		if !strings.Contains(got.stdout, "ended with 137") {
			t.Errorf("the writer: %+v", got)
		}
		if left, err := DiskLeft(dir); err != nil || left >= diskFloor || left < diskFloor/4 {
			t.Errorf("left: %d, %v", left, err)
		}
		if st, err := r.Status(t.Context(), "a"); err != nil || st.Usage.DiskLeft != 1 {
			t.Errorf("status: %+v, %v", st, err)
		}
		if got := command(t, r, "a", "echo little > note; cat note"); got.stdout != "little\n" {
			t.Errorf("the pod: %+v", got)
		}
		other := pods.Spec{ID: "b", Number: 2, Limits: limits}
		var refused *pods.UnavailableError
		if err := r.Start(t.Context(), other, quiet); !errors.As(err, &refused) || !strings.Contains(refused.Error(), "less than 64 MiB left") {
			t.Errorf("a new pod: %v", err)
		}
		if _, err := os.Stat(r.folder("b")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left of the refused one: %v", err)
		}
		spec.Made = true
		if err := errors.Join(r.Stop(t.Context(), "a"), r.Start(t.Context(), spec, quiet)); err != nil {
			t.Fatal(err)
		}
		if got := command(t, r, "a", "rm big; echo rid"); got.stdout != "rid\n" {
			t.Errorf("the pod: %+v", got)
		}
		if err := r.Start(t.Context(), other, quiet); err != nil {
			t.Errorf("a new pod with room again: %v", err)
		}
	})
}

// What one pod deletes does not hide what another writes: a home is measured when
// enough has come and gone, whatever the disk has left.
func TestDeletingHidesNoWriting(t *testing.T) {
	t.Parallel()
	r := &Runtime{measuring: make(chan struct{}, 3)}
	defer r.work.Wait()
	in := &instance{process: &os.Process{Pid: os.Getpid()}, home: newHomeMeter(t.TempDir())}
	now, left := time.Now(), int64(1<<40)
	begins := func(moves ...int64) bool {
		w := &in.watched.disk
		*w = diskWatch{next: now.Add(time.Hour), alarm: leastAlarm}
		for _, move := range moves {
			left += move
			r.watchHome(in, now, r.churn.moved(left))
		}
		return w.running != nil
	}
	r.churn.moved(left)
	const step = leastAlarm / 4
	if begins(-step, -step, step) {
		t.Error("it is measured for nothing")
	}
	for name, moves := range map[string][]int64{"lost": {-step, -step, -step, -step}, "given back": {step, step, step, step}, "both": {-step, step, -step, step}} {
		if !begins(moves...) {
			t.Errorf("%s: it is not measured", name)
		}
	}
}

// A home that goes on growing over its limit has all its processes ended, though nobody
// is seen to write; what was written before the last time is no news.
func TestGrowthIsHeld(t *testing.T) {
	t.Parallel()
	const limit = 64 << 20
	in := &instance{process: &os.Process{Pid: 1 << 30}, limits: pods.Limits{Disk: limit}, log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	for i, c := range []struct {
		bytes  int64
		ended  int
		reason string
	}{
		{limit, 0, "at the limit"},
		{limit + 1, 0, "over it"},
		{limit + writingMuch, 0, "little more"},
		{limit + writingMuch + 2, 1, "much more"},
		{limit + 3*writingMuch, 1, "what had been written by then"},
		{limit + 3*writingMuch, 1, "as before"},
		{limit + 5*writingMuch, 2, "more again"},
		{limit - 1, 2, "below it"},
		{limit + 2*writingMuch, 2, "over it again"},
		{limit + 4*writingMuch, 3, "and more"},
	} {
		in.kills = in.kills[:min(len(in.kills), maxKills)]
		for j := range in.kills {
			in.kills[j].At = time.Time{} // long ago: the same reason within a second counts once
		}
		now = now.Add(time.Minute)
		in.judge(now, measured{bytes: c.bytes, began: now.Add(-time.Second), took: time.Second})
		if len(in.kills) != c.ended {
			t.Errorf("%d: %s (%d bytes over): ended %d times, want %d", i, c.reason, c.bytes-limit, len(in.kills), c.ended)
		}
	}
}

// Who writes much while nothing should is ended at the next look, whatever else the
// machine does, and who writes as little as deleting does goes on.
func TestWritersAreHeld(t *testing.T) {
	t.Parallel()
	const little = writingMuch / 4 // ten looks are a period
	for name, c := range map[string]struct {
		writes []int // before each look but the first, a diskPeriod after the one before
		ended  int   // at which look; 0: at none
	}{
		"at once":             {[]int{writingMuch + 1}, 1},
		"within a period":     {[]int{little, little, little, little, little}, 5},
		"little each period":  {[]int{little, 0, 0, 0, 0, little, 0, 0, 0, 0, little, 0, 0, 0, 0, little, 0, 0, 0, 0, little, 0, 0, 0, 0, little}, 0},
		"nothing, then much":  {[]int{0, 0, 0, 0, 0, 0, 0, writingMuch + 1}, 8},
		"exactly what it may": {[]int{writingMuch, 0, 0, 0, 0, 0, 0, 0, 0, 0, little}, 0},
	} {
		cmd := exec.Command("sh", "-c", `while read n; do printf "%0${n}d" 0; done`)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		writer, err := readProcess(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		pod := &instance{log: slog.New(slog.DiscardHandler)}
		var w writing
		now, ended := time.Now(), 0
		pod.holdWriters(now, &w, []process{writer}, "full")
		for i, n := range c.writes {
			if n > 0 {
				fmt.Fprintln(in, n)
				if _, err := io.CopyN(io.Discard, out, int64(n)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			now = now.Add(diskPeriod)
			if pod.holdWriters(now, &w, []process{writer}, "full") {
				ended = i + 1
				break
			}
		}
		if ended != c.ended || len(pod.kills) != min(ended, 1) {
			t.Errorf("%s: ended at look %d, want %d; %+v", name, ended, c.ended, pod.kills)
		}
		in.Close()
		if err := cmd.Wait(); (err != nil) != (ended > 0) {
			t.Errorf("%s: the writer ended with %v", name, err)
		}
	}
}
