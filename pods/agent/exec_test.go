package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods/wire"
)

func TestExec(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if err := os.MkdirAll(a.home("app/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		req  wire.ExecRequest
		code int
		sig  string
		out  string
		err  string
	}{
		{"streams apart", wire.ExecRequest{Command: "echo out; echo err >&2"}, 0, "", "out\n", "err\n"},
		{"exit code", wire.ExecRequest{Command: "exit 42"}, 42, "", "", ""},
		{"no such command", wire.ExecRequest{Command: "exec /nonexistent/x 2>/dev/null"}, 127, "", "", ""},
		{"signal", wire.ExecRequest{Command: "kill -9 $$"}, 137, "SIGKILL", "", ""},
		{"signal by name", wire.ExecRequest{Command: "kill -TERM $$"}, 143, "SIGTERM", "", ""},
		{"stdin", wire.ExecRequest{Command: "cat", Stdin: []byte("a\x00b\xff")}, 0, "", "a\x00b\xff", ""},
		{"no stdin", wire.ExecRequest{Command: "cat; echo end"}, 0, "", "end\n", ""},
		{"env", wire.ExecRequest{Command: `echo "$X-$USER"`, Env: map[string]string{"X": "1 2"}}, 0, "", "1 2-pod\n", ""},
		{"default folder", wire.ExecRequest{Command: "pwd"}, 0, "", a.home("app") + "\n", ""},
		{"relative folder", wire.ExecRequest{Command: "pwd", Dir: "sub"}, 0, "", a.home("app/sub") + "\n", ""},
		{"absolute folder", wire.ExecRequest{Command: "pwd", Dir: "/home/pod"}, 0, "", a.home("") + "\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.TimeoutMillis, c.req.MaxOutput = 20000, 1000
			got := a.exec(c.req)
			if got.Code != c.code || got.Signal != c.sig || got.stdout != c.out || got.stderr != c.err {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestExecOutputLimit(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	got := a.exec(wire.ExecRequest{Command: "head -c 3000000 /dev/zero; echo 123456 >&2", TimeoutMillis: 20000, MaxOutput: 5})
	if len(got.stdout) != 5 || got.DroppedStdout != 3000000-5 || got.stderr != "12345" || got.DroppedStderr != 2 {
		t.Errorf("kept %d and %q, dropped %d and %d", len(got.stdout), got.stderr, got.DroppedStdout, got.DroppedStderr)
	}
}

// Input that nobody reads must not keep a command open.
func TestExecUnreadInput(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	got := a.exec(wire.ExecRequest{Command: "exit 3", Stdin: make([]byte, 1<<20), TimeoutMillis: 60000})
	if got.Code != 3 || got.Millis > 30000 {
		t.Errorf("%+v", got)
	}
}

func TestExecStreams(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	body, _ := json.Marshal(wire.ExecRequest{Command: "echo first; read x < go; echo last", TimeoutMillis: 20000, MaxOutput: 100})
	a.run("mkfifo go")
	resp, err := a.http.Post("http://agent"+wire.PathExec, "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := true
	var out string
	err = readEvents(resp.Body, func(e wire.Event) {
		out += string(e.Data)
		if first {
			first = false
			// The command goes on only after its first line has arrived.
			a.run("echo > go")
		}
	})
	if err != nil || out != "first\nlast\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// The ways in which a grandchild can slip out of what a naive kill reaches.
var escapes = map[string]string{
	"child":           "sleep %s",
	"background":      "sleep %s & wait",
	"setsid":          "setsid sleep %s & wait; sleep 60",
	"double fork":     "(setsid sh -c 'sleep %s & exit 0' &) ; sleep 60",
	"no environment":  "(env -i setsid /bin/sh -c 'sleep %s & exit 0' &) ; sleep 60",
	"ignores signals": "trap '' TERM INT HUP; (trap '' TERM; setsid sleep %s) & sleep 60",
	"stopped":         "sleep %s & kill -STOP $!; sleep 60",
	"all of it":       "(env -i setsid /bin/sh -c 'trap \"\" TERM; (sleep %s &) ; exit 0' >/dev/null 2>&1 &) ; sleep 60",
}

// limited tries something with a time limit in milliseconds, and with twice as much
// again as long as it did not begin within that: a machine may be busy.
func limited[T any](millis int, try func(millis int) (got T, began bool)) T {
	for {
		got, began := try(millis)
		if began || millis > 20_000 {
			return got
		}
		millis *= 2
	}
}

func TestExecTimeLimitKillsAll(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	n := 0
	for name, script := range escapes {
		n++
		id := fmt.Sprintf("7%d1.%d", n, time.Now().UnixNano()%1e9)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := limited(700, func(millis int) (ran, bool) {
				got := a.exec(wire.ExecRequest{Command: "echo began; " + fmt.Sprintf(script, id), TimeoutMillis: millis, MaxOutput: 100})
				return got, got.stdout != ""
			})
			if !got.TimedOut || got.Code != 137 || got.Signal != "SIGKILL" || got.stdout != "began\n" {
				t.Errorf("%+v", got)
			}
			if alive(id) {
				t.Error("a process is left")
			}
		})
	}
}

// A tree that grows while it is killed.
func TestExecTimeLimitKillsForks(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	id := fmt.Sprintf("8001.%d", time.Now().UnixNano()%1e9)
	script := fmt.Sprintf(`f() { setsid sh -c 'sleep %s & sleep %s' & }; i=0; while [ $i -lt 60 ]; do f; sleep 0.02; i=$((i+1)); done; wait`, id, id)
	got := a.exec(wire.ExecRequest{Command: script, TimeoutMillis: 500, MaxOutput: 100})
	if !got.TimedOut || alive(id) {
		t.Errorf("%+v, left behind: %v", got, alive(id))
	}
}

func TestExecCancelKillsAll(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	id := fmt.Sprintf("9001.%d", time.Now().UnixNano()%1e9)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := a.tryExec(ctx, wire.ExecRequest{Command: "setsid sleep " + id + " & wait; sleep 60", TimeoutMillis: 60000})
		done <- err
	}()
	eventually(t, "the command runs", func() bool { return alive(id) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled command: %v", err)
	}
	eventually(t, "nothing is left", func() bool { return !alive(id) })
}

// A helper that a command leaves in the background lives on, also when it goes
// on printing, and does not hold the command up.
func TestExecBackground(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	got := a.run("(while true; do echo tick; echo >> ticks; sleep 0.05; done) & echo started")
	if got.Code != 0 || !strings.HasPrefix(strings.ReplaceAll(got.stdout, "tick\n", ""), "started") || got.Millis > 30000 {
		t.Fatalf("%+v", got)
	}
	size := func() int64 {
		info, err := os.Stat(a.home("app/ticks"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	eventually(t, "the helper goes on", func() bool { return size() > before+10 })
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	after := size()
	time.Sleep(120 * time.Millisecond)
	if size() != after {
		t.Error("the helper outlived the agent")
	}
}

func TestExecInParallel(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			got, err := a.tryExec(context.Background(), wire.ExecRequest{Command: fmt.Sprintf("cat; exit %d", i), Stdin: fmt.Append(nil, i), TimeoutMillis: 20000, MaxOutput: 10})
			if err != nil || got.Code != i || got.stdout != fmt.Sprint(i) {
				t.Errorf("command %d: %+v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

func TestExecAtMost(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range maxExecs {
		wg.Go(func() {
			a.tryExec(ctx, wire.ExecRequest{Command: "echo >> up; sleep 60", TimeoutMillis: 60000})
		})
	}
	defer wg.Wait()
	defer cancel()
	eventually(t, "all run", func() bool {
		b, _ := os.ReadFile(a.home("app/up"))
		return len(b) == maxExecs
	})
	body, _ := json.Marshal(wire.ExecRequest{Command: "true", TimeoutMillis: 1000})
	a.refused(wire.FaultBusy, "POST", wire.PathExec, body)
}

func TestExecRefuses(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("file", "x")
	for body, code := range map[string]string{
		``:   wire.FaultBadRequest,
		`{}`: wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":0}`:                           wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":280001}`:                      wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000,"max_output":-1}`:        wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000,"more":1}`:               wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000} {}`:                     wire.FaultBadRequest,
		`{"command":"touch made\u0000","timeout_millis":1000}`:                  wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000,"env":{"A=B":"x"}}`:      wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000,"env":{"A":"\u0000"}}`:   wire.FaultBadRequest,
		`{"command":"touch made","timeout_millis":1000,"dir":"/etc"}`:           wire.FaultPath,
		`{"command":"touch made","timeout_millis":1000,"dir":"../../../etc"}`:   wire.FaultPath,
		`{"command":"touch made","timeout_millis":1000,"dir":"absent"}`:         wire.FaultNotFound,
		`{"command":"touch made","timeout_millis":1000,"dir":"file"}`:           wire.FaultNotDir,
		`{"command":"` + strings.Repeat("x", 128<<10) + `","timeout_millis":1}`: wire.FaultTooLarge,
		`"` + strings.Repeat("x", maxExecBody) + `"`:                            wire.FaultTooLarge,
	} {
		a.refused(code, "POST", wire.PathExec, []byte(body))
	}
	if _, err := os.Stat(a.home("app/made")); err == nil {
		t.Error("a refused command ran")
	}
}

func BenchmarkExec(b *testing.B) {
	a := startAgent(b)
	for b.Loop() {
		if _, err := a.tryExec(context.Background(), wire.ExecRequest{Command: "true", TimeoutMillis: 20000}); err != nil {
			b.Fatal(err)
		}
	}
}

// hidden is a command that leaves a process behind which is hard to find and
// does not end when it is asked to. id shows in its arguments.
func hidden(id string) string {
	return fmt.Sprintf(`(env -i setsid /bin/sh -c 'trap "" HUP TERM INT; (sleep %s &); while true; do sleep %s; done' >/dev/null 2>&1 &)`, id, id)
}

// background begins a command; began is closed with its first output.
func (a *testAgent) background(command string) (began chan struct{}, result chan error) {
	began, result = make(chan struct{}), make(chan error, 1)
	body, _ := json.Marshal(wire.ExecRequest{Command: command, TimeoutMillis: 60000, MaxOutput: 1000})
	go func() {
		var first sync.Once
		resp, err := a.http.Post("http://agent"+wire.PathExec, "application/json", bytes.NewReader(body))
		if err != nil {
			result <- err
			return
		}
		defer resp.Body.Close()
		var last error
		err = readEvents(resp.Body, func(e wire.Event) {
			first.Do(func() { close(began) })
			if e.Fault != nil {
				last = e.Fault
			}
		})
		result <- errors.Join(last, err)
	}()
	return began, result
}

func isFault(err error, code string) bool {
	var f *wire.Fault
	return errors.As(err, &f) && f.Code == code
}

// Restart, reload and stop end also what commands left behind and those that
// run; a start ends nothing.
func TestActionsEndEverything(t *testing.T) {
	t.Parallel()
	a := startAgent(t, func(c *Config) { c.GraceStop = 200 * time.Millisecond })
	a.put("Procfile", "release: true\nweb: exec sleep 1000")
	spec := a.spec(t, "command")
	a.app(wire.AppRequest{Action: actionStart, Spec: spec})
	for _, action := range []string{actionRestart, actionReload, actionStop} {
		id := fmt.Sprintf("5002.%d", time.Now().UnixNano()%1e9)
		a.run(hidden(id))
		eventually(t, "it runs", func() bool { return alive(id) })
		began, result := a.background("echo on; sleep 1000")
		<-began
		a.app(wire.AppRequest{Action: actionStart, Spec: spec})
		if !alive(id) {
			t.Errorf("before %s: a start ended what runs", action)
		}
		a.app(wire.AppRequest{Action: action, Spec: spec})
		if alive(id) {
			t.Errorf("%s left something", action)
		}
		if err := <-result; !isFault(err, wire.FaultEnded) {
			t.Errorf("%s: the command that ran got %v", action, err)
		}
		if got := a.run("echo on"); got.stdout != "on\n" {
			t.Errorf("a command after %s: %+v", action, got)
		}
	}
}

// What is asked to end has the time to do it well.
func TestEverythingIsAskedFirst(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run("(sh -c 'trap \"echo bye > bye; exit\" TERM; echo > up; while true; do sleep 0.01; done' >/dev/null 2>&1 &)")
	eventually(t, "it runs", func() bool { return a.run("cat up").Code == 0 })
	a.app(wire.AppRequest{Action: actionRestart, Spec: a.spec(t, "static")})
	if got := a.run("cat bye"); got.stdout != "bye\n" {
		t.Errorf("%+v", got)
	}
}

// A reader that a busy machine lets run only after its deadline loses nothing of
// what was printed before that.
func TestLateReaderLosesNothing(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // held open, as by a process in the background
	if _, err := w.WriteString("printed in time"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var d drains
	defer d.close()
	var got []byte
	d.readUntilDeadline(r, func(b []byte) { got = append(got, b...) })
	if string(got) != "printed in time" || len(d.files) != 1 {
		t.Errorf("%q, %d drained on", got, len(d.files))
	}
}
