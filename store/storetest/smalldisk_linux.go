package storetest

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// diskEnv tells the test binary that it is the process that OnSmallDisk or OnDisk
// started.
const diskEnv = "PODGATE_TEST_DISK"

// OnSmallDisk runs the rest of a test with a folder on a disk of its own, of so
// many bytes. That is a tmpfs, which the test binary mounts in a mount namespace
// of its own, so nobody else sees it and nothing is left. It needs root.
func OnSmallDisk(t *testing.T, bytes string, rest func(dir string)) {
	t.Helper()
	if os.Getenv(diskEnv) == "" {
		runInNamespace(t)
		return
	}
	dir := t.TempDir()
	// What is mounted here must not reach the namespace that this one was made of.
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err := errors.Join(err, syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	rest(dir)
}

func runInNamespace(t *testing.T) {
	t.Helper()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=3m"}
	if end, ok := t.Deadline(); ok {
		args[2] = "-test.timeout=" + time.Until(end).String()
	}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), diskEnv+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox") {
			t.Fatalf("required: a small disk can only be mounted by root: %v", err)
		}
		t.Skipf("skipped: a small disk can only be mounted by root: %v", err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("on a disk of its own: %v\n%s", err, out)
	}
}

// FillDisk writes to a file until the disk that it is on has no room left. To
// remove the file makes room again.
func FillDisk(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for part := make([]byte, size); ; {
			if _, err := f.Write(part); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
