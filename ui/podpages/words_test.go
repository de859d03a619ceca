package podpages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"podgate/ui/podpages"
)

var toolName = regexp.MustCompile(`\b(manage|get|list|create|write|read|run|delete|deploy|set)_(pods?|logs|upload|deploys|files?|app|command|env|jobs?|presets|snapshots?)\b`)

// toolTexts are the sentences of package pods in which a tool is named.
func toolTexts(t *testing.T) (texts []string) {
	t.Helper()
	files, err := filepath.Glob("../../pods/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && toolName.MatchString(text) && !strings.HasPrefix(text, "store ") { // the name of a span
					texts = append(texts, text)
				}
			}
			return true
		})
	}
	return texts
}

// A person at a page has buttons and no tools.
func TestPagesSpeakOfNoTools(t *testing.T) {
	t.Parallel()
	texts := toolTexts(t)
	if len(texts) < 10 {
		t.Fatalf("only %d texts of package pods name a tool", len(texts))
	}
	for _, text := range texts {
		if got := toolName.FindString(podpages.InPages(text)); got != "" {
			t.Errorf("%q still speaks of %s", text, got)
		}
	}
}
