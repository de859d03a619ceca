// Package storetest helps tests that need a store: a fresh database that is
// proved sound when the test ends, and records filled by reflection so that a
// field that does not survive the disk cannot hide.
package storetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/store"
)

// New returns an empty database in the test's temporary folder. When the test
// ends it is checked, closed, opened again and checked once more.
func New(t testing.TB) *store.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db := Open(t, path)
	t.Cleanup(func() {
		if err := db.Check(); err != nil {
			t.Errorf("the store is damaged at the end of the test:\n%v", err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
		again := Open(t, path)
		if err := again.Check(); err != nil {
			t.Errorf("the store is damaged after opening it again:\n%v", err)
		}
		if err := again.Close(); err != nil {
			t.Errorf("close the store again: %v", err)
		}
	})
	return db
}

// Open opens the database at path or ends the test.
func Open(t testing.TB, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	return db
}

// Commits returns how many commits the database has seen.
func Commits(t testing.TB, db *store.DB) (n int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	file, err := os.Create(path)
	must(t, err)
	_, err = db.WriteTo(file)
	must(t, errors.Join(err, file.Close()))
	b, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	must(t, err)
	must(t, errors.Join(b.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil }), b.Close()))
	return n
}

// World is a small population to test with.
type World struct {
	Now    time.Time
	User   store.User
	Team   store.Team
	Client store.Client
}

// Populate adds a user who owns a team, and a client.
func Populate(t testing.TB, db *store.DB, name string, now time.Time) World {
	t.Helper()
	w := World{
		Now:    now,
		User:   store.User{ID: store.UserID(store.NewID()), Email: name + "@example.com", Name: name, Created: now},
		Team:   store.Team{ID: store.TeamID(store.NewID()), Slug: name, Name: name, Created: now},
		Client: store.Client{ID: store.ClientID(store.NewID()), Name: name, RedirectURIs: []string{"https://" + name + ".example/callback"}, Created: now, Expires: now.Add(store.ClientUnusedTTL)},
	}
	must(t, db.CreateUser(w.User))
	must(t, db.CreateTeam(w.Team, store.Member{Team: w.Team.ID, User: w.User.ID, Role: store.RoleOwner, Created: now}))
	must(t, db.CreateClient(w.Client))
	return w
}

// SignIn adds a session for the world's user and returns it.
func (w World) SignIn(t testing.TB, db *store.DB) store.Session {
	t.Helper()
	s := store.Session{Hash: store.HashSecret(store.NewID()), User: w.User.ID, Created: w.Now, LastUsed: w.Now, Expires: w.Now.Add(store.SessionTTL)}
	must(t, db.CreateSession(s))
	return s
}

// Code takes the world's user through consent and returns the redemption that
// its client can make.
func (w World) Code(t testing.TB, db *store.DB, scopes ...store.Scope) store.Redemption {
	t.Helper()
	return w.code(t, db, store.AuthRequest{Scopes: scopes}, false)
}

// Replacing is Code for a connection that takes the place of the earlier ones
// of the same client.
func (w World) Replacing(t testing.TB, db *store.DB, scopes ...store.Scope) store.Redemption {
	t.Helper()
	return w.code(t, db, store.AuthRequest{Scopes: scopes}, true)
}

// Offline is Connect with a refresh token that expires after 90 days. Its
// family is as of Family, the token the hash of the connection's id and «0».
func (w World) Offline(t testing.TB, db *store.DB, scopes ...store.Scope) (store.Grant, store.Credential) {
	t.Helper()
	r := w.OfflineCode(t, db, scopes...)
	g, err := db.RedeemCode(r, w.Now)
	must(t, err)
	return g.Grant, AccessOf(r)
}

// AccessOf returns the access token that a redemption gives out.
func AccessOf(r store.Redemption) store.Credential {
	return store.Credential{Grant: r.Grant, Hash: r.Access}
}

// Family returns what the refresh tokens of a connection of Offline share.
func Family(id store.GrantID) store.Credential {
	return store.Credential{Grant: id, Hash: store.HashSecret(string(id))}
}

