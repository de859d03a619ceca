package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/webtest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a network of one name, in which nothing is dialled but loopback.
type world struct {
	addrs []netip.Addr
	err   error             // of the look-up
	ports map[string]string // port, or address and port, to where it really is
	fails map[string]error  // address to the error of dialling it
	asked []string          // what was dialled
}

func (w *world) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	if host != "pods.example.com" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return w.addrs, w.err
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.asked = append(w.asked, address)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if err := w.fails[host]; err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	real, found := w.ports[port]
	if !found {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", real)
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

// examine runs the checks that are named and returns what they found.
func examine(t *testing.T, w *world, typed string, authority *webtest.Authority, names ...string) map[string]outcome {
	t.Helper()
	target, err := ParseTarget(typed)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Target: target, Dial: w.dial, Lookup: w.lookup, Now: func() time.Time { return t0 }}
	if authority != nil {
		o.Roots = authority.Roots
	}
	p := newProbe(o)
	defer p.client.CloseIdleConnections()
	found := map[string]outcome{}
	for _, c := range checks() {
		if slices.Contains(names, c.name) {
			found[c.name] = c.look(t.Context(), p)
		}
	}
	return found
}

func wants(t *testing.T, name string, got outcome, level Level, text string) {
	t.Helper()
	if got.level != level || !strings.Contains(got.text+" → "+got.advice, text) {
		t.Errorf("%s: %s: %s → %s; want %s: %s", name, got.level, got.text, got.advice, level, text)
	}
	if (got.level == Fault) && got.advice == "" {
		t.Errorf("%s: a fault without advice: %s", name, got.text)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]struct {
		level Level
		text  string
	}{
		"https://pods.example.com/api/mcp":     {OK, "https://pods.example.com/api/mcp"},
		"pods.example.com":                     {OK, "https://pods.example.com/api/mcp"},
		"https://pods.example.com/":            {OK, "https://pods.example.com/api/mcp"},
		"https://pods.example.com:8443":        {OK, "https://pods.example.com:8443/api/mcp"},
		"localhost:8080":                       {OK, "http://localhost:8080/api/mcp"},
		"[::1]:8080/api/mcp":                   {OK, "http://[::1]:8080/api/mcp"},
		"https://pods.example.com/api/mcp/":    {Warning, "slash at the end"},
		"https://Pods.Example.com/api/mcp":     {Warning, "capitals"},
		"https://pods.example.com:443/api/mcp": {Warning, "Give them https://pods.example.com/api/mcp."},
		"https://pods.example.com/api/mcp?x=1": {Warning, "something follows"},
		"http://pods.example.com/api/mcp":      {Fault, "in clear"},
		"http://127.0.0.1:80/api/mcp":          {Warning, "the port 80"},
	} {
		wants(t, typed, examine(t, &world{}, typed, nil, "address")["address"], want.level, want.text)
	}
	for typed, want := range map[string]string{
		"": "not a web address", "https://": "not a web address", "ftp://pods.example.com": "neither", "a b": "not a web address", "https://ä.example": "not a web address",
		"https://ada:secret@pods.example.com": "before the @", "https://pods.example.com/other": "somewhere else", "https://pods.example.com:x": "not a web address",
		"https://pods.example.com/%zz": "not a web address", "%80": "not a web address", "pods.example.com:0": "not a web address", "pods.example.com:70000": "not a web address",
		"https://[fe80::1%25eth0]/": "not a web address", "https://pods_example.com": "not a web address",
	} {
		if _, err := ParseTarget(typed); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %s", typed, err, want)
		}
	}
}

// What a target is made of is what it is given for.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"pods.example.com", "https://[::1]:8443/api/mcp/", "HTTP://LOCALHOST", "https://a:443?", "a@b", "https://a/api/mcp#x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		target, err := ParseTarget(typed)
		if err != nil {
			return
		}
		again, err := ParseTarget(target.Endpoint())
		if err != nil || len(again.remarks) > 0 || again.Origin != target.Origin || again.hostPort() != target.hostPort() {
			t.Errorf("%q is %+v, which is %+v, %v", typed, target, again, err)
		}
	})
}

func TestName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world world
		typed string
		level Level
		text  string
	}{
		"both":     {world{addrs: addrs("2001:db8::7", "203.0.113.7")}, "pods.example.com", OK, "203.0.113.7, 2001:db8::7"},
		"absent":   {world{}, "other.example.com", Fault, "does not exist"},
		"empty":    {world{}, "pods.example.com", Fault, "does not exist"},
		"resolver": {world{err: &net.DNSError{Err: "server misbehaving"}}, "pods.example.com", Fault, "could not be looked up"},
		"home":     {world{addrs: addrs("192.168.1.7")}, "pods.example.com", Warning, "from its own network only"},
		"tailnet":  {world{addrs: addrs("100.64.1.7")}, "pods.example.com", Warning, "from its own network only"},
		"IPv6":     {world{addrs: addrs("2001:db8::7")}, "pods.example.com", Warning, "no IPv4"},
		"itself":   {world{addrs: addrs("127.0.0.1")}, "pods.example.com", Warning, "to itself"},
		"hostless": {world{}, "http://localhost:8080", OK, "127.0.0.1, ::1"},
		"address":  {world{}, "https://203.0.113.7", OK, "nothing to look up"},
	} {
		wants(t, name, examine(t, &c.world, c.typed, nil, "name")["name"], c.level, c.text)
	}
}

