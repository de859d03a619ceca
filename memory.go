package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
)

// leastMemory is what the server itself needs: at 96 MiB the kernel has ended it
// at the first sign-in.
const leastMemory = 128 << 20

// smallMemory is the limit below which passwords are checked one at a time. Two
// at once, and what the collector has not taken away yet of those before, have
// brought a server to some 170 MiB; one, to some 105.
const smallMemory = 256 << 20

// hashesAtOnce is how many passwords are checked at once under a memory limit in
// bytes; 0 stands for no limit, and for the default.
func hashesAtOnce(limit int64) int {
	if limit > 0 && limit < smallMemory {
		return 1
	}
	return 0
}

// memoryWarning says that a memory limit in bytes is too small; "" when it is not.
func memoryWarning(limit int64) string {
	if limit <= 0 || limit >= leastMemory {
		return ""
	}
	return fmt.Sprintf("this process may have %d MiB of memory, and podgate itself needs %d MiB, pods not counted; the system may end it at a sign-in: raise the limit (MemoryMax in systemd, --memory of a container)", limit>>20, leastMemory>>20)
}

// programMemory is what the program's own file takes of a limit while it runs.
const programMemory = 64 << 20

// collectAt is how much of a memory limit Go's heap may take.
func collectAt(limit int64) int64 { return max(min(limit/4*3, limit-programMemory), limit/4) }

// heedMemory has the collector keep away from a memory limit in bytes, and run less often
// where there is no small one, unless the environment already says how it should. What pods
// take of the same limit nobody knows, so this is no promise.
func heedMemory(limit int64) {
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(collectAt(limit))
	}
	if roomy(limit, os.Getenv("GOGC")+os.Getenv("GOMEMLIMIT")) {
		spare()
	}
}

// A small server has a heap of some MiB, and the collector, which waits for it to double,
// would run many times a second under load. This much more counts as heap, so it waits for
// twice that in addition. Nobody writes there, so it takes no memory; and unlike a higher
// GOGC it does not let the heap of a large server grow to a multiple.
const (
	spareMemory = 16 << 20
	roomyMemory = 512 << 20 // the least limit in bytes under which there is room for it
)

// roomy says whether there is room for it. asked is what the environment wants.
func roomy(limit int64, asked string) bool {
	return asked == "" && (limit == 0 || limit >= roomyMemory)
}

var spare = sync.OnceValue(func() []byte { return make([]byte, spareMemory) })
