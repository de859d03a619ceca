package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podgate/internal/config"
)

// fixedListener is a listener of which only the address matters.
type fixedListener struct {
	net.Listener
	at string
}

func (l fixedListener) Addr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", l.at) // an address, so nobody is asked
	if err != nil {
		panic(err)
	}
	return addr
}

func TestListenerLines(t *testing.T) {
	t.Parallel()
	const proxied = "https://pods.example.com"
	for _, c := range []struct {
		issuer, here, secure, plain string
		want                        []string
	}{
		{issuer: "http://localhost:8080", here: "127.0.0.1:8080"},
		{issuer: "http://localhost", here: "[::1]:80"},
		{issuer: "http://127.0.0.2:8080", here: "127.0.0.2:8080"},
		{issuer: "http://localhost:8080", here: "[::]:8080", want: []string{"http://localhost:8080  for this machine; others are refused until public_url says under which name they come"}},
		{issuer: "http://localhost:9000", here: "0.0.0.0:8080", want: []string{"http://localhost:8080  for the proxy that answers http://localhost:9000"}},
		{issuer: proxied, here: "127.0.0.1:8080", want: []string{"http://localhost:8080  for the proxy that answers " + proxied}},
		{issuer: proxied, here: "127.0.0.2:80", want: []string{"http://127.0.0.2:80  for the proxy that answers " + proxied}},
		{issuer: proxied, here: "10.0.0.5:8080", want: []string{"10.0.0.5:8080  for the proxy that answers " + proxied}},
		{issuer: proxied, here: "127.0.0.1:8080", secure: "[::]:443", plain: "[::]:80", want: []string{
			proxied + "  for visitors, on [::]:443", "http://pods.example.com  sends them there, on [::]:80", "http://localhost:8080  for this machine, unencrypted",
		}},
		{issuer: proxied, here: "127.0.0.1:80", secure: "10.0.0.5:8443", plain: "10.0.0.5:8081", want: []string{
			proxied + "  for visitors, on 10.0.0.5:8443", "http://pods.example.com  sends them there, on 10.0.0.5:8081", "http://localhost  for this machine, unencrypted",
		}},
		{issuer: proxied + ":8443", here: "127.0.0.1:8080", secure: "[::]:8443", plain: "[::]:8081", want: []string{
			proxied + ":8443  for visitors, on [::]:8443", "http://pods.example.com:8081  sends them there, on [::]:8081", "http://localhost:8080  for this machine, unencrypted",
		}},
		{issuer: proxied, here: "127.0.0.1:8080", secure: "[::]:443", want: []string{proxied + "  for visitors, on [::]:443", "http://localhost:8080  for this machine, unencrypted"}},
	} {
		srv := &server{issuer: mustParse(t, c.issuer), listeners: []net.Listener{fixedListener{at: c.here}}}
		if c.secure != "" {
			srv.secure = []net.Listener{fixedListener{at: c.secure}}
		}
		if c.plain != "" {
			srv.plain = []net.Listener{fixedListener{at: c.plain}}
		}
		if diff := cmp.Diff(c.want, srv.listenerLines()); diff != "" {
			t.Errorf("%+v: %s", c, diff)
		}
	}
}

func mustParse(t testing.TB, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	const ssh = "SSH_CONNECTION=198.51.100.9 50000 203.0.113.7 22"
	for _, c := range []struct {
		env          config.Environ
		issuer, here string
		want         string
	}{
		{env: config.Environ{"USER=ada", ssh}, want: "ssh -L 8080:localhost:8080 ada@203.0.113.7"},
		{env: config.Environ{"USER=root", "SUDO_USER=ada", ssh}, want: "ssh -L 8080:localhost:8080 ada@203.0.113.7"},
		{env: config.Environ{"USER=ada", ssh, "DISPLAY="}, want: "ssh -L 8080:localhost:8080 ada@203.0.113.7"},
		{env: config.Environ{ssh}, want: "ssh -L 8080:localhost:8080 USER@203.0.113.7"},
		{env: config.Environ{"USER=a b\x1b[2J", ssh}, want: "ssh -L 8080:localhost:8080 USER@203.0.113.7"},
		{env: config.Environ{"USER=ada", "SSH_CONNECTION=192.168.1.2 50000 192.168.1.5 2222"}, want: "ssh -p 2222 -L 8080:localhost:8080 ada@192.168.1.5"},
		{env: config.Environ{"USER=ada", "SSH_CONNECTION=198.51.100.9 50000 10.0.0.5 22"}, want: "ssh -L 8080:localhost:8080 ada@HOST"},
		{env: config.Environ{"USER=ada", "SSH_CONNECTION=2001:db8::2 50000 2001:db8::1 22"}, want: "ssh -L 8080:localhost:8080 ada@2001:db8::1"},
		{env: config.Environ{"USER=ada", "SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535"}, want: "ssh -p 65535 -L 8080:localhost:8080 ada@HOST"},
		{env: config.Environ{"USER=ada", ssh}, issuer: "http://localhost", here: "127.0.0.1:80", want: "ssh -L 80:localhost:80 ada@203.0.113.7"},
		{env: config.Environ{"USER=ada", ssh}, issuer: "http://127.0.0.2:9000", here: "127.0.0.2:8080", want: "ssh -L 9000:127.0.0.2:8080 ada@203.0.113.7"},
		{env: config.Environ{"USER=ada", ssh}, issuer: "https://pods.example.com"},
		{env: config.Environ{"USER=ada", ssh, "DISPLAY=:0"}},
		{env: config.Environ{"USER=ada", ssh, "WAYLAND_DISPLAY=wayland-0"}},
		{env: config.Environ{"USER=ada"}},
		{env: config.Environ{"USER=ada", "SSH_CONNECTION=nonsense"}},
	} {
		if c.issuer == "" {
			c.issuer, c.here = "http://localhost:8080", "127.0.0.1:8080"
		}
		if c.here == "" {
			c.here = "127.0.0.1:8080"
		}
		if got := tunnel(c.env, mustParse(t, c.issuer), fixedListener{at: c.here}.Addr()); got != c.want {
			t.Errorf("%q, %s: %q, want %q", c.env, c.issuer, got, c.want)
		}
	}
}

