package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"podgate/certs"
	"podgate/internal/acmetest"
	"podgate/internal/webtest"
	"podgate/pods"
	"podgate/store"
	"podgate/store/storetest"
)

// secureServer is a server that gets its certificates from an authority of the
// test.
type secureServer struct {
	*testServer
	CA     *acmetest.CA
	Host   string // its name
	Domain string // of its pods
	Plain  string // http://127.0.0.1:PORT, where redirects are
}

var secureServers atomic.Int64

// startSecure starts an authority and a server whose configuration says no more
// than it must: the public URL, and where the ports and the authority of the
// test are. more is put behind, below [tls].
func startSecure(t testing.TB, options acmetest.Options, more ...string) *secureServer {
	t.Helper()
	https, plain := freePort(t), freePort(t)
	options.TLSPort, options.HTTPPort = portNumber(t, https), portNumber(t, plain)
	s := &secureServer{CA: acmetest.Start(t, options), Host: fmt.Sprintf("podgate%d.test", secureServers.Add(1)), Plain: "http://127.0.0.1:" + plain}
	s.Domain = s.Host
	s.testServer = startServer(t, append([]string{
		fmt.Sprintf("public_url = %q", "https://"+s.Host+":"+https), `listen = "127.0.0.1:0"`, "[tls]",
		fmt.Sprintf("listen = %q", "127.0.0.1:"+https), fmt.Sprintf("http_listen = %q", "127.0.0.1:"+plain),
		fmt.Sprintf("ca = %q\nca_root_file = %q", s.CA.URL, s.CA.RootFile),
	}, more...)...)
	s.roots = s.CA.Roots
	return s
}

// ready waits until /readyz says so, asked over plain HTTP on loopback.
func (s *secureServer) ready() readiness {
	s.t.Helper()
	var answer readiness
	eventually(s.t, func() bool {
		resp, body := s.get("localhost", "/readyz")
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			s.t.Fatalf("%v: %s", err, body)
		}
		return resp.StatusCode == http.StatusOK
	})
	return answer
}

