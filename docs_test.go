package main

import (
	"bufio"
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/config"
	"podgate/internal/mailtest"
	"podgate/internal/service"
	"podgate/pods/egress"
)

// documents returns the text of README, CHANGELOG and docs by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range append(names, "README.md", "CHANGELOG.md") {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(raw)
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

func TestLinksBetweenDocuments(t *testing.T) {
	t.Parallel()
	checked := 0
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", name, m[1], err)
			}
		}
	}
	if checked < 8 {
		t.Errorf("only %d links were found", checked)
	}
}

var testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]+\b`)

// Every test that a document names exists.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	exist := map[string]bool{}
	for _, s := range parseTree(t) {
		for name := range s.file.Scope.Objects {
			exist[name] = true
		}
	}
	named := 0
	for name, text := range documents(t) {
		for _, test := range testName.FindAllString(text, -1) {
			named++
			if !exist[test] {
				t.Errorf("%s names %s, which does not exist", name, test)
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d tests are named", named)
	}
}

var (
	designRow = regexp.MustCompile("(?m)^\\| `([a-z/0-9]+)` \\| [^|]+ \\| ([^|]+) \\|$")
	aside     = regexp.MustCompile(`\([^)]*\)`)
	word      = regexp.MustCompile(`[a-z]+`)
)

// The table of packages in the design says what the layout lets each import.
func TestDesignNamesImports(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, row := range designRow.FindAllStringSubmatch(documents(t)["docs/design.md"], -1) {
		pkg, said := row[1], word.FindAllString(aside.ReplaceAllString(row[2], ""), -1)
		documented[pkg] = true
		var allowed []string
		for _, name := range mayImport[pkg] {
			allowed = append(allowed, path.Base(name))
		}
		said = slices.DeleteFunc(said, func(w string) bool { return slices.Contains([]string{"nothing", "and", "the"}, w) })
		slices.Sort(said)
		slices.Sort(allowed)
		if !slices.Equal(said, allowed) {
			t.Errorf("%s knows %q by docs/design.md and %q by the layout", pkg, said, allowed)
		}
	}
	for pkg := range mayImport {
		if pkg != "" && !slices.Contains(testOnly, pkg) && !documented[pkg] {
			t.Errorf("docs/design.md has no line for %s", pkg)
		}
	}
}

var fenced = regexp.MustCompile("(?s)```sh\n(.*?)```")

// Every command in a document is run: go and git commands as they stand,
// podgate's own against the built program. serve runs until it is ready. ssh is
// what podgate would have printed.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate")
	ran := 0
	for name, text := range documents(t) {
		if name == "docs/commands.md" || name == networkPage || name == podsPage || name == operationsPage {
			continue // these build on each other: TestExamples, TestNetworkPage, TestPodsPage and TestOperationsPage run them
		}
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(block[1]) {
				line = strings.TrimSpace(line)
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				ran++
				runDocumented(t, name, line, path)
			}
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands were found", ran)
	}
}

func runDocumented(t *testing.T, document, line, path string) {
	t.Helper()
	words := strings.Fields(line)
	switch {
	case line == "go test ./...":
		return // this run
	case line == "go build -o podgate .":
		if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
			t.Errorf("%s: %s: %v\n%s", document, line, err, out)
		}
	case line == "go run .":
		runFromSource(t, document)
	case line == "./podgate", strings.HasPrefix(line, "./podgate serve"):
		srv := startServer(t, exampleConfig(t, words)...)
		if resp, _ := srv.get("localhost", "/.well-known/oauth-protected-resource"); resp.StatusCode != 200 {
			t.Errorf("%s: %s: %d", document, line, resp.StatusCode)
		}
	case strings.HasPrefix(line, "ssh -L "):
		env := config.Environ{"USER=ada", "SSH_CONNECTION=198.51.100.9 50000 203.0.113.7 22"}
		if printed := tunnel(env, mustParse(t, "http://localhost:8080"), fixedListener{at: "127.0.0.1:8080"}.Addr()); printed != line {
			t.Errorf("%s: %s: podgate prints %q", document, line, printed)
		}
	case strings.HasPrefix(line, "./podgate doctor"):
		runDocumentedDoctor(t, document, words[2:])
	case strings.HasPrefix(line, "./podgate mail test"):
		words[len(words)-1] = mailConfig(t, mailtest.Start(t, mailtest.Options{}), "")
		if code, out, errs := runCommand(words[1:]...); code != exitDone {
			t.Errorf("%s: %s: %d %s%s", document, line, code, out, errs)
		}
	case words[0] == "./podgate":
		config := filepath.Join(t.TempDir(), "podgate.toml")
		if err := os.WriteFile(config, []byte(strings.Join(exampleConfig(t, words), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		for i, w := range words {
			if w == "--config" {
				words[i+1] = config
			}
		}
		if code, out, errs := runCommand(words[1:]...); code != exitDone {
			t.Errorf("%s: %s: %d %s%s", document, line, code, out, errs)
		}
	default:
		t.Errorf("%s: nothing here knows how to run %q", document, line)
	}
}

// runFromSource starts the program as a newcomer does, waits for the link that it
// prints, and ends it as Ctrl-C would.
func runFromSource(t *testing.T, document string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", ".")
	cmd.Env = append(os.Environ(), "PODGATE_LISTEN=127.0.0.1:0", "PODGATE_DATA_DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run passes no signal on
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	link := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "/setup?token=") {
			link = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait() // go run exits with 1 when it is interrupted, whatever the program does
	if !link || ctx.Err() != nil {
		t.Errorf("%s: go run .: link printed: %v, then %v", document, link, err)
	}
}

// runDocumentedDoctor looks at a server of the test instead of the example.
func runDocumentedDoctor(t *testing.T, document string, words []string) {
	t.Helper()
	srv := startServer(t)
	args := []string{"doctor", "--local", "--data", srv.DataDir}
	for i, w := range words {
		switch {
		case w == "--config":
			words[i+1] = srv.config
			args = append(args, w)
		case strings.HasPrefix(w, "https://"):
			args = append(args, srv.Issuer+strings.TrimPrefix(w, "https://pods.example.com"))
		default:
			args = append(args, w)
		}
	}
	if code, out, errs := runCommand(args...); code != exitDone {
		t.Errorf("%s: %v: %d %s%s", document, args, code, out, errs)
	}
}

// exampleConfig returns the configuration that README shows when the command
// uses it, with its data folder moved to the test's, its ports to free ones of
// loopback, and its authority to where there is none.
func exampleConfig(t *testing.T, words []string) []string {
	t.Helper()
	if !strings.Contains(strings.Join(words, " "), "--config") {
		return nil
	}
	_, after, found := strings.Cut(documents(t)["README.md"], "```toml\n")
	if !found {
		t.Fatal("README shows no configuration")
	}
	text, _, _ := strings.Cut(after, "```")
	lines := []string{`listen = "127.0.0.1:0"`}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "data_dir") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return append(lines, "[tls]", `mode = "auto"`, `listen = "127.0.0.1:0"`, `http_listen = "127.0.0.1:0"`, `ca = "https://127.0.0.1:9/dir"`)
}

