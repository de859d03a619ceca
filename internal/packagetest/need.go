package packagetest

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns where a program is. It skips where that is not installed, and fails
// where it must be: where PODGATE_REQUIRE is set.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("PODGATE_REQUIRE") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}
