// Package clocktest has readings of a clock that somebody sets, which cannot be had
// from package time: the wall clock steps and the monotonic clock goes on.
package clocktest

import (
	"time"
	"unsafe"
)

// Stepped is the reading of a clock that elapsed after the one that t is of, when
// the wall clock was set by whole seconds meanwhile, back if that is negative. t has
// a monotonic reading, as time.Now gives it.
func Stepped(t time.Time, elapsed time.Duration, seconds int64) time.Time {
	later := t.Add(elapsed)
	*(*uint64)(unsafe.Pointer(&later)) += uint64(seconds) << 30 // package time has nanoseconds in the 30 bits below
	return later
}
