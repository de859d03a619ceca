package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the direction of imports between our packages: what a package
// may import of ours. A package that is not here may not exist.
var mayImport = map[string][]string{
	"store":                {},
	"internal/authz":       {"store"},
	"internal/config":      {"internal/web", "oauth", "pods", "pods/egress", "pods/sandbox", "pods/wire"},
	"internal/connlimit":   {"internal/ratelimit"},
	"internal/errorpage":   {},
	"internal/handover":    {"internal/mainthread"},
	"internal/mail":        {"internal/text"},
	"internal/mainthread":  {},
	"internal/metrics":     {},
	"internal/netfilter":   {},
	"internal/notify":      {"internal/mail", "internal/ratelimit", "internal/text", "pods", "store"},
	"internal/ratelimit":   {},
	"internal/registries":  {},
	"internal/service":     {},
	"internal/text":        {},
	"internal/tlsrecord":   {},
	"internal/trace":       {},
	"internal/web":         {"store"},
	"internal/webfetch":    {"internal/netfilter"},
	"account":              {"store", "internal/authz", "internal/ratelimit", "internal/text", "internal/trace"},
	"history":              {"store", "internal/ratelimit", "internal/text", "internal/web"},
	"oauth":                {"store", "history", "internal/authz", "internal/ratelimit", "internal/text", "internal/trace", "internal/web", "internal/webfetch"},
	"pods":                 {"store", "internal/authz", "internal/text", "internal/trace", "pods/egress", "pods/preset", "pods/wire"},
	"pods/egress":          {"internal/netfilter"},
	"pods/egress/netstack": {"pods/egress"},
	"pods/preset":          {},
	"pods/wire":            {},
	"pods/agent":           {"pods/preset", "pods/wire"},
	"pods/copies":          {"backup", "pods", "store"},
	"pods/sandbox":         {"internal/handover", "internal/mainthread", "pods", "pods/agent", "pods/copies", "pods/egress", "pods/egress/netstack", "pods/preset", "pods/sandbox/seccomp", "pods/wire", "store"},
	"pods/sandbox/seccomp": {},
	"pods/ingress":         {"pods", "internal/connlimit", "internal/errorpage", "internal/handover", "internal/ratelimit", "internal/tlsrecord"},
	"pods/transfer":        {"pods", "internal/authz", "internal/web"},
	"certs":                {"pods/wire"},
	"backup":               {"store"},
	"control":              {"account", "history", "pods", "pods/egress", "store", "internal/authz", "internal/web"},
	"mcp":                  {"history", "pods", "pods/wire", "internal/authz", "internal/text", "internal/trace", "internal/web", "store"},
	"remote":               {"internal/errorpage"},
	"doctor":               {"internal/text"},
	"doctor/echo":          {"internal/ratelimit", "internal/web"},
	"ui":                   {"account", "history", "oauth", "pods", "store", "internal/authz", "internal/text", "internal/web", "ui/page", "ui/podpages", "ui/serverpages", "ui/teampages"},
	"ui/page":              {"account", "history", "store", "internal/text", "internal/web"},
	"ui/serverpages":       {"account", "history", "oauth", "pods", "store", "internal/authz", "internal/text", "internal/web", "ui/page"},
	"ui/teampages":         {"account", "history", "oauth", "pods", "store", "internal/authz", "internal/text", "internal/web", "ui/page"},
	"ui/podpages":          {"history", "pods", "pods/wire", "store", "internal/authz", "internal/text", "internal/web", "ui/page"},
	"": {
		"account", "backup", "certs", "control", "doctor", "doctor/echo", "history", "internal/authz", "internal/config", "internal/connlimit", "internal/errorpage", "internal/handover", "internal/mail", "internal/mainthread", "internal/metrics", "internal/notify", "internal/registries", "internal/service", "internal/text", "internal/trace", "internal/web", "mcp", "oauth", "pods", "pods/agent", "pods/egress", "pods/ingress", "pods/sandbox", "pods/transfer", "remote", "store", "ui", "ui/page", "ui/serverpages", "ui/teampages",
	},
	// Programs of their own.
	"scripts/plot":    {},
	"scripts/release": {"internal/service"},
	// For tests only: see testOnly.
	"internal/acmetest":    {},
	"internal/clocktest":   {},
	"internal/conformance": {},
	"internal/mailtest":    {},
	"internal/packagetest": {"pods/egress"},
	"internal/passkeytest": {},
	"internal/s3test":      {},
	"internal/webtest":     {},
	"store/storetest":      {"store"},
	"ui/pagetest":          {"account", "history", "internal/authz", "internal/web", "internal/webtest", "oauth", "pods", "pods/podstest", "store", "store/storetest", "ui", "ui/page"},
	"pods/podstest":        {"pods", "pods/agent", "pods/copies", "pods/egress", "pods/preset", "pods/wire", "store", "store/storetest", "internal/authz", "internal/packagetest"},
}

