//go:build linux && (amd64 || arm64)

package sandbox

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

// Apps that need something of elsewhere get it through the way out, from registries
// that are this test: the names lead to a public address, and that is dialled here. They
// answer over TLS, with certificates of an authority that a person gives to the pod as
// they would for a registry of their own: as a file, named by variables.
func TestPodInstalls(t *testing.T) {
	t.Parallel()
	greeter := packagetest.Package{Name: "greeter", Version: "1.0.0", Files: map[string]string{"index.js": "module.exports = 'hello from npm'\n"}}
	newer := packagetest.Package{Name: "greeter", Version: "1.1.0", Files: map[string]string{"index.js": "module.exports = 'not what is locked'\n"}}
	internet, authority := packagetest.SecureInternet(t, map[string]http.Handler{
		"npm.example.com": packagetest.NPM("https://npm.example.com", greeter, newer),
		"pypi.example.com": packagetest.PyPI(packagetest.Package{
			Name: "greeter", Version: "1.0", Files: map[string]string{"greeter.py": "text = b'hello from pip'\n"},
		}),
		"packagist.example.com": packagetest.Packagist("https://packagist.example.com", packagetest.Package{
			Name: "acme/greeter", Version: "1.0.0",
			Files: map[string]string{"composer.json": `{"autoload": {"files": ["greet.php"]}}`, "greet.php": "<?php function greet() { return 'hello from composer'; }\n"},
		}),
		"go.example.com": packagetest.GoProxy(packagetest.Package{
			Name: "example.com/greeter", Version: "v1.0.0", Files: map[string]string{"greeter.go": "package greeter\n\nconst Text = \"hello from go\"\n"},
		}),
	})
	plan := limits
	plan.CPUs = 2
	s, ann := installer(t, plan, internet)
	if _, err := s.Create(t.Context(), ann, pods.CreateRequest{Name: "shop", Preset: "command"}, nil); err != nil {
		t.Fatal(err)
	}
	const trusted = "/home/pod/data/authority.pem"
	if _, err := s.WriteFile(t.Context(), ann, "shop", trusted, authority, 0); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"npm_config_registry": "https://npm.example.com/", "NODE_EXTRA_CA_CERTS": trusted, "npm_config_cafile": trusted, // this one where the machine has a setting of its own
		"PIP_INDEX_URL": "https://pypi.example.com/simple/", "PIP_CERT": trusted,
		"GOPROXY": "https://go.example.com", "GONOSUMDB": "example.com", "SSL_CERT_FILE": trusted, // composer's too
		"GOMEMLIMIT": "400MiB", "GOGC": "100", // the plan has more than the smallest, for which the preset takes its time
	}
	if _, err := s.SetEnv(t.Context(), ann, "shop", settings, nil, nil); err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{"greeter": "^1.0.0"}
	for _, c := range []struct {
		name, tool, host, preset string
		files                    []pods.SourceFile
	}{
		{"npm", "/usr/bin/npm", "npm.example.com", "nodejs", []pods.SourceFile{
			source("package.json", `{"name": "app", "version": "1.0.0", "dependencies": {"greeter": "^1.0.0"}}`),
			source("package-lock.json", packagetest.NPMLock("app", "https://npm.example.com", wants, greeter)),
			source("server.js", nodeApp),
		}},
		{"pip", "/usr/bin/python3", "pypi.example.com", "python", []pods.SourceFile{
			source("pyproject.toml", pythonProject), source("backend.py", pythonBackend), source("app.py", pythonApp),
		}},
		{"go", "go", "go.example.com", "go", []pods.SourceFile{
			source("go.mod", "module shop\n\ngo 1.20\n\nrequire example.com/greeter v1.0.0\n"), source("main.go", goApp),
		}},
		{"composer", "/usr/bin/composer", "packagist.example.com", "php", []pods.SourceFile{
			source("composer.json", `{"repositories": [{"packagist.org": false}, {"type": "composer", "url": "https://packagist.example.com"}], "require": {"acme/greeter": "^1"}}`),
			source("index.php", "<?php require 'vendor/autoload.php'; echo greet();"),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(c.tool); c.name == "composer" && err != nil {
				t.Skip("composer is not installed, which not every system has")
			}
			if os.Getenv(unprivilegedMark) != "" && c.name == "go" {
				t.Skip("compiling is no different for an ordinary user, and takes the longest of all")
			}
			packagetest.Need(t, c.tool)
			began := time.Now()
			d, err := s.Deploy(t.Context(), ann, pods.DeployRequest{Name: "shop", Preset: c.preset, Files: c.files}, nil)
			if err != nil || d.Answer == nil || !strings.HasPrefix(d.Answer.Start, "hello from "+c.name) {
				t.Fatalf("%+v %+v, %v", d, d.Answer, err)
			}
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
			n, err := s.Network(ann, "shop")
			if err != nil || !slices.ContainsFunc(n.Ledger, func(e egress.Entry) bool {
				return e.Target == c.host && e.Port == 443 && e.Connections > 0 && e.Received > 0
			}) {
				t.Errorf("%+v, %v", n.Ledger, err)
			}
		})
	}
}

