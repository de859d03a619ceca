package agent

import (
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"podgate/pods/wire"
)

const (
	diskPause   = 5 * time.Second // between two walks, at least
	diskFirst   = 2 * time.Second // that the first caller waits for the first walk
	maxHardLink = 1 << 16         // inodes with several names that a walk remembers
)

// serveUsage is GET /v1/usage.
func (a *agent) serveUsage(w http.ResponseWriter, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	var u wire.Usage
	u.Memory, u.CPU, u.Processes = a.procs.measure()
	u.Disk = a.disk.use(r.Context())
	writeJSON(w, http.StatusOK, u)
	return nil
}

// diskMeter measures a folder in the background, when someone asks and the
// last figure is old. A walk that took long is repeated less often.
type diskMeter struct {
	dir string
	ctx context.Context // ends a walk

	mu      sync.Mutex
	bytes   int64
	next    time.Time     // no walk before
	walking chan struct{} // closed when the walk under way is over; nil when none is
	known   bool
	walks   sync.WaitGroup
}

func (m *diskMeter) use(ctx context.Context) int64 {
	m.mu.Lock()
	if m.walking == nil && !time.Now().Before(m.next) && m.ctx.Err() == nil {
		m.walking = make(chan struct{})
		m.walks.Go(m.walk)
	}
	known, walking := m.known, m.walking
	m.mu.Unlock()
	if !known && walking != nil {
		t := time.NewTimer(diskFirst)
		defer t.Stop()
		select {
		case <-walking:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

func (m *diskMeter) walk() {
	began := time.Now()
	n := measureDir(m.ctx, m.dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes, m.known = n, true
	m.next = time.Now().Add(max(diskPause, 10*time.Since(began)))
	close(m.walking)
	m.walking = nil
}

// measureDir sums what the entries below dir take on the disk. Links are
// counted, not followed, and a file with several names counts once.
func measureDir(ctx context.Context, dir string) int64 {
	var total int64
	seen := map[uint64]struct{}{}
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		n, inode, links := diskUse(info.Size(), info.Sys())
		if links > 1 && !d.IsDir() {
			if _, ok := seen[inode]; ok {
				return nil
			}
			if len(seen) < maxHardLink {
				seen[inode] = struct{}{}
			}
		}
		total += n
		return nil
	})
	return total
}
