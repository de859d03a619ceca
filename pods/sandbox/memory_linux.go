//go:build linux && (amd64 || arm64)

package sandbox

import (
	"path/filepath"
	"strconv"
)

// MemoryLimit is what the kernel lets this process and its pods have together,
// in bytes: the least of the limits of its groups. 0 when there is none.
func MemoryLimit() int64 { return memoryLimit(kernelFS{}) }

// memoryLimit goes from the process's own group to the top, since each group is
// held to the limits of those above it.
func memoryLimit(fs cgroupFS) (least int64) {
	mounts, err := cgroupMounts(fs)
	if err != nil {
		return 0
	}
	own, err := ownCgroups(fs)
	if err != nil {
		return 0
	}
	for controller, file := range map[string]string{"": "memory.max", "memory": "memory.limit_in_bytes"} {
		dir, err := mounts[controller].dir(own[controller])
		if err != nil {
			continue
		}
		for top := mounts[controller].point; ; dir = filepath.Dir(dir) {
			text, _ := fs.read(filepath.Join(dir, file)) // the top group of version 2 has none
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 && n < noLimit && (least == 0 || n < least) {
				least = n
			}
			if dir == top {
				break
			}
		}
	}
	return least
}

// noLimit is less than what version 1 says for none (PAGE_COUNTER_MAX), and more
// than any machine has. Version 2 says «max», which is no number.
const noLimit = 1 << 60
