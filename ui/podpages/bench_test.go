package podpages_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/webtest"
	"podgate/store"
	"podgate/store/storetest"
	"podgate/ui/page"
	"podgate/ui/podpages"
)

// BenchmarkFront is the front page of somebody with 300 pods and 300 connections:
// how long the server takes, and how large the page is; with pods that are stopped, with
// pods that run and have just said how they are, and with pods that are all asked for it.
// Beside it stands a bare read of as many records in one transaction of bbolt.
func BenchmarkFront(b *testing.B) {
	const many = 300
	stopped, running := newCrowd(b, many, store.WantStopped), newCrowd(b, many, store.WantRunning)
	b.Run("stopped", func(b *testing.B) { benchmarkFront(b, stopped, 0) })
	b.Run("running", func(b *testing.B) { benchmarkFront(b, running, 0) })
	b.Run("asked", func(b *testing.B) { benchmarkFront(b, running, 3*time.Second) })
	b.Run("bare", func(b *testing.B) {
		read := storetest.BareReads(b, 2*many, 400)
		for b.Loop() {
			read()
		}
	})
}

// benchmarkFront has so much time pass before each page for the answers of agents.
func benchmarkFront(b *testing.B, c *crowd, pass time.Duration) {
	serve := c.front(b)
	serve()
	size, before := 0, cpuTime(b)
	for b.Loop() {
		c.advance(pass)
		w := serve()
		if size = w.Body.Len(); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "pod-0") {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(size)/1024, "KiB")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkViewers is ten seconds of 200 tabs of 10 people that follow 300 pods which
// run and do nothing: their streams, the looks at teams and sessions, the rounds, and
// the answers of all agents, which are in this process here.
func BenchmarkViewers(b *testing.B) {
	const people, tabs, long = 10, 20, 10 * time.Second
	c := newCrowd(b, 300, store.WantRunning)
	shell, err := page.New(page.Config{Issuer: c.Issuer(), Account: c.Account, Now: c.Clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	pages, err := podpages.New(shell, c.pods)
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(routed(pages, c.Clock))
	defer srv.Close()
	defer srv.CloseClientConnections()
	for i := range people {
		email := fmt.Sprintf("person%d@example.com", i)
		c.AddUser(email, false, "red")
		secret := c.Session(email)
		for range tabs {
			followQuietly(b, srv.URL, secret)
		}
	}
	time.Sleep(3 * time.Second) // all have heard of all
	before, began := cpuTime(b), time.Now()
	for b.Loop() {
		time.Sleep(long)
	}
	if n := pages.Streams(); n != people*tabs {
		b.Fatalf("%d streams, want %d", n, people*tabs)
	}
	b.ReportMetric(100*float64(cpuTime(b)-before)/float64(time.Since(began)), "%-of-a-core")
}

// followQuietly opens a stream of pods' states and reads what it says until all of
// them have come, and then whatever else.
func followQuietly(b *testing.B, origin, secret string) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, origin+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Host = "podgate.localhost"
	req.AddCookie(&http.Cookie{Name: page.SessionCookie, Value: secret})
	res, err := webtest.Transport().RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatal(res, err)
	}
	b.Cleanup(func() { _ = res.Body.Close() })
	listed := make(chan bool)
	go func() {
		defer close(listed)
		for lines := bufio.NewScanner(res.Body); lines.Scan() && lines.Text() != "event: list"; {
		}
	}()
	<-listed
	go func() { _, _ = io.Copy(io.Discard, res.Body) }()
}

// cpuTime is what this process has used, which a busy machine does not make longer.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
