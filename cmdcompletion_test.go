package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Each shell that is here reads the script that is meant for it, without a
// complaint and without running anything.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			code, out, errs := runCommand("completion", shell)
			if code != exitDone || len(out) < 1000 || errs != "" {
				t.Fatalf("%d, %d bytes, %s", code, len(out), errs)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip("there is no " + shell + " here that could read it")
			}
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, "-n", script).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
