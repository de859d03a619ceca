package podstest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/wire"
)

// start starts a job or ends the test.
func (b *bench) start(pod string, r pods.ExecRequest) wire.Job {
	b.t.Helper()
	j, err := b.StartJob(b.t.Context(), b.actor, pod, r)
	if err != nil {
		b.t.Fatalf("%s: %v", r.Command, err)
	}
	return j
}

// job looks at a job after waiting for its end.
func (b *bench) job(pod, id string, wait time.Duration) wire.JobOutput {
	b.t.Helper()
	out, err := b.Job(b.t.Context(), b.actor, pod, id, pods.JobQuery{Offset: -1, Limit: pods.MaxJobOutput, Wait: wait})
	if err != nil {
		b.t.Fatalf("look at a job: %v", err)
	}
	return out
}

func testJobs(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", map[string]string{"GREETING": "hello"})
	b.prints("shop", "mkdir sub; mkfifo go")
	ctx, leave := context.WithCancel(t.Context())
	j, err := b.StartJob(ctx, b.actor, "shop", pods.ExecRequest{Command: `read x; echo "$GREETING $x" >&2; read y < ../go; exit 3`, Dir: "sub", Stdin: []byte("world\n")})
	if err != nil || j.State != wire.JobRunning {
		t.Fatalf("%+v %v", j, err)
	}
	leave() // a job does not need who started it
	b.until("it has printed", func() bool { return len(b.job("shop", j.ID, 0).Data) > 0 })
	if out := b.job("shop", j.ID, 10*time.Millisecond); out.Job.State != wire.JobRunning || string(out.Data) != "hello world\n" {
		t.Errorf("while it runs: %+v %q", out.Job, out.Data)
	}
	b.prints("shop", "echo > go")
	if out := b.job("shop", j.ID, patience); out.Job.State != wire.JobExited || out.Job.Code != 3 || out.Job.Output != 12 || out.Job.Ended.IsZero() {
		t.Errorf("at the end: %+v", out.Job)
	}
	part, err := b.Job(t.Context(), b.actor, "shop", j.ID, pods.JobQuery{Offset: 6, Limit: 3})
	if err != nil || string(part.Data) != "wor" || part.Offset != 6 {
		t.Errorf("a part: %+v %v", part, err)
	}
	slow := b.start("shop", pods.ExecRequest{Command: beating("slow") + "; sleep 1000", Timeout: time.Second})
	if out := b.job("shop", slow.ID, patience); out.Job.State != wire.JobTimedOut || b.beats("shop", "slow") {
		t.Errorf("out of time: %+v", out.Job)
	}
	list, err := b.Jobs(t.Context(), b.actor, "shop")
	if err != nil || len(list) != 2 || list[0].ID != slow.ID || list[1].ID != j.ID {
		t.Errorf("%+v %v", list, err)
	}
	refuseJobs(t, b, j.ID)
}

// refuseJobs makes calls that must not work, beside a job that there is.
func refuseJobs(t *testing.T, b *bench, id string) {
	for _, id := range []string{"", "aaaaaaaa", "../" + id, "a\x00b", strings.Repeat("x", 1000)} {
		_, err := b.Job(t.Context(), b.actor, "shop", id, pods.JobQuery{})
		_, err2 := b.StopJob(t.Context(), b.actor, "shop", id)
		if !errors.Is(err, pods.ErrNoJob) || !errors.Is(err2, pods.ErrNoJob) {
			t.Errorf("job %.20q: %v, %v", id, err, err2)
		}
	}
	for want, r := range map[error]pods.ExecRequest{
		pods.ErrBadInput: {Command: "true", Timeout: pods.MaxJobTimeout + 1},
		pods.ErrPath:     {Command: "true", Dir: "/etc"},
		pods.ErrNoFile:   {Command: "true", Dir: "nowhere"},
	} {
		if _, err := b.StartJob(t.Context(), b.actor, "shop", r); !errors.Is(err, want) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := b.Job(t.Context(), b.actor, "shop", id, pods.JobQuery{Wait: pods.MaxJobWait + 1}); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("too long a wait: %v", err)
	}
}

// Jobs end on request, with all that runs in the pod, and with the pod; which
// it was can be seen for as long as they are kept.
func testJobsEnd(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	started := map[string]string{}
	for _, name := range []string{"stopped", "restart", "reload", "stop"} {
		started[name] = b.start("shop", pods.ExecRequest{Command: beating(name) + "; echo on; sleep 1000"}).ID
		b.until("the heart beats", func() bool { return b.run("shop", "test -s beat."+name).Code == 0 })
		want := wire.JobInterrupted
		switch name {
		case "stopped":
			want = wire.JobStopped
			if j, err := b.StopJob(t.Context(), b.actor, "shop", started[name]); err != nil || j.State != want {
				t.Errorf("%+v %v", j, err)
			}
		case "stop":
			for _, change := range []func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){b.Stop, b.Start} {
				if _, err := change(t.Context(), b.actor, "shop", nil); err != nil {
					t.Fatal(err)
				}
			}
		default:
			change := map[string]func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){"restart": b.Restart, "reload": b.Reload}[name]
			if _, err := change(t.Context(), b.actor, "shop", nil); err != nil {
				t.Fatal(err)
			}
		}
		out := b.job("shop", started[name], patience)
		if out.Job.State != want || out.Job.Reason == "" || string(out.Data) != "on\n" {
			t.Errorf("%s: %+v %q", name, out.Job, out.Data)
		}
		if b.beats("shop", name) {
			t.Errorf("a process outlived %s", name)
		}
	}
	if list, err := b.Jobs(t.Context(), b.actor, "shop"); err != nil || len(list) != len(started) {
		t.Errorf("%+v %v", list, err)
	}
}
