package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkSQLite holds the store against SQLite with the same people, connections and
// tokens: how large the file is with so many tokens, and how large it is and how long it
// takes when each connection has been refreshed four times, each refresh in a transaction
// of its own that the disk has before the next one begins (WAL, synchronous=FULL).
// SQLite has one writer, so its refreshes come one after the other. podgate/s is that of
// 64 clients, whose refreshes may share a commit, and podgate-alone/s of one. bbolt keeps
// pages for what is written next, so podgate-used-MiB is the file without those.
func BenchmarkSQLite(b *testing.B) {
	program, err := osexec.LookPath("sqlite3")
	if err != nil {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sqlite") {
			b.Fatal(err)
		}
		b.Skip("sqlite3, which this is measured against, is not installed")
	}
	for _, tokens := range storetest.Growth() {
		b.Run(fmt.Sprintf("size/tokens=%d", tokens), func(b *testing.B) {
			for b.Loop() {
				r := newRivals(b, program, storetest.Grown(tokens))
				r.reportSizes(b, tokens)
			}
		})
	}
	refreshes := []int{2_000}
	if os.Getenv("PODGATE_BENCH_LARGE") != "" {
		refreshes = []int{1_000, 10_000, 100_000}
	}
	for _, n := range refreshes {
		b.Run(fmt.Sprintf("refreshes=%d", n), func(b *testing.B) {
			for b.Loop() {
				many := n / 4
				r := newRivals(b, program, storetest.Size{Users: many / 25, Clients: many * 2 / 5, Connections: many, Tokens: many})
				r.refreshAll(b, n)
				r.reportSizes(b, many+n)
			}
		})
	}
}

// rivals are a store and a database of SQLite's with the same in them.
type rivals struct {
	program string
	sqlite  string // the path of its database
	big     storetest.Big
}

// sqliteSchema is podgate's records as one would lay them out for SQLite: numbers for
// keys, hashes as they are, an index for each look-up that podgate makes, and one for each
// deadline.
const sqliteSchema = `
CREATE TABLE users(id INTEGER PRIMARY KEY, public TEXT NOT NULL UNIQUE, email TEXT NOT NULL UNIQUE, created INTEGER NOT NULL);
CREATE TABLE teams(id INTEGER PRIMARY KEY, public TEXT NOT NULL UNIQUE, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE members(team INTEGER NOT NULL REFERENCES teams, user INTEGER NOT NULL REFERENCES users, role TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY(team, user)) WITHOUT ROWID;
CREATE INDEX members_by_user ON members(user);
CREATE TABLE clients(id INTEGER PRIMARY KEY, public TEXT NOT NULL UNIQUE, name TEXT, redirect_uris TEXT NOT NULL, grant_types TEXT NOT NULL, used INTEGER NOT NULL,
	created INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE INDEX clients_by_expires ON clients(expires);
CREATE TABLE grants(id INTEGER PRIMARY KEY, public TEXT NOT NULL UNIQUE, user INTEGER NOT NULL REFERENCES users, client INTEGER NOT NULL REFERENCES clients,
	team INTEGER NOT NULL REFERENCES teams, client_name TEXT, redirect_host TEXT NOT NULL, scopes TEXT NOT NULL, resource TEXT NOT NULL,
	created INTEGER NOT NULL, last_used INTEGER NOT NULL, expires INTEGER NOT NULL, due INTEGER NOT NULL,
	family BLOB UNIQUE, current BLOB, previous BLOB, access BLOB, seen INTEGER, salt BLOB, rotated INTEGER, refresh_expires INTEGER);
CREATE INDEX grants_by_user ON grants(user);
CREATE INDEX grants_by_client ON grants(client);
CREATE INDEX grants_by_team ON grants(team, created);
CREATE INDEX grants_by_created ON grants(created);
CREATE INDEX grants_by_due ON grants(due);
CREATE TABLE tokens(hash BLOB PRIMARY KEY, grant_id INTEGER NOT NULL REFERENCES grants, scopes TEXT, created INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tokens_by_grant ON tokens(grant_id);
CREATE INDEX tokens_by_expires ON tokens(expires);
`

// sqliteOpening is what each of its connections begins with.
const sqliteOpening = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536;\n"

