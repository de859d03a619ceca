package packagetest

import (
	"os"
	"os/exec"
	"testing"
)

// Need skips where a program is not installed, and fails where it must be: where
// PODGATE_REQUIRE is set.
func Need(t testing.TB, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("PODGATE_REQUIRE") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
}
