package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// removal is one defence taken away, and the test that must notice.
type removal struct {
	title   string
	changes []change
	pkg     string // of the test, as a folder
	test    string // with the subtest, if one is named
	says    string // in the output of the failed test
}

// change replaces whole lines of a file, which occur there once.
type change struct{ file, old, new string }

const removalsFile = "testdata/defences.txt"

// readRemovals reads removals as the head of testdata/defences.txt describes them.
func readRemovals(text string) ([]removal, error) {
	var (
		all    []removal
		faults []error
	)
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fault := func(why string) { faults = append(faults, fmt.Errorf("line %d: %s: %q", i+1, why, line)) }
		if title, ok := strings.CutPrefix(line, "defence: "); ok {
			all = append(all, removal{title: title})
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(all) == 0 {
			fault("before the first defence")
			continue
		}
		r := &all[len(all)-1]
		if strings.ContainsAny(line[:1], " +-") {
			if len(r.changes) == 0 {
				fault("before the file")
				continue
			}
			c := &r.changes[len(r.changes)-1]
			if line[0] != '+' {
				c.old += line[1:] + "\n"
			}
			if line[0] != '-' {
				c.new += line[1:] + "\n"
			}
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "file":
			r.changes = append(r.changes, change{file: value})
		case "test":
			r.pkg, r.test, _ = strings.Cut(value, " ")
		case "says":
			r.says = value
		default:
			fault("neither a word of ours nor a changed line")
		}
	}
	return all, errors.Join(faults...)
}

// apply returns the text of the file without the defence.
func (c change) apply(text string) (string, error) {
	// Whole lines: the first one begins after the end of another.
	at := strings.Index("\n"+text, "\n"+c.old)
	if c.old == "" || at < 0 || at != strings.LastIndex("\n"+text, "\n"+c.old) {
		return "", fmt.Errorf("%s does not have these lines once:\n%s", c.file, c.old)
	}
	if c.old == c.new {
		return "", fmt.Errorf("%s is not changed", c.file)
	}
	return text[:at] + c.new + text[at+len(c.old):], nil
}

