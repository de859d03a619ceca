package sandbox

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/wire"
)

// diskFloor is how much of the disk that homes are on pods must leave, in bytes.
// It is far more than podgate itself writes in the time that it takes to notice.
const diskFloor = 64 << 20

// diskLeft is what a file system has left for an ordinary user.
type diskLeft struct {
	bytes int64
	files int64 // how many more can be made; -1 where the file system does not limit that
}

func leftOn(path string) (diskLeft, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return diskLeft{}, err
	}
	left := diskLeft{bytes: int64(min(uint64(st.Bavail)*uint64(st.Bsize), math.MaxInt64)), files: -1}
	if st.Files > 0 {
		left.files = int64(min(st.Ffree, math.MaxInt64))
	}
	return left, nil
}

// low reports whether pods may not write any more.
func (l diskLeft) low() bool {
	return l.bytes < diskFloor || l.files >= 0 && l.files < diskFloor/wire.LeastFile
}

// room is both as one number, which becomes less with each file and each byte.
func (l diskLeft) room() int64 {
	return min(l.bytes, math.MaxInt64/2) + min(max(0, l.files), math.MaxInt64/4/wire.LeastFile)*wire.LeastFile
}

// DiskLeft is how much more an ordinary user may write to the file system that
// path is on, in bytes.
func DiskLeft(path string) (int64, error) {
	left, err := leftOn(path)
	return left.bytes, err
}

// diskLow refuses a new pod where pods may not write any more.
func diskLow(dir string) error {
	if left, err := leftOn(dir); err != nil || !left.low() {
		return err
	}
	return &pods.UnavailableError{
		Reason: fmt.Sprintf("The disk that pods are on has less than %d MiB left, or no room for more files", diskFloor>>20),
		Fix:    "Make room on it, by deleting pods or files in them for example.",
	}
}
