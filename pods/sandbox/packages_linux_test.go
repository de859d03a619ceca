//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// Apps whose packages come from where this machine's package managers get theirs, over
// TLS. Where that cannot be reached there is nothing to try; TestPodInstalls needs
// nothing beyond the machine.
func TestRealPackages(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "npm")
	packagetest.Need(t, "python3")
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	ann := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	s := podstest.ServiceOver(t, db, open(t, Config{}))
	for name, app := range map[string]struct {
		index string // the command that names where packages come from
		files map[string]string
	}{
		"express": {"npm config get registry", map[string]string{
			"package.json": `{"name": "hello", "version": "1.0.0", "scripts": {"start": "node server.js"}, "dependencies": {"express": "^4.21.0"}}`,
			"server.js":    `require("express")().get("/", (q, r) => r.send("hello from " + require("express/package.json").name)).listen(process.env.PORT)`,
		}},
		"flask": {`python3 -m pip config get global.index-url 2>/dev/null || python3 -c "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"`, map[string]string{
			"requirements.txt": "flask>=3\ngunicorn\n",
			"app.py":           "import flask\napp = flask.Flask(__name__)\n\n@app.get('/')\ndef hello():\n    return 'hello from ' + flask.__name__\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", app.index).Output()
			if err != nil {
				t.Fatal(err)
			}
			index := strings.TrimSpace(string(out))
			needAnswer(t, index)
			req := pods.DeployRequest{Name: name, Env: certificates(map[string]string{"npm_config_registry": index, "PIP_INDEX_URL": index})}
			for path, text := range app.files {
				req.Files = append(req.Files, pods.SourceFile{Path: path, Content: []byte(text)})
			}
			d, err := s.Deploy(t.Context(), ann, req, nil)
			if err != nil || d.Answer == nil || d.Answer.Status != http.StatusOK || d.Answer.Start != "hello from "+name {
				t.Errorf("%+v, %+v, %v", d.Answer, d.Lines, err)
			}
		})
	}
}

// needAnswer skips a test unless an https address answers.
func needAnswer(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil || req.URL.Scheme != "https" {
		t.Skipf("packages do not come over https here: %q", address)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Skipf("no packages can be had here: %v", err)
	}
	_ = resp.Body.Close()
}

// certificates adds what the machine says of authorities that it trusts beside the
// usual ones. The files are below /etc, which pods see.
func certificates(env map[string]string) map[string]string {
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "PIP_CERT", "SSL_CERT_FILE"} {
		if file := os.Getenv(name); strings.HasPrefix(file, "/etc/ssl/") {
			env[name] = file
		}
	}
	return env
}
