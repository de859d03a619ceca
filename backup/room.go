package backup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// roomOn is how many bytes may still be written to the disk that dir is on.
func roomOn(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("how much room is on the disk of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