// The first connection, whole, over https: the person's browser and the
// assistant trust the authority of the test and nobody else.
func TestFirstConnectionOverHTTPS(t *testing.T) {
	t.Parallel()
	s := startSecure(t, acmetest.Options{})
	needSandbox(t, s.testServer)
	if answer := s.ready(); len(answer.Certificates) != 1 || answer.Certificates[0].Name != s.Host || time.Until(*answer.Certificates[0].Expires) < 80*24*time.Hour {
		t.Errorf("readyz: %+v", answer)
	}
	ada := setUp(t, s.testServer)
	session := ada.Cookies(s.Issuer)
	if len(session) == 0 {
		t.Error("no cookie")
	}
	for _, c := range session {
		if !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("the cookie %s lacks the prefix", c.Name)
		}
	}
	if plain := ada.Cookies(strings.Replace(s.Issuer, "https://", "http://", 1)); len(plain) != 0 {
		t.Errorf("sent in clear: %v", plain)
	}
	c := connect(t, s.testServer, ada, connectOptions{})
	address, err := url.Parse(walkPod(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialTLS(s, address.Hostname()); err == nil {
		t.Error("the name of a deleted pod still has a handshake")
	}
	if strings.Contains(s.Log.String(), c.wire.token()) {
		t.Error("a token is in the log")
	}
}

// A pod has a certificate of its own when somebody first asks for it, and
// WebSockets through it.
func TestPodOverHTTPS(t *testing.T) {
	t.Parallel()
	s := startSecure(t, acmetest.Options{})
	needSandbox(t, s.testServer)
	s.ready()
	c := connect(t, s.testServer, setUp(t, s.testServer), connectOptions{})
	pod := c.call(t, "create_pod", args{"name": "live", "preset": "command"})
	c.call(t, "write_file", args{"name": "live", "path": "app.pl", "content": upgrader})
	c.call(t, "write_file", args{"name": "live", "path": "Procfile", "content": "web: perl app.pl\n"})
	c.call(t, "manage_pod", args{"name": "live", "action": "reload"})
	address, err := url.Parse(pod["url"].(string))
	if err != nil || address.Scheme != "https" || address.Hostname() != "live."+s.Domain {
		t.Fatalf("address %v, %v", address, err)
	}
	transport := webtest.Transport(s.roots)
	defer transport.CloseIdleConnections()
	transport.ForceAttemptHTTP2 = false // a WebSocket begins in HTTP/1.1
	conn, err := transport.DialContext(t.Context(), "tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{ServerName: address.Hostname(), RootCAs: s.roots})
	if err := secure.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := secure.Handshake(); err != nil {
		t.Fatalf("%v\n%s", err, s.Log)
	}
	if names := secure.ConnectionState().PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != address.Hostname() {
		t.Errorf("the certificate is for %v", names)
	}
	echoBack(t, secure, address.Host)
	if s.CA.Orders() != 2 {
		t.Errorf("%d certificates were asked for", s.CA.Orders())
	}
	if _, err := dialTLS(s, "absent."+s.Domain); err == nil || s.CA.Orders() != 2 {
		t.Errorf("a name that is no pod's: %v, %d orders", err, s.CA.Orders())
	}
}

func dialTLS(s *secureServer, name string) (*tls.ConnectionState, error) {
	u, err := url.Parse(s.Issuer)
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", "127.0.0.1:"+u.Port(), &tls.Config{ServerName: name, RootCAs: s.roots})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return &state, nil
}

// echoBack changes protocols with the app in the pod and hears its own words.
func echoBack(t *testing.T, conn net.Conn, host string) {
	t.Helper()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host)
	buf := make([]byte, 4096)
	head := ""
	for !strings.Contains(head, "\r\n\r\n") {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%q, %v", head, err)
		}
		head += string(buf[:n])
	}
	if !strings.HasPrefix(head, "HTTP/1.1 101") {
		t.Fatalf("upgrade: %s", head)
	}
	fmt.Fprint(conn, "hello")
	n, err := io.ReadAtLeast(conn, buf, len("echo hello"))
	if err != nil || string(buf[:n]) != "echo hello" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// http and https of one name: what can be sent on without loss is, the rest is
// told what to do, and a stranger's name is refused.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	s := startSecure(t, acmetest.Options{})
	s.ready()
	port := s.Issuer[strings.LastIndex(s.Issuer, ":"):]
	for _, c := range []struct {
		method, host, path string
		status             int
		location, says     string
	}{
		{"GET", s.Host, "/sign-in?next=/account", 301, s.Issuer + "/sign-in?next=/account", ""},
		{"HEAD", strings.ToUpper(s.Host) + ":80", "/", 301, s.Issuer + "/", ""},
		{"GET", "shop." + s.Domain, "/a//b?c=%20", 301, "https://shop." + s.Domain + port + "/a//b?c=%20", ""},
		{"POST", s.Host, "/api/mcp", 400, "", s.Issuer},
		{"POST", s.Host, "/api/oauth/token", 400, "", "take that out of use"},
		{"OPTIONS", "shop." + s.Domain, "/", 400, "", "https://shop." + s.Domain},
		{"GET", s.Host, "x:@evil.example/", 404, "", ""},
		{"GET", "evil.example", "/", 421, "", "does not answer under that name"},
		{"GET", "a.b." + s.Domain, "/", 421, "", ""},
		{"GET", s.Host, "/.well-known/acme-challenge/absent", 404, "", "nothing at this address"},
		{"GET", "shop." + s.Domain, "/.well-known/acme-challenge/absent", 404, "", ""},
		{"GET", "shop." + s.Domain, "/.well-known/pki-validation/absent", 404, "", ""},
		{"GET", "evil.example", "/.well-known/acme-challenge/absent", 421, "", ""},
	} {
		req, err := http.NewRequest(c.method, s.Plain, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		req.URL.Opaque = c.path // as it stands
		req.Header.Set("Authorization", "Bearer pgat_secret")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get("Location") != c.location || !strings.Contains(string(body), c.says) {
			t.Errorf("%s %s%s: %d %q %s", c.method, c.host, c.path, resp.StatusCode, resp.Header.Get("Location"), body)
		}
		if h := resp.Header.Get("Strict-Transport-Security"); h != "" {
			t.Errorf("%s%s: in clear %s", c.host, c.path, h)
		}
	}
}

// While the authority is away the server answers on loopback and on the
// commands' socket, and says what it waits for to whoever asks.
func TestServerDoesNotWaitForTheAuthority(t *testing.T) {
	t.Parallel()
	s := startSecure(t, acmetest.Options{Away: true})
	eventually(t, func() bool {
		_, body := s.get("localhost", "/readyz")
		return strings.Contains(body, "could not be reached")
	})
	resp, body := s.get("localhost", "/readyz")
	if resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "127.0.0.1") || strings.Contains(body, "expires") {
		t.Errorf("readyz: %d %s", resp.StatusCode, body)
	}
	if resp, body := s.get("localhost", "/healthz"); resp.StatusCode != 200 || body != "{\"ok\":true}\n" {
		t.Errorf("healthz: %d %s", resp.StatusCode, body)
	}
	if resp, _ := s.get("localhost", "/sign-in"); resp.StatusCode != 200 {
		t.Errorf("loopback answers %d", resp.StatusCode)
	}
	if code, _, errs := s.command("user", "list"); code != exitDone {
		t.Error(errs)
	}
	code, out, errs := s.command("status")
	for _, want := range []string{"PROBLEM      A certificate is missing or has run out.", "none in force; ", "could not be reached"} {
		if code != exitFailed || !strings.Contains(out, want) {
			t.Errorf("status says nothing of %q: %d %s%s", want, code, out, errs)
		}
	}
	if !strings.Contains(s.Stdout.String(), "waits for its certificate") {
		t.Errorf("the person is not told:\n%s", s.Stdout)
	}
}