var configBlock = regexp.MustCompile("(?s)```toml\n(.*?)```")

// Every configuration that a document shows is one.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	shown := 0
	for name, text := range documents(t) {
		for _, block := range configBlock.FindAllStringSubmatch(text, -1) {
			shown++
			file := filepath.Join(t.TempDir(), "podgate.toml")
			if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(file, nil, nil); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block[1])
			}
		}
	}
	if shown < 6 {
		t.Errorf("only %d configurations were found", shown)
	}
}

var unitKey = regexp.MustCompile("`([A-Za-z]+)=`")

// The unit has nothing that docs/sandbox.md says is in the way of pods, and its comments
// name all of that.
func TestDocumentedUnit(t *testing.T) {
	t.Parallel()
	_, inTheWay, _ := strings.Cut(documents(t)["docs/sandbox.md"], "These lines stand in the way of pods:")
	inTheWay, _, _ = strings.Cut(inTheWay, "\n\n")
	unit := service.Default().Text()
	keys := unitKey.FindAllStringSubmatch(inTheWay, -1)
	if len(keys) < 8 {
		t.Fatalf("only %q stand in the way", keys)
	}
	for _, m := range keys {
		line := regexp.MustCompile("(?m)^" + m[1] + "=(.*)$").FindStringSubmatch(unit)
		if line != nil && (m[1] != "SystemCallFilter" || !strings.HasPrefix(line[1], "~") || strings.Contains(line[1], "@mount")) {
			t.Errorf("%s stands in the way of pods", line[0])
		}
		if !regexp.MustCompile("(?m)^#   .*" + m[1]).MatchString(unit) {
			t.Errorf("%s is not named", m[1])
		}
	}
}