// testOnly are packages that no program code imports.
var testOnly = []string{"internal/acmetest", "internal/clocktest", "internal/conformance", "internal/mailtest", "internal/packagetest", "internal/passkeytest", "internal/s3test", "internal/webtest", "store/storetest", "pods/podstest", "ui/pagetest"}

// notInside are packages of others that some of ours must do without.
var notInside = map[string][]string{
	"internal/authz":     {"net/http"},
	"internal/netfilter": {"net/http", "net"},
	"account":            {"net/http", "html/template"},
	"oauth":              {"html/template"},
	"store":              {"net/http"},
}

// bannedImports have no place in the program.
var bannedImports = map[string]string{
	"text/template": "html/template escapes",
	"math/rand":     "crypto/rand cannot be guessed",
	"math/rand/v2":  "crypto/rand cannot be guessed",
	"io/ioutil":     "os and io",
}

// onlyInside are packages of others that one of ours hides from the rest.
var onlyInside = map[string]string{
	"github.com/caddyserver/certmagic":   "certs",
	"go.uber.org/zap":                    "certs",
	"gvisor.dev/gvisor":                  "pods/egress/netstack",
	"github.com/robfig/cron/v3":          "pods/preset",
	"github.com/alecthomas/chroma/v2":    "ui/podpages",
	"github.com/wneessen/go-mail":        "internal/mail",
	"github.com/wneessen/go-mail/smtp":   "internal/mail",
	"github.com/go-webauthn/webauthn":    "account",
	"filippo.io/age":                     "backup",
	"github.com/restic/chunker":          "backup",
	"github.com/klauspost/compress/zstd": "backup",
	"github.com/spf13/cobra":             "",
	"github.com/spf13/pflag":             "",
}

// bannedCalls are functions and variables that hide state or an effect. The
// packages listed may use them, for the reason given.
var bannedCalls = map[string]map[string]string{
	"http.DefaultClient":   {},
	"http.DefaultServeMux": {},
	"http.HandleFunc":      {},
	"http.Handle":          {},
	"fmt.Print":            {},
	"fmt.Println":          {},
	"fmt.Printf":           {},
	"os.Exit": {
		"": "main", "scripts/plot": "main", "scripts/release": "main", "pods/agent": "child process", "pods/sandbox": "child process",
	},
	"time.Now": {
		"": "wiring", "ui/page": "default of Config.Now", "ui/podpages": "deadlines of streams", "account": "default of Config.Now", "pods": "default of Config.Now", "pods/egress": "default of Config.Now", "pods/egress/netstack": "deadlines of datagrams",
		"control": "how long a command waits", "mcp": "pace of progress; a span before now in get_logs; how long calls take", "pods/transfer": "deadlines of connections",
		"pods/agent": "deadlines of processes and streams", "pods/sandbox": "when a pod was started",
		"pods/copies": "when files were met", "internal/connlimit": "deadlines of connections", "pods/ingress": "deadlines of connections", "internal/tlsrecord": "deadlines of connections", "internal/mail": "deadlines of connections", "internal/acmetest": "test", "internal/packagetest": "test", "internal/s3test": "test", "internal/webtest": "test", "pods/podstest": "test", "store/storetest": "test", "ui/pagetest": "test",
	},
}

const maxLines = 700

// source is one Go file of the tree.
type source struct {
	pkg   string // path below the module, "" for main
	name  string
	test  bool
	lines int
	file  *ast.File
}

func parseTree(t *testing.T) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parseSource(set, filepath.ToSlash(name), string(raw))
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parseSource(set *token.FileSet, name, text string) (source, error) {
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	pkg := path.Dir(name)
	if pkg == "." {
		pkg = ""
	}
	return source{pkg: pkg, name: name, test: strings.HasSuffix(name, "_test.go"), lines: strings.Count(text, "\n"), file: file}, err
}

// faults returns what breaks the layout in one file.
func (s source) faults() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, s.name+": "+fmt.Sprintf(format, args...)) }
	if s.lines > maxLines {
		say("%d lines, more than %d", s.lines, maxLines)
	}
	s.importFaults(say)
	s.callFaults(say)
	s.initFaults(say)
	return out
}

func (s source) importFaults(say func(string, ...any)) {
	allowed, known := mayImport[s.pkg]
	if !known {
		say("package %q is not in the layout", s.pkg)
	}
	for _, spec := range s.file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
		if reason, banned := bannedImports[name]; banned && !s.test {
			say("imports %s; instead: %s", name, reason)
		}
		if slices.Contains(notInside[s.pkg], name) && !s.test {
			say("imports %s, which has no place there", name)
		}
		if home, hidden := onlyInside[name]; hidden && home != s.pkg {
			say("imports %s, which is for %s alone", name, home)
		}
		ours, isOurs := strings.CutPrefix(name, "podgate/")
		if isOurs && !s.test && !slices.Contains(allowed, ours) {
			say("imports %s against the layout", ours)
		}
		if isOurs && !s.test && slices.Contains(testOnly, ours) && !slices.Contains(testOnly, s.pkg) {
			say("imports %s, which is for tests", ours)
		}
	}
}

