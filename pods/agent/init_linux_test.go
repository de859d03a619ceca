package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods/wire"
)

const (
	initRole      = "PODGATE_TEST_INIT_HOME"
	initProcesses = "PODGATE_TEST_INIT_PROCESSES" // RLIMIT_NPROC
)

// runInitRole makes this binary PID 1 of a pod: it serves on descriptor 3,
// a listening unix socket, until a line (or the end) comes on descriptor 4.
func runInitRole() {
	home := os.Getenv(initRole)
	if home == "" {
		return
	}
	os.Unsetenv(initRole)
	if n, err := strconv.ParseUint(os.Getenv(initProcesses), 10, 64); err == nil {
		os.Unsetenv(initProcesses)
		if err := syscall.Setrlimit(unix.RLIMIT_NPROC, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	syscall.Mount("proc", "/proc", "proc", 0, "")
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		os.NewFile(4, "lifeline").Read(make([]byte, 1))
		cancel()
	}()
	cfg := Config{Home: home, Tmp: home + "-tmp", Init: true, GraceStop: 300 * time.Millisecond, ErrorLog: os.Stderr}
	if err := Serve(ctx, cfg, l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sandboxMissing skips, unless the environment asks that nothing is skipped.
func sandboxMissing(t *testing.T, why string) {
	t.Helper()
	if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox") {
		t.Fatal(why)
	}
	t.Skip(why)
}

// nobody is a user of the machine that no limit excepts, unlike root.
const nobody = 65534

// startInit runs an agent as PID 1 of a new pid namespace, in which there may be
// so many processes and threads; 0: as many as the tests' user may have.
func startInit(t *testing.T, processes int) *testAgent {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = nobody, nobody
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	sock := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: sock, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	lf, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer lf.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	home := filepath.Join(dir, "home")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), initRole+"="+home)
	if processes > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", initProcesses, processes))
	}
	cmd.ExtraFiles = []*os.File{lf, r}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	if err := cmd.Start(); err != nil {
		w.Close()
		sandboxMissing(t, fmt.Sprintf("no new pid namespace here: %v", err))
	}
	a := &testAgent{t: t, cfg: Config{Home: home}}
	a.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", sock)
		},
	}}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	over := false
	a.end = func() error {
		if over {
			return nil
		}
		over = true
		w.Close()
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("%w: %s", err, stderr.String())
			}
			return nil
		case <-time.After(40 * time.Second):
			cmd.Process.Kill()
			return errors.New("the pod did not end with its lifeline")
		}
	}
	t.Cleanup(func() {
		if err := a.end(); err != nil {
			t.Error(err)
		}
		a.http.CloseIdleConnections()
	})
	return a
}

