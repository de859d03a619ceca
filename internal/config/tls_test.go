package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A secret in a file is one line.
func TestSecretFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{"s3cret\n": "s3cret", " s3cret ": "s3cret", "": "", "\n": "", "a\nb": "", strings.Repeat("x", 5000): ""} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := SecretFile(name)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "a\nb") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if got, err := SecretFile(""); got != "" || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
}