// An app comes from a forge as it is there.
func TestPodFromGit(t *testing.T) {
	t.Parallel()
	packagetest.NeedGit(t)
	forge := t.TempDir()
	packagetest.Commit(t, filepath.Join(forge, "app.git"), "main", map[string]string{"index.html": "hello from git"})
	s, ann := installer(t, limits, packagetest.Internet(t, map[string]http.Handler{"git.example.com": packagetest.Git(t, forge)}))
	d, err := s.Deploy(t.Context(), ann, pods.DeployRequest{Name: "shop", Preset: "static", Git: &wire.Git{URL: "http://git.example.com/app.git"}}, nil)
	if err != nil || d.Answer == nil || d.Answer.Start != "hello from git" {
		t.Errorf("%+v %+v, %v", d, d.Answer, err)
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

const pythonProject = `[project]
name = "shop"
version = "1.0"
dependencies = ["greeter==1.0"]

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
`

// pythonBackend builds a wheel without anything else (PEP 517), as an isolated build
// has no other from here.
const pythonBackend = `import zipfile

def build_wheel(folder, settings=None, metadata=None):
    about = "shop-1.0.dist-info/"
    files = {
        about + "METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\nRequires-Dist: greeter==1.0\n",
        about + "WHEEL": "Wheel-Version: 1.0\nGenerator: shop\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[about + "RECORD"] = "".join(name + ",,\n" for name in [*files, about + "RECORD"])
    with zipfile.ZipFile(folder + "/shop-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "shop-1.0-py3-none-any.whl"
`

// goApp does without all that takes long to compile.
const goApp = `package main

import (
	"syscall"

	"example.com/greeter"
)

func main() {
	text, _ := syscall.Getenv("PORT")
	port := 0
	for _, digit := range text {
		port = 10*port + int(digit-'0')
	}
	l, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.SetsockoptInt(l, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = syscall.Bind(l, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(l, 9)
	}
	for err == nil {
		var c int
		if c, _, err = syscall.Accept(l); err == nil {
			syscall.Read(c, make([]byte, 4096))
			syscall.Write(c, []byte("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"+greeter.Text))
			syscall.Close(c)
		}
	}
	panic(err)
}
`

// installer is a service over the sandbox with an internet of its own.
func installer(t testing.TB, plan pods.Limits, internet egress.Config) (*pods.Service, authz.Actor) {
	t.Helper()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	s := podstest.ServiceOver(t, db, open(t, Config{}), func(c *pods.Config) {
		c.Plans = []pods.Plan{{Name: "small", Limits: plan}}
		c.Egress = internet
	})
	return s, authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
}