func TestConnection(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	here := map[string]string{"443": srv.Listener.Addr().String()}
	both := addrs("203.0.113.7", "2001:db8::7")
	for name, c := range map[string]struct {
		world world
		level Level
		text  string
	}{
		"both":        {world{addrs: both, ports: here}, OK, "203.0.113.7, 2001:db8::7"},
		"refused":     {world{addrs: both}, Fault, "refused"},
		"dead IPv6":   {world{addrs: both, ports: here, fails: map[string]error{"2001:db8::7": syscall.ECONNREFUSED}}, Warning, "not at 2001:db8::7"},
		"dead IPv4":   {world{addrs: both, ports: here, fails: map[string]error{"203.0.113.7": os.ErrDeadlineExceeded}}, Warning, "no answer in time"},
		"no IPv6":     {world{addrs: both, ports: here, fails: map[string]error{"2001:db8::7": syscall.ENETUNREACH}}, OK, "answers at 203.0.113.7"},
		"only IPv6":   {world{addrs: addrs("2001:db8::7"), fails: map[string]error{"2001:db8::7": syscall.ENETUNREACH}}, Fault, "no way to 2001:db8::7"},
		"no route v4": {world{addrs: addrs("203.0.113.7"), fails: map[string]error{"203.0.113.7": syscall.EHOSTUNREACH}}, Fault, "no way to it"},
	} {
		wants(t, name, examine(t, &c.world, "pods.example.com", nil, "name", "connection")["connection"], c.level, c.text)
		for _, address := range c.world.asked {
			if !strings.HasSuffix(address, ":443") {
				t.Errorf("%s: %s was dialled", name, address)
			}
		}
	}
}

// A name with endlessly many addresses does not take endlessly long.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	w := &world{}
	for i := range 100 {
		w.addrs = append(w.addrs, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	examine(t, w, "pods.example.com", nil, "name", "connection", "certificate")
	if len(w.asked) > 2*maxAddresses {
		t.Errorf("%d were tried", len(w.asked))
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	authority := webtest.NewAuthority(t)
	const day = 24 * time.Hour
	from, until := t0.Add(-30*day), t0.Add(60*day)
	for name, c := range map[string]struct {
		cert  tls.Certificate
		max   uint16
		level Level
		text  string
	}{
		"good":       {authority.Sign("pods.example.com", from, until), 0, OK, "TLS 1.3, valid until 2026-04-30"},
		"TLS 1.2":    {authority.Sign("pods.example.com", from, until), tls.VersionTLS12, OK, "TLS 1.2"},
		"old TLS":    {authority.Sign("pods.example.com", from, until), tls.VersionTLS11, Fault, "only TLS 1.1"},
		"soon":       {authority.Sign("pods.example.com", from, t0.Add(2*day)), 0, Warning, "soon"},
		"expired":    {authority.Sign("pods.example.com", from, t0.Add(-day)), 0, Fault, "expired on 2026-02-28"},
		"early":      {authority.Sign("pods.example.com", t0.Add(day), until), 0, Fault, "valid only from 2026-03-02"},
		"wrong name": {authority.Sign("www.example.com", from, until), 0, Fault, "another name: www.example.com"},
		"by itself":  {webtest.SelfSigned(t, "pods.example.com", from, until), 0, Fault, "signed by itself"},
		"no chain":   {authority.Between().Sign("pods.example.com", from, until), 0, Fault, "full chain"},
	} {
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{c.cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.max}
		srv.Config.ErrorLog = quiet
		srv.StartTLS()
		t.Cleanup(srv.Close)
		w := &world{addrs: addrs("203.0.113.7"), ports: map[string]string{"443": srv.Listener.Addr().String()}}
		wants(t, name, examine(t, w, "pods.example.com", authority, "name", "certificate")["certificate"], c.level, c.text)
	}
}

func TestNoTLSAtAll(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = quiet
	w := &world{addrs: addrs("203.0.113.7"), ports: map[string]string{"443": srv.Listener.Addr().String()}}
	wants(t, "http", examine(t, w, "pods.example.com", nil, "name", "certificate")["certificate"], Fault, "does not speak TLS")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	w.ports["443"] = mute.Addr().String()
	wants(t, "mute", examine(t, w, "pods.example.com", nil, "name", "certificate")["certificate"], Fault, "connection was cut")
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	const ours = "https://pods.example.com"
	for _, typed := range []string{"http://localhost", "https://pods.example.com:8443"} {
		wants(t, typed, examine(t, &world{}, typed, nil, "plain http")["plain http"], Skipped, "usual port")
	}
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, ours+r.URL.Path, http.StatusMovedPermanently)
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		level Level
		text  string
	}{
		"as it should be": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Error(w, "use https", http.StatusBadRequest)
				return
			}
			redirect(w, r)
		}, OK, "leads to https"},
		"POST too": {redirect, Warning, "loses the body"},
		"a page":   {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }, Warning, "Let port 80 redirect"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://pods.example.com.evil.example/", http.StatusMovedPermanently)
		}, Warning, "evil"},
		"nothing": {nil, OK, "gets nowhere"},
	} {
		w := &world{addrs: addrs("203.0.113.7"), ports: map[string]string{}}
		if c.serve != nil {
			srv := httptest.NewServer(c.serve)
			t.Cleanup(srv.Close)
			w.ports["80"] = srv.Listener.Addr().String()
		}
		wants(t, name, examine(t, w, ours, nil, "name", "plain http")["plain http"], c.level, c.text)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the connection was cut": syscall.ECONNRESET, "there was no answer in time": context.DeadlineExceeded, "odd\uFFFD[31m": errors.New("odd\x1b[31m"),
	} {
		if got := words(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := clean(strings.Repeat("ä", 1000)); len([]rune(got)) != maxText {
		t.Errorf("a text of %d characters is shown", len([]rune(got)))
	}
}
