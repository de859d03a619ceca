package registries

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	const pip = "https://index.example/simple\nfiles.example\n"
	for _, c := range []struct {
		read    func([]string) ([]string, error)
		answers []string
		want    string // "!" for an error
	}{
		{npmHosts, []string{"https://registry.example/\n"}, "registry.example"},
		{npmHosts, []string{"http://ada:secret@Mirror.example:8081/npm/\n"}, "mirror.example:8081"},
		{npmHosts, []string{"http://[2001:db8::1]:8081/"}, "[2001:db8::1]:8081"},
		{npmHosts, []string{"undefined\n"}, "!"},
		{npmHosts, []string{""}, "!"},
		{npmHosts, []string{"file:///srv/npm"}, "!"},

		{pipHosts, []string{pip, ""}, "index.example files.example"},
		{pipHosts, []string{pip, "global.cert='/etc/x.pem'\n"}, "index.example files.example"},
		{pipHosts, []string{pip, "global.index-url='https://mirror.example/pypi'\n"}, "mirror.example"},
		{pipHosts, []string{pip, "install.index-url='https://index.example/other'\n"}, "index.example files.example"},
		{pipHosts, []string{pip, `global.extra-index-url='\nhttps://a.example/s\nhttps://b.example/s'` + "\n"}, "a.example b.example index.example files.example"},
		{pipHosts, []string{pip, "global.find-links='/srv/wheels https://links.example/'\nglobal.index-url=\"https://m.example/\"\n"}, "links.example m.example"},
		{pipHosts, []string{"", ""}, "!"},
		{pipHosts, []string{"nonsense files.example", ""}, "!"},

		{composerHosts, []string{`{"packagist.org":{"type":"composer","url":"https:\/\/repo.packagist.org"}}`}, "repo.packagist.org api.github.com codeload.github.com github.com"},
		{composerHosts, []string{`{"packagist.org":false,"mine":{"type":"composer","url":"https://php.example/"}}`}, "php.example"},
		{composerHosts, []string{`[{"type":"composer","url":"https://php.example"},{"type":"path","url":"../x"},{"packagist.org":false}]`}, "php.example"},
		{composerHosts, []string{`{"a":{"type":"vcs","url":"git@code.example:a/b.git"}}`}, ""},
		{composerHosts, []string{`[]`}, ""},
		{composerHosts, []string{"Do not run Composer as root"}, "!"},

		{goHosts, []string{"https://proxy.example,direct\nsum.example\n"}, "proxy.example sum.example"},
		{goHosts, []string{"https://a.example|http://b.example:3000,off\nsum.example+abc+def https://sums.example/x\n"}, "a.example b.example:3000 sums.example"},
		{goHosts, []string{"https://a.example\nsum.example+abc\n"}, "a.example sum.example"},
		{goHosts, []string{"direct\noff\n"}, ""},
		{goHosts, []string{"file:///srv/go\n\n"}, ""},
		{goHosts, []string{""}, ""},
	} {
		got, err := c.read(c.answers)
		if err != nil {
			got = []string{"!"}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("a password is told: %v", err)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q %v, want %q", c.answers, got, err, c.want)
		}
	}
}

// bin makes a folder of programs, each a shell script.
func bin(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Each is asked in an empty home, without the environment of this process; those
// that are absent or fail are named and keep nobody else out.
func TestHosts(t *testing.T) {
	t.Parallel()
	told := filepath.Join(t.TempDir(), "home")
	dir := bin(t, map[string]string{
		"npm": "echo $HOME >" + told + "\n" + `[ "$*" = "config get registry" ] || exit 9
for f in "$HOME"/* "$HOME"/.[!.]*; do [ -e "$f" ] && exit 8; done
[ "$HOME" = "$PWD" ] && [ -z "$GOPATH$USER$PODGATE_DATA_DIR" ] || exit 7
echo https://npm.example/`,
		"python3": `case "$1" in -c) echo https://index.example/simple; echo files.example;; *) [ "$*" = "-m pip config list" ] || exit 9;; esac`,
		"go":      `echo broken >&2; exit 3`,
	})
	hosts, skipped, err := Hosts(t.Context(), "relative:"+dir)
	if want := []string{"files.example", "index.example", "npm.example"}; err != nil || !slices.Equal(hosts, want) {
		t.Errorf("%q %v, want %q", hosts, err, want)
	}
	want := []Skipped{{"composer", "there is no composer on this machine"}, {"go", "«go env GOPROXY GOSUMDB» failed: exit status 3"}}
	if !slices.Equal(skipped, want) {
		t.Errorf("%q", skipped)
	}
	home, err := os.ReadFile(told)
	if err != nil || len(home) < 2 {
		t.Fatal(err)
	}
	if _, err := os.Stat(strings.TrimSpace(string(home))); err == nil {
		t.Errorf("the empty home stays: %s", home)
	}
}

// Whoever gives up is not kept waiting by a program that hangs, nor by a child of
// it that holds its output.
func TestHostsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := bin(t, map[string]string{"npm": "/bin/cat <" + fifo + " & wait"})
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error)
	go func() {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // once the child reads
		cancel()
		opened <- err
		<-opened // until here the child goes on
		opened <- f.Close()
	}()
	hosts, _, err := Hosts(ctx, dir)
	if err == nil {
		t.Errorf("it has an answer: %q", hosts)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	opened <- nil
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
