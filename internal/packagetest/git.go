package packagetest

import (
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// NeedGit is [Need] for git with its server, and returns the folder of git's programs.
func NeedGit(t testing.TB) string {
	t.Helper()
	Need(t, "git")
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	folder := strings.TrimSpace(string(path))
	Need(t, filepath.Join(folder, "git-http-backend"))
	return folder
}

// Git serves the repositories below root as a forge does.
func Git(t testing.TB, root string) http.Handler {
	t.Helper()
	return &cgi.Handler{Path: filepath.Join(NeedGit(t), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}}
}

// Commit writes files into the repository at dir, which it makes when there is none,
// commits them to a branch and returns the commit.
func Commit(t testing.TB, dir, branch string, files map[string]string) string {
	t.Helper()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		git("init", "-q", "-b", branch)
	}
	git("symbolic-ref", "HEAD", "refs/heads/"+branch)
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("add", ".")
	git("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "-qm", "Say something")
	return git("rev-parse", "HEAD")
}
