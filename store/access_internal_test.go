package store

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

func entry(n int, grant GrantID) *Access {
	return &Access{Token: Token{Hash: HashSecret(fmt.Sprint(n))}, Grant: Grant{ID: grant}}
}

func (a *Access) credential() Credential { return Credential{a.Grant.ID, a.Token.Hash} }

// What was read before something was retired is not remembered after it: it may be what
// was retired.
func TestLateReadersRememberNothing(t *testing.T) {
	t.Parallel()
	for name, retire := range map[string]func(*accessCache){
		"its grant":   func(c *accessCache) { c.retireGrant([]byte("g")) },
		"all":         func(c *accessCache) { c.retireAll(nil) },
		"another one": func(c *accessCache) { c.retireGrant([]byte("other")) },
	} {
		var c accessCache
		a := entry(1, "g")
		_, retired := c.get(a.credential())
		retire(&c)
		c.put(a, retired)
		if got, _ := c.get(a.credential()); got != nil {
			t.Errorf("%s: it is remembered", name)
		}
		_, retired = c.get(a.credential())
		c.put(a, retired)
		if got, _ := c.get(a.credential()); got != a {
			t.Errorf("%s: nothing is remembered any more", name)
		}
	}
}

// What is remembered of a connection opens to its own tokens only.
func TestAccessCacheProvesTokens(t *testing.T) {
	t.Parallel()
	var c accessCache
	a, b := entry(1, "g"), entry(2, "g")
	c.put(a, 0)
	c.put(b, 0)
	c.put(entry(1, "g"), 0)
	for _, want := range []*Access{a, b} {
		if got, _ := c.get(want.credential()); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, other := range []Credential{{"g", HashSecret("3")}, {"g", Hash{}}, {"h", a.Token.Hash}, {"", a.Token.Hash}} {
		if got, _ := c.get(other); got != nil {
			t.Errorf("%v opens %+v", other, got)
		}
	}
	if len(c.grants["g"]) != 2 {
		t.Errorf("%d entries of two tokens", len(c.grants["g"]))
	}
}

func TestAccessCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c accessCache
	for n := range accessCacheSize + 100 {
		c.put(entry(n, GrantID(fmt.Sprint(n))), 0)
	}
	if len(c.grants) != accessCacheSize {
		t.Errorf("%d connections", len(c.grants))
	}
	last := entry(accessCacheSize+99, GrantID(fmt.Sprint(accessCacheSize+99)))
	if got, _ := c.get(last.credential()); got == nil {
		t.Error("the newest is not remembered")
	}
	c.retireGrant([]byte(last.Grant.ID))
	if got, _ := c.get(last.credential()); got != nil {
		t.Error("a retired one is remembered")
	}
	if c.retireAll(nil); len(c.grants) != 0 {
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
		a := entry(1, "g")
		_, retired := db.access.get(a.credential())
		db.access.put(a, retired)
		var failure error
		if no != 0 {
			failure = fmt.Errorf("commit: %w", no)
		}
		_ = db.writing(func() error { return failure })
		if got, _ := db.access.get(a.credential()); (got == nil) != want {
			t.Errorf("after %v: %v", failure, got)
		}
		if err := db.bolt.Close(); err != nil {
			t.Fatal(err)
		}
		caches.Delete(db.bolt)
	}
}
