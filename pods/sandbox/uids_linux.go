//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// uidPool gives every pod a host uid of its own, remembered in the pod's
// folder, so that pods are strangers to each other for the kernel as well.
type uidPool struct {
	first, count int
	mu           sync.Mutex
	used         map[int]string // pod's folder by uid
	next         int            // offset at which to look first
}

const uidFile = "uid"

// newUIDPool reads which uids the pods below dir have. Where to begin depends
// on dir, so that two servers of one machine hardly ever meet.
func newUIDPool(dir string, first, count int) (*uidPool, error) {
	h := fnv.New32a()
	h.Write([]byte(dir))
	p := &uidPool{first: first, count: count, used: map[int]string{}, next: int(h.Sum32()) % count}
	if p.next < 0 {
		p.next += count
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		folder := filepath.Join(dir, e.Name())
		uid, err := readUID(folder)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if other := p.used[uid]; other != "" {
			return nil, fmt.Errorf("the pods in %s and %s have the same host uid %d: delete the file %q of one of them", other, folder, uid, uidFile)
		}
		p.used[uid] = folder
	}
	return p, nil
}

func readUID(folder string) (int, error) {
	path := filepath.Join(folder, uidFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	uid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || uid <= 0 {
		return 0, fmt.Errorf("%s does not hold a uid: delete it, and the pod gets a new one", path)
	}
	return uid, nil
}

// of is the uid of the pod in folder; a pod without one gets it.
func (p *uidPool) of(folder string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uid, err := readUID(folder)
	if err == nil {
		if other := p.used[uid]; other != "" && other != folder {
			return 0, fmt.Errorf("the pods in %s and %s have the same host uid: delete the file %q of one of them", other, folder, uidFile)
		}
		p.used[uid] = folder
		return uid, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	for range p.count {
		uid := p.first + p.next
		p.next = (p.next + 1) % p.count
		if p.used[uid] != "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, uidFile), []byte(strconv.Itoa(uid)+"\n"), 0o600); err != nil {
			return 0, err
		}
		p.used[uid] = folder
		return uid, nil
	}
	return 0, fmt.Errorf("all %d host uids for pods are in use", p.count)
}

// free gives back the uid of the pod in folder, whose files are gone.
func (p *uidPool) free(folder string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, f := range p.used {
		if f == folder {
			delete(p.used, uid)
		}
	}
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
