package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A signal that came before nobody is to hear one any more is not lost, however late.
func TestLateSignalsAreHeard(t *testing.T) {
	runtime.LockOSThread() // to which it is sent, so that it has come when that returns
	defer runtime.UnlockOSThread()
	for n := range 500 {
		ctx, deafen := untilAsked()
		sent := n%5 > 0
		if sent {
			if err := unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // it can be asked again
			if deafen() != sent || (ctx.Err() != nil) != sent {
				t.Fatalf("signal %d was lost, or was none: it was sent: %v", n, sent)
			}
		}
	}
}

// A server that is asked to stop at whatever moment of an upgrade stops, in whichever
// program it is.
func TestStopWhileUpgrading(t *testing.T) {
	t.Parallel()
	s := startUpgradable(t, filepath.Join(t.TempDir(), "data"))
	program := s.program
	for i := range 12 {
		go func() { _, _, _ = s.command("upgrade") }() // it may fail, as its server ends
		log := s.Log
		eventually(t, func() bool { return strings.Contains(log.String(), "another program takes over") })
		time.Sleep(rand.N(400 * time.Millisecond)) // the moment
		if err := s.proc.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, s.exited)
		// Where a program does not hear signals yet, or no more, they end it as always.
		if code := *s.ended; code != exitDone && code != -1 {
			t.Fatalf("round %d: code %d\n%s", i, code, s.Log)
		}
		if code, out, errs := s.command("check"); code != exitDone {
			t.Fatalf("round %d: %s%s", i, out, errs)
		}
		next := newTestServer(t, s.DataDir)
		next.program = program
		next.launch(testEnv(), next.Stdout, next.Log, next.args(nil))
		next.waitReady()
		s = next
	}
}
