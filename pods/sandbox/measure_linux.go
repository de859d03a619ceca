//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"podgate/pods/wire"
)

// maxDepth is how many folders deep a home is measured.
const maxDepth = 256

var errTooDeep = errors.New("folders are too deep to be measured")

// inode tells files with several names apart.
type inode struct{ device, number uint64 }

// measure adds up a tree that somebody hostile changes meanwhile. It follows
// no link, opens nothing but folders, and does not leave the file system.
type measure struct {
	bytes  int64
	device uint64
	linked map[inode]bool
}

// measureTree is what the tree at path takes on disk, in bytes, and on which
// device.
func measureTree(path string) (bytes int64, device uint64, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, 0, err
	}
	m := &measure{device: st.Dev, linked: map[inode]bool{}}
	err = m.folder(dir, maxDepth)
	return m.bytes, m.device, err
}

func (m *measure) folder(dir *os.File, depth int) error {
	if depth == 0 {
		return errTooDeep
	}
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if err := m.entry(dir, name, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (m *measure) entry(dir *os.File, name string, depth int) error {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != m.device {
		return nil // gone since
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if m.linked[inode{st.Dev, st.Ino}] {
			return nil
		}
		m.linked[inode{st.Dev, st.Ino}] = true
	}
	m.bytes += max(st.Blocks*512, wire.LeastFile)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // gone, exchanged, or shut even for its owner, who then cannot fill it either
	}
	child := os.NewFile(uintptr(fd), name)
	defer child.Close()
	return m.folder(child, depth-1)
}
