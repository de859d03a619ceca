package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods/wire"
)

// job starts a command in the background.
func (a *testAgent) job(command string) wire.Job {
	a.t.Helper()
	return ask[wire.Job](a, "POST", wire.PathJob, wire.JobRequest{Command: command})
}

// jobOutput looks at a job, with more parameters as name=value.
func (a *testAgent) jobOutput(id string, more ...string) wire.JobOutput {
	a.t.Helper()
	return ask[wire.JobOutput](a, "GET", wire.PathJob+"?id="+url.QueryEscape(id)+"&"+strings.Join(more, "&"), nil)
}

// jobEnd waits for the end of a job.
func (a *testAgent) jobEnd(id string) wire.JobOutput {
	a.t.Helper()
	out := a.jobOutput(id, "wait_millis=30000")
	if out.Job.State == wire.JobRunning || out.Job.Ended.IsZero() {
		a.t.Fatalf("the job does not end: %+v", out.Job)
	}
	return out
}

func TestJob(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if err := os.MkdirAll(a.home("app/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	began := ask[wire.Job](a, "POST", wire.PathJob, wire.JobRequest{
		Command: `read x; echo "1 $x $Y"; echo 2 >&2; pwd; kill -TERM $$`, Dir: "sub", Env: map[string]string{"Y": "y"}, Stdin: []byte("in\n"),
	})
	if began.State != wire.JobRunning || !isJobID(began.ID) || began.Started.IsZero() || !began.Ended.IsZero() {
		t.Errorf("at first: %+v", began)
	}
	got := a.jobEnd(began.ID)
	want := "1 in y\n2\n" + a.home("app/sub") + "\n"
	if string(got.Data) != want || got.Offset != 0 || got.Job.Output != int64(len(want)) || got.Job.Lost != 0 {
		t.Errorf("%q at %d, %+v", got.Data, got.Offset, got.Job)
	}
	if got.Job.State != wire.JobExited || got.Job.Code != 143 || got.Job.Signal != "SIGTERM" || got.Job.Reason != "" || got.Job.Dir != "sub" {
		t.Errorf("at the end: %+v", got.Job)
	}
	if part := a.jobOutput(began.ID, "offset=2", "limit=4"); string(part.Data) != "in y" || part.Offset != 2 {
		t.Errorf("a part: %q at %d", part.Data, part.Offset)
	}
	if beyond := a.jobOutput(began.ID, "offset=1000000"); len(beyond.Data) != 0 || beyond.Offset != int64(len(want)) {
		t.Errorf("beyond the end: %q at %d", beyond.Data, beyond.Offset)
	}
	second := a.job("exit 3")
	if a.jobEnd(second.ID).Job.Code != 3 {
		t.Error("the exit code is lost")
	}
	if list := ask[[]wire.Job](a, "GET", wire.PathJobs, nil); len(list) != 2 || list[0].ID != second.ID || list[1].ID != began.ID {
		t.Errorf("the list: %+v", list)
	}
	a.refused(wire.FaultNotFound, "GET", wire.PathJob+"?id=aaaaaaaa", nil)
	a.refused(wire.FaultNotFound, "DELETE", wire.PathJob+"?id=../x", nil)
	a.refused(wire.FaultPath, "POST", wire.PathJob, []byte(`{"command": "true", "dir": "/etc"}`))
}

// What a job prints can be read while it runs.
func TestJobWhileItRuns(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run("mkfifo go")
	j := a.job("echo first; read x < go; echo last")
	for len(a.jobOutput(j.ID).Data) == 0 {
		if a.jobOutput(j.ID, "wait_millis=10").Job.State != wire.JobRunning {
			t.Fatal("it ended before it was told to")
		}
	}
	a.run("echo > go")
	if got := a.jobEnd(j.ID); string(got.Data) != "first\nlast\n" {
		t.Errorf("%q", got.Data)
	}
}

