//go:build linux && (amd64 || arm64)

package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"podgate/internal/packagetest"
)

// Of the machine's settings for PHP a pod gets the extensions and nothing else.
func TestPHPSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"8.2/cli/conf.d/10-pdo.ini":      "; configuration for php common module\n; priority=10\nextension=pdo.so\r\n",
		"8.2/cli/conf.d/20-newrelic.ini": "extension = \"newrelic.so\"\nnewrelic.license = \"secret-1\"\nauto_prepend_file=/x\n",
		"8.2/cli/conf.d/05-opcache.ini":  "zend_extension=opcache.so\nextension=$(secret-2)\nextension=a;b\n",
		"8.2/fpm/conf.d/10-other.ini":    "extension=other.so\n",
		"8.2/cli/conf.d/notes.txt":       "extension=notes.so\n",
		"empty/cli/conf.d/x.ini":         "memory_limit=1\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := phpSettings([]string{filepath.Join(dir, "*/cli/conf.d")})
	want := "zend_extension=opcache.so\nextension=pdo.so\nextension = \"newrelic.so\"\n"
	if len(got) != 1 || got[filepath.Join(dir, "8.2/cli/conf.d", phpFile)] != want {
		t.Errorf("%q", got)
	}
}

// PHP in a pod can what PHP on this machine can.
func TestPodPHP(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "/usr/bin/php")
	out, err := exec.Command("/usr/bin/php", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{})
	start(t, r, "a", small)
	if got := command(t, r, "a", "php -m; php -r 'echo ini_get(\"error_log\");'"); got.stdout != string(out) || !strings.Contains(got.stdout, "[PHP Modules]") {
		t.Errorf("on the machine:\n%s\nin the pod:\n%+v", out, got)
	}
}
