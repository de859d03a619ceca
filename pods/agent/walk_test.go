package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/pods/wire"
)

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		glob, matches, not string // names with spaces between
	}{
		{"", "a a/b", ""},
		{"*.js", "a.js x/y/b.js .js", "a.jsx js a.js/b"},
		{"src/*.js", "src/a.js", "a.js src/x/a.js x/src/a.js"},
		{"src/**/*.js", "src/a.js src/x/a.js src/x/y/a.js", "a.js src.js x/src/a.js"},
		{"**/test/**", "test test/a x/test/y", "tests a"},
		{"**", "a a/b", ""},
		{"**/**/a/**/**/b", "a/b x/a/y/b", "a b"},
		{"*.{js,ts}", "a.js b/c.ts", "a.css"},
		{"{src,lib}/*.{js,ts}", "src/a.js lib/b.ts", "x/a.js"},
		{"a{,b}", "a ab", "b"},
		{"[ab]?", "ax bc", "cx a"},
		{"/top", "top", "x/top"},
		{`\*`, "*", "a"},
	} {
		g, err := parseGlob(c.glob)
		if err != nil {
			t.Errorf("%s: %v", c.glob, err)
		}
		for _, name := range strings.Fields(c.matches) {
			if !g.match(name) {
				t.Errorf("%s does not match %s", c.glob, name)
			}
		}
		for _, name := range strings.Fields(c.not) {
			if g.match(name) {
				t.Errorf("%s matches %s", c.glob, name)
			}
		}
	}
	for _, bad := range []string{"[", "a/[b", "{a", "{a{b}}", strings.Repeat("{a,b}", 6), strings.Repeat("a", wire.MaxQuery+1), "a\x00"} {
		if g, err := parseGlob(bad); err == nil {
			t.Errorf("%q became %v", bad, g)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("**/*a*a*a*b/{c,d}", "x/aaaa/c")
	f.Add("a/**/**/b", "a/b")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		if len(g) > maxGlobs {
			t.Errorf("%d patterns", len(g))
		}
		for range 2 { // the same each time, and without end
			g.match(path.Clean(name))
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("(a{10}){10}", true, true)
	f.Add(`\pL+|[^a]*?`, true, false)
	f.Add("a.b", false, true)
	f.Fuzz(func(t *testing.T, query string, regex, ignoreCase bool) {
		re, err := compilePattern(query, regex, ignoreCase)
		if err != nil {
			return
		}
		if !regex && !ignoreCase && !re.MatchString("x"+query+"x") && query == strings.ToValidUTF8(query, "") {
			t.Errorf("%q does not find itself", query)
		}
		re.FindIndex([]byte(query))
	})
}

// A regular expression is refused before what it stands for takes memory.
func TestPatternBomb(t *testing.T) {
	t.Parallel()
	for _, bomb := range []string{"((a{30}){30}){30}", "(x{1000}){2}|b", "(a{0,1000}b{0,1000}){1,}", strings.Repeat("(a{50})", 50)} {
		if re, err := compilePattern(bomb, true, false); err == nil {
			t.Errorf("%s became %v", bomb, re)
		}
	}
	if _, err := compilePattern(`\b[A-Z][a-z]{2,20}(?:Error|Exception)\b`, true, true); err != nil {
		t.Error(err)
	}
}

// aWalk walks through a tree that is made of a list of files, from cursor to
// cursor, and returns what it saw.
func aWalk(t *testing.T, a *agent, dir string, change func(*walk)) []string {
	t.Helper()
	s, err := a.folders.dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	cursor := ""
	for {
		w := &walk{ctx: t.Context(), deep: true}
		w.visit = func(e walked) error { seen = append(seen, e.rel); return nil }
		change(w)
		out, err := a.walkFrom(s, w, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if !out.Cut {
			return seen
		}
		if out.Cursor == cursor {
			t.Fatalf("no progress after %q", cursor)
		}
		cursor = out.Cursor
	}
}

func newWalkAgent(t *testing.T) *agent {
	t.Helper()
	f, err := openFolders(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &agent{folders: f, walks: make(chan struct{}, 1)}
}

// A walk that is cut after any entry sees, with those that go on, each entry once
// and in the same order; also one that vanished meanwhile loses nothing else.
func TestWalkGoesOn(t *testing.T) {
	t.Parallel()
	a := newWalkAgent(t)
	for i := range 30 {
		dir := filepath.Join(a.folders.home.real, fmt.Sprintf("tree/%c/%c", 'a'+i%3, 'a'+i%5))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644), os.WriteFile(dir+".x", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	whole := aWalk(t, a, "../tree", func(*walk) {})
	if len(whole) != 3+15+15+30 || !slices.IsSortedFunc(whole, func(x, y string) int { return slices.Compare(strings.Split(x, "/"), strings.Split(y, "/")) }) {
		t.Errorf("%d: %v", len(whole), whole)
	}
	for every := 1; every < 8; every++ {
		got := aWalk(t, a, "../tree", func(w *walk) {
			visit, n := w.visit, 0
			w.visit = func(e walked) error {
				if n++; n > every {
					return errCut
				}
				return visit(e)
			}
		})
		if !slices.Equal(got, whole) {
			t.Errorf("%d at a time: %v", every, got)
		}
	}
	// The bound on time comes last, so that each walk gets somewhere.
	got := aWalk(t, a, "../tree", func(w *walk) {
		visit := w.visit
		w.visit = func(e walked) error { w.until = time.Time{}; return visit(e) }
	})
	if !slices.Equal(got, whole) {
		t.Errorf("without time: %v", got)
	}
	got = aWalk(t, a, "../tree", func(w *walk) {
		visit := w.visit
		w.visit = func(e walked) error { os.RemoveAll(filepath.Join(e.root.Name(), e.base)); return visit(e) }
	})
	if len(got) != 3 { // each of the three folders goes as it is seen
		t.Errorf("vanishing: %v", got)
	}
}

// What lies too deep, in folders that nobody wrote or beyond a link is left out,
// and said; the agent's own is left out in silence.
func TestWalkBounds(t *testing.T) {
	t.Parallel()
	a := newWalkAgent(t)
	home := a.folders.home.real
	deep := filepath.Join(home, "app", strings.Repeat("d/", maxWalkDepth+3))
	outside := outsideDir(t)
	if err := errors.Join(os.MkdirAll(deep, 0o755), os.MkdirAll(filepath.Join(home, "app/node_modules/x"), 0o755),
		os.Symlink(outside, filepath.Join(home, "app/out")), os.Symlink("..", filepath.Join(home, "app/up")), os.Mkdir(filepath.Join(home, wire.OwnPrefix+"-new"), 0o755)); err != nil {
		t.Fatal(err)
	}
	s, err := a.folders.dir("..")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	w := &walk{ctx: t.Context(), deep: true, visit: func(e walked) error { seen = append(seen, e.rel); return nil }}
	out, err := a.walkFrom(s, w, "")
	if err != nil || out.Cut || len(out.Skipped) != 2 || !strings.HasSuffix(out.Skipped[0], "/d/d") || out.Skipped[1] != "app/node_modules" {
		t.Errorf("%+v %v", out, err)
	}
	if len(seen) != 1+maxWalkDepth+3 || slices.Contains(seen, "app/out/f") || slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, wire.OwnPrefix) }) {
		t.Errorf("%d: %v", len(seen), seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.walkFrom(s, &walk{ctx: ctx, deep: true, visit: w.visit}, ""); err == nil {
		t.Error("it goes on although nobody waits for it")
	}
}

// A folder of any size is listed in order, with few names in memory at a time.
func TestNamesFrom(t *testing.T) {
	t.Parallel()
	a := newWalkAgent(t)
	var want []string
	for i := range 57 {
		name := fmt.Sprintf("%03d", (i*31)%57)
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(a.folders.tmp.real, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	var got []string
	for from, more := "", true; more; from = got[len(got)-1] + "\x00" {
		var names []string
		var err error
		if names, more, err = namesFrom(t.Context(), a.folders.tmp.root, from, 10); err != nil || len(names) > 10 {
			t.Fatal(names, err)
		}
		got = append(got, names...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// A search reads no more than it may, and a file that takes another's place while
// it is looked at is not read.
func TestSearchBounds(t *testing.T) {
	t.Parallel()
	a := newWalkAgent(t)
	app := filepath.Join(a.folders.home.real, "app")
	if err := os.MkdirAll(app, 0o755); err != nil {
		t.Fatal(err)
	}
	block := []byte(strings.Repeat(strings.Repeat("x", 1023)+"\n", 15<<10)) // 15 MiB
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(app, fmt.Sprint(i)), block, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := a.folders.dir(".")
	if err != nil {
		t.Fatal(err)
	}
	se := &search{walk: &walk{ctx: t.Context(), deep: true}, pattern: regexp.MustCompile("absent"), limit: 10, room: 100}
	se.walk.visit = se.visit
	out, err := a.walkFrom(s, se.walk, "")
	if err != nil || !out.Cut || out.Cursor != "7" || se.read > maxSearched {
		t.Errorf("%+v after %d bytes, %v", out, se.read, err)
	}
	outside, err := os.OpenRoot(outsideDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	info, err := outside.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	se.pattern = regexp.MustCompile("secret|xxx")
	if err := errors.Join(os.Remove(filepath.Join(app, "0")), os.Symlink("1", filepath.Join(app, "0"))); err != nil {
		t.Fatal(err)
	}
	before := se.out.Files
	if err := se.visit(walked{root: s.place.root, base: "app/0", rel: "0", info: info}); err != nil || se.out.Files != before {
		t.Errorf("an exchanged file: %v, %+v", err, se.out.Matches)
	}
	se.limit = 1 << 20
	se.room = 1000
	if err := se.visit(walked{root: s.place.root, base: "app/1", rel: "1", info: lstat(t, s, "app/1")}); !errors.Is(err, errCut) || len(se.out.Matches) > 4 {
		t.Errorf("%d matches in 1000 bytes, %v", len(se.out.Matches), err)
	}
}

func lstat(t *testing.T, s spot, name string) os.FileInfo {
	t.Helper()
	info, err := s.place.root.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