// Of what a job prints the beginning and the newest is kept, and where each byte
// was stays true.
func TestJobOutputIsBounded(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	const lines = 300_000 // of 8 bytes
	j := a.job(fmt.Sprintf("seq -f %%07.0f 1 %d", lines))
	got := a.jobEnd(j.ID)
	if got.Job.Output != 8*lines || int64(len(got.Data)) != wire.MaxJobOutput || !bytes.HasSuffix(got.Data, []byte("0299999\n0300000\n")) {
		t.Fatalf("%+v, the end is %q", got.Job, got.Data[max(0, len(got.Data)-20):])
	}
	var kept int64
	for at, gaps := int64(0), 0; at < got.Job.Output; {
		part := a.jobOutput(j.ID, fmt.Sprintf("offset=%d", at), "limit=100000")
		if part.Offset != at {
			if gaps++; gaps > 1 || at != jobSegment {
				t.Fatalf("a gap from %d to %d", at, part.Offset)
			}
		}
		if want := fmt.Sprintf("%07d", part.Offset/8+1); part.Offset%8 == 0 && !bytes.HasPrefix(part.Data, []byte(want)) {
			t.Fatalf("at %d is %q, want %q", part.Offset, part.Data[:8], want)
		}
		kept += int64(len(part.Data))
		at = part.Offset + int64(len(part.Data))
	}
	if kept < 3*jobSegment || kept > jobSegments*jobSegment {
		t.Errorf("%d bytes are kept", kept)
	}
	if on := diskUseOf(t, filepath.Join(a.logDir(), "jobs")); on > jobSegments*jobSegment+64<<10 {
		t.Errorf("%d bytes lie on the disk", on)
	}
}

func (a *testAgent) logDir() string { return a.cfg.withDefaults().LogDir }

func diskUseOf(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// Stopping asks first, then kills all that the job became, however it hid.
func TestStopJob(t *testing.T) {
	t.Parallel()
	a := startAgent(t, func(c *Config) { c.GraceStop = 300 * time.Millisecond })
	polite := a.job("trap 'echo bye; exit 5' TERM; echo on; while :; do sleep 0.01; done")
	for len(a.jobOutput(polite.ID).Data) == 0 {
		time.Sleep(time.Millisecond)
	}
	got := ask[wire.Job](a, "DELETE", wire.PathJob+"?id="+polite.ID, nil)
	if got.State != wire.JobStopped || got.Code != 5 || got.Reason != jobStopped {
		t.Errorf("%+v", got)
	}
	if out := a.jobOutput(polite.ID); !bytes.HasPrefix(out.Data, []byte("on\n")) || !bytes.HasSuffix(out.Data, []byte("bye\n")) {
		t.Errorf("%q", out.Data)
	}
	n := 0
	for name, script := range escapes {
		n++
		id := fmt.Sprintf("8%d1.%d", n, time.Now().UnixNano()%1e9)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := a.job(fmt.Sprintf(script, id))
			for !alive(id) {
				time.Sleep(time.Millisecond)
			}
			if got := ask[wire.Job](a, "DELETE", wire.PathJob+"?id="+j.ID, nil); got.State != wire.JobStopped || got.Ended.IsZero() {
				t.Errorf("%+v", got)
			}
			if alive(id) {
				t.Error("something of it is left")
			}
		})
	}
}

func TestJobTimesOut(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	id := fmt.Sprintf("9.%d", time.Now().UnixNano()%1e9)
	got := limited(300, func(millis int) (wire.JobOutput, bool) {
		j := ask[wire.Job](a, "POST", wire.PathJob, wire.JobRequest{Command: "echo so far; setsid sleep " + id, TimeoutMillis: millis})
		got := a.jobEnd(j.ID)
		return got, len(got.Data) > 0
	})
	if got.Job.State != wire.JobTimedOut || got.Job.Signal != "SIGKILL" || got.Job.Reason != jobTimedOut || string(got.Data) != "so far\n" || alive(id) {
		t.Errorf("%+v %q", got.Job, got.Data)
	}
}

