package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// «config check» looks into the files that the configuration names.
func TestConfigCheckReadsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, raw []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "pods.example.com")
	cert, good, bad, empty := write("cert.pem", certificate), write("key.pem", key), write("bad.pem", []byte("x")), write("empty", []byte("\n"))
	const public = "public_url = \"https://pods.example.com\"\n[tls]\n"
	for text, want := range map[string]string{
		public + fmt.Sprintf("mode = \"files\"\ncert_files = [%q]\nkey_files = [%q]", cert, good): "",
		public + fmt.Sprintf("mode = \"files\"\ncert_files = [%q]\nkey_files = [%q]", cert, bad):  "failed to find any PEM data in key",
		public + fmt.Sprintf("cloudflare_token_file = %q", empty):                                 "should hold one line, the secret",
		public + "cloudflare_token_file = \"/absent\"":                                            "no such file",
	} {
		config := write("podgate.toml", []byte(text))
		code, out, errs := runCommand("config", "check", "--config", config)
		if (code == exitDone) != (want == "") || !strings.Contains(errs, want) || want == "" && !strings.Contains(out, "note: pods.example.com has no address") {
			t.Errorf("%s: %d %s%s", text, code, out, errs)
		}
	}
}
