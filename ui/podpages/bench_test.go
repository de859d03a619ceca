package podpages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

// BenchmarkFront is the front page of somebody with 300 pods and 300 connections:
// how long the server takes, and how large the page is. Beside it stands a bare read
// of as many records in one transaction of bbolt.
func BenchmarkFront(b *testing.B) {
	const many = 300
	s := pagetest.New(b)
	u := s.AddUser("ada@example.com", false, "red")
	team, err := s.DB.TeamBySlug("red")
	if err != nil {
		b.Fatal(err)
	}
	for i := range many {
		name := fmt.Sprintf("pod-%03d", i)
		p := store.Pod{ID: store.PodID(store.NewID()), Team: team.ID, Name: name, Preset: "static", Plan: "small", Region: "here", Want: store.WantStopped, Created: s.Clock.Now()}
		if err := s.DB.CreatePod(p, s.Clock.Now(), func([]store.Pod) error { return nil }); err != nil {
			b.Fatal(err)
		}
		s.Connect(u, "red", "Claude "+name, "claude.ai", authz.ScopeRead)
	}
	browser := s.Browser()
	browser.SignIn("ada@example.com")
	r := httptest.NewRequest(http.MethodGet, s.PageOrigin()+"/", nil)
	r.AddCookie(&http.Cookie{Name: page.SessionCookie, Value: browser.Cookie(page.SessionCookie)})
	b.Run("page", func(b *testing.B) {
		size, before := 0, cpuTime(b)
		for b.Loop() {
			w := httptest.NewRecorder()
			s.Server.Config.Handler.ServeHTTP(w, r)
			if size = w.Body.Len(); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "pod-0") {
				b.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		b.ReportMetric(float64(size)/1024, "KiB")
		b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	})
	b.Run("bare", func(b *testing.B) { benchmarkBareReads(b, 2*many) })
}

func benchmarkBareReads(b *testing.B, records int) {
	bare, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	err = bare.Update(func(tx *bolt.Tx) error {
		t, err := tx.CreateBucket([]byte("records"))
		for i := range records {
			if err == nil {
				err = t.Put(fmt.Appendf(nil, "%06d", i), make([]byte, 400))
			}
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		err := bare.View(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("records")).ForEach(func(_, v []byte) error { n += len(v); return nil })
		})
		if err != nil || n != 400*records {
			b.Fatal(n, err)
		}
	}
}

// cpuTime is what this process has used, which a busy machine does not make longer.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