// A job ends with all that runs in the pod, and says so.
func TestRestartEndsJobs(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	j := a.job("sleep 1000")
	ask[wire.State](a, "POST", wire.PathApp, wire.AppRequest{Action: actionRestart, Spec: a.spec(t, "command")})
	got := a.jobEnd(j.ID).Job
	if got.State != wire.JobInterrupted || got.Reason != endedWithAll {
		t.Errorf("%+v", got)
	}
}

// Jobs end with their pod, and its next life knows of them and of what they
// printed, also when the agent had no time to write it down.
func TestJobsOutliveTheirPod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(c *Config) { c.Home = dir }
	a := startAgent(t, at)
	done, cut := a.job("echo done; exit 7"), a.job("echo so far; sleep 1000")
	a.jobEnd(done.ID)
	for len(a.jobOutput(cut.ID).Data) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	for _, killed := range []bool{false, true} {
		if killed {
			forgetEnd(t, filepath.Join(a.logDir(), "jobs", cut.ID, jobRecord))
		}
		b := startAgent(t, at)
		if got := b.jobEnd(done.ID); got.Job.Code != 7 || got.Job.State != wire.JobExited || string(got.Data) != "done\n" {
			t.Errorf("%+v %q", got.Job, got.Data)
		}
		if got := b.jobEnd(cut.ID); got.Job.State != wire.JobInterrupted || got.Job.Reason != jobPodEnded || string(got.Data) != "so far\n" {
			t.Errorf("killed %v: %+v %q", killed, got.Job, got.Data)
		}
		if err := b.end(); err != nil {
			t.Fatal(err)
		}
	}
}

// forgetEnd makes a record what it was while the job ran.
func forgetEnd(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var info wire.Job
	if err := json.Unmarshal(b, &info); err != nil {
		t.Fatal(err)
	}
	info.State, info.Reason, info.Ended = wire.JobRunning, "", time.Time{}
	b, _ = json.Marshal(info)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestJobsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	var first wire.Job
	for range maxRunningJobs {
		first = a.job("sleep 1000")
	}
	a.refused(wire.FaultBusy, "POST", wire.PathJob, []byte(`{"command": "true"}`))
	ask[wire.Job](a, "DELETE", wire.PathJob+"?id="+first.ID, nil)
	a.jobEnd(a.job("true").ID)
}

// A job is kept for a day, and the newest hundred; what runs is always kept.
func TestJobsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		js, err := openJobs(filepath.Join(t.TempDir(), "jobs"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer js.close()
		ctx, cancel := context.WithCancel(t.Context())
		var sweeper sync.WaitGroup
		sweeper.Go(func() { js.sweepNowAndThen(ctx) })
		runs, err := js.add(wire.JobRequest{Command: "runs"})
		if err != nil {
			t.Fatal(err)
		}
		var last *job
		for range wire.MaxJobs + 20 {
			time.Sleep(time.Second)
			if last, err = js.add(wire.JobRequest{Command: strings.Repeat("é", wire.MaxJobCommand)}); err != nil {
				t.Fatal(err)
			}
			last.mu.Lock()
			last.info.State, last.info.Ended = wire.JobExited, time.Now()
			last.mu.Unlock()
		}
		if n := len(js.list); n != wire.MaxJobs {
			t.Errorf("%d jobs are kept", n)
		}
		left := js.all()
		if len(left) != wire.MaxJobs || left[0].ID != last.info.ID || left[len(left)-1].ID != runs.info.ID || len(left[0].Command) != wire.MaxJobCommand {
			t.Errorf("%d jobs", len(left))
		}
		time.Sleep(keepJob - time.Minute)
		synctest.Wait()
		if n := countFolders(t, js); n == 1 {
			t.Error("ended jobs are gone before their day is over")
		}
		time.Sleep(3*time.Minute + sweepJobs)
		synctest.Wait()
		if n := countFolders(t, js); n != 1 {
			t.Errorf("%d folders are left after a day", n)
		}
		cancel()
		sweeper.Wait()
	})
}

