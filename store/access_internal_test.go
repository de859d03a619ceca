package store

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

func entry(n int, grant GrantID) (Hash, *Access) {
	h := HashSecret(fmt.Sprint(n))
	return h, &Access{Token: Token{Hash: h}, Grant: Grant{ID: grant}}
}

// What was read before something was retired is not remembered after it: it may be what
// was retired.
func TestLateReadersRememberNothing(t *testing.T) {
	t.Parallel()
	for name, retire := range map[string]func(*accessCache){
		"its token":   func(c *accessCache) { h, _ := entry(1, ""); c.retireToken(h[:]) },
		"its grant":   func(c *accessCache) { c.retireGrant([]byte("g")) },
		"all":         func(c *accessCache) { c.retireAll(nil) },
		"another one": func(c *accessCache) { c.retireGrant([]byte("other")) },
	} {
		var c accessCache
		h, a := entry(1, "g")
		_, retired := c.get(h)
		retire(&c)
		c.put(h, a, retired)
		if got, _ := c.get(h); got != nil {
			t.Errorf("%s: it is remembered", name)
		}
		_, retired = c.get(h)
		c.put(h, a, retired)
		if got, _ := c.get(h); got != a {
			t.Errorf("%s: nothing is remembered any more", name)
		}
	}
}

// The cache is bounded, and both its maps hold the same.
func TestAccessCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c accessCache
	for n := range accessCacheSize + 100 {
		h, a := entry(n, GrantID(fmt.Sprint(n/3)))
		c.put(h, a, 0)
	}
	agree := func() {
		t.Helper()
		n := 0
		for g, list := range c.grants {
			n += len(list)
			for _, h := range list {
				if c.entries[h] == nil || c.entries[h].Grant.ID != g {
					t.Fatalf("%x of %s is no entry", h[:4], g)
				}
			}
			if len(list) == 0 {
				t.Fatalf("nothing of %s is kept", g)
			}
		}
		if n != len(c.entries) {
			t.Fatalf("%d of %d entries", n, len(c.entries))
		}
	}
	if agree(); len(c.entries) != accessCacheSize {
		t.Errorf("%d entries", len(c.entries))
	}
	for n := range 600 {
		c.retireGrant([]byte(fmt.Sprint(n)))
		h, _ := entry(2000+n, "")
		c.retireToken(h[:])
	}
	agree()
	h, _ := entry(2000, "")
	if got, _ := c.get(h); got != nil {
		t.Error("a retired token is remembered")
	}
	if c.retireAll(nil); len(c.entries)+len(c.grants) != 0 {
		t.Error("something is left")
	}
}

// A commit that the disk did not take may be there all the same.
func TestFailedCommitsRetire(t *testing.T) {
	t.Parallel()
	for no, want := range map[syscall.Errno]bool{syscall.EIO: true, syscall.ENOSPC: true, 0: false} {
		db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
		if err != nil {
			t.Fatal(err)
		}
		h, a := entry(1, "g")
		_, retired := db.access.get(h)
		db.access.put(h, a, retired)
		var failure error
		if no != 0 {
			failure = fmt.Errorf("commit: %w", no)
		}
		_ = db.writing(func() error { return failure })
		if got, _ := db.access.get(h); (got == nil) != want {
			t.Errorf("after %v: %v", failure, got)
		}
		if err := db.bolt.Close(); err != nil {
			t.Fatal(err)
		}
		caches.Delete(db.bolt)
	}
}
