package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/commands.md and the files that scripts compare from what the program says")

// docs/commands.md is what the commands say of themselves.
func TestCommandsDocument(t *testing.T) {
	t.Parallel()
	const name = "docs/commands.md"
	want := commandsDocument(commands(process{}))
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, documents(t)[name]); diff != "" {
		t.Errorf("%s is old; «go test . -run TestCommandsDocument -update» writes it anew:\n%s", name, diff)
	}
}

func commandsDocument(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(`# Commands

Made from the program: «podgate help COMMAND» says the same, and «podgate man DIR» writes it
as manual pages. Commands about people, teams and connections work while the server runs and when it
does not; they find it by its data folder. Those for pods need a server that runs, here or elsewhere:
[Pods from the command line](pods.md) says which they take.

Every command takes these flags, before or after its arguments:

| flag | |
| --- | --- |
`)
	writeFlags(&b, root, func(name string) bool { return root.PersistentFlags().Lookup(name) != nil })
	b.WriteString("\nThe exit code is 0 when it is done, 1 when it failed and said why, and 2 when the command line\ncannot be understood.\n")
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", g.Title)
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				for _, leaf := range leaves(c) {
					writeCommandSection(&b, leaf)
				}
			}
		}
	}
	return b.String()
}

func writeCommandSection(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n### podgate %s\n\n%s.\n", strings.TrimSpace(nameOf(c)+" "+argumentsOf(c)), capital(c.Short))
	if c.Long != "" {
		fmt.Fprintf(b, "%s\n", c.Long)
	}
	var flags strings.Builder
	writeFlags(&flags, c, func(name string) bool { return c.Root().PersistentFlags().Lookup(name) == nil })
	if flags.Len() > 0 {
		fmt.Fprintf(b, "\n| flag | |\n| --- | --- |\n%s", &flags)
	}
	fmt.Fprintf(b, "\n```sh\n%s\n```\n", c.Example)
}

func writeFlags(b *strings.Builder, c *cobra.Command, wanted func(name string) bool) {
	visitFlags(c, func(flag, usage string) {
		if wanted(strings.TrimPrefix(strings.Fields(flag)[0], "--")) {
			fmt.Fprintf(b, "| `%s` | %s |\n", flag, usage)
		}
	})
}

