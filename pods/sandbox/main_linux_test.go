//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/agent"
	"podgate/pods/wire"
	"podgate/store"
)

func TestMain(m *testing.M) {
	agent.Dispatch()
	Dispatch()
	if len(os.Args) > 1 && os.Args[1] == attackRole {
		attackMain(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == fillRole {
		fillMain(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// unprivilegedMark is set in the process that runs the tests of pods once more
// as an ordinary user.
const unprivilegedMark = "PODGATE_TEST_UNPRIVILEGED"

// withoutGroups are the tests that say most where no cgroup counts, as it is for an
// ordinary user; of these TestPodBuffersAreBounded runs nowhere else.
var withoutGroups = []string{
	"TestPodSuite", "TestPodSuiteReopened", "TestPodHolds", "TestPodEnforced", "TestPodReserves", "TestPodMemoryFills", "TestPodScratchFills",
	"TestPodBuffersAreBounded", "TestPodDiskFills", "TestPodSharedMemory", "TestPodNetworkAttacks", "TestPodNetworkFloods",
}

// TestUnprivileged runs all tests of pods as an ordinary user, in the mode without
// cgroups.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	const uid = 65534
	dir, err := os.MkdirTemp("/tmp", "podgate-unprivileged-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), copySelf(filepath.Join(dir, "sandbox.test")), os.Mkdir(filepath.Join(dir, "tmp"), 0o700), os.Chown(filepath.Join(dir, "tmp"), uid, uid)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "sandbox.test"), "-test.run=^TestPod", "-test.v", "-test.timeout=10m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), unprivilegedMark+"=1", "TMPDIR="+filepath.Join(dir, "tmp"), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "SKIP") || strings.Contains(line, "skipped:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if bytes.Contains(out, []byte("--- SKIP: TestPodSuite/")) {
		return // there are no pods here
	}
	for _, name := range withoutGroups {
		if !bytes.Contains(out, []byte("--- PASS: "+name+" (")) {
			t.Errorf("%s did not pass", name)
		}
	}
}

// copySelf leaves the writing to another process. Had this one the file open,
// so would any that a test beside this one starts at that moment, and a file
// that is open for writing cannot be executed.
func copySelf(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out, err := exec.Command("cp", self, path).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return os.Chmod(path, 0o755)
}

// open is a runtime for one test. Where the kernel refuses, the test is
// skipped, or fails when PODGATE_REQUIRE names the sandbox.
func open(t testing.TB, cfg Config) *Runtime {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	r, err := Open(t.Context(), cfg)
	var unavailable *pods.UnavailableError
	if errors.As(err, &unavailable) {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox") {
			t.Fatalf("required: %v (%v)", err, unavailable.Err)
		}
		t.Skipf("skipped: %v (%v)", err, unavailable.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// limits are wide enough for a test binary with the race detector.
var limits = pods.Limits{Memory: 512 << 20, CPUs: 1, Disk: 1 << 30, Processes: 100}

// quiet is a Start that nobody listens to.
func quiet(string) {}

func start(t testing.TB, r *Runtime, id store.PodID, l pods.Limits) {
	t.Helper()
	if err := r.Start(t.Context(), pods.Spec{ID: id, Name: strings.ToLower(string(id)), Limits: l}, quiet); err != nil {
		t.Fatal(err)
	}
}

// result is what a command in a pod gave.
type result struct {
	stdout, stderr string
	code           int
}

// command runs a shell command in a pod through its agent.
func command(t testing.TB, r *Runtime, id store.PodID, line string) result {
	t.Helper()
	res, err := tryCommand(t.Context(), r, id, line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return res
}

func tryCommand(ctx context.Context, r *Runtime, id store.PodID, line string) (result, error) {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return r.Dial(ctx, id) },
		DisableKeepAlives: true,
	}
	body, err := json.Marshal(wire.ExecRequest{Command: line, Dir: home, TimeoutMillis: 30000, MaxOutput: 1 << 20})
	if err != nil {
		return result{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://pod"+wire.PathExec, bytes.NewReader(body))
	if err != nil {
		return result{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return result{}, err
	}
	defer response.Body.Close()
	return readEvents(response.Body)
}

func readEvents(r io.Reader) (res result, err error) {
	var stdout, stderr strings.Builder
	for d := json.NewDecoder(r); ; {
		var e wire.Event
		if err := d.Decode(&e); err != nil {
			return result{}, err
		}
		switch {
		case e.Exit != nil:
			return result{stdout.String(), stderr.String(), e.Exit.Code}, nil
		case e.Fault != nil:
			return result{}, e.Fault
		case e.Stream == "stdout":
			stdout.Write(e.Data)
		case e.Stream == "stderr":
			stderr.Write(e.Data)
		}
	}
}

// eventually waits until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
