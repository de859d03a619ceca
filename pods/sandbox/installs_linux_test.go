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

// Apps that need something of elsewhere get it through the way out, from
// registries that are this test: the names lead to a public address, and that is
// dialled here.
func TestPodInstalls(t *testing.T) {
	t.Parallel()
	packagetest.NeedGit(t)
	forge := t.TempDir()
	packagetest.Commit(t, filepath.Join(forge, "app.git"), "main", map[string]string{"index.html": "hello from elsewhere"})
	s, ann := installer(t, limits, packagetest.Internet(t, map[string]http.Handler{
		"npm.example.com": packagetest.NPM("http://npm.example.com", packagetest.Package{
			Name: "greeter", Version: "1.0.0", Files: map[string]string{"index.js": "module.exports = 'hello from elsewhere'\n"},
		}),
		"pypi.example.com": packagetest.PyPI(packagetest.Package{
			Name: "greeter", Version: "1.0", Files: map[string]string{"greeter.py": "text = b'hello from elsewhere'\n"},
		}),
		"packagist.example.com": packagetest.Packagist("http://packagist.example.com", packagetest.Package{
			Name: "acme/greeter", Version: "1.0.0",
			Files: map[string]string{"composer.json": `{"autoload": {"files": ["greet.php"]}}`, "greet.php": "<?php function greet() { return 'hello from elsewhere'; }\n"},
		}),
		"git.example.com": packagetest.Git(t, forge),
	}))
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
		{"composer", "/usr/bin/composer", "packagist.example.com", pods.DeployRequest{Preset: "php", Files: []pods.SourceFile{
			source("composer.json", `{"repositories": [{"packagist.org": false}, {"type": "composer", "url": "http://packagist.example.com"}], "config": {"secure-http": false}, "require": {"acme/greeter": "^1"}}`),
			source("index.php", "<?php require 'vendor/autoload.php'; echo greet();"),
		}}},
		{"git", "/usr/bin/git", "git.example.com", pods.DeployRequest{Preset: "static", Git: &wire.Git{URL: "http://git.example.com/app.git"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(c.tool); c.name == "composer" && err != nil {
				t.Skip("composer is not installed, which not every system has")
			}
			packagetest.Need(t, c.tool)
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
