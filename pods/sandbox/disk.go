package sandbox

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"podgate/pods"
)

// diskFloor is how much of the disk that homes are on pods must leave, in bytes.
// It is far more than podgate itself writes in the time that it takes to notice.
const diskFloor = 64 << 20

// DiskLeft is how much more an ordinary user may write to the file system that
// path is on, in bytes.
func DiskLeft(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(min(uint64(st.Bavail)*uint64(st.Bsize), math.MaxInt64)), nil
}

// diskLow refuses a new pod where pods may not write any more.
func diskLow(dir string) error {
	if left, err := DiskLeft(dir); err != nil || left >= diskFloor {
		return err
	}
	return &pods.UnavailableError{
		Reason: fmt.Sprintf("The disk that pods are on has less than %d MiB left", diskFloor>>20),
		Fix:    "Make room on it, by deleting pods or files in them for example.",
	}
}
