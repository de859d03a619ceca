package images

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncAll waits until the disk has everything that was written to the file system of a
// folder: one call, where there may be a hundred thousand files.
func syncAll(folder *os.File) error { return unix.Syncfs(int(folder.Fd())) }
