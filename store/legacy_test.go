package store

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// eachOlder runs a test on a file of each format in which tokens did not name their
// connection.
func eachOlder(t *testing.T, test func(t *testing.T, db *DB)) {
	t.Helper()
	for format := 1; format < 17; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			t.Parallel()
			db, err := Open(unpackFixture(t, format))
			if err != nil {
				t.Fatal(err)
			}
			test(t, db)
			if err := errors.Join(db.Check(), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// old is a secret of those files.
func old(secret string) Credential { return Credential{Hash: HashSecret(secret)} }

// oldRotation renews the connection of those files.
func oldRotation(token string, now time.Time) Rotation {
	return Rotation{
		Family: old("family"), Token: HashSecret(token), Client: "client", Salt: []byte("new salt"),
		Next: HashSecret("refresh 3"), NextExpires: now.Add(90 * 24 * time.Hour), Access: HashSecret("access 3"), AccessExpires: now.Add(time.Hour),
	}
}

// What was given out before goes on as what it was: access tokens open, the token that
// was just replaced gets its answer again, the current one is replaced.
func TestOldSecretsGoOn(t *testing.T) {
	t.Parallel()
	eachOlder(t, func(t *testing.T, db *DB) {
		for _, secret := range []string{"access 1", "access 2"} {
			a, err := db.Access(old(secret), t0)
			if err != nil || a.Grant.ID != "grant" || a.Team.ID != "lab" {
				t.Errorf("%s: %+v, %v", secret, a, err)
			}
		}
		if out, err := db.RotateRefresh(oldRotation("refresh 1", t0), t0.Add(30*time.Second)); err != nil || string(out.Salt) != "salt" || out.Access.Hash != HashSecret("access 2") {
			t.Errorf("repeated as %+v, %v", out, err)
		}
		for _, secret := range []string{"access 3", "family", "refresh 2"} {
			if _, err := db.Access(old(secret), t0); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s opens: %v", secret, err)
			}
		}
		other := oldRotation("refresh 2", t0)
		other.Client = "other"
		if _, err := db.RotateRefresh(other, t0); !errors.Is(err, ErrNotFound) {
			t.Errorf("another client: %v", err)
		}
		if err := errors.Join(db.RevokeToken(old("access 1"), "other"), db.RevokeRefresh(old("family"), "other"), db.RevokeRefresh(old("access 1"), "client")); err != nil {
			t.Error(err)
		}
		for i := range 3 { // each renewed by what came with the last
			at := t0.Add(time.Duration(i+1) * time.Minute)
			r := oldRotation(fmt.Sprint("refresh ", i+2), at)
			r.Next, r.Access = HashSecret(fmt.Sprint("refresh ", i+3)), HashSecret(fmt.Sprint("access ", i+3))
			if _, err := db.RotateRefresh(r, at); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.Access(Credential{"grant", HashSecret("access 5")}, t0); err != nil {
			t.Error(err)
		}
		if _, err := db.Access(old("access 2"), t0); err != nil {
			t.Errorf("beside newer ones: %v", err)
		}
	})
}

// What ends them ends them, and the timeline knows them for a while.
func TestOldSecretsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(db *DB) error{
		"a replaced one comes again": func(db *DB) error {
			if _, err := db.RotateRefresh(oldRotation("refresh 0", t0), t0); !errors.Is(err, ErrSpent) {
				return fmt.Errorf("a token of the family: %w", err)
			}
			return nil
		},
		"the refresh token is revoked": func(db *DB) error { return db.RevokeRefresh(old("family"), "client") },
		"the connection is revoked":    func(db *DB) error { return db.RevokeGrant("grant", "ada") },
		"the person ends everything":   func(db *DB) error { _, _, err := db.EndEverything("ada"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachOlder(t, func(t *testing.T, db *DB) {
				if _, err := db.Access(old("access 2"), t0); err != nil {
					t.Fatal(err)
				}
				if err := end(db); err != nil {
					t.Fatal(err)
				}
				if _, err := db.Access(old("access 2"), t0); !errors.Is(err, ErrNotFound) {
					t.Errorf("the access token: %v", err)
				}
				if _, err := db.RotateRefresh(oldRotation("refresh 2", t0), t0); !errors.Is(err, ErrNotFound) {
					t.Errorf("the refresh token: %v", err)
				}
				for what, find := range map[string]func() (Attempt, error){
					"access 2": func() (Attempt, error) { return db.AttemptOfToken(old("access 2")) },
					"family":   func() (Attempt, error) { return db.AttemptOfFamily(old("family")) },
				} {
					if a, err := find(); err != nil || a.ID != "attempt" {
						t.Errorf("the attempt of %s: %+v, %v", what, a.ID, err)
					}
				}
			})
		})
	}
}

// What leads from them is forgotten with them, and not while a connection lives whose
// refresh tokens still share it.
func TestOldSecretsAreForgotten(t *testing.T) {
	t.Parallel()
	eachOlder(t, func(t *testing.T, db *DB) {
		left := func(now time.Time) (n int) {
			t.Helper()
			if _, err := db.Sweep(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			if err := db.Check(); err != nil {
				t.Error(err)
			}
			counts, err := db.Counts()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range counts {
				if c.Kind == legacyTokens.name {
					n = c.N
				}
			}
			return n
		}
		if n := left(t0.Add(AttemptTTL)); n != 3 {
			t.Errorf("%d lead to the connection", n)
		}
		if n := left(t0.Add(AttemptTTL + 2*time.Hour)); n != 1 {
			t.Errorf("%d once the access tokens are long dead", n)
		}
		renewed := t0.Add(80 * 24 * time.Hour)
		if _, err := db.RotateRefresh(oldRotation("refresh 2", renewed), renewed); err != nil {
			t.Fatal(err)
		}
		if n := left(t0.Add(120 * 24 * time.Hour)); n != 1 {
			t.Errorf("%d while its refresh tokens share it", n)
		}
		if _, err := db.FamilyGrant(old("family")); err != nil {
			t.Error(err)
		}
		if n := left(renewed.Add(90*24*time.Hour + AttemptTTL)); n != 0 {
			t.Errorf("%d when all is over", n)
		}
	})
}
