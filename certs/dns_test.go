package certs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"podgate/internal/acmetest"
)

// writeScript makes a program out of shell commands. While the file is open for
// writing nothing is started: it would inherit it, and a file that somebody
// writes to cannot be executed.
func writeScript(t *testing.T, commands string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, []byte("#!/bin/sh\nset -eu\n"+commands+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// withDNS is how certificates come by DNS-01, where nobody can reach this
// server.
func withDNS(s *site, ca *acmetest.CA, d *DNS) *Auto {
	auto := s.auto(ca)
	auto.HTTPPort = 0
	d.Resolvers = []string{ca.DNS.Addr}
	auto.DNS = d
	return auto
}

// A script that changes DNS records gets one certificate for all pods, without
// a look at any, and cleans up behind itself.
func TestWildcardByScript(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{})
	script := writeScript(t, fmt.Sprintf(`
case "$1" in
present) mkdir -p "%[1]s/$2"; : >"%[1]s/$2/$3" ;;
cleanup) rm "%[1]s/$2/$3" ;;
esac
env | sed 's/=.*//' | sort >"%[1]s/environment"`, ca.DNS.Dir))
	s.open(s.config(withDNS(s, ca, &DNS{Script: script})))
	s.eventually(s.Host, ca.Roots)
	leaf := s.eventually("any."+s.Domain, ca.Roots)
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "*."+s.Domain || s.Looks.Load() != 0 {
		t.Errorf("it is for %v, after %d looks", leaf.DNSNames, s.Looks.Load())
	}
	if _, err := s.dial("a.b."+s.Domain, ca.Roots); err == nil {
		t.Error("a handshake two levels down")
	}
	if names := s.Status().Names; len(names) != 2 || names[0].Name != "*."+s.Domain {
		t.Errorf("status %+v", names)
	}
	for _, name := range []string{s.Host, s.Domain} {
		s.until("the record to go", func() bool { return len(ca.DNS.TXT("_acme-challenge."+name)) == 0 })
	}
	env, err := os.ReadFile(filepath.Join(ca.DNS.Dir, "environment"))
	for name := range strings.Lines(string(env)) {
		if name = strings.TrimSpace(name); !slices.Contains([]string{"HOME", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			t.Errorf("the script sees %s", name)
		}
	}
	if err != nil || len(env) == 0 {
		t.Error(err)
	}
}

func TestScriptFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{})
	long := strings.Repeat("x", 3*tailSize)
	script := writeScript(t, "echo "+long+"; echo no such zone >&2; exit 3")
	s.open(s.config(withDNS(s, ca, &DNS{Script: script})))
	s.until("the failure", func() bool { return s.own().Problem == "failed; the server's log says why" })
	if !s.Log.has("no such zone") || s.Log.has(long) {
		t.Errorf("%s", s.Log)
	}
}

// fakeCloudflare keeps one zone and its records as Cloudflare's API does.
type fakeCloudflare struct {
	mu      sync.Mutex
	records map[string]map[string]any
	onSet   func(name, value string, set bool)
	n       int
}

func (f *fakeCloudflare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := func(status int, result any) {
		w.WriteHeader(status)
		body := map[string]any{"success": status == 200, "result": result, "errors": []any{}}
		if status != 200 {
			body["errors"] = []any{map[string]any{"code": 9109, "message": "Unauthorized to access requested resource"}}
		}
		_ = json.NewEncoder(w).Encode(body)
	}
	path := strings.TrimPrefix(r.URL.Path, "/zones/zone1/dns_records")
	switch {
	case r.Header.Get("Authorization") != "Bearer token":
		answer(403, nil)
	case r.URL.Path == "/zones":
		list := []any{}
		if r.URL.Query().Get("name") == "test" {
			list = append(list, map[string]any{"id": "zone1"})
		}
		answer(200, list)
	case r.Method == http.MethodPost && path == "":
		var record map[string]any
		if err := json.NewDecoder(r.Body).Decode(&record); err != nil || record["type"] != "TXT" || record["ttl"] != 60.0 {
			answer(400, nil)
			return
		}
		f.n++
		record["id"] = fmt.Sprint("r", f.n)
		f.records[record["id"].(string)] = record
		f.onSet(record["name"].(string), strings.Trim(record["content"].(string), `"`), true)
		answer(200, record)
	case r.Method == http.MethodGet && path == "":
		list := []any{}
		for _, record := range f.records {
			if record["name"] == r.URL.Query().Get("name") {
				list = append(list, record)
			}
		}
		answer(200, list)
	case r.Method == http.MethodDelete:
		record := f.records[strings.TrimPrefix(path, "/")]
		delete(f.records, strings.TrimPrefix(path, "/"))
		f.onSet(record["name"].(string), strings.Trim(record["content"].(string), `"`), false)
		answer(200, map[string]any{})
	default:
		answer(404, nil)
	}
}

func startCloudflare(t *testing.T, onSet func(string, string, bool)) (*fakeCloudflare, string) {
	t.Helper()
	f := &fakeCloudflare{records: map[string]map[string]any{}, onSet: onSet}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL
}

func TestWildcardByCloudflare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{})
	f, address := startCloudflare(t, func(name, value string, set bool) {
		if set {
			ca.DNS.SetTXT(name, value)
		} else {
			ca.DNS.DeleteTXT(name, value)
		}
	})
	s.open(s.config(withDNS(s, ca, &DNS{CloudflareToken: "token", cloudflareURL: address})))
	s.eventually("any."+s.Domain, ca.Roots)
	s.eventually(s.Host, ca.Roots)
	s.until("the records to go", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.records) == 0 })
	if s.Log.has("Bearer") || s.Log.has("token1") {
		t.Error("the token is in the log")
	}
}

func TestCloudflare(t *testing.T) {
	t.Parallel()
	f, address := startCloudflare(t, func(string, string, bool) {})
	record := func(value string) []libdns.Record {
		return []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge.apps", Data: value, TTL: time.Second}}
	}
	c := newCloudflare("token", address)
	for _, value := range []string{"one", "two"} {
		if _, err := c.AppendRecords(t.Context(), "test.", record(value)); err != nil {
			t.Fatal(err)
		}
	}
	if f.records["r1"]["name"] != "_acme-challenge.apps.test" || f.records["r1"]["content"] != `"one"` {
		t.Errorf("%v", f.records)
	}
	if _, err := c.DeleteRecords(t.Context(), "test.", record("one")); err != nil || len(f.records) != 1 || f.records["r2"] == nil {
		t.Errorf("%v, left %v", err, f.records)
	}
	if _, err := c.AppendRecords(t.Context(), "other.", record("x")); err == nil || !strings.Contains(err.Error(), "Zone / DNS / Edit") {
		t.Errorf("a zone that the token does not reach: %v", err)
	}
	_, err := newCloudflare("secret-wrong", address).AppendRecords(t.Context(), "test.", record("x"))
	if err == nil || !strings.Contains(err.Error(), "9109") || strings.Contains(err.Error(), "secret-wrong") {
		t.Errorf("a wrong token: %v", err)
	}
}

// The token goes to Cloudflare and nowhere else.
func TestCloudflareFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("came with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer here.Close()
	if _, err := newCloudflare("token", here.URL).zone(t.Context(), "test."); err == nil {
		t.Error("no error")
	}
}