func newRivals(b *testing.B, program string, size storetest.Size) *rivals {
	b.Helper()
	dir := b.TempDir()
	r := &rivals{program: program, sqlite: filepath.Join(dir, "sqlite.db")}
	r.big = storetest.NewBig(b, filepath.Join(dir, "podgate.db"), "https://podgate.example/api/mcp", t0, size)
	var sql bytes.Buffer
	sql.WriteString(sqliteSchema + "BEGIN;\n")
	ms := t0.UnixMilli()
	const day = 24 * 60 * 60 * 1000
	rows(&sql, "users", size.Users, func(i int) string {
		return fmt.Sprintf("%d,'%s','user-%d@example.com',%d", i, public("user", i), i, ms)
	})
	rows(&sql, "teams", size.Users, func(i int) string {
		return fmt.Sprintf("%d,'%s','team-%d','Team',%d", i, public("team", i), i, ms)
	})
	rows(&sql, "members", size.Users, func(i int) string { return fmt.Sprintf("%d,%d,'owner',%d", i, i, ms) })
	rows(&sql, "clients", size.Clients, func(i int) string {
		return fmt.Sprintf("%d,'%s','Assistant','http://localhost:4711/callback','authorization_code refresh_token',1,%d,%d", i, r.big.Client(i), ms, ms+180*day+1000*i64(i))
	})
	rows(&sql, "grants", size.Connections, func(i int) string {
		at := ms + 60*day + 1000*i64(i)
		return fmt.Sprintf("%d,'%s',%d,%d,%d,'Assistant','localhost','pods:read pods:write pods:exec','https://podgate.example/api/mcp',%d,%d,%d,%d,x'%x',x'%x',NULL,NULL,0,NULL,NULL,%d",
			i, public("grant", i), i%size.Users, i%size.Clients, i%size.Users, ms, ms, at, at, r.big.Family(i).Hash, store.HashSecret(r.big.Refresh(i)), at)
	})
	rows(&sql, "tokens", size.Tokens, func(i int) string {
		return fmt.Sprintf("x'%x',%d,NULL,%d,%d", store.HashSecret(r.big.Token(i)), i%size.Connections, ms, ms+30*day+1000*i64(i))
	})
	sql.WriteString("COMMIT;\n")
	r.run(b, &sql)
	return r
}

// rows inserts n rows, many in a statement.
func rows(sql *bytes.Buffer, table string, n int, row func(int) string) {
	for i := range n {
		switch {
		case i%500 == 0:
			fmt.Fprintf(sql, "INSERT INTO %s VALUES\n", table)
		default:
			sql.WriteString(",\n")
		}
		fmt.Fprintf(sql, "(%s)", row(i))
		if i%500 == 499 || i == n-1 {
			sql.WriteString(";\n")
		}
	}
}

func i64(i int) int64 { return int64(i) }

// public is an id as store.NewID makes them.
func public(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return fmt.Sprintf("%x", sum[:13])
}

// run has sqlite3 execute statements and returns what it prints after the opening's word.
func (r *rivals) run(b *testing.B, sql io.Reader) string {
	b.Helper()
	cmd := osexec.Command(r.program, "-batch", "-bail", r.sqlite)
	cmd.Stdin = io.MultiReader(strings.NewReader(sqliteOpening), sql)
	var said, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &faults
	if err := cmd.Run(); err != nil || faults.Len() > 0 {
		b.Fatalf("sqlite3: %v %s", err, faults.Bytes())
	}
	return strings.TrimSpace(strings.TrimPrefix(said.String(), "wal\n"))
}

// rotation is refresh number n of a connection, counted from 0.
func (r *rivals) rotation(connection, n int) store.Rotation {
	at := r.at(n)
	successor := func(kind string, n int) store.Hash { return store.HashSecret(fmt.Sprint(kind, connection, " ", n)) }
	before := store.HashSecret(r.big.Refresh(connection))
	if n > 0 {
		before = successor("refresh", n-1)
	}
	salt := sha256.Sum256(fmt.Appendf(nil, "salt %d %d", connection, n))
	return store.Rotation{
		Family: r.big.Family(connection), Token: before, Client: r.big.Client(connection), Salt: salt[:16],
		Next: successor("refresh", n), NextExpires: at.Add(90 * 24 * time.Hour), Access: successor("access", n), AccessExpires: at.Add(30 * 24 * time.Hour),
	}
}

// at is when refresh number n of each connection is.
func (r *rivals) at(n int) time.Time { return r.big.Now.Add(time.Duration(n+1) * time.Hour) }

// order is the connection of refresh number i of all: in no order, and each as often as
// the others.
func (r *rivals) order(i int) (connection, n int) {
	return int(i64(i) * 7919 % i64(r.big.Size.Connections)), i / r.big.Size.Connections
}

