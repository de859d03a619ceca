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
	return facts{st.Ino, st.Ctim.Nano(), uint64(st.Nlink), st.Blocks * 512}
}

// syncAround writes what is waiting for the file system of dir to the disk. After
// it, the first write to a mapped page changes the file's ctime again.
func syncAround(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }

// nameless makes a file that never has a name, where the file system can.
func nameless(dir string) (*os.File, error) {
	if f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600); err == nil {
		return f, nil
	}
	return unnamed(dir)
}

// The words of lseek for files with holes.
const seekData, seekHole = unix.SEEK_DATA, unix.SEEK_HOLE
