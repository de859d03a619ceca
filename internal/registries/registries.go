// Package registries asks the package managers of this machine which hosts they
// install from, so that pods can be let reach those and nothing else. They are
// asked with an empty home and an empty environment, as pods have them: what the
// machine sets for everybody counts, a mirror for example, and what one person
// set does not. Nothing is fetched.
package registries

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience is how long one question may take: npm and composer are slow to start
// where processors are busy.
const patience = 20 * time.Second

// Skipped is a package manager that gave no answer.
type Skipped struct {
	Name, Why string
}

// tool is a package manager: what it is asked, and how the answers are read.
type tool struct {
	name string
	asks [][]string
	read func(answers []string) ([]string, error)
}

func tools() []tool {
	// pip's default and where its files are is known to pip alone.
	const pipDefault = "from pip._internal.models.index import PyPI; print(PyPI.simple_url); print(PyPI.file_storage_domain)"
	return []tool{
		{"npm", [][]string{{"npm", "config", "get", "registry"}}, npmHosts},
		{"pip", [][]string{{"python3", "-c", pipDefault}, {"python3", "-m", "pip", "config", "list"}}, pipHosts},
		{"composer", [][]string{{"composer", "config", "--global", "--no-interaction", "repositories"}}, composerHosts},
		{"go", [][]string{{"go", "env", "GOPROXY", "GOSUMDB"}}, goHosts},
	}
}

// Hosts asks those that are on the path, a list of folders such as $PATH. The
// hosts come in order, each once, with their port where it is an unusual one.
func Hosts(ctx context.Context, path string) ([]string, []Skipped, error) {
	home, err := os.MkdirTemp("", "podgate-home-")
	if err != nil {
		return nil, nil, fmt.Errorf("make an empty home: %w", err)
	}
	defer os.RemoveAll(home) // what is left of it is in nobody's way
	all := tools()
	found, errs := make([][]string, len(all)), make([]error, len(all))
	var asked sync.WaitGroup
	for i, t := range all {
		asked.Go(func() { found[i], errs[i] = t.hosts(ctx, path, home) })
	}
	asked.Wait()
	var skipped []Skipped
	for i, err := range errs {
		if err != nil {
			skipped = append(skipped, Skipped{all[i].name, err.Error()})
		}
	}
	hosts := slices.Concat(found...)
	slices.Sort(hosts)
	return slices.Compact(hosts), skipped, ctx.Err()
}

func (t tool) hosts(ctx context.Context, path, home string) ([]string, error) {
	var answers []string
	for _, words := range t.asks {
		program := find(path, words[0])
		if program == "" {
			return nil, fmt.Errorf("there is no %s on this machine", words[0])
		}
		answer, err := ask(ctx, append([]string{program}, words[1:]...), path, home)
		if err != nil {
			return nil, fmt.Errorf("«%s» %w", strings.Join(words, " "), err)
		}
		answers = append(answers, answer)
	}
	return t.read(answers)
}

// find returns where a program is, or nothing. What is relative to the working
// folder is not looked at: the program is started in another.
func find(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if program, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return program
		}
	}
	return ""
}

func ask(ctx context.Context, words []string, path, home string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + path, "HOME=" + home, "LC_ALL=C", "COMPOSER_ALLOW_SUPERUSER=1", "npm_config_update_notifier=false"}
	cmd.WaitDelay = time.Second // for what its own children hold open
	out, err := cmd.Output()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("did not answer within %s", patience)
	case err != nil:
		return "", fmt.Errorf("failed: %w", err)
	}
	return string(out), nil
}
