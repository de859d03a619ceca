//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"podgate/pods"
)

// This file fills what a pod may use by ways that no single limit of the kernel
// counts. The test binary runs inside a pod, as in attack_linux_test.go.

const fillRole = "fill"

// fills are ways to fill; each goes on until it cannot, or until it has taken
// fillMost bytes, or as many files as fit into them, which is far beyond every
// limit of the tests.
var fills = map[string]func() error{
	"blocks": func() error { return fillFiles(fallocate) },
	"pages":  func() error { return fillFiles(mapPages) },
	"unlinked": func() error {
		return fillFiles(func(f *os.File) error {
			kept = append(kept, f)
			if err := os.Remove(f.Name()); err != nil {
				return err
			}
			_, err := f.Write(make([]byte, fillStep))
			return err
		})
	},
	"files": func() error {
		return fillMany(fillMost/4096, func(i int) error {
			f, err := os.Create(fmt.Sprintf("f%d", i))
			if err != nil {
				return err
			}
			return f.Close()
		})
	},
}

var kept []*os.File // by unlinked

const (
	fillMost = 4 << 30
	fillStep = 4 << 20
)

func fillMain(args []string) {
	if err := fills[args[0]](); err != nil {
		fmt.Println("refused:", err)
		return
	}
	fmt.Println("filled")
}

func fillMany(n int, step func(i int) error) error {
	for i := range n {
		if err := step(i); err != nil {
			return err
		}
	}
	return nil
}

func fillFiles(fill func(f *os.File) error) error {
	return fillMany(fillMost/fillStep, func(i int) error {
		f, err := os.Create(fmt.Sprintf("f%d", i))
		if err != nil {
			return err
		}
		if err := fill(f); err != nil || slices.Contains(kept, f) {
			return err
		}
		return f.Close()
	})
}

func fallocate(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 0, fillStep) }

// mapPages writes without a call that writes.
func mapPages(f *os.File) error {
	if err := f.Truncate(fillStep); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, fillStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return unix.Munmap(b)
}

// filler is a runtime whose pods have the test binary, by the way that it returns.
func filler(t *testing.T) (r *Runtime, program string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(bin, "fill")
	if err := copySelf(program); err != nil {
		t.Fatal(err)
	}
	return open(t, Config{Binds: []string{bin}}), program
}

// Whichever way a pod's home is filled, it ends soon after the limit, and says why;
// what makes room goes on.
func TestPodDiskFills(t *testing.T) {
	t.Parallel()
	const most = 64 << 20
	for name := range fills {
		t.Run(name, func(t *testing.T) {
			r, program := filler(t)
			start(t, r, "a", pods.Limits{Memory: limits.Memory, CPUs: 2, Disk: most, Processes: 100})
			got := command(t, r, "a", fmt.Sprintf("mkdir -p full; cd full; %s %s %s", program, fillRole, name))
			if strings.Contains(got.stdout, "filled") {
				t.Errorf("nothing stopped it: %+v", got)
			}
			used, _, err := measureTree(filepath.Join(r.folder("a"), "home"))
			if err != nil || used > 4*most {
				t.Errorf("%d MiB of %d are used, %v", used>>20, most>>20, err)
			}
			kills := statusOf(t, r, "a").Kills
			if refused := strings.Contains(got.stdout, "refused"); !refused && (len(kills) == 0 || !strings.HasPrefix(kills[0].Reason, "disk full")) {
				t.Errorf("the reasons: %+v, the filler %+v", kills, got)
			}
			if got := command(t, r, "a", "rm -r full; echo rid"); got.stdout != "rid\n" {
				t.Errorf("cleaning up: %+v", got)
			}
		})
	}
}
