package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// share has a new file share what another holds, until one of them changes. It reports
// whether the file system could, and does not ask it twice.
func (u *unpacker) share(to, from *os.File) bool {
	u.apart = u.apart || unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) != nil
	return !u.apart
}