func countFolders(t *testing.T, js *jobs) int {
	t.Helper()
	entries, err := os.ReadDir(js.folder.root.Name())
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// What the app may have left in the place of records and output does no harm.
func TestForeignFilesAmongJobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(c *Config) { c.Home = dir }
	a := startAgent(t, at)
	j := a.job("echo mine")
	a.jobEnd(j.ID)
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(a.logDir(), "jobs")
	outside := filepath.Join(dir, "outside")
	for _, err := range []error{
		os.WriteFile(outside, []byte("kept"), 0o600),
		os.Symlink(dir, filepath.Join(folder, "aaaaaaaa")),
		os.WriteFile(filepath.Join(folder, "plain"), []byte("x"), 0o600),
		os.Mkdir(filepath.Join(folder, "bbbbbbbb"), 0o700),
		os.WriteFile(filepath.Join(folder, "bbbbbbbb", jobRecord), []byte(`{"id": "cccccccc", "state": "exited"}`), 0o600),
		os.Remove(filepath.Join(folder, j.ID, jobPrefix+"0")),
		os.Symlink(outside, filepath.Join(folder, j.ID, jobPrefix+"0")),
		os.WriteFile(filepath.Join(folder, j.ID, jobPrefix+"99999999999999999999"), []byte("x"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b := startAgent(t, at)
	if list := ask[[]wire.Job](b, "GET", wire.PathJobs, nil); len(list) != 1 || list[0].ID != j.ID {
		t.Errorf("%+v", list)
	}
	if got := b.jobOutput(j.ID); len(got.Data) != 0 {
		t.Errorf("read through a link: %q", got.Data)
	}
	if kept, err := os.ReadFile(outside); err != nil || string(kept) != "kept" {
		t.Errorf("%q, %v", kept, err)
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// Pipes in the place of what the agent writes hold up nobody: neither the end of
// the job nor that of the pod.
func TestPipesAmongJobs(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run("mkfifo go")
	j := a.job("read x < go; head -c 600000 /dev/zero")
	folder := filepath.Join(a.logDir(), "jobs", j.ID)
	for _, name := range []string{jobRecord + ".new", jobPrefix + "1"} {
		if err := syscall.Mkfifo(filepath.Join(folder, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.run("echo > go")
	if got := a.jobEnd(j.ID).Job; got.State != wire.JobExited || got.Output+got.Lost != 600_000 || got.Lost == 0 {
		t.Errorf("%+v", got)
	}
}

// A disk without room costs output, which is counted, and nothing else.
func TestJobOutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	folder, err := openJobFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.root.Close()
	o := folder.output("aaaaaaaa") // has no folder, so nothing can be written
	o.add([]byte("one"))
	if size, lost := o.sizes(); size != 0 || lost != 3 {
		t.Errorf("%d, %d", size, lost)
	}
	if err := folder.root.Mkdir("aaaaaaaa", 0o700); err != nil {
		t.Fatal(err)
	}
	o.add([]byte("two"))
	if from, data := o.read(-1, 100); from != 0 || string(data) != "two" {
		t.Errorf("%d %q", from, data)
	}
}

func FuzzParseJobRecord(f *testing.F) {
	f.Add([]byte(`{"id": "aaaaaaaa", "state": "exited", "command": "true", "code": 3}`))
	f.Add([]byte(`{"state": "running", "lost": -1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := parseJobRecord(b)
		if err == nil && (len(info.Command) > wire.MaxJobCommand || info.State == "" || info.Lost < 0 || info.Output != 0) {
			t.Errorf("%+v", info)
		}
	})
}
