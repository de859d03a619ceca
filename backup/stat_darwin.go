package backup

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// facts is what tells one state of a file from another.
type facts struct {
	inode   uint64
	changed int64 // ctime in ns since 1970
	links   uint64
	blocks  int64 // bytes on the disk
}

func factsOf(info fs.FileInfo) facts {
	st := info.Sys().(*syscall.Stat_t) // an os.FileInfo of a Unix has one
	return facts{st.Ino, st.Ctimespec.Nano(), uint64(st.Nlink), st.Blocks * 512}
}

// syncAround writes what is waiting to the disk.
func syncAround(*os.File) error { return unix.Sync() }

func nameless(dir string) (*os.File, error) { return unnamed(dir) }

// The words of lseek for files with holes.
const seekHole, seekData = 3, 4