// without returns what each file that the removal changes is then, by its path.
func (r removal) without() (map[string]string, error) {
	texts := map[string]string{}
	for _, c := range r.changes {
		name, err := filepath.Abs(c.file)
		if err != nil {
			return nil, err
		}
		if _, ok := texts[name]; !ok {
			raw, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			texts[name] = string(raw)
		}
		if texts[name], err = c.apply(texts[name]); err != nil {
			return nil, err
		}
	}
	for name, text := range texts {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func removals(t *testing.T) []removal {
	t.Helper()
	raw, err := os.ReadFile(removalsFile)
	if err != nil {
		t.Fatal(err)
	}
	all, err := readRemovals(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// testsOf are the tests of a package.
func testsOf(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunction.FindAllSubmatch(raw, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// Every defence that is to be removed is still there, the test that must notice
// exists, and docs/threats.md names it.
func TestDefencesAreThere(t *testing.T) {
	t.Parallel()
	threats := testName.FindAllString(documents(t)["docs/threats.md"], -1)
	titles, tests := map[string]bool{}, map[string][]string{}
	for _, r := range removals(t) {
		if titles[r.title] {
			t.Errorf("%s: there are two of this title", r.title)
		}
		titles[r.title] = true
		if _, err := r.without(); err != nil || len(r.changes) == 0 || r.says == "" {
			t.Errorf("%s: %d changes, says %q: %v", r.title, len(r.changes), r.says, err)
		}
		if tests[r.pkg] == nil {
			tests[r.pkg] = testsOf(t, r.pkg)
		}
		name, _, _ := strings.Cut(r.test, "/")
		if !slices.Contains(tests[r.pkg], name) {
			t.Errorf("%s: %s has no %s", r.title, r.pkg, name)
		}
		if !slices.Contains(threats, name) {
			t.Errorf("%s: docs/threats.md does not name %s", r.title, name)
		}
	}
	if len(titles) < leastRemovals {
		t.Errorf("only %d removals were found", len(titles))
	}
}

const leastRemovals = 150

func TestReadRemovals(t *testing.T) {
	t.Parallel()
	all, err := readRemovals("# head\n\ndefence: one\nfile: a.go\n b\n-c\n+d\nfile: e.go\n-f\ntest: p TestX/in y\nsays: no\n")
	if err != nil || len(all) != 1 || len(all[0].changes) != 2 || all[0].pkg != "p" || all[0].test != "TestX/in y" || all[0].says != "no" {
		t.Fatalf("%+v, %v", all, err)
	}
	c := all[0].changes[0]
	if got, err := c.apply("a\nb\nc\nbc\n"); got != "a\nb\nd\nbc\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"", "ab\nc\n", "b\nc\nb\nc\n"} {
		if got, err := c.apply(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"file: a.go\n", "defence: x\n-a\n", "defence: x\nfiles: a.go\n"} {
		if all, err := readRemovals(text); err == nil {
			t.Errorf("%q is %+v", text, all)
		}
	}
}

// testLine is what a test says.
var testLine = regexp.MustCompile(`(?m)^.*_test\.go:\d+: .*$`)

// Without a defence its test fails, and with it the test passes. It builds and runs
// the tests of each removal, which takes half an hour on a busy machine, and so is asked for:
// PODGATE_DEFENCES=1 go test . -run TestDefences -timeout 90m
func TestDefences(t *testing.T) {
	if os.Getenv("PODGATE_DEFENCES") == "" {
		t.Skip("asked for by PODGATE_DEFENCES=1")
	}
	whole := &builds{dir: t.TempDir(), byKey: map[string]func() (string, error){}}
	for _, r := range removals(t) {
		t.Run(r.title, func(t *testing.T) {
			t.Parallel()
			if out, err := whole.test(r); err != nil {
				t.Fatalf("with the defence: %v\n%s", err, out)
			} else if strings.Contains(out, "--- SKIP: "+r.name()) {
				t.Skipf("not on this machine:\n%s", out)
			}
			texts, err := r.without()
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(t.TempDir(), "without.test")
			if err := buildTest(r.pkg, binary, texts); err != nil {
				t.Fatal(err) // which is no failure of the test
			}
			// Without some a pod does not start, which is no reason to skip then.
			out, err := r.run(binary, "PODGATE_REQUIRE=sandbox")
			switch {
			case err == nil:
				t.Errorf("%s %s passes without it", r.pkg, r.test)
			case !strings.Contains(out, "--- FAIL: "+r.name()) || !strings.Contains(out, r.says):
				t.Errorf("%s %s fails for another reason (%v), not %q:\n%s", r.pkg, r.test, err, r.says, out)
			default:
				t.Logf("%s says:\n%s", r.test, strings.Join(testLine.FindAllString(out, 5), "\n"))
			}
		})
	}
}

// builds are the tests of the tree as it is: built once for a package, and run
// once for a test.
type builds struct {
	dir string

	mu    sync.Mutex
	byKey map[string]func() (string, error)
}

func (b *builds) once(key string, do func() (string, error)) (string, error) {
	b.mu.Lock()
	f := b.byKey[key]
	if f == nil {
		f = sync.OnceValues(do)
		b.byKey[key] = f
	}
	b.mu.Unlock()
	return f()
}

func (b *builds) test(r removal) (string, error) {
	binary, err := b.once(r.pkg, func() (string, error) {
		path := filepath.Join(b.dir, strings.ReplaceAll(r.pkg, "/", "-")+".test")
		return path, buildTest(r.pkg, path, nil)
	})
	if err != nil {
		return "", err
	}
	return b.once(r.pkg+" "+r.test, func() (string, error) { return r.run(binary) })
}

// buildTest builds the tests of a package with these texts in place of the tree's.
func buildTest(pkg, binary string, texts map[string]string) error {
	return buildOverlaid(binary, texts, "test", "-c", "-vet=off", "-ldflags=-s -w", "./"+pkg)
}

// buildOverlaid has go make a program with these texts in place of the tree's. The last
// argument is the package.
func buildOverlaid(binary string, texts map[string]string, args ...string) error {
	pkg := args[len(args)-1]
	args = append(args[:len(args)-1:len(args)-1], "-o", binary)
	if texts != nil {
		overlay := map[string]string{}
		for name, text := range texts {
			overlay[name] = fmt.Sprintf("%s.%d.go", binary, len(overlay))
			if err := os.WriteFile(overlay[name], []byte(text), 0o600); err != nil {
				return err
			}
		}
		written, err := json.Marshal(map[string]any{"Replace": overlay})
		if err != nil {
			return err
		}
		if err := os.WriteFile(binary+".json", written, 0o600); err != nil {
			return err
		}
		args = append(args, "-overlay", binary+".json")
	}
	if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	return nil
}

// name is what the test is called in the output.
func (r removal) name() string { return strings.ReplaceAll(r.test, " ", "_") }

// run runs the one test where go test would.
func (r removal) run(binary string, env ...string) (string, error) {
	parts := strings.Split(r.name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	cmd := exec.Command(binary, "-test.v", "-test.count=1", "-test.timeout=3m", "-test.run", strings.Join(parts, "/"))
	cmd.Dir, cmd.Env = r.pkg, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "--- PASS: "+r.name()) && !strings.Contains(string(out), "--- SKIP: "+r.name()) {
		err = errors.New("no such test ran")
	}
	return string(out), err
}
