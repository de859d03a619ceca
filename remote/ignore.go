package remote

import (
	"path"
	"regexp"
	"strings"
)

// The files that say what of a folder is not sent, in the order in which they count.
const (
	gitIgnore = ".gitignore"
	ownIgnore = ".podgateignore"
)

// neverSent are folders that are made anew where the app runs, or are nobody's
// business there. A line in .podgateignore that begins with ! brings one back, except
// .git.
const neverSent = "node_modules/\n__pycache__/\n.venv/\n.DS_Store\n" + ownIgnore + "\n"

// rule is one line of such a file.
type rule struct {
	dir     string // in which the file lies; "" for the top
	pattern *regexp.Regexp
	folders bool // it means folders only
	again   bool // it takes back what lines before have left out
}

// rulesOf reads a file of rules, in the format of gitignore(5).
func rulesOf(dir, text string) []rule {
	var rules []rule
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		r := rule{dir: dir}
		line, r.again = strings.CutPrefix(line, "!")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, r.folders = strings.CutSuffix(line, "/")
		// A slash anywhere but at the end ties the pattern to its folder.
		if tied := strings.Contains(line, "/"); !tied {
			line = "**/" + line
		}
		compiled, err := regexp.Compile("^" + globPattern(strings.TrimPrefix(line, "/")) + "$")
		if err == nil { // git, too, passes over a pattern that is none
			r.pattern = compiled
			rules = append(rules, r)
		}
	}
	return rules
}

// globPattern makes a regular expression of a glob.
func globPattern(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(glob[i:], "/**") && i+3 == len(glob):
			b.WriteString("/.*")
			i += 2
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[' && strings.IndexByte(glob[i+1:], ']') > 0:
			end := i + 1 + strings.IndexByte(glob[i+1:], ']')
			set := strings.ReplaceAll(glob[i+1:end], `\`, `\\`)
			if negated, ok := strings.CutPrefix(set, "!"); ok {
				set = "^" + negated
			}
			b.WriteString("[" + set + "]")
			i = end
		case c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	return b.String()
}

// leavesOut reports whether the rules leave out what lies at name, a slash path from
// the top. The last rule that fits decides.
func leavesOut(rules []rule, name string, folder bool) bool {
	if folder && path.Base(name) == ".git" {
		return true
	}
	out := false
	for _, r := range rules {
		below, ok := name, true
		if r.dir != "" {
			below, ok = strings.CutPrefix(name, r.dir+"/")
		}
		if ok && (folder || !r.folders) && r.pattern.MatchString(below) {
			out = !r.again
		}
	}
	return out
}
