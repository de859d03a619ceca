package copies_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Where the file system can, a copy shares what it holds, and what changes afterwards is
// its own.
func TestCopiesShare(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("mkfs.btrfs")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("a file system that shares cannot be made here: it needs root and mkfs.btrfs")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	must(t, os.Mkdir(at, 0o700))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 256<<20))
	if out, err := exec.CommandContext(t.Context(), program, "-q", image).CombinedOutput(); err != nil {
		t.Skipf("skipped: %v: %s", err, out)
	}
	exe, err := os.Executable()
	must(t, err)
	// The mount is gone with the processes of its namespace.
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount -o loop "$1" "$2" || exit 77; exec "$3" share`, "sh", image, at, exe)
	cmd.Env = append(os.Environ(), "PODGATE_TEST_VICTIM="+at)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("skipped: the file system cannot be mounted here: %s", out)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

const shared = 32 << 20

// shares takes a snapshot of a large file and looks what that costs.
func shares(dir string) error {
	top := filepath.Join(dir, "a", "home")
	content := make([]byte, shared)
	if _, err := rand.Read(content); err != nil {
		return err
	}
	file, copied := filepath.Join(top, "large"), filepath.Join(dir, ".snapshots/a/one/home/large")
	if err := errors.Join(os.MkdirAll(top, 0o700), os.WriteFile(file, content, 0o600)); err != nil {
		return err
	}
	before, err := free(dir)
	if err != nil {
		return err
	}
	if _, err := newShelf(dir).Snapshot(context.Background(), "a", "one", large, nil); err != nil {
		return err
	}
	after, err := free(dir)
	if err != nil {
		return err
	}
	if before-after > shared/4 {
		return fmt.Errorf("a copy of %d bytes takes %d on the disk", shared, before-after)
	}
	if err := os.WriteFile(file, []byte("other"), 0o600); err != nil {
		return err
	}
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("the copy changed with the file: %d bytes, %w", len(got), err)
	}
	return nil
}

// free is how many bytes there are on the disk of dir, once all is written.
func free(dir string) (int64, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	var st unix.Statfs_t
	err = errors.Join(unix.Syncfs(int(f.Fd())), unix.Fstatfs(int(f.Fd()), &st), f.Close())
	return int64(st.Bfree) * st.Bsize, err
}
