//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"podgate/pods/agent"
	"podgate/pods/sandbox/seccomp"
)

// runStage2 is the agent as the pod's first process. It ends with its
// lifeline, and the kernel ends the pod with it.
func runStage2() {
	if err := stage2(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func stage2() error {
	// First of all: until here nothing else runs in the pod, and from here on
	// nothing in it can look into this process or take its descriptors.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if len(os.Args) != 2 {
		return errors.New("this is started by podgate itself, not by hand")
	}
	var s agentSpec
	if err := json.Unmarshal([]byte(os.Args[1]), &s); err != nil {
		return fmt.Errorf("what the pod was started with: %w", err)
	}
	unix.CloseOnExec(s.Control)
	unix.CloseOnExec(s.Logs)
	if s.Data > 0 {
		if err := setRlimit(rlimit{unix.RLIMIT_DATA, s.Data}); err != nil {
			return err
		}
	}
	children, err := seccomp.Children(runtime.GOARCH)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := newListener(os.NewFile(uintptr(s.Control), "control"), cancel)
	if err != nil {
		return err
	}
	logs := fmt.Sprintf("/proc/self/fd/%d", s.Logs) // which nothing else in the pod can open
	err = agent.Serve(ctx, agent.Config{Home: home, LogDir: logs, Environ: environ(), Init: true, Confine: children.Install, ErrorLog: os.Stderr}, l)
	if ctx.Err() != nil {
		return nil // the server let go
	}
	return err
}

// environ is what every process of the pod starts with, beside what the agent
// itself adds.
func environ() []string {
	return []string{"PATH=" + home + "/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + goDir}
}
