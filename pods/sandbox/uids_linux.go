//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"hash/fnv"
	"os"
	"strings"
)

// hostID is the uid and gid of a pod on the host. As root every pod has its own,
// by its number, so that pods are strangers to each other for the kernel as well.
// Where they begin depends on Dir, so that two servers of one machine hardly ever
// meet.
func (r *Runtime) hostID(number int) (int, error) {
	if !r.root {
		return os.Geteuid(), nil
	}
	if number < 0 || number >= r.cfg.UIDs {
		return 0, fmt.Errorf("all %d host uids for pods are in use", r.cfg.UIDs)
	}
	h := fnv.New32a()
	h.Write([]byte(r.cfg.Dir))
	begin := int64(h.Sum32()) % int64(r.cfg.UIDs)
	return r.cfg.FirstUID + int((begin+int64(number))%int64(r.cfg.UIDs)), nil
}

// mappedIDs says whether the ids first to first+count-1 exist in the user
// namespace whose uid_map is given.
func mappedIDs(uidMap string, first, count int) bool {
	for line := range strings.Lines(uidMap) {
		var inside, outside, n int
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err == nil && inside <= first && first+count <= inside+n {
			return true
		}
	}
	return false
}
