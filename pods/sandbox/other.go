//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"context"
	"runtime"

	"podgate/pods"
)

// Dispatch returns at once: this system has no pods.
func Dispatch() {}

// MemoryLimit is 0: nothing here says what this process may have.
func MemoryLimit() int64 { return 0 }

// Runtime cannot be had on this system: Open never returns one.
type Runtime struct{ pods.Runtime }

// Open says that this system cannot run pods.
func Open(context.Context, Config) (*Runtime, error) { return nil, unavailable() }

func unavailable() error {
	d := diagnose("", 0, facts{OS: runtime.GOOS, Arch: runtime.GOARCH})
	return &pods.UnavailableError{Reason: d.reason, Fix: d.fix}
}
