package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// withPods is a site whose own certificate has come.
func withPods(t *testing.T, o acmetest.Options, change func(*Auto)) (*site, *acmetest.CA) {
	t.Helper()
	s := newSite(t)
	o.HTTPPort, o.TLSPort = portOf(s.HTTP), portOf(s.TLS)
	ca := acmetest.Start(t, o)
	auto := s.auto(ca)
	if change != nil {
		change(auto)
	}
	s.open(s.config(auto))
	s.eventually(s.Host, ca.Roots)
	return s, ca
}

// A pod's first visitor waits for its certificate, all others use it, also
// after a restart, and a name that is no pod's gets nothing.
func TestPodOnDemand(t *testing.T) {
	t.Parallel()
	s, ca := withPods(t, acmetest.Options{}, nil)
	s.setPod("shop", true)
	shop := "shop." + s.Domain
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if leaf, err := s.dial(shop, ca.Roots); err != nil || leaf.DNSNames[0] != shop {
				t.Errorf("%v, %v", leaf, err)
			}
		})
	}
	group.Wait()
	if ca.Orders() != 2 { // its own and the pod's
		t.Errorf("%d certificates were asked for", ca.Orders())
	}
	if strings.Contains(fmt.Sprint(s.Status()), "shop") {
		t.Errorf("the status names a pod: %+v", s.Status())
	}
	s.shut()
	s.open(s.config(s.auto(ca)))
	if _, err := s.dial(shop, ca.Roots); err != nil {
		t.Error(err)
	}
	if ca.Orders() != 2 {
		t.Errorf("%d after a restart", ca.Orders())
	}
	s.setPod("shop", false)
	if _, err := s.dial(shop, ca.Roots); err == nil {
		t.Error("a deleted pod still has a handshake")
	}
}

// An authority takes longer than the server gives a handshake. Who waits for a
// pod's certificate is given more.
func TestSlowAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Patience = 2 * time.Second
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), Delay: 400 * time.Millisecond})
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	s.setPod("shop", true)
	start := time.Now()
	if _, err := s.dial("shop."+s.Domain, ca.Roots); err != nil || time.Since(start) < s.Patience {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// Names that are nobody's cost no certificate, no file, and hardly a look.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	s, ca := withPods(t, acmetest.Options{}, nil)
	s.shut() // upkeep would look at the folder too
	s.open(s.config(s.auto(ca)))
	s.until("the own certificate", func() bool { return s.Status().Ready(time.Now()) })
	before, requests := folder(t, s.dir), ca.Requests()
	looks, start := s.Looks.Load(), time.Now()
	choose := s.TLSConfig().GetCertificate
	const n = 10_000
	for i := range n {
		for _, name := range []string{
			fmt.Sprintf("x%d.%s", i%100, s.Domain), // looked for once in a while
			fmt.Sprintf("x%d.example.com", i), "a.b." + s.Domain, s.Domain, "*." + s.Domain, "", "127.0.0.1", "-." + s.Domain, "x." + s.Host,
			"x" + s.Host, strings.Repeat("x", 64) + "." + s.Domain, "../" + s.Domain, "ü." + s.Domain,
		} {
			if c, err := choose(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{"h2"}}); err == nil || c != nil {
				t.Fatalf("%q has a certificate", name)
			}
		}
		if _, err := choose(&tls.ClientHelloInfo{ServerName: fmt.Sprintf("x%d.%s", i, s.Domain), SupportedProtos: []string{challengeProtocol}}); err == nil {
			t.Fatal("a challenge that nobody asked for")
		}
	}
	// One look for each name that could be a pod's, and again when that is no longer believed.
	allowed := 100 * (1 + int64(time.Since(start)/believeRefusal))
	if got := s.Looks.Load() - looks; got > allowed {
		t.Errorf("the store was asked %d times, more than %d", got, allowed)
	}
	if after := folder(t, s.dir); after != before || ca.Requests() != requests {
		t.Errorf("files before\n%s\nand after\n%s\n%d requests to the authority", before, after, ca.Requests()-requests)
	}
	if _, err := s.dial("x1."+s.Domain, ca.Roots); err == nil {
		t.Error("a handshake")
	}
}