func (s source) callFaults(say func(string, ...any)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		call := x.Name + "." + sel.Sel.Name
		if packages, banned := bannedCalls[call]; banned && !s.test {
			if _, excused := packages[s.pkg]; !excused {
				say("uses %s", call)
			}
		}
		return true
	})
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) > 0 {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Skip" {
			say("skips a test without saying why")
		}
		return true
	})
}

// atFirstUse is what a variable of a package may not be made with when the program starts:
// it starts three times a pod.
var atFirstUse = []string{"regexp.MustCompile", "template.Must"}

func (s source) initFaults(say func(string, ...any)) {
	if s.test || strings.HasPrefix(s.pkg, "scripts/") || slices.Contains(testOnly, s.pkg) {
		return
	}
	for _, d := range s.file.Decls {
		if _, isFunc := d.(*ast.FuncDecl); isFunc {
			continue
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if _, later := n.(*ast.FuncLit); later {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(atFirstUse, x.Name+"."+sel.Sel.Name) {
					say("calls %s.%s when the program starts: use sync.OnceValue", x.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	documented, seen, used := map[string]bool{}, map[string]bool{}, map[edge]bool{}
	for _, s := range parseTree(t) {
		for _, fault := range s.faults() {
			t.Error(fault)
		}
		seen[s.pkg] = true
		for _, e := range s.edges() {
			used[e] = true
		}
		if doc := s.file.Doc; doc != nil && !s.test && len(doc.Text()) > 60 {
			documented[s.pkg] = true
		}
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("the layout names package %q, which does not exist", pkg)
		} else if !documented[pkg] {
			t.Errorf("package %q has no comment that says what it is", pkg)
		}
	}
	for _, e := range unused(mayImport, used) {
		t.Errorf("the layout lets %q import %q, which it does not: strike it", e.from, e.to)
	}
}

// edge is one import between our packages.
type edge struct{ from, to string }

// edges returns what a file of the program imports of ours.
func (s source) edges() []edge {
	var out []edge
	for _, spec := range s.file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
		if ours, isOurs := strings.CutPrefix(name, "podgate/"); isOurs && !s.test {
			out = append(out, edge{s.pkg, ours})
		}
	}
	return out
}

// unused returns the edges that a layout allows and nobody needs: the next
// import along one would pass without anybody having decided it.
func unused(layout map[string][]string, used map[edge]bool) []edge {
	var out []edge
	for from, all := range layout {
		for _, to := range all {
			if e := (edge{from, to}); !used[e] {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b edge) int { return strings.Compare(a.from+" "+a.to, b.from+" "+b.to) })
	return out
}

func TestUnusedEdges(t *testing.T) {
	t.Parallel()
	layout := map[string][]string{"a": {"b", "c"}, "b": {"c"}}
	got := unused(layout, map[edge]bool{{"a", "c"}: true, {"c", "a"}: true})
	if want := []edge{{"a", "b"}, {"b", "c"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Each rule finds what it forbids.
func TestLayoutFindsFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, want string }{
		"direction":    {"store/x.go", `package store; import _ "podgate/oauth"`, "imports oauth against"},
		"stranger":     {"extra/x.go", `package extra`, "not in the layout"},
		"test package": {"ui/x.go", `package ui; import _ "podgate/store/storetest"`, "which is for tests"},
		"no HTTP":      {"account/x.go", `package account; import _ "net/http"`, "no place there"},
		"template":     {"ui/x.go", `package ui; import _ "text/template"`, "html/template escapes"},
		"clock":        {"oauth/x.go", "package oauth\nimport \"time\"\nvar x = time.Now()", "uses time.Now"},
		"exit":         {"ui/x.go", "package ui\nimport \"os\"\nfunc f() { os.Exit(1) }", "uses os.Exit"},
		"client":       {"oauth/x.go", "package oauth\nimport \"net/http\"\nvar c = http.DefaultClient", "uses http.DefaultClient"},
		"hidden":       {"ui/x.go", `package ui; import _ "github.com/caddyserver/certmagic"`, "for certs alone"},
		"early work":   {"ui/x.go", "package ui\nimport \"regexp\"\nvar x = regexp.MustCompile(`x`)", "when the program starts"},
		"bare skip":    {"store/x_test.go", "package store\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skip() }", "without saying why"},
		"long file":    {"store/x.go", "package store\n" + strings.Repeat("//\n", maxLines), "lines, more than"},
	} {
		s, err := parseSource(token.NewFileSet(), c.file, c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.faults(), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}