// Certificates of another program: they serve as they are, and the world's
// trust decides about HSTS.
func TestServeFromFiles(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "files.test", "*.apps.test")
	for name, raw := range map[string][]byte{"cert.pem": certificate, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, fmt.Sprintf("public_url = \"https://files.test:%s\"\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"files\"\nlisten = \"127.0.0.1:%s\"\nhttp_listen = \"\"\ncert_files = [%q]\nkey_files = [%q]\n[pods]\ndomain = \"apps.test\"",
		port, port, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.InsecureSkipVerify = true // the point is what the server says
	for address, want := range map[string]int{"https://files.test:" + port + "/sign-in": 200, "https://absent.apps.test:" + port + "/": 404} {
		resp, err := transport.RoundTrip(mustRequest(t, address))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %s %s, HSTS %q", address, resp.Proto, resp.Status, resp.Header.Get("Strict-Transport-Security"))
		}
	}
	if resp, body := s.get("localhost", "/readyz"); resp.StatusCode != 200 || !strings.Contains(body, `"name":"files.test"`) {
		t.Errorf("readyz: %d %s", resp.StatusCode, body)
	}
	if _, out, errs := s.command("status"); !strings.Contains(out, "CERTIFICATE  files.test: in force until 20") {
		t.Errorf("status: %s%s", out, errs)
	}
}