// OfflineCode is Code for a connection as of Offline.
func (w World) OfflineCode(t testing.TB, db *store.DB, scopes ...store.Scope) store.Redemption {
	t.Helper()
	r := w.code(t, db, store.AuthRequest{Scopes: scopes, Offline: true}, false)
	r.Refresh = &store.NewRefresh{
		Family: Family(r.Grant).Hash, Token: store.HashSecret(string(r.Grant) + "0"), Expires: w.Now.Add(90 * 24 * time.Hour),
	}
	return r
}

// code approves req, of which it fills in what is missing.
func (w World) code(t testing.TB, db *store.DB, req store.AuthRequest, replace bool) store.Redemption {
	t.Helper()
	s, host := w.SignIn(t, db), w.User.Name+".example"
	req.Handle, req.Session, req.Client, req.RedirectURI = store.HashSecret(store.NewID()), s.Hash, w.Client.ID, w.Client.RedirectURIs[0]
	req.Challenge, req.Resource, req.Created, req.Expires = "challenge", "https://podgate.example/api/mcp", w.Now, w.Now.Add(30*time.Minute)
	must(t, db.CreateAuthRequest(req))
	code := store.HashSecret(store.NewID())
	_, err := db.Approve(store.Approval{
		Handle: req.Handle, Session: s.Hash, Team: w.Team.ID, Scopes: req.Scopes, RedirectHost: host, Replace: replace, Code: code, Expires: w.Now.Add(10 * time.Minute),
	}, w.Now)
	must(t, err)
	return store.Redemption{
		Code: code, Client: w.Client.ID, RedirectURI: req.RedirectURI, Challenge: req.Challenge, Resources: []string{req.Resource},
		ClientName: w.Client.Name, RedirectHost: host,
		Grant: store.GrantID(store.NewID()), Access: store.HashSecret(store.NewID()), Expires: w.Now.Add(30 * 24 * time.Hour),
	}
}

// Connect makes a connection and returns it with its access token.
func (w World) Connect(t testing.TB, db *store.DB, scopes ...store.Scope) (store.Grant, store.Credential) {
	t.Helper()
	r := w.Code(t, db, scopes...)
	g, err := db.RedeemCode(r, w.Now)
	must(t, err)
	return g.Grant, AccessOf(r)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Fill sets every field of the struct that p points to, at any depth, to a
// value that is not zero and differs from its neighbours. It fails the test on
// a kind that it does not know, so a new kind of field cannot go untested.
func Fill(t testing.TB, p any) {
	t.Helper()
	n := 0
	if err := fill(reflect.ValueOf(p).Elem(), &n); err != nil {
		t.Fatal(err)
	}
}

var timeType = reflect.TypeFor[time.Time]()

func fill(v reflect.Value, n *int) error {
	*n++
	if v.Type() == timeType {
		v.Set(reflect.ValueOf(time.Unix(int64(1_700_000_000+*n), int64(*n)).UTC()))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n % 251))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		return fillAll(v, n)
	case reflect.Array:
		return fillAll(v, n)
	case reflect.Map:
		return fillMap(v, n)
	case reflect.Struct:
		for i := range v.NumField() {
			if err := fill(v.Field(i), n); err != nil {
				return fmt.Errorf("%s.%s: %w", v.Type(), v.Type().Field(i).Name, err)
			}
		}
	default:
		return fmt.Errorf("Fill does not know %s", v.Type())
	}
	return nil
}

func fillAll(v reflect.Value, n *int) error {
	for i := range v.Len() {
		if err := fill(v.Index(i), n); err != nil {
			return err
		}
	}
	return nil
}

func fillMap(v reflect.Value, n *int) error {
	v.Set(reflect.MakeMap(v.Type()))
	for range 2 {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		if err := fill(key, n); err != nil {
			return err
		}
		if err := fill(value, n); err != nil {
			return err
		}
		v.SetMapIndex(key, value)
	}
	return nil
}