// refreshAll makes the same refreshes in both databases and reports how many a second.
// 7919 is a prime, so that each connection has its turn before one comes again.
func (r *rivals) refreshAll(b *testing.B, n int) {
	b.Helper()
	if r.big.Size.Connections%7919 == 0 {
		b.Fatal("the order would leave connections out")
	}
	var sql bytes.Buffer
	for i := range n {
		connection, times := r.order(i)
		sql.WriteString(sqliteRefresh(r.rotation(connection, times), r.at(times)))
	}
	began := time.Now()
	r.run(b, &sql)
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "sqlite/s")

	// One client for a twentieth of them, and then all at once.
	db := storetest.Open(b, r.big.Path)
	alone := n / 20
	began = time.Now()
	for i := range alone {
		r.refresh(b, db, i)
	}
	b.ReportMetric(float64(alone)/time.Since(began).Seconds(), "podgate-alone/s")
	began = time.Now()
	// Refreshes of one connection follow each other: a round of all of them ends before
	// the next one begins.
	for from := alone; from < n; {
		to := min(n, (from/r.big.Size.Connections+1)*r.big.Size.Connections)
		var next atomic.Int64
		next.Store(i64(from))
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for i := next.Add(1) - 1; i < i64(to); i = next.Add(1) - 1 {
					r.refresh(b, db, int(i))
				}
			})
		}
		all.Wait()
		from = to
	}
	b.ReportMetric(float64(n-alone)/time.Since(began).Seconds(), "podgate/s")
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

func (r *rivals) refresh(b *testing.B, db *store.DB, i int) {
	connection, n := r.order(i)
	if _, err := db.RotateRefresh(r.rotation(connection, n), r.at(n)); err != nil {
		b.Errorf("refresh %d of connection %d: %v", n, connection, err)
	}
}

// sqliteRefresh is what store.RotateRefresh does to a token that has not been used.
func sqliteRefresh(r store.Rotation, now time.Time) string {
	ms := now.UnixMilli()
	return fmt.Sprintf(`BEGIN IMMEDIATE;
UPDATE grants SET previous=current, current=x'%x', access=x'%x', seen=0, salt=x'%x', rotated=%d, refresh_expires=%d, expires=%d, due=%d, last_used=%d
WHERE family=x'%x' AND current=x'%x' AND refresh_expires>%d AND client=(SELECT id FROM clients WHERE public='%s')
AND EXISTS(SELECT 1 FROM members WHERE members.team=grants.team AND members.user=grants.user);
DELETE FROM tokens WHERE hash IN (SELECT t.hash FROM tokens t JOIN grants g ON t.grant_id=g.id WHERE g.family=x'%x' ORDER BY t.created DESC LIMIT -1 OFFSET 9);
INSERT INTO tokens SELECT access, id, NULL, %d, %d FROM grants WHERE family=x'%x' AND current=x'%x';
UPDATE clients SET expires=%d WHERE public='%s' AND expires<=%d;
COMMIT;
`, r.Next, r.Access, r.Salt, ms, r.NextExpires.UnixMilli(), r.NextExpires.UnixMilli(), now.Add(2*store.RefreshGrace).UnixMilli(), ms,
		r.Family.Hash, r.Token, ms, r.Client, r.Family.Hash, ms, r.AccessExpires.UnixMilli(), r.Family.Hash, r.Next,
		r.NextExpires.Add(store.ClientIdleTTL).UnixMilli(), r.Client, r.NextExpires.Add(store.ClientIdleTTL-24*time.Hour).UnixMilli())
}

// reportSizes wants the same many tokens in both, and reports how large the files are.
func (r *rivals) reportSizes(b *testing.B, tokens int) {
	b.Helper()
	r.run(b, strings.NewReader("PRAGMA wal_checkpoint(TRUNCATE);"))
	if said := r.run(b, strings.NewReader("SELECT count(*) FROM tokens;")); said != strconv.Itoa(tokens) {
		b.Fatalf("SQLite has %s tokens, want %d", said, tokens)
	}
	db := storetest.Open(b, r.big.Path)
	counts, err := db.Counts()
	stats, faults := db.Stats()
	if err := errors.Join(err, faults, db.Close()); err != nil {
		b.Fatal(err)
	}
	for _, c := range counts {
		if c.Kind == "tokens" && c.N != tokens {
			b.Fatalf("the store has %d tokens, want %d", c.N, tokens)
		}
	}
	ours, theirs := fileSize(b, r.big.Path), fileSize(b, r.sqlite)+fileSize(b, r.sqlite+"-wal")
	b.ReportMetric(ours/(1<<20), "podgate-MiB")
	b.ReportMetric(float64(stats.Size-stats.Free)/(1<<20), "podgate-used-MiB")
	b.ReportMetric(theirs/(1<<20), "sqlite-MiB")
	b.ReportMetric(ours/theirs, "size-ratio")
}

// fileSize is 0 of a file that is not there.
func fileSize(b *testing.B, path string) float64 {
	b.Helper()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size())
}