// Each command has an example, and each example works: in the order of the
// list, over one data folder in which there are two people.
func TestExamples(t *testing.T) {
	t.Parallel()
	data, pages, backups := t.TempDir(), t.TempDir(), t.TempDir()
	for _, email := range []string{"ada@example.com", "bob@example.com"} {
		if code, out, errs := runCommand("user", "add", email, "--data", data); code != exitDone {
			t.Fatal(code, out, errs)
		}
	}
	for _, line := range []string{"team add spare", "team member add spare ada@example.com", "team invite spare eve@example.com"} {
		if code, out, errs := runCommand(append(strings.Fields(line), "--data", data)...); code != exitDone {
			t.Fatal(code, out, errs)
		}
	}
	for _, c := range leaves(commands(process{})) {
		if !strings.HasPrefix(c.Example+" ", c.CommandPath()+" ") || strings.Contains(c.Example, "\n") {
			t.Errorf("podgate %s has no example of one line: %q", nameOf(c), c.Example)
			continue
		}
		line := strings.Replace(c.Example, "podgate man man1", "podgate man "+pages, 1)
		line = strings.Replace(line, "user add ada@", "user add carol@", 1)                      // for ada there is a password to change
		for _, early := range []string{"invitation withdraw ", "member role ", "team remove "} { // makers lack what they need, or are needed later
			line = strings.Replace(line, early+"makers", early+"spare", 1)
		}
		line = strings.NewReplacer(" podgate.tar.zst", " "+filepath.Join(backups, "it"), " backup.key", " "+filepath.Join(backups, "key"), "export hello hello.pod", "export hello "+filepath.Join(backups, "pod"), "import hello.pod", "import config.example.toml").Replace(line)
		switch words := strings.Fields(line); words[1] {
		case "restore":
			if code, out, errs := runCommand(append(words[1:], "--data", filepath.Join(backups, "data"))...); code != exitDone {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
		case "serve", "doctor", "config":
			runDocumented(t, "the example", "./"+line, "")
		case "backup":
			code, out, errs := runCommand(append(words[1:], "--data", data)...)
			if strings.HasSuffix(line, " adopt") && (code != exitFailed || !strings.Contains(errs, "backup.to")) || !strings.HasSuffix(line, " adopt") && code != exitDone {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
		case "mail": // there is no server for it
			if code, _, errs := runCommand(append(words[1:], "--data", data)...); code != exitFailed || !strings.Contains(errs, "mail.host") {
				t.Errorf("%s: %d %s", line, code, errs)
			}
		case "service": // the machine may have systemd, or a service of its own
			if code, out, errs := runCommand(words[1:]...); code != exitDone && !strings.Contains(errs, "systemd") && !strings.Contains(out+errs, "no service here") {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
		case "network": // it finds no package manager without a path
			if code, _, errs := runCommand(words[1:]...); code != exitFailed || !strings.Contains(errs, "no package manager") {
				t.Errorf("%s: %d %s", line, code, errs)
			}
		case "debug", "pod", "status", "upgrade": // there is none without a server
			args := slices.Concat(words[1:min(3, len(words))], []string{"--data", data}, words[min(3, len(words)):])
			if code, _, errs := runCommand(args...); code != exitFailed || !strings.Contains(errs, "There is no pod") && !strings.Contains(strings.ToLower(errs), "no server runs ") {
				t.Errorf("%s: %d %s", line, code, errs)
			}
		case "login", "logout": // whoever runs the tests may have logins
			if code, _, errs := runCommand(words[1:]...); code != exitFailed || !strings.Contains(errs, "there is no folder for logins") {
				t.Errorf("%s: %d %s", line, code, errs)
			}
		case "client":
			if code, out, errs := runCommand(append(words[1:], "--data", data)...); code != exitDone && !strings.Contains(errs, "There is no client") {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
		case "connection":
			if words[2] == "list" {
				continue // the same as connections
			}
			if code, _, errs := runCommand(append(words[1:], "--data", data)...); code != exitFailed || !strings.Contains(errs, "No live connection") {
				t.Errorf("%s: %d %s", line, code, errs)
			}
		default:
			if code, out, errs := runCommand(append(words[1:], "--data", data)...); code != exitDone {
				t.Errorf("%s: %d %s%s", line, code, out, errs)
			}
		}
	}
}

var (
	inlineCommand = regexp.MustCompile("(?:`|«)podgate ([^`»\n]+)(?:`|»)")
	commandWord   = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// Every command and flag that a document or the program itself names is one.
func TestNamedCommandsExist(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for _, name := range []string{"config.example.toml"} {
		texts[name] = readFile(t, name)
	}
	for _, s := range parseTree(t) {
		if !s.test {
			texts[s.name] = readFile(t, s.name)
		}
	}
	named := 0
	for name, text := range texts {
		for _, m := range inlineCommand.FindAllStringSubmatch(text, -1) {
			named++
			if fault := namedCommand(strings.Fields(m[1])); fault != "" {
				t.Errorf("%s: %s: %s", name, m[0], fault)
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d commands are named", named)
	}
}

// namedCommand returns what is wrong with a command line of a text.
func namedCommand(words []string) string {
	c, rest, err := commands(process{}).Find(words)
	if err != nil {
		return err.Error()
	}
	c.InheritedFlags() // makes them part of Flags
	for _, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		if isFlag && c.Flags().Lookup(strings.SplitN(name, "=", 2)[0]) == nil {
			return "there is no flag " + word
		}
	}
	if len(rest) > 0 && c.HasSubCommands() && commandWord.MatchString(rest[0]) {
		return "there is no such command"
	}
	return ""
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// There is a page for podgate and for each command, and what formats manual
// pages here has nothing to say against any.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "man1")
	if code, out, errs := runCommand("man", dir); code != exitDone || !strings.Contains(out, "man -l") {
		t.Fatal(code, out, errs)
	}
	root := commands(process{})
	for _, c := range append(leaves(root), root) {
		page := readFile(t, filepath.Join(dir, pageName(c)+".1"))
		if !strings.Contains(page, "\n.SH NAME\n"+roff(pageName(c))+` \- `) || !strings.Contains(page, `.B \-\-data DIR`) {
			t.Errorf("%s:\n%s", pageName(c), page)
		}
	}
	formatter := []string{"groff", "-man", "-ww", "-Kutf8", "-Tutf8"}
	if _, err := exec.LookPath("groff"); err != nil {
		formatter = []string{"mandoc", "-Tlint", "-Werror"}
		if _, err := exec.LookPath("mandoc"); err != nil {
			judgeMissing(t, "there is neither groff nor mandoc here to judge the pages")
		}
	}
	pages, err := filepath.Glob(dir + "/*.1")
	if err != nil || len(pages) != len(leaves(root))+1 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		var errs strings.Builder
		cmd := exec.Command(formatter[0], slices.Concat(formatter[1:], []string{page})...)
		cmd.Stderr = &errs
		if out, err := cmd.Output(); err != nil || errs.Len() > 0 {
			t.Errorf("%s: %v\n%s%s", page, err, out, &errs)
		}
	}
}

// judgeMissing skips a test whose judge of scripts or manual pages is not here,
// or fails it when PODGATE_REQUIRE asks for them.
func judgeMissing(t *testing.T, why string) {
	t.Helper()
	if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "commands") {
		t.Fatal("PODGATE_REQUIRE asks for the judges of commands: " + why)
	}
	t.Skip(why)
}

// What means something to a formatter is shown as it is.
func TestRoff(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                  "plain",
		"--data a-b":             `\-\-data a\-b`,
		`C:\new`:                 `C:\enew`,
		".SH is no heading":      `\&.SH is no heading`,
		"first\n'second\n.third": "first\n\\&'second\n\\&.third",
	} {
		if got := roff(text); got != want {
			t.Errorf("roff(%q) = %q, want %q", text, got, want)
		}
	}
}
