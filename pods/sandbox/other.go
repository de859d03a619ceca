//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"context"
	"net"
	"runtime"

	"podgate/pods"
	"podgate/store"
)

// Dispatch returns at once: this system has no pods.
func Dispatch() {}

// Runtime cannot be had on this system: Open never returns one.
type Runtime struct{}

// Open says that this system cannot run pods.
func Open(context.Context, Config) (*Runtime, error) { return nil, unavailable() }

func unavailable() error {
	d := diagnose("", 0, facts{OS: runtime.GOOS, Arch: runtime.GOARCH})
	return &pods.UnavailableError{Reason: d.reason, Fix: d.fix}
}

func (*Runtime) Start(context.Context, store.Pod, pods.Limits) error { return unavailable() }

func (*Runtime) Dial(context.Context, store.PodID) (net.Conn, error) { return nil, unavailable() }

func (*Runtime) Stop(context.Context, store.PodID) error { return unavailable() }

func (*Runtime) Remove(context.Context, store.PodID) error { return unavailable() }

func (*Runtime) List(context.Context) ([]pods.Status, error) { return nil, unavailable() }

func (*Runtime) Close() error { return nil }