// The service unit allows every kind of socket that a pod's network is made of.
func TestUnitAllowsTheNetworkOfPods(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(service.Default().Text(), "\nRestrictAddressFamilies=")
	line, _, _ := strings.Cut(rest, "\n")
	for _, family := range []string{"AF_UNIX", "AF_INET", "AF_NETLINK", "AF_PACKET"} {
		if !slices.Contains(strings.Fields(line), family) {
			t.Errorf("the unit allows %q, which lacks %s", line, family)
		}
	}
}

const networkPage = "docs/network.md"

// What docs/network.md says to type works over a data folder with its
// configuration, a team and a pod, and what it shows is what the program prints.
func TestNetworkPage(t *testing.T) {
	t.Parallel()
	page := documents(t)[networkPage]
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "podgate.toml")
	settings := configBlock.FindStringSubmatch(page)
	if settings == nil {
		t.Fatal("the page shows no configuration")
	}
	here := func(args ...string) (int, string, string) {
		return runCommand(append(args, "--config", file, "--data", data)...)
	}
	if err := os.WriteFile(file, []byte(settings[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := here("team", "add", "makers"); code != exitDone {
		t.Fatal(errs)
	}
	if err := craftPod(filepath.Join(data, "podgate.db")); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range fenced.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			ran++
			code, out, errs := here(strings.Fields(line)[1:]...)
			if hosts := strings.HasSuffix(line, "network hosts\n"); hosts && (code != exitFailed || !strings.Contains(errs, "no package manager")) || !hosts && code != exitDone {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
			if strings.HasPrefix(line, "podgate team network makers\n") && !strings.Contains(page, out) {
				t.Errorf("the page does not show\n%s", out)
			}
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands were found", ran)
	}
}

// The refusals and the ledger that docs/network.md shows are podgate's words.
func TestNetworkPageShows(t *testing.T) {
	t.Parallel()
	page := documents(t)[networkPage]
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	outside := egress.Config{Resolver: oneName{}, Own: func() ([]netip.Prefix, error) { return nil, nil }, Now: func() time.Time { return at }}
	team := egress.NewGate(outside, egress.Policy{Layers: []egress.Layer{{Who: egress.WhoTeam, Mode: egress.ModeNames, Names: []egress.Rule{rule(t, "a.example.com")}}}})
	team.Ask(t.Context(), "api.example.org", egress.KindA)
	open := egress.NewGate(outside, egress.Policy{})
	a := open.Ask(t.Context(), "printer.example.com", egress.KindA)
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(a.Addr, 80), netip.MustParseAddrPort("8.8.8.8:25")} {
		if conn, _, err := open.Dial(t.Context(), "tcp", to); err == nil {
			conn.Close()
			t.Errorf("%v is reached", to)
		}
	}
	said := append(team.Refusals(), open.Refusals()...)
	for _, line := range said {
		if !strings.Contains(page, "\n"+line.Text+"\n") {
			t.Errorf("the page does not show %q", line.Text)
		}
	}
	if len(said) != 3 {
		t.Errorf("%+v", said)
	}
	var table bytes.Buffer
	asked := team.Ledger()[0]
	asked.Refused, asked.First, asked.Last = 3, at.Add(time.Minute), at.Add(time.Minute+9*time.Second)
	if err := printTable(&table, ledgerRows([]egress.Entry{
		{Target: "npm.example.com", Port: 443, Network: "tcp", Connections: 14, Open: 2, Sent: 8311, Received: 5242880, First: at, Last: at.Add(150 * time.Second)}, asked,
	})); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page, table.String()) {
		t.Errorf("the page does not show\n%s", table.String())
	}
}

func rule(t *testing.T, s string) egress.Rule {
	t.Helper()
	r, err := egress.ParseRule(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// oneName is a resolver that leads every name into a private network.
type oneName struct{ egress.Resolver }

func (oneName) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.168.1.20")}, nil
}

var unitBlock = regexp.MustCompile("(?s)```ini\n\\[Unit\\]\n.*?```")

// The unit in docs/server.md is the one that is installed.
func TestServerPageHasTheUnit(t *testing.T) {
	t.Parallel()
	const name = "docs/server.md"
	text := documents(t)[name]
	want := unitBlock.ReplaceAllLiteralString(text, "```ini\n"+service.Default().Text()+"```")
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != text || !unitBlock.MatchString(text) {
		t.Errorf("%s has another unit than internal/service; «go test . -run TestServerPageHasTheUnit -update» puts it there", name)
	}
}
