//go:build !linux

package images

import (
	"os"
	"syscall"
)

// syncAll asks the disk to write everything.
func syncAll(*os.File) error { return syscall.Sync() }
