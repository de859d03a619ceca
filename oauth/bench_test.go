package oauth

import (
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"podgate/store"
)

// benchSize is how many connections the stores of the benchmarks hold.
const benchSize = 1000

// BenchmarkBearer measures the check of an access token beside one bare read
// of a bbolt file that holds as many records of the same size. The aim is at
// most three times that, also after somebody else's writes, which leave the
// processor's caches cold.
func BenchmarkBearer(b *testing.B) {
	bare, keys := bareStore(b, benchSize, 300)
	read := func(b *testing.B, n int) {
		err := bare.View(func(tx *bolt.Tx) error {
			if len(tx.Bucket(bareBucket).Get(keys[n%len(keys)])) != 300 {
				b.Fatal("absent")
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	f := newFixture(b)
	tokens := make([]string, benchSize)
	client := f.register()
	for i := range tokens {
		tokens[i] = f.mint(client)
	}
	handler := f.Bearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	headers := make([][]string, len(tokens))
	for i, token := range tokens {
		headers[i] = []string{"Bearer " + token}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/mcp", nil)
	check := func(b *testing.B, n int) {
		r.Header["Authorization"] = headers[n%len(headers)]
		if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
	for _, c := range []struct {
		name string
		do   func(*testing.B, int)
	}{{"bare bbolt read", read}, {"bearer check", check}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				c.do(b, n)
			}
		})
		b.Run(c.name+", a write every ten", func(b *testing.B) {
			var tens latencies
			for n := 0; b.Loop(); n += 10 {
				f.mint(client) // a write by somebody else
				began := time.Now()
				for i := range 10 {
					c.do(b, n+i)
				}
				tens.add(time.Since(began))
			}
			slices.Sort(tens.list)
			b.ReportMetric(float64(tens.list[len(tens.list)/2])/10, "p50-ns/check")
		})
	}
}

// mint makes a connection straight in the store.
func (f *fixture) mint(client store.ClientID) string {
	f.Helper()
	code, id := f.mintCode(client), store.GrantID(store.NewID())
	token := newAccessToken(id)
	_, err := f.db.RedeemCode(store.Redemption{
		Code: store.HashSecret(code), Client: client, RedirectURI: testRedirect, Challenge: testChallenge, Grant: id,
		Access: store.HashSecret(token), Expires: f.now().Add(f.accessTTL),
	}, f.now())
	f.must(err)
	return token
}

func (f *fixture) mintCode(client store.ClientID) string {
	f.Helper()
	handle, code, now := newSecret(), newSecret(), f.now()
	f.must(f.db.CreateAuthRequest(store.AuthRequest{
		Handle: store.HashSecret(handle), Session: store.HashSecret("alice"), Client: client, RedirectURI: testRedirect, Challenge: testChallenge,
		Scopes: knownScopes(""), Resource: f.resource, Created: now, Expires: now.Add(requestTTL),
	}))
	_, err := f.db.Approve(store.Approval{
		Handle: store.HashSecret(handle), Session: store.HashSecret("alice"), Team: "red", Scopes: knownScopes(""), Code: store.HashSecret(code), Expires: now.Add(f.codeTTL),
	}, now)
	f.must(err)
	return code
}

var bareBucket = []byte("bare")

// bareStore is a bbolt file with n records under keys like hashes.
func bareStore(b *testing.B, n, size int) (*bolt.DB, [][]byte) {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	keys := make([][]byte, n)
	err = db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucket(bareBucket)
		if err != nil {
			return err
		}
		for i := range keys {
			h := store.HashSecret(newSecret())
			keys[i] = h[:]
			if err := bucket.Put(keys[i], make([]byte, size)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return db, keys
}

// BenchmarkRedeem measures the redemption of codes by many clients at once,
// from the HTTP request to the answer, beside as many bare bbolt Batch commits:
// of one record, and of as many entries as a connection has. The aim is at
// least half their rate.
func BenchmarkRedeem(b *testing.B) {
	const parallel = 128
	// What a redemption writes: the spent code; the connection, its entries in
	// the indexes and among the deadlines.
	const written = 7
	bare := func(b *testing.B, entries byte) {
		db, _ := bareStore(b, benchSize, 300)
		var n atomic.Uint64
		b.SetParallelism(parallel)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				id := binary.BigEndian.AppendUint64(nil, n.Add(1))
				err := db.Batch(func(tx *bolt.Tx) error {
					for i := range entries {
						key, size := store.HashSecret(string(append(id, i))), 300
						if i >= 2 {
							size = 32 // an index holds no record
						}
						if err := tx.Bucket(bareBucket).Put(append([]byte{i}, key[:]...), make([]byte, size)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("bare bbolt batch", func(b *testing.B) { bare(b, 1) })
	b.Run("bare bbolt batch, as many entries", func(b *testing.B) { bare(b, written) })
	b.Run("redeem", func(b *testing.B) {
		f := newFixture(b, func(c *Config) { c.CodeTTL = time.Hour; c.Log = slog.New(slog.DiscardHandler) })
		client := f.register()
		bodies := make([]string, b.N)
		var minting errgroup.Group
		minting.SetLimit(16) // one session keeps no more than twenty requests waiting
		for i := range bodies {
			minting.Go(func() error { bodies[i] = exchange(client, f.mintCode(client)).Encode(); return nil })
		}
		f.must(minting.Wait())
		var n atomic.Int64
		b.SetParallelism(parallel)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r := httptest.NewRequest("POST", "/api/oauth/token", strings.NewReader(bodies[n.Add(1)-1]))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w := httptest.NewRecorder()
				f.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Errorf("%d %s", w.Code, w.Body)
				}
			}
		})
	})
}

// BenchmarkParseAuthorize measures the pure part of an authorization request.
func BenchmarkParseAuthorize(b *testing.B) {
	raw := request("abcdefghijklmnopqrstuvwxyz").Encode()
	b.ReportAllocs()
	for b.Loop() {
		q, err := url.ParseQuery(raw)
		if err != nil {
			b.Fatal(err)
		}
		a, err := parseClaims(q)
		if err != nil || a.parseRest(q, testAudience) != nil {
			b.Fatal("refused")
		}
	}
}
