package page

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// What others wrote is what they published: see the README there.
func TestVendoredFiles(t *testing.T) {
	t.Parallel()
	const folder = "assets/vendor/xterm/"
	sums, err := files.ReadFile(folder + "SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"SHA256SUMS": true, "README.md": true}
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		raw, err := files.ReadFile(folder + name)
		sum := sha256.Sum256(raw)
		if err != nil || hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: %v, or it was changed", name, err)
		}
		listed[name] = true
	}
	there, err := files.ReadDir("assets/vendor/xterm")
	if err != nil || len(there) < 5 {
		t.Fatalf("%d files, %v", len(there), err)
	}
	for _, f := range there {
		if !listed[f.Name()] {
			t.Errorf("%s is in no list", f.Name())
		}
	}
}
