//go:build linux && (amd64 || arm64)

package sandbox

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

// Apps that need something of elsewhere get it through the way out, from
// registries that are this test: the names lead to a public address, and that is
// dialled here.
func TestPodInstalls(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(newRegistries(t).serve))
	t.Cleanup(site.Close)
	s, ann := installer(t, strings.TrimPrefix(site.URL, "http://"))
	for _, c := range []struct {
		name, tool, host string
		deploy           pods.DeployRequest
	}{
		{"npm", "/usr/bin/npm", "npm.example.com", pods.DeployRequest{Preset: "nodejs", Files: []pods.SourceFile{
			source(".npmrc", "registry=http://npm.example.com/\n"),
			source("package.json", `{"name": "app", "version": "1.0.0", "dependencies": {"greeter": "^1.0.0"}}`),
			source("server.js", nodeApp),
		}}},
		{"pip", "/usr/bin/python3", "pypi.example.com", pods.DeployRequest{Preset: "python", Files: []pods.SourceFile{
			source("requirements.txt", "--index-url http://pypi.example.com/simple/\n--trusted-host pypi.example.com\ngreeter==1.0\n"),
			source("app.py", pythonApp),
		}}},
		{"git", "/usr/bin/git", "git.example.com", pods.DeployRequest{Preset: "static", Git: &wire.Git{URL: "http://git.example.com/app.git"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(c.tool); err != nil {
				t.Skipf("skipped: pods have no %s: %v", c.name, err)
			}
			c.deploy.Name = c.name + "-app"
			d, err := s.Deploy(t.Context(), ann, c.deploy, nil)
			if err != nil || d.Answer == nil || !strings.Contains(d.Answer.Start, "hello from elsewhere") {
				t.Fatalf("%+v %+v, %v", d, d.Answer, err)
			}
			n, err := s.Network(ann, c.deploy.Name)
			if err != nil || !slices.ContainsFunc(n.Ledger, func(e egress.Entry) bool {
				return e.Target == c.host && e.Port == 80 && e.Connections > 0 && e.Received > 0
			}) {
				t.Errorf("%+v, %v", n.Ledger, err)
			}
		})
	}
}

func source(path, text string) pods.SourceFile {
	return pods.SourceFile{Path: path, Content: []byte(text)}
}

const nodeApp = `require('http').createServer((q, r) => {
  r.setHeader('Content-Type', 'text/plain')
  r.end(require('greeter'))
}).listen(process.env.PORT)
`

const pythonApp = `import http.server, os, greeter
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(greeter.text)
    def log_message(self, *a):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
`

// installer is a service over the sandbox whose outside is one server.
func installer(t *testing.T, site string) (*pods.Service, authz.Actor) {
	t.Helper()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	s := podstest.ServiceOver(t, db, open(t, Config{}), func(c *pods.Config) {
		c.Plans = []pods.Plan{{Name: "small", Limits: limits}}
		c.Egress = egress.Config{
			Resolver: registryNames{}, Own: func() ([]netip.Prefix, error) { return nil, nil },
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, site)
			},
		}
	})
	return s, authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
}

type registryNames struct{ egress.Resolver }

func (registryNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if strings.HasSuffix(host, ".example.com.") {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// registries are one package, once for each kind, and a repository.
type registries struct {
	tarball, wheel []byte
	git            http.Handler // nil without git
}

func newRegistries(t *testing.T) *registries {
	t.Helper()
	return &registries{tarball: tarball(t), wheel: wheel(t), git: repository(t)}
}

func (r *registries) serve(w http.ResponseWriter, q *http.Request) {
	switch q.Host + q.URL.Path {
	case "npm.example.com/greeter":
		sum := sha512.Sum512(r.tarball)
		fmt.Fprintf(w, `{"name": "greeter", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "greeter", "version": "1.0.0", "dist": {"tarball": "http://npm.example.com/greeter.tgz", "integrity": "sha512-%s"}}}}`,
			base64.StdEncoding.EncodeToString(sum[:]))
	case "npm.example.com/greeter.tgz":
		_, _ = w.Write(r.tarball)
	case "pypi.example.com/simple/greeter/":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<a href="/greeter-1.0-py3-none-any.whl#sha256=%x">greeter</a>`, sha256.Sum256(r.wheel))
	case "pypi.example.com/greeter-1.0-py3-none-any.whl":
		_, _ = w.Write(r.wheel)
	default:
		if q.Host == "git.example.com" && r.git != nil {
			r.git.ServeHTTP(w, q)
			return
		}
		http.NotFound(w, q)
	}
}

func tarball(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{"package.json": `{"name": "greeter", "version": "1.0.0"}`, "index.js": "module.exports = 'hello from elsewhere'\n"} {
		if err := w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wheel(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"greeter.py":                     "text = b'hello from elsewhere'\n",
		"greeter-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n",
		"greeter-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"greeter-1.0.dist-info/RECORD":   "greeter.py,,\ngreeter-1.0.dist-info/METADATA,,\ngreeter-1.0.dist-info/WHEEL,,\ngreeter-1.0.dist-info/RECORD,,\n",
	} {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// repository serves app.git by git's own server.
func repository(t *testing.T) http.Handler {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		return nil
	}
	root := t.TempDir()
	work := filepath.Join(root, "work")
	const author = "git -c user.name=t -c user.email=t@example.com -c commit.gpgsign=false"
	script := fmt.Sprintf("git init -q %[1]s && cd %[1]s && echo 'hello from elsewhere' > index.html && git add . && %[2]s commit -qm app && git clone -q --bare . %[3]s/app.git && git --exec-path", work, author, root)
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatalf("git: %v", err)
	}
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root},
	}
}
