//go:build linux && (amd64 || arm64)

package sandbox

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/packagetest"
	"podgate/pods"
)

var npmPackages = flag.Int("npm-packages", 100, "how many packages BenchmarkNPM installs")

// BenchmarkNPM measures npm ci in a pod, from a registry through the pod's way out;
// beside it, in host-ms/op, the same on this machine from the same registry. Each run
// begins with an empty cache. With -args -npm-packages 1000 it is a large app.
func BenchmarkNPM(b *testing.B) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		b.Skip("npm is not installed")
	}
	var packages []packagetest.Package
	names := map[string]string{}
	for i := range *npmPackages {
		p := packagetest.Package{Name: fmt.Sprintf("package-%d", i), Version: "1.0.0", Files: map[string]string{}}
		for j := range 8 {
			p.Files[fmt.Sprintf("lib/%d.js", j)] = strings.Repeat("// text\n", 400)
		}
		packages, names[p.Name] = append(packages, p), "1.0.0"
	}
	registry := packagetest.NPM("http://npm.example.com", packages...)
	local := httptest.NewServer(registry)
	defer local.Close()

	plan := pods.Limits{Memory: 1 << 30, CPUs: 64, Disk: 4 << 30, Processes: 500}
	s, ann := installer(b, plan, packagetest.Internet(b, map[string]http.Handler{"npm.example.com": registry}))
	if _, err := s.Create(b.Context(), ann, pods.CreateRequest{Name: "bench", Preset: "nodejs"}, nil); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(manifest(names)), 0o644); err != nil {
		b.Fatal(err)
	}
	onHost(b, npm, dir, local.URL, "install", "--omit-lockfile-registry-resolved")
	for _, name := range []string{"package.json", "package-lock.json"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.WriteFile(b.Context(), ann, "bench", name, raw, 0); err != nil {
			b.Fatal(err)
		}
	}
	var host time.Duration
	for b.Loop() {
		b.StopTimer()
		host += onHost(b, npm, dir, local.URL, "ci")
		b.StartTimer()
		out, err := s.Exec(b.Context(), ann, "bench", pods.ExecRequest{
			Command: "rm -rf ~/.npm && npm ci --no-audit --no-fund --registry http://npm.example.com/", Timeout: pods.MaxExecTimeout,
		}, nil)
		if err != nil || out.Code != 0 {
			b.Fatalf("%+v, %v", out, err)
		}
	}
	b.ReportMetric(float64(host.Milliseconds())/float64(b.N), "host-ms/op")
}

func manifest(packages map[string]string) string {
	var all []string
	for name := range maps.Keys(packages) {
		all = append(all, fmt.Sprintf("%q: %q", name, packages[name]))
	}
	return `{"name": "app", "version": "1.0.0", "dependencies": {` + strings.Join(all, ", ") + "}}"
}

// onHost runs npm on this machine with an empty cache, and returns how long it took.
func onHost(b *testing.B, npm, dir, registry string, args ...string) time.Duration {
	b.Helper()
	cmd := exec.Command(npm, append(args, "--no-audit", "--no-fund", "--registry", registry+"/", "--replace-registry-host", "always", "--cache", b.TempDir())...)
	cmd.Dir = dir
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(began)
}