// folder lists files, but for the lock of the upkeep, which begins at the start.
func folder(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "storage_clean.lock" {
			return err
		}
		info, err := d.Info()
		fmt.Fprintln(&b, name, info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A refusal is believed for a short while only: the pod may be made next.
func TestRefusalsPass(t *testing.T) {
	t.Parallel()
	s, ca := withPods(t, acmetest.Options{}, nil)
	if _, err := s.dial("soon."+s.Domain, ca.Roots); err == nil {
		t.Fatal("a handshake for no pod")
	}
	s.setPod("soon", true)
	if _, err := s.dial("soon."+s.Domain, ca.Roots); err == nil {
		t.Error("the refusal is not remembered")
	}
	s.later(believeRefusal)
	if _, err := s.dial("soon."+s.Domain, ca.Roots); err != nil {
		t.Error(err)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := &authority{m: &Manager{cfg: s.config(nil)}, refused: map[string]time.Time{}}
	for i := range 3 * maxRefused {
		if err := a.exists(fmt.Sprintf("x%d", i)); !errors.Is(err, errNotOurs) {
			t.Fatal(err)
		}
	}
	if len(a.refused) > maxRefused {
		t.Errorf("%d names are remembered", len(a.refused))
	}
}

// So many certificates an hour and in all, whoever asks.
func TestPodCertificatesAreBounded(t *testing.T) {
	t.Parallel()
	s, ca := withPods(t, acmetest.Options{}, func(a *Auto) { a.PodsPerHour, a.PodsMax = 2, 3 })
	for i := range 5 {
		s.setPod(fmt.Sprintf("p%d", i), true)
	}
	try := func(i int) bool {
		_, err := s.dial(fmt.Sprintf("p%d.%s", i, s.Domain), ca.Roots)
		return err == nil
	}
	if !try(0) || !try(1) || try(2) || try(2) {
		t.Error("not two in the first hour")
	}
	if !strings.Contains(s.Log.String(), errTooMany.Error()) || s.Status().PodProblems != 1 {
		t.Errorf("nobody is told: %+v", s.Status())
	}
	s.later(time.Hour)
	if !try(2) || try(3) || !try(0) {
		t.Error("not three in all")
	}
	s.setPod("p0", false)
	s.later(time.Hour)
	if !try(3) || try(4) {
		t.Error("a deleted pod leaves no place")
	}
	if ca.Orders() != 1+4 {
		t.Errorf("%d certificates were asked for", ca.Orders())
	}
}

// A pod that the authority refuses is left alone for longer and longer, and
// its visitors are told at once.
func TestRefusedByTheAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bad := "bad." + s.Domain
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), Blocked: []string{bad}})
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	s.setPod("bad", true)
	asked := func() int {
		before := ca.Requests()
		start := time.Now()
		for range 5 {
			if _, err := s.dial(bad, ca.Roots); err == nil {
				t.Error("a certificate for a refused name")
			}
		}
		if time.Since(start) > 20*time.Second {
			t.Error("visitors wait for a second try")
		}
		return ca.Requests() - before
	}
	if asked() == 0 || asked() != 0 {
		t.Error("it is not left alone after the first refusal")
	}
	s.later(firstRest)
	if asked() == 0 {
		t.Error("it is never asked for again")
	}
	s.later(firstRest)
	if asked() != 0 {
		t.Error("the pause does not grow")
	}
	s.later(longestRest)
	if asked() == 0 {
		t.Error("the pause has no end")
	}
	if strings.Contains(fmt.Sprint(s.Status()), "bad") || s.Status().PodProblems != 1 {
		t.Errorf("status %+v", s.Status())
	}
}

// A pod's certificate is renewed when somebody visits, and never once the pod
// is gone; what it leaves behind goes when its name is free.
func TestPodRenewalAndEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), Validity: 12 * time.Second})
	auto := s.auto(ca)
	auto.noARI = true
	cfg := s.config(auto)
	cfg.CheckEvery = 200 * time.Millisecond
	s.open(cfg)
	s.setPod("shop", true)
	s.setPod("gone", true)
	shop, gone := "shop."+s.Domain, "gone."+s.Domain
	first, last := s.eventually(shop, ca.Roots), s.eventually(gone, ca.Roots)
	s.setPod("gone", false)
	s.until("a renewal", func() bool {
		leaf, err := s.dial(shop, ca.Roots)
		return err == nil && !leaf.Equal(first)
	})
	s.until("the end of the deleted pod's certificate", func() bool { return time.Now().After(last.NotAfter) })
	if _, err := s.dial(gone, ca.Roots); err == nil {
		t.Error("a deleted pod still has a handshake")
	}
	if n := strings.Count(s.Log.String(), "the certificate has come\" name="+gone); n != 1 {
		t.Errorf("the deleted pod's certificate came %d times", n)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "certificates", "*", gone, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	s.later(keepDeleted + time.Minute)
	s.until("its files to go", func() bool {
		_, err := os.Stat(filepath.Dir(files[0]))
		return errors.Is(err, os.ErrNotExist)
	})
}

// When the store cannot be read nobody gets a certificate.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	broken := errors.New("broken")
	cfg := s.config(nil)
	cfg.Pod = func(string) (bool, error) { return true, broken }
	a := &authority{m: &Manager{cfg: cfg}, refused: map[string]time.Time{}}
	if err := a.decide(t.Context(), "shop."+s.Domain); !errors.Is(err, broken) {
		t.Error(err)
	}
	if err := a.decide(t.Context(), "shop.example.com"); !errors.Is(err, errNotOurs) {
		t.Error(err)
	}
}

// Handshakes that wait for the authority are few.
func TestWaitingHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	s, _ := withPods(t, acmetest.Options{}, nil)
	a := s.source.(*authority)
	for range maxWaiting {
		a.waiting <- struct{}{}
	}
	s.setPod("late", true)
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if _, err := s.certificate(&tls.ClientHelloInfo{ServerName: "late." + s.Domain, Conn: here}); !errors.Is(err, errBusy) {
		t.Error(err)
	}
}
