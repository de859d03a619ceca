package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// writePair makes a certificate in a folder, as another program would, and
// returns a pool that trusts it alone.
func writePair(t *testing.T, dir string, to time.Time, names ...string) (Pair, *x509.CertPool) {
	t.Helper()
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), to, names...)
	p := Pair{filepath.Join(dir, names[0]+".pem"), filepath.Join(dir, names[0]+".key")}
	for name, raw := range map[string][]byte{p.Cert: certificate, p.Key: key} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return p, pool
}

func (s *site) fromFiles(pairs ...Pair) Config {
	cfg := s.config(nil)
	cfg.Files, cfg.CheckEvery = pairs, 5*time.Millisecond
	return cfg
}

// Files are read anew when they change; half-written ones leave what is there
// in force and are tried again.
func TestFilesAreReadAnew(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), t.TempDir()
	pair, old := writePair(t, dir, time.Now().Add(time.Hour), s.Host)
	s.open(s.fromFiles(pair))
	if _, err := s.dial(s.Host, old); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pair.Key, key[:len(key)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("the complaint", func() bool { return s.own().Problem != "" })
	if _, err := s.dial(s.Host, old); err != nil {
		t.Errorf("with half a key: %v", err)
	}
	if s.Log.has("PRIVATE KEY") || strings.Contains(s.own().Problem, dir) {
		t.Errorf("%+v\n%s", s.own(), s.Log)
	}
	_, fresh := writePair(t, dir, time.Now().Add(2*time.Hour), s.Host)
	s.eventually(s.Host, fresh)
	s.until("the end of the complaint", func() bool { return s.own().Problem == "" })
	if n := strings.Count(s.Log.String(), "cannot be used"); n > 3 {
		t.Errorf("the same is said %d times", n)
	}
}

// Each name gets the certificate that is for it; a name that is not ours gets
// none, even where a certificate would be.
func TestFilesByName(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), t.TempDir()
	own, first := writePair(t, dir, time.Now().Add(time.Hour), s.Host, "neighbour.test")
	wild, second := writePair(t, dir, time.Now().Add(time.Hour), "*."+s.Domain)
	s.open(s.fromFiles(own, wild))
	for name, roots := range map[string]*x509.CertPool{s.Host: first, "any." + s.Domain: second, strings.ToUpper(s.Host): first} {
		if _, err := s.dial(name, roots); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"neighbour.test", "a.b." + s.Domain, s.Domain} {
		if _, err := s.dial(name, first); err == nil {
			t.Errorf("%s has a handshake", name)
		}
	}
}

// An address has no name to send, and gets the certificate all the same.
func TestFilesForAnAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Host = "127.0.0.1"
	pair, roots := writePair(t, t.TempDir(), time.Now().Add(time.Hour), s.Host)
	cfg := s.fromFiles(pair)
	cfg.PodsDomain = ""
	s.open(cfg)
	if _, err := s.dial("127.0.0.1", roots); err != nil {
		t.Error(err)
	}
	if _, err := s.dial("x.", roots); err == nil {
		t.Error("a name has a handshake")
	}
}

func TestFilesThatDoNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, _ := writePair(t, dir, time.Now().Add(time.Hour), "a.test")
	other, _ := writePair(t, dir, time.Now().Add(time.Hour), "b.test")
	ended, _ := writePair(t, dir, time.Now().Add(-time.Minute), "c.test")
	for name, c := range map[string]struct {
		pairs []Pair
		host  string
		want  string
	}{
		"good":          {[]Pair{other, good}, "a.test", ""},
		"none":          {nil, "a.test", "no certificate"},
		"absent":        {[]Pair{{filepath.Join(dir, "absent"), good.Key}}, "a.test", "no such file"},
		"key of other":  {[]Pair{{good.Cert, other.Key}}, "a.test", "private key does not match"},
		"another name":  {[]Pair{other}, "a.test", "none of the certificates is for a.test"},
		"ended already": {[]Pair{ended}, "c.test", "ended on"},
	} {
		err := CheckFiles(c.pairs, c.host, time.Now())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Config{Host: "a.test", Files: []Pair{{"absent", "absent"}}, Log: slog.New(slog.DiscardHandler), Now: time.Now}); err == nil {
		t.Error("it opens without its files")
	}
}

// Only a chain that the world trusts, for this name and still in force, makes
// browsers insist on https.
func TestPubliclyTrusted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, public := writePair(t, dir, time.Now().Add(time.Hour), "a.test")
	for name, c := range map[string]struct {
		roots *x509.CertPool
		host  string
		later time.Duration
		want  bool
	}{
		"trusted":      {public, "a.test", 0, true},
		"self-signed":  {x509.NewCertPool(), "a.test", 0, false},
		"system's":     {nil, "a.test", 0, false},
		"another name": {public, "b.test", 0, false},
		"ended":        {public, "a.test", 2 * time.Hour, false},
	} {
		s := newSite(t)
		s.Host = c.host
		s.later(c.later)
		cfg := s.fromFiles(good)
		cfg.PublicRoots = c.roots
		m, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.PubliclyTrusted(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		m.Close()
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	pair, roots := writePair(t, t.TempDir(), time.Now().Add(time.Hour), s.Host)
	s.open(s.fromFiles(pair))
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", s.TLS.Addr().String(), &tls.Config{ServerName: s.Host, RootCAs: roots, MinVersion: version, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