func TestInitMode(t *testing.T) {
	t.Parallel()
	a := startInit(t, 0)
	if got := a.run("echo hello; exit 7"); got.Code != 7 || got.stdout != "hello\n" {
		t.Fatalf("%+v", got)
	}

	t.Run("collects orphans", func(t *testing.T) {
		a.run("for i in 1 2 3 4 5; do (sh -c 'exit 3' & ) ; done; sleep 0.1")
		eventually(t, "no zombies", func() bool {
			return strings.TrimSpace(a.run("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").stdout) == "0"
		})
	})

	t.Run("statuses reach their owners", func(t *testing.T) {
		results := make(chan error, 40)
		for i := range cap(results) {
			go func() {
				got, err := a.tryExec(context.Background(), wire.ExecRequest{
					Command: fmt.Sprintf("(true &) ; exit %d", i), TimeoutMillis: 20000,
				})
				if err == nil && got.Code != i {
					err = fmt.Errorf("command %d got %d", i, got.Code)
				}
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("signals from inside do not end it", func(t *testing.T) {
		a.run("for s in HUP INT QUIT TERM USR1 USR2 PIPE ALRM ABRT SEGV TSTP XCPU SYS KILL STOP; do kill -$s 1; done")
		if got := a.run("echo still here"); got.stdout != "still here\n" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("is closed to the pod, and its children come first", func(t *testing.T) {
		// The owner of /proc/1 is not the pod's user once it is not dumpable. The
		// agent lends its children a score of its own, and may not have it back yet.
		got := a.run("for i in $(seq 500); do [ $(cat /proc/1/oom_score_adj) = 500 ] || break; sleep 0.01; done; cat /proc/self/oom_score_adj; cat /proc/1/oom_score_adj; stat -c %u /proc/1/mem; stat -c %u /proc/self/mem")
		f := strings.Fields(got.stdout)
		if len(f) != 4 || f[0] != "500" || f[1] == "500" {
			t.Errorf("oom scores and owners: %q %q", got.stdout, got.stderr)
		}
	})

	t.Run("usage is the whole pod's", func(t *testing.T) {
		u := ask[wire.Usage](a, "GET", wire.PathUsage, nil)
		if u.Memory < 1<<20 || u.Processes < 1 {
			t.Errorf("%+v", u)
		}
	})

	t.Run("ends with all", func(t *testing.T) {
		const name = "7342.117"
		a.run("setsid sleep " + name + " >/dev/null 2>&1 & ")
		eventually(t, "the helper runs", func() bool { return alive(name) })
		if err := a.end(); err != nil {
			t.Fatal(err)
		}
		if alive(name) {
			t.Error("a process outlived the pod")
		}
	})
}

// bomb leaves copies of itself behind that make more of themselves, for ever and
// whenever there is room, and that do not end when they are asked to.
const bomb = `python3 -c '
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
' >/dev/null 2>&1 &`

// After a bomb that has used up the processes of the pod, restart and reload end
// all of it, with what hid in sessions of its own and ignores signals.
func TestInitEndsEverything(t *testing.T) {
	t.Parallel()
	const limit = 120
	a := startInit(t, limit)
	a.put("Procfile", "release: echo installed\nweb: exec sleep 1000")
	spec := &wire.AppSpec{Preset: "command", Port: freePort(t), Name: "blue-fox"}
	before := a.app(wire.AppRequest{Action: actionStart, Spec: spec})
	if a.run(unbounded).stdout != "" {
		sandboxMissing(t, "the limit of processes does not hold here, so a bomb would harm the machine")
	}
	processes := func() int { return ask[wire.Usage](a, "GET", wire.PathUsage, nil).Processes }
	eventually(t, "there is room again", func() bool { return processes() == 2 })
	for _, action := range []string{actionRestart, actionReload} {
		id := fmt.Sprintf("7343.%d", time.Now().UnixNano()%1e9)
		a.run(hidden(id))
		eventually(t, "the hidden one runs", func() bool { return alive(id) })
		began, result := a.background("echo on; exec sleep 1000")
		<-began
		a.run(bomb)
		eventually(t, "the bomb has used up the processes", func() bool { return processes() > limit/3 })
		st := a.app(wire.AppRequest{Action: action, Spec: spec})
		eventually(t, "the app runs anew", func() bool {
			st = ask[wire.State](a, "GET", wire.PathState, nil)
			return st.PID != 0 && st.PID != before.PID
		})
		if st.Restarts != 0 {
			t.Errorf("%s: the app needed more than one start: %+v", action, st)
		}
		before = st
		if alive(id) {
			t.Errorf("%s: the hidden one is left", action)
		}
		if n := processes(); n != 2 {
			t.Errorf("%s: %d processes are left, and not the agent and the app: %s", action, n, a.run("ps -ef || cat /proc/[0-9]*/stat").stdout)
		}
		if err := <-result; !isFault(err, wire.FaultEnded) {
			t.Errorf("%s: the command that ran got %v", action, err)
		}
	}
}

// unbounded says so when the limit of processes does not hold. Nothing that it
// starts lives longer than two seconds.
const unbounded = "n=0; while [ $n -lt 150 ]; do n=$((n+1)); sleep 2 & done; echo unbounded"
