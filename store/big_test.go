package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// A database made in bulk is like one made by the store's own methods, or the
// benchmarks on it say nothing.
func TestBulkIsSound(t *testing.T) {
	t.Parallel()
	size := storetest.Size{Users: 20, Clients: 30, Connections: 100, Tokens: 200, Dying: 250, Idle: 40, Attempts: 240}
	big := storetest.NewBig(t, filepath.Join(t.TempDir(), "podgate.db"), "https://podgate.example/api/mcp", t0, size)
	db := storetest.Open(t, big.Path)
	defer func() { wantErr(t, db.Close(), nil) }()
	wantErr(t, db.Check(), nil)
	counts, err := db.Counts()
	wantErr(t, err, nil)
	want := map[string]int{"users": 20, "teams": 20, "members": 20, "clients": 70, "grants": 350, "attempts": 240, "legacy_tokens": 0}
	for _, c := range counts {
		if c.N != want[c.Kind] {
			t.Errorf("%d %s, want %d", c.N, c.Kind, want[c.Kind])
		}
	}
	for i := range size.Tokens + size.Dying {
		a, err := db.Access(big.Access(i), t0)
		if err != nil || a.Role != store.RoleOwner {
			t.Fatalf("token %d: %+v, %v", i, a, err)
		}
	}
	token := big.Refresh(7)
	_, err = db.RotateRefresh(store.Rotation{
		Family: big.Family(7), Token: store.HashSecret(token), Client: big.Client(7), Salt: []byte("salt"),
		Next: store.HashSecret("next"), NextExpires: t0.Add(time.Hour), Access: store.HashSecret("access"), AccessExpires: t0.Add(time.Hour),
	}, t0)
	wantErr(t, err, nil)
	swept, err := db.Sweep(t.Context(), t0.Add(time.Hour))
	if err != nil || swept < size.Dying+size.Idle+size.Attempts {
		t.Errorf("Sweep = %d, %v", swept, err)
	}
	wantErr(t, db.Check(), nil)
	if _, err := db.Access(big.Access(0), t0); err != nil {
		t.Errorf("a token that lives on: %v", err)
	}
}
