package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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
				judgeMissing(t, "there is no "+shell+" here that could read it")
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

// While the server runs, shells complete people, teams, pods and connections. Without
// it there is nothing to ask, and no database is begun.
func TestCompletionAsksTheServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	craftShop(t, data)
	srv := startServerIn(t, data)
	ada := setUp(t, srv)
	connect(t, srv, ada, connectOptions{})
	for _, add := range [][]string{{"user", "add", "bob@example.com", "--team", "makers"}, {"user", "add", "x$HOME@example.com"}} {
		if code, out, errs := srv.command(add...); code != exitDone {
			t.Fatal(add, code, out, errs)
		}
	}
	_, list, _ := srv.command("connections", "--wide")
	id := strings.Fields(strings.Split(list, "\n")[1])[0]
	absent := t.TempDir() + "/absent"
	for line, want := range map[string]string{
		"user passwd ":                 ada.email + "\nbob@example.com\n",
		"user remove bob":              "bob@example.com\n",
		"user remove bob@example.com ": "",
		"user add ":                    "",
		"team member add ":             "home\nmakers\n",
		"team member add home ":        ada.email + "\nbob@example.com\n",
		"team member remove makers ":   "bob@example.com\n",
		"team member remove absent ":   "",
		"pod show ":                    "shop\n",
		"pod exec sh":                  "shop\n",
		"pod exec shop ":               "",
		"pod create ":                  "",
		"pod list --team ":             "home\nmakers\n",
		"pod show shop --team m":       "makers\n",
		"audit --pod ":                 "shop\n",
		"user sessions bob":            "bob@example.com\n",
		"connection revoke ":           id + "\t" + ada.email + " with 127.0.0.1\n",
	} {
		words := strings.Split(line, " ")
		for dir, want := range map[string]string{srv.DataDir: want, absent: ""} {
			args := slices.Concat([]string{"__complete", "--data", dir}, words)
			code, out, _ := runCommand(args...)
			if want := fmt.Sprintf("%s:%d\n", want, cobra.ShellCompDirectiveNoFileComp); code != exitDone || out != want {
				t.Errorf("%s in %s: %d %q, want %q", line, dir, code, out, want)
			}
		}
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("completion began a database")
	}
}