func mustRequest(t testing.TB, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// Browsers are told to insist on https under podgate's own name, over https,
// and only when the world trusts the certificate.
func TestStrictTransport(t *testing.T) {
	t.Parallel()
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "gate.test")
	pair := certs.Pair{Cert: filepath.Join(t.TempDir(), "cert"), Key: filepath.Join(t.TempDir(), "key")}
	for name, raw := range map[string][]byte{pair.Cert: certificate, pair.Key: key} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	world := x509.NewCertPool()
	world.AppendCertsFromPEM(certificate)
	for name, c := range map[string]struct {
		roots  *x509.CertPool
		secure bool
		want   string
	}{
		"trusted":         {world, true, "max-age=31536000"},
		"trusted, http":   {world, false, ""},
		"private":         {x509.NewCertPool(), true, ""},
		"without podgate": {nil, true, ""},
	} {
		srv := &server{}
		if c.roots != nil {
			manager, err := certs.Open(certs.Config{Host: "gate.test", Files: []certs.Pair{pair}, Log: testStack().Log, Now: time.Now, PublicRoots: c.roots})
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			srv.certs = manager
		}
		r := httptest.NewRequest(http.MethodGet, "http://gate.test/", nil)
		if c.secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		srv.strictTransport(http.NotFoundHandler()).ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The app of a pod cannot prove to an authority that it holds the name.
func TestPodsProveNothing(t *testing.T) {
	t.Parallel()
	pods := withoutProofs(testStack(), func(w http.ResponseWriter, _ *http.Request, name string) { fmt.Fprint(w, "the app of "+name) })
	for path, want := range map[string]int{
		"/": 200, "/.well-known/other": 200, "/.well-known/acme-challenge/token": 404, "/.well-known/pki-validation/file.txt": 404, "/.well-known/%61cme-challenge/token": 404,
	} {
		w := httptest.NewRecorder()
		pods(w, httptest.NewRequest(http.MethodGet, "http://shop.example.com"+path, nil), "shop")
		if w.Code != want || want == 404 && strings.Contains(w.Body.String(), "app") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// What listens in the way is told from what is forbidden, each with what to do.
func TestTLSListenWords(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	dir := t.TempDir()
	config := filepath.Join(dir, "podgate.toml")
	text := fmt.Sprintf("public_url = \"https://gate.test\"\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"auto\"\nlisten = %q", addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := runCommand("--data", dir, "--config", config)
	if code != exitFailed || !strings.Contains(errs, "another program listens on "+addr) || !strings.Contains(errs, `mode = "off"`) || strings.Contains(errs, "--listen") {
		t.Errorf("%d %s", code, errs)
	}
	_, err = listenOn(t.Context(), addr)
	if denied := tlsListenWords(fmt.Errorf("x: %w", syscall.EACCES), ":443", "https"); !strings.Contains(denied.Error(), "setcap") || !isInUse(err) || isDenied(err) {
		t.Errorf("%v, %v", denied, err)
	}
}

// aPod is a store with one pod, as a server sees it.
func aPod(t testing.TB) (*server, store.Pod) {
	t.Helper()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	p := store.Pod{ID: "p1", Name: "shop", Team: w.Team.ID, Want: store.WantStopped, Created: time.Now()}
	if err := db.CreatePod(p, time.Now(), func([]store.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return &server{db: db}, p
}

// A name counts from the pod's making to the wish that it be gone.
func TestHasPod(t *testing.T) {
	t.Parallel()
	srv, p := aPod(t)
	has := func(name string) bool {
		t.Helper()
		ok, err := pods.Exists(srv.db, name)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !has("shop") || has("absent") || has("") {
		t.Error("not what is there")
	}
	if err := srv.db.SetWant(p.ID, store.WantGone); err != nil {
		t.Fatal(err)
	}
	if has("shop") {
		t.Error("a pod that is being deleted counts")
	}
}

// BenchmarkHasPod is what a handshake for a pod asks of the store.
func BenchmarkHasPod(b *testing.B) {
	srv, _ := aPod(b)
	for b.Loop() {
		if ok, err := pods.Exists(srv.db, "shop"); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

// Ten thousand handshakes for names of nobody, over the wire: not a byte of the
// database changes, and the authority hears nothing.
func TestUnknownNamesOverTheWire(t *testing.T) {
	t.Parallel()
	s := startSecure(t, acmetest.Options{})
	s.ready()
	before, requests := databaseSum(t, s.DataDir), s.CA.Requests()
	address := "127.0.0.1" + s.Issuer[strings.LastIndex(s.Issuer, ":"):]
	domains := []string{s.Domain, strings.Repeat("e", len(s.Domain)-4) + ".com"}
	asked := "x00000." + s.Domain
	hello := clientHello(t, asked)
	const each, workers = 1250, 8
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				name := fmt.Sprintf("x%05d.%s", worker*each+i, domains[i%2])
				if err := turnedAway(address, bytes.Replace(hello, []byte(asked), []byte(name), 1)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	group.Wait()
	if after := databaseSum(t, s.DataDir); after != before {
		t.Error("the database was written")
	}
	if n := s.CA.Requests() - requests; n != 0 {
		t.Errorf("%d requests to the authority", n)
	}
	if _, err := dialTLS(s, s.Host); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// clientHello returns the first record of a client that asks for a name. It may
// be sent as often as one likes, with another name of the same length, by a
// client that does not mean to go on.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go func() { _ = tls.Client(there, &tls.Config{ServerName: name}).Handshake() }() // ends when nobody answers
	record := make([]byte, 5)
	if _, err := io.ReadFull(here, record); err != nil {
		t.Fatal(err)
	}
	record = append(record, make([]byte, int(record[3])<<8|int(record[4]))...)
	if _, err := io.ReadFull(here, record[5:]); err != nil || !bytes.Contains(record, []byte(name)) {
		t.Fatalf("no hello: %v", err)
	}
	return record
}

// turnedAway sends a hello and expects an alert (RFC 8446 section 6), after
// which nothing comes.
func turnedAway(address string, hello []byte) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil || len(answer) != 7 || answer[0] != 21 {
		return fmt.Errorf("%x, %w", answer[:min(len(answer), 16)], err)
	}
	return nil
}

func databaseSum(t *testing.T, dir string) [sha256.Size]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(raw)
}

// A server that is killed while it asks for a certificate leaves nothing that
// keeps the next one from asking.
func TestKillWhileAsking(t *testing.T) {
	t.Parallel()
	https, plain, dir := freePort(t), freePort(t), t.TempDir()
	ca := acmetest.Start(t, acmetest.Options{TLSPort: portNumber(t, https), HTTPPort: portNumber(t, plain), Delay: 250 * time.Millisecond})
	config := fmt.Sprintf("public_url = \"https://killed.test:%[1]s\"\nlisten = \"127.0.0.1:0\"\n[tls]\nlisten = \"127.0.0.1:%[1]s\"\nhttp_listen = \"127.0.0.1:%[2]s\"\nca = %[3]q\nca_root_file = %[4]q",
		https, plain, ca.URL, ca.RootFile)
	first := startProcess(t, dir, config)
	eventually(t, func() bool { return ca.Requests() > 2 }) // the directory, a nonce, the account
	first.Kill()
	second := &secureServer{testServer: startProcess(t, dir, config), CA: ca, Host: "killed.test"}
	second.roots = ca.Roots
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(second.Log)
		}
	})
	second.ready()
	if state, err := dialTLS(second, second.Host); err != nil || state.PeerCertificates[0].DNSNames[0] != second.Host {
		t.Error(err)
	}
	if code := second.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, second.Log)
	}
}
