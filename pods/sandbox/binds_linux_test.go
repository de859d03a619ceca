//go:build linux && (amd64 || arm64)

package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodBinds shows a pod one folder of every kind that CheckBind allows and
// this machine has, and looks at the pod from inside.
func TestPodBinds(t *testing.T) {
	t.Parallel()
	kinds := []string{"/opt", "/srv", "/mnt", "/media", "/etc/default", "/etc/apt", "/var/cache", "/var/www", "/var/lib/dpkg", "/var/lib/misc", t.TempDir()}
	var binds []string
	for _, path := range kinds {
		if _, err := os.Stat(path); err == nil {
			binds = append(binds, path)
		}
		if err := CheckBind(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	r := open(t, Config{Binds: append(binds, filepath.Join(t.TempDir(), "absent"))})
	start(t, r, "a", limits)
	for _, path := range binds {
		got := command(t, r, "a", "awk '$5 == \""+path+"\" {print $6}' /proc/self/mountinfo")
		if !strings.HasPrefix(got.stdout, "ro,nosuid,nodev") {
			t.Errorf("%s is bound as %q, %s", path, got.stdout, got.stderr)
		}
	}
	got := command(t, r, "a", "echo kept > file && cat file && id -un && hostname && ls -A /var/log/pod | wc -l && touch /tmp/x /var/tmp/x && head -c 1 /dev/zero | wc -c && test ! -e /etc/shadow")
	if want := "kept\npod\na\n0\n1\n"; got.stdout != want || got.code != 0 {
		t.Errorf("beside the binds: %+v, want %q", got, want)
	}
}

func TestBindsOfRuntime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, bad := range []string{"/etc", "opt", dir, filepath.Dir(dir), filepath.Join(dir, "x", "home")} {
		if err := (Config{Dir: dir, LimitsMode: LimitsAuto, Binds: []string{"/opt", bad}}).check(); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestMadeInEtc compares the list that CheckBind knows with what is made.
func TestMadeInEtc(t *testing.T) {
	t.Parallel()
	for name := range generated(spec{Hostname: "a"}) {
		if CheckBind("/etc/"+name) == nil {
			t.Errorf("/etc/%s is made for a pod and can be bound", name)
		}
	}
}