var printedLine = regexp.MustCompile(`(?m)^  (\S+)  (.*)$`)

// The server answers where the banner says that it does.
func TestPrintedAddressesAnswer(t *testing.T) {
	t.Parallel()
	for _, config := range []string{"public_url = \"https://pods.example.com\"\n[tls]\nmode = \"off\"", `public_url = "http://localhost:9"`} {
		s := startServer(t, config)
		m := printedLine.FindStringSubmatch(s.Stdout.String())
		if m == nil || m[2] != "for the proxy that answers "+s.Issuer {
			t.Errorf("%s", s.Stdout)
			continue
		}
		if port := mustParse(t, m[1]).Port(); port != mustParse(t, s.URL).Port() {
			t.Errorf("%s, and it listens at %s", m[1], s.URL)
		}
		if resp, body := s.get(mustParse(t, m[1]).Host, "/.well-known/oauth-protected-resource"); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"`+s.Issuer+`/api/mcp"`) {
			t.Errorf("%s: %d %s", m[1], resp.StatusCode, body)
		}
	}
}

// At a terminal the banner comes first and the log below it; who has set podgate
// up reads where to sign in.
func TestBanner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	terminal := func() (string, *testServer) {
		s := newTestServer(t, dir)
		s.Log = s.Stdout
		s.start(append(testEnv(), "USER=ada", "SSH_CONNECTION=198.51.100.9 50000 203.0.113.7 22"))
		banner, log, _ := strings.Cut(s.Stdout.String(), "/api/mcp\n\n")
		if strings.Contains(banner, "level=") || !strings.Contains(log, "msg=listening") {
			t.Errorf("the log does not come below:\n%s", s.Stdout)
		}
		if link := setupLine.FindString(banner); link != "" && !strings.Contains(link, s.pages()+"/setup?token=pgsetup_") {
			t.Errorf("the link is %q", link)
		}
		banner = setupLine.ReplaceAllString(banner, "\n  LINK\n")
		return strings.NewReplacer(s.Issuer, "URL", mustParse(t, s.URL).Port(), "PORT").Replace(banner), s
	}
	first, s := terminal()
	const tunnel = "\nThat is the address on this machine. To use it from your own, keep this running there:\n\n  ssh -L PORT:localhost:PORT ada@203.0.113.7\n"
	want := "podgate is ready at URL\n\nMake the first account: open this link within 30 minutes. It works once.\n\n  LINK\n" +
		"\nA browser that does not find podgate.localhost, such as Safari, finds it at localhost in its place.\n" + tunnel + "\nThen give your assistant this address:\n\n  URL"
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	if code, _, errs := s.command("user", "add", "ada@example.com", "--admin"); code != exitDone {
		t.Fatal(errs)
	}
	s.Stop()
	second, _ := terminal()
	want = "podgate is ready at URL\n" + tunnel + "\nSign in there, or give your assistant this address:\n\n  URL"
	if diff := cmp.Diff(want, second); diff != "" {
		t.Error(diff)
	}
}

// The log waits for the banner, but not for long.
func TestHeldLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := holdLog(&out, time.Second)
		newLogger("json", slog.LevelInfo, log).Info("first")
		if out.Len() > 0 {
			t.Errorf("written before the time: %s", out.String())
		}
		log.release()
		log.release()
		newLogger("json", slog.LevelInfo, log).Info("second")
		if got := out.String(); strings.Count(got, "first") != 1 || strings.Index(got, "second") < strings.Index(got, "first") {
			t.Errorf("%s", got)
		}
		out.Reset()
		log = holdLog(&out, time.Second)
		newLogger("json", slog.LevelInfo, log).Info("slow")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), "slow") {
			t.Error("a start that takes long has no log")
		}
	})
}
