//go:build linux && (amd64 || arm64)

package sandbox

import "testing"

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const (
		v2 = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		v1 = "33 1 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	)
	for name, c := range map[string]struct {
		mounts, own string
		files       map[string]string
		want        int64
	}{
		"own group":             {v2, "0::/a/b", map[string]string{"/sys/fs/cgroup/a/b/memory.max": "134217728"}, 128 << 20},
		"a group above":         {v2, "0::/a/b", map[string]string{"/sys/fs/cgroup/a/memory.max": "67108864", "/sys/fs/cgroup/a/b/memory.max": "134217728"}, 64 << 20},
		"none":                  {v2, "0::/a", map[string]string{"/sys/fs/cgroup/a/memory.max": "max"}, 0},
		"a container's":         {v2, "0::/", map[string]string{"/sys/fs/cgroup/memory.max": "1000000000"}, 1e9},
		"outside the namespace": {v2, "0::/../x", map[string]string{"/sys/fs/cgroup/memory.max": "1000000000"}, 0},
		"version 1":             {v1, "4:memory:/x\n0::/", map[string]string{"/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "134217728", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 128 << 20},
		"version 1, none":       {v1, "4:memory:/", map[string]string{"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 0},
		"no groups":             {"", "", nil, 0},
	} {
		files := map[string]string{"/proc/self/mountinfo": c.mounts, "/proc/self/cgroup": c.own}
		for path, text := range c.files {
			files[path] = text
		}
		if got := memoryLimit(&fakeFS{files: files}); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
