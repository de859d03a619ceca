package store

import (
	"bytes"
	"compress/gzip"
	"encoding"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var update = flag.Bool("update", false, "write testdata for the present format, where there is none")

// fixturePath is a file of that format, as the code of its time made it.
func fixturePath(format int) string {
	return filepath.Join("testdata", fmt.Sprintf("format%d.db.gz", format))
}

// unpackFixture copies the fixture of a format into the test's folder.
func unpackFixture(t *testing.T, format int) (path string) {
	t.Helper()
	packed, err := os.Open(fixturePath(format))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "podgate.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// packFixture makes the fixture of the present format from the file at path.
func packFixture(t *testing.T, path string) {
	t.Helper()
	b, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	err = b.View(func(tx *bolt.Tx) error { _, err := tx.WriteTo(w); return err }) // without the room that the file has in reserve
	if err := errors.Join(err, w.Close(), b.Close(), os.WriteFile(fixturePath(Format), packed.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// The file of each format that there ever was reads like one that the present
// code makes of the same facts: every record and every index entry.
func TestFormatsAreRead(t *testing.T) {
	t.Parallel()
	for format := 1; format <= Format; format++ {
		fresh := filepath.Join(t.TempDir(), "podgate.db")
		want := dumpAfter(t, fresh, func(db *DB) error { return writeFixture(db, format) })
		if _, err := os.Stat(fixturePath(format)); *update && format == Format && errors.Is(err, os.ErrNotExist) {
			packFixture(t, fresh)
		}
		got := dumpAfter(t, unpackFixture(t, format), func(*DB) error { return nil })
		if format < 17 {
			leavePlans(want)
			leavePlans(got)
		}
		for bucket, records := range want {
			if len(records) == 0 && format >= bucketsSince[bucket] {
				t.Errorf("the fixture has nothing in %s", bucket)
			}
			for key, record := range records {
				if record := without(record, bucket, format); got[bucket][key] != record {
					t.Errorf("format %d: %s %q reads %q, want %q", format, bucket, key, got[bucket][key], record)
				}
			}
			if len(got[bucket]) != len(records) {
				t.Errorf("format %d: %s has %d records, want %d", format, bucket, len(got[bucket]), len(records))
			}
		}
	}
}

// leavePlans takes out of a dump what format 17 writes at other times than those before
// it, and what only files from before it have. Check proves these deadlines, and
// TestOldSecretsGoOn the rest.
func leavePlans(dump map[string]map[string]string) {
	for entry := range dump["expiry"] {
		if slices.Contains([]byte{clients.kind, grants.kind, legacyTokens.kind}, entry[8]) {
			delete(dump["expiry"], entry)
		}
	}
	clear(dump[legacyTokens.name])
	for _, leave := range []struct{ bucket, member string }{{clients.name, "expires"}, {grants.name, "Due"}} {
		for key, record := range dump[leave.bucket] {
			var object map[string]any
			_ = json.Unmarshal([]byte(record), &object) // inOrder wrote it
			delete(object, leave.member)
			raw, _ := json.Marshal(object) // it was JSON
			dump[leave.bucket][key] = string(raw)
		}
	}
}

// bucketsSince are buckets of which the fixtures of earlier formats have nothing.
var bucketsSince = map[string]int{"clients_by_unused": 11, "deploys": 14, "audit_by_pod": 15, "usage": 15, "invitations": 15, "invitations_by_team": 15, "blocked": 15, "blocked_by_since": 15, "pods_by_deleted": 16, "snapshots": 16, "snapshots_by_pod": 16, "seals": 17, "passkeys": 18, "passkeys_by_user": 18, "legacy_tokens": Format + 1}

// membersSince are members that the fixtures of earlier formats cannot have.
var membersSince = map[string]map[int]string{"codes": {4: "session"}}

// without leaves out of a record what there was not in that format.
func without(record, bucket string, format int) string {
	for since, member := range membersSince[bucket] {
		var object map[string]any
		if format < since && json.Unmarshal([]byte(record), &object) == nil {
			delete(object, member)
			raw, _ := json.Marshal(object) // it was JSON
			record = string(raw)
		}
	}
	return record
}

// dumpAfter opens the file at path, calls write, checks and closes the
// database, and returns what is in it by bucket and key.
func dumpAfter(t *testing.T, path string, write func(*DB) error) map[string]map[string]string {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(write(db), db.Check(), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range tables {
		if err := db.view(table.(strictTable).readStrictly); err != nil {
			t.Error(err)
		}
	}
	dump := map[string]map[string]string{}
	err = db.view(func(tx *bolt.Tx) error {
		for _, name := range bucketNames() {
			dump[name] = map[string]string{}
			err := tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error { dump[name][string(k)] = inOrder(v); return nil })
			if err != nil {
				return err
			}
		}
		return showSealed(tx, dump)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dump
}

// showSealed writes grants in JSON, with their salts as whoever has the seal reads them,
// and takes the seals away, which are random.
func showSealed(tx *bolt.Tx, dump map[string]map[string]string) error {
	for key := range dump[seals.name] {
		dump[seals.name][key] = "random"
	}
	for key := range dump[grants.name] {
		g, err := grants.get(tx, []byte(key))
		if err != nil {
			return err
		}
		if g.Refresh != nil {
			if g.Refresh.Salt, err = g.salt(tx); err != nil {
				return err
			}
		}
		raw, err := json.Marshal(g)
		if err != nil {
			return err
		}
		dump[grants.name][key] = inOrder(raw)
	}
	return nil
}

// inOrder writes a JSON object with its members in order, and leaves anything
// else alone.
func inOrder(raw []byte) string {
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil {
		return string(raw)
	}
	sorted, _ := json.Marshal(object) // it was JSON
	return string(sorted)
}

type strictTable interface {
	readStrictly(*bolt.Tx) error
	recordType() reflect.Type
}

// readStrictly returns an error for a record with a member that its type does
// not have, or that comes out different from how it went in.
func (t *table[T]) readStrictly(tx *bolt.Tx) error {
	return t.bucket(tx).ForEach(func(key, raw []byte) error {
		if _, packed := any(new(T)).(encoding.BinaryMarshaler); packed {
			v, err := t.decode(raw)
			if err != nil {
				return err
			}
			if again, err := t.encode(v); err != nil || !bytes.Equal(again, raw) {
				return fmt.Errorf("%s %q: %x became %x, %v", t.name, key, raw, again, err)
			}
			return nil
		}
		v, d := new(T), json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			return fmt.Errorf("%s %q: %w", t.name, key, err)
		}
		if again, err := json.Marshal(v); err != nil || inOrder(again) != inOrder(raw) {
			return fmt.Errorf("%s %q: %s became %s, %v", t.name, key, raw, again, err)
		}
		return nil
	})
}

// writeFixture puts at least one entry into every bucket, with every member
// that a record of a format can have, by the methods that a server calls.
func writeFixture(db *DB, format int) error {
	for _, step := range []struct {
		since int // the first format that can say it
		write func(*DB) error
	}{{1, fixturePeople}, {1, fixtureClients}, {1, fixtureConnection}, {1, fixtureCodes}, {1, fixturePods}, {1, fixtureHistory}, {5, fixtureReplacement}, {11, fixtureUnused}, {14, fixtureDeploys}, {15, fixtureManagement}, {16, fixtureSnapshots}, {18, fixturePasskeys}} {
		if step.since > format {
			continue
		}
		if err := step.write(db); err != nil {
			return err
		}
	}
	return nil
}

func fixturePeople(db *DB) error {
	return errors.Join(
		db.PutSetup(Setup{Hash: HashSecret("setup"), Expires: t0.Add(30 * time.Minute)}),
		db.CreateUser(User{ID: "ada", Email: "ada@example.com", Name: "Ada", Password: "$argon2id$v=19$m=32768,t=3,p=1$c2FsdA$aGFzaA", Admin: true, Created: t0}),
		db.CreateUser(User{ID: "bob", Email: "bob@example.com", Created: t0}),
		db.CreateTeam(Team{ID: "lab", Slug: "lab", Name: "The Lab", Created: t0},
			Member{Team: "lab", User: "ada", Role: RoleOwner, Created: t0}, Member{Team: "lab", User: "bob", Role: RoleMember, Created: t0}),
		db.CreateSession(fixtureSession("ada")), db.CreateSession(fixtureSession("bob")),
	)
}

func fixtureSession(user UserID) Session {
	return Session{
		Hash: HashSecret("session of " + string(user)), User: user, UserAgent: "Firefox", Addr: "192.0.2.1",
		Created: t0, LastUsed: t0, Expires: t0.Add(SessionTTL),
	}
}

const fixtureCallback = "https://client.example/callback"

func fixtureClients(db *DB) error {
	_, err := db.PutDocument(Client{
		ID: "https://client.example/document.json", Name: "Document", RedirectURIs: []string{fixtureCallback}, Created: t0, Expires: t0.Add(ClientUnusedTTL),
		Document: &Document{Fetched: t0, Fresh: t0.Add(time.Hour), Gone: true, Known: true},
	}, t0)
	return errors.Join(err, db.CreateClient(Client{
		ID: "client", Name: "Client", RedirectURIs: []string{fixtureCallback}, GrantTypes: []string{"authorization_code", "refresh_token"},
		Scopes: []Scope{"pods:read"}, Created: t0, Expires: t0.Add(ClientUnusedTTL),
	}))
}

// fixtureRequest takes a user as far as the consent page.
func fixtureRequest(db *DB, user UserID, name string) (AuthRequest, error) {
	state := "state of " + name
	r := AuthRequest{
		Handle: HashSecret(name), Session: HashSecret("session of " + string(user)), Client: "client", RedirectURI: fixtureCallback, State: &state,
		Challenge: "challenge", Scopes: []Scope{"pods:read", "pods:exec"}, Resource: "https://podgate.example/api/mcp", Offline: true,
		Attempt: "attempt", Created: t0, Expires: t0.Add(30 * time.Minute),
	}
	return r, db.CreateAuthRequest(r)
}

// fixtureCode takes a user through it.
func fixtureCode(db *DB, user UserID, name string) (Redemption, error) {
	r, err := fixtureRequest(db, user, name)
	if err != nil {
		return Redemption{}, err
	}
	code := HashSecret("code " + name)
	_, err = db.Approve(Approval{
		Handle: r.Handle, Session: r.Session, Team: "lab", Scopes: r.Scopes, Limits: Limits{ReadOnly: true, Prefix: "demo-", MaxPods: 3},
		Code: code, Expires: t0.Add(10 * time.Minute),
	}, t0)
	return Redemption{
		Code: code, Client: r.Client, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Resources: []string{r.Resource}, ClientName: "Client", RedirectHost: "client.example",
		Grant: "grant", Access: HashSecret("access 1"), Expires: t0.Add(time.Hour),
		Refresh: &NewRefresh{Family: HashSecret("family"), Token: HashSecret("refresh 1"), Expires: t0.Add(90 * 24 * time.Hour)},
	}, err
}

// fixtureConnection makes a connection that was refreshed, used and narrowed.
func fixtureConnection(db *DB) error {
	r, err := fixtureCode(db, "ada", "redeemed")
	if err != nil {
		return err
	}
	if _, err := db.RedeemCode(r, t0); err != nil {
		return err
	}
	_, err = db.RotateRefresh(Rotation{
		Family: Credential{"grant", HashSecret("family")}, Token: HashSecret("refresh 1"), Client: "client", Scopes: []Scope{"pods:read"}, Salt: []byte("salt"),
		Next: HashSecret("refresh 2"), NextExpires: t0.Add(91 * 24 * time.Hour), Access: HashSecret("access 2"), AccessExpires: t0.Add(2 * time.Hour),
	}, t0.Add(time.Second))
	if err != nil {
		return err
	}
	access, err := db.Access(Credential{"grant", HashSecret("access 2")}, t0)
	if err != nil {
		return err
	}
	if err := db.NoteGrantUse(access, t0.Add(time.Minute)); err != nil {
		return err
	}
	_, err = db.LimitGrant("grant", "ada", []Scope{"pods:read"}, Limits{ReadOnly: true, Prefix: "demo-", MaxPods: 2}, t0)
	return errors.Join(err, db.Flush())
}

// fixtureCodes leaves a request that waits, and a code that came to nothing.
func fixtureCodes(db *DB) error {
	if _, err := fixtureRequest(db, "ada", "waiting"); err != nil {
		return err
	}
	if _, err := fixtureCode(db, "bob", "revoked"); err != nil {
		return err
	}
	_, err := db.RemoveMember("lab", "bob")
	return err
}

// fixtureReplacement leaves a code whose connection is to take another's place.
func fixtureReplacement(db *DB) error {
	r, err := fixtureRequest(db, "ada", "replacing")
	if err != nil {
		return err
	}
	_, err = db.Approve(Approval{
		Handle: r.Handle, Session: r.Session, Team: "lab", Scopes: r.Scopes, RedirectHost: "client.example", Replace: true,
		Code: HashSecret("code replacing"), Expires: t0.Add(10 * time.Minute),
	}, t0)
	return err
}

// fixtureUnused leaves a client that nobody used.
func fixtureUnused(db *DB) error {
	return db.CreateClient(Client{ID: "unused", RedirectURIs: []string{fixtureCallback}, Created: t0, Expires: t0.Add(ClientUnusedTTL)})
}

func fixturePods(db *DB) error {
	pod := Pod{
		ID: "pod", Name: "demo-1", Team: "lab", Preset: "static", Plan: "small", Region: "local", Env: map[string]string{"KEY": "value"},
		Want: WantRunning, CreatedBy: "ada", Created: t0,
	}
	gone := Pod{ID: "gone", Name: "demo-2", Team: "lab", Preset: "static", Plan: "small", Region: "local", Want: WantGone, Created: t0}
	allow := func([]Pod) error { return nil }
	return errors.Join(db.CreatePod(pod, t0, allow), db.CreatePod(gone, t0, allow), db.SetMade("pod"), db.ForgetPod("gone", t0.Add(7*24*time.Hour)))
}

func fixtureDeploys(db *DB) error {
	first, err := db.BeginDeploy(Deploy{Pod: "pod", Action: "deploy", Source: "2 files", Release: -1, By: "ada", Began: t0})
	if err != nil {
		return err
	}
	first.State, first.Preset, first.Commit, first.Ended = DeploySucceeded, "static", "0123abc", t0.Add(time.Second)
	return db.EndDeploy(first, &App{Release: 1, Preset: "static", Env: map[string]string{"KEY": "value"}})
}

// fixtureManagement has what owners and administrators set, and what a pod used.
func fixtureManagement(db *DB) error {
	_, errTold := db.MarkTold("pod", t0)
	_, errBlock := db.BlockClient(Block{Client: "unused", By: "ada", Since: t0})
	db.NoteAudit(AuditEntry{At: t0.Add(time.Minute), Actor: "ada", Pod: "pod", Team: "lab", Action: "tool", Object: "exec_command demo-1", Outcome: AuditOK})
	return errors.Join(errTold, errBlock, db.FlushHistory(),
		db.SetTeamPolicy("lab", Policy{Scopes: []Scope{"pods:read"}, Limits: Limits{ReadOnly: true, Prefix: "demo-", MaxPods: 3}}),
		db.SetTeamQuota("lab", Quota{Pods: 4, Memory: 1 << 30}),
		db.SetNickname("grant", "Ada's laptop"),
		db.CreateInvitation(Invitation{Hash: HashSecret("invitation"), Team: "lab", Role: RoleViewer, Email: "eve@example.com", By: "ada", Created: t0, Expires: t0.Add(InvitationTTL)}),
		db.PutUsage([]UsageSample{{Pod: "pod", At: t0, UsagePoint: UsagePoint{Memory: 1 << 20, CPU: 30, In: 2, Out: 1 << 40}}}),
	)
}

// fixtureSnapshots has a pod that waits to be restored, one that is being copied and one
// that can be brought back.
func fixtureSnapshots(db *DB) error {
	allow, keep := func([]Pod) error { return nil }, func([]Snapshot) ([]SnapshotID, error) { return nil, nil }
	pod := Pod{ID: "copy", Name: "demo-3", Team: "lab", Preset: "static", Plan: "small", Region: "local", Want: WantStopped, CreatedBy: "ada", Created: t0, CopyOf: "pod"}
	kept := pod
	kept.ID, kept.Name, kept.CopyOf = "kept", "demo-4", ""
	_, errAdd := db.AddSnapshot(Snapshot{
		ID: "snapshot", Pod: "pod", Why: SnapshotByHand, Note: "before the move", By: "ada", Created: t0, Bytes: 8192, LeftOut: 1, Moving: true, Release: 1, Preset: "static",
	}, keep)
	_, errRestore := db.BeginRestore("pod", Restore{From: "snapshot", Old: "old", By: "ada", Note: "mine"})
	return errors.Join(errAdd, errRestore, db.CreatePod(pod, t0, allow), db.CreatePod(kept, t0, allow), db.DeletePod("kept", t0, t0.Add(7*24*time.Hour)))
}

func fixtureHistory(db *DB) error {
	step := func(kind string) Step {
		return Step{Kind: kind, Fault: "fault", Detail: "detail", At: t0, Addr: "192.0.2.1", Agent: "Client/1.0", Loose: true}
	}
	db.NoteStep(StepNote{Attempt: "stranger", Visitor: "visitor", Step: step("challenge")})
	db.NoteStep(StepNote{Attempt: "fruitless", Client: "client", User: "ada", Step: step("authorize")})
	for i := range maxSteps + 1 {
		s := step(fmt.Sprint("step ", i))
		s.At = t0.Add(time.Duration(i) * time.Second)
		db.NoteStep(StepNote{
			Attempt: "attempt", Visitor: "visitor", Client: "client", ClientName: "Client", Host: "client.example", User: "ada", Team: "lab", Grant: "grant",
			Token: HashSecret("access 2"), Family: HashSecret("family"), Step: s,
		})
	}
	db.NoteAudit(AuditEntry{At: t0, Actor: "ada", Concerns: "bob", Grant: "grant", Team: "lab", Action: "member_remove", Object: "bob@example.com", Outcome: AuditOK, Addr: "192.0.2.1"})
	db.NoteAudit(AuditEntry{At: t0, Stranger: true, Action: "sign_in", Object: "eve@example.com", Outcome: "wrong password", Addr: "192.0.2.2"})
	return db.FlushHistory()
}

// The number rises with every change of a bucket or a record: testdata/shape.txt
// says what the format of its first line looks like.
func TestFormatNumberRisesWithTheFormat(t *testing.T) {
	t.Parallel()
	const path = "testdata/shape.txt"
	now := describeFormat()
	raw, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	then := string(raw)
	number, _, _ := strings.Cut(then, "\n")
	switch same := number == fmt.Sprint("format ", Format); {
	case then == now:
	case same:
		t.Errorf("buckets or records changed under the same number. Raise Format, add a migration, and run this with -update.\nNow:\n%s", now)
	case !*update:
		t.Errorf("%s is of another format; run this with -update", path)
	default:
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// describeFormat names every table, its indexes and the JSON of its records.
func describeFormat() string {
	var b strings.Builder
	fmt.Fprintln(&b, "format", Format)
	for _, t := range tables {
		fmt.Fprintf(&b, "%s, kind %d: %s\n", strings.Join(t.buckets(), " "), t.expiryKind(), describeType(t.(strictTable).recordType()))
	}
	return b.String()
}

func (t *table[T]) recordType() reflect.Type { return reflect.TypeFor[T]() }

// describeType is the form of a type in JSON, or the fields of one that is packed.
func describeType(t reflect.Type) string {
	switch {
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return "text"
	case t == reflect.TypeFor[Grant]():
		p := packer{about: new(strings.Builder)}
		new(Grant).fields(&p)
		return "packed" + p.about.String()
	case t.Kind() == reflect.Pointer:
		return describeType(t.Elem())
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		return "[" + describeType(t.Elem()) + "]"
	case t.Kind() == reflect.Struct:
		var members []string
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			members = append(members, name+" "+describeType(field.Type))
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	return t.Kind().String()
}

// fixturePasskeys has a passkey that was used.
func fixturePasskeys(db *DB) error {
	s := Session{Hash: HashSecret("of the passkey"), User: "ada", Created: t0, LastUsed: t0, Expires: t0.Add(SessionTTL)}
	key := Passkey{ID: []byte("id"), Handle: []byte("handle"), User: "ada", Site: "pods.example.com", Name: "phone", PublicKey: []byte("key"), Counter: 1, Synced: true, Created: t0}
	use := PasskeyUse{Key: PasskeyKey(key.ID), Counter: 2, Asked: t0.Add(time.Second)}
	return errors.Join(db.CreateSession(s), db.AddPasskey(key, s.Hash, t0), db.ProveSessionByPasskey(s.Hash, use, t0.Add(time.Minute)))
}
