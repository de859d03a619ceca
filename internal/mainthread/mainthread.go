// Package mainthread runs functions on the first thread of the process, which lives as
// long as the process does.
//
// The signal that a child gets when its parent dies is tied to the thread that started
// it. Of all threads only the one that executes another program survives that, and it is
// the first thread of the new program. So children that are to outlive it are started,
// and the next program is executed, on the first thread and nowhere else.
package mainthread

import (
	"runtime"
	"sync/atomic"
)

// The goroutine of main stays on the first thread.
func init() { runtime.LockOSThread() }

var (
	orders  = make(chan func())
	serving atomic.Bool
)

// Run runs program beside the first thread, which does what [Do] wants meanwhile, and
// returns what program does. It is for main, once.
func Run(program func() int) int {
	code := make(chan int, 1)
	serving.Store(true)
	go func() { code <- program() }()
	for {
		select {
		case f := <-orders:
			f()
		case c := <-code:
			return c
		}
	}
}

// Serves reports whether there is a first thread for [Do], which there is not in tests.
func Serves() bool { return serving.Load() }

// Do runs f on the first thread and returns when it has returned. [Serves] must be true.
func Do(f func()) {
	done := make(chan struct{})
	orders <- func() {
		defer close(done)
		f()
	}
	<-done
}
