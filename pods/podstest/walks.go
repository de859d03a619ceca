package podstest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"podgate/pods"
	"podgate/pods/wire"
)

func testWalkFiles(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.prints("shop", "mkdir -p tree/a/b tree/node_modules/x tree/.git tree/z; cd tree; echo > a/b/f.js; echo > a.js; echo > a/x.css; echo > node_modules/x/index.js; echo > z/last.js; ln -s / z/out; ln -s .. z/up; ln -s a link; mkfifo pipe; printf x > \"$(printf 'a/odd\\377#1')\"")
	all := func(q pods.ListQuery) (names, skipped string) {
		t.Helper()
		var got []string
		for {
			l, err := b.ListFiles(t.Context(), b.actor, "shop", q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			for _, e := range l.Entries {
				got = append(got, e.Name)
			}
			if !l.Cut {
				return strings.Join(got, " "), strings.Join(l.Skipped, " ")
			}
			if q.Cursor == l.Cursor {
				t.Fatalf("the cursor stays %q", l.Cursor)
			}
			q.Cursor = l.Cursor
		}
	}
	whole := ".git a a/b a/b/f.js a/odd\uFFFD#1 a/x.css a.js link node_modules pipe z z/last.js z/out z/up"
	for _, limit := range []int{0, 1, 2, 5} {
		if names, skipped := all(pods.ListQuery{Path: "tree", Recursive: true, Limit: limit}); names != whole || limit == 0 && skipped != ".git node_modules" {
			t.Errorf("%d at a time: %q without %q", limit, names, skipped)
		}
	}
	for _, c := range []struct {
		q    pods.ListQuery
		want string
	}{
		{pods.ListQuery{Path: "tree"}, ".git a a.js link node_modules pipe z"},
		{pods.ListQuery{Path: "tree", Limit: 3}, ".git a a.js link node_modules pipe z"},
		{pods.ListQuery{Path: "tree", Glob: "*.js"}, "a.js"},
		{pods.ListQuery{Path: "tree", Recursive: true, Glob: "*.{js,css}", Limit: 1}, "a/b/f.js a/x.css a.js z/last.js"},
		{pods.ListQuery{Path: "tree", Recursive: true, Glob: "a/**/*.js"}, "a/b/f.js"},
		{pods.ListQuery{Path: "tree", Recursive: true, Glob: "node_modules/**/*.js"}, "node_modules/x/index.js"},
		{pods.ListQuery{Path: "tree/node_modules", Recursive: true}, "x x/index.js"},
		{pods.ListQuery{Path: "tree/link", Recursive: true, Glob: "*.css"}, "x.css"},
	} {
		if names, _ := all(c.q); names != c.want {
			t.Errorf("%+v: %q", c.q, names)
		}
	}
	for _, c := range []struct {
		q    pods.ListQuery
		want error
	}{
		{pods.ListQuery{Path: "tree/z/out", Recursive: true}, pods.ErrPath},
		{pods.ListQuery{Path: "/etc", Recursive: true}, pods.ErrPath},
		{pods.ListQuery{Glob: "[a"}, pods.ErrBadInput},
		{pods.ListQuery{Glob: "{a,b"}, pods.ErrBadInput},
		{pods.ListQuery{Cursor: "a#0"}, pods.ErrBadInput},
		{pods.ListQuery{Limit: wire.MaxEntries + 1}, pods.ErrBadInput},
	} {
		if _, err := b.ListFiles(t.Context(), b.actor, "shop", c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.q, err, c.want)
		}
	}
}

func testSearchFiles(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.prints("shop", "mkdir -p tree/sub tree/node_modules; cd tree; printf 'one\\nTwo\\r\\ntwo three\\n' > a.txt; printf 'x\\0two' > binary; printf 'two' > sub/b.txt; printf two > node_modules/c; ln -s /etc/passwd passwd; ln -s .. sub/up; mkfifo pipe; head -c 17000000 /dev/zero | tr '\\0' 2 > large; { head -c 5000 /dev/zero | tr '\\0' x; printf ' two '; head -c 5000 /dev/zero | tr '\\0' y; echo; } > long.txt; for i in 1 2 3 4 5; do echo two $i; done > many.txt")
	search := func(q pods.SearchQuery) (wire.Found, string) {
		t.Helper()
		q.Path = "tree"
		var lines []string
		for {
			f, err := b.SearchFiles(t.Context(), b.actor, "shop", q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			for _, m := range f.Matches {
				lines = append(lines, fmt.Sprintf("%s:%d:%.9s", m.Path, m.Line, m.Text))
			}
			if !f.Cut {
				return f, strings.Join(lines, " ")
			}
			if q.Cursor == f.Cursor {
				t.Fatalf("the cursor stays %q", f.Cursor)
			}
			q.Cursor = f.Cursor
		}
	}
	whole := "a.txt:3:two three long.txt:1:…xxxxxxxx many.txt:1:two 1 many.txt:2:two 2 many.txt:3:two 3 many.txt:4:two 4 many.txt:5:two 5 sub/b.txt:1:two"
	for _, limit := range []int{0, 1, 3, 100} {
		f, lines := search(pods.SearchQuery{ListQuery: pods.ListQuery{Limit: limit}, Query: "two"})
		if lines != whole {
			t.Errorf("%d at a time: %q", limit, lines)
		}
		if limit == 0 && (f.Path != "/home/pod/app/tree" || f.Files != 4 || f.Binary != 1 || strings.Join(f.Skipped, " ") != "large node_modules" || len(f.Matches[1].Text) > 310 || !strings.Contains(f.Matches[1].Text, " two ")) {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range []struct {
		q    pods.SearchQuery
		want string
	}{
		{pods.SearchQuery{Query: "^two$", Regex: true}, "sub/b.txt:1:two"},
		{pods.SearchQuery{Query: "^TWO$", Regex: true, IgnoreCase: true}, "a.txt:2:Two sub/b.txt:1:two"},
		{pods.SearchQuery{Query: "^two$"}, ""},
		{pods.SearchQuery{Query: "root"}, ""},
		{pods.SearchQuery{Query: "two", ListQuery: pods.ListQuery{Glob: "sub/*"}}, "sub/b.txt:1:two"},
		{pods.SearchQuery{Query: "two", ListQuery: pods.ListQuery{Glob: "node_modules/*"}}, "node_modules/c:1:two"},
	} {
		if _, lines := search(c.q); lines != c.want {
			t.Errorf("%+v: %q", c.q, lines)
		}
	}
	for _, q := range []pods.SearchQuery{
		{}, {Query: "a\nb"}, {Query: "(", Regex: true}, {Query: `(a)\1`, Regex: true}, {Query: "((a{100}){100}){50}", Regex: true},
		{Query: strings.Repeat("a", wire.MaxQuery+1)}, {Query: "\xff"}, {Query: "a", ListQuery: pods.ListQuery{Limit: wire.MaxMatches + 1}},
	} {
		if f, err := b.SearchFiles(t.Context(), b.actor, "shop", q); !errors.Is(err, pods.ErrBadInput) {
			t.Errorf("%+v: %+v %v", q, f, err)
		}
	}
	if _, err := b.SearchFiles(t.Context(), b.actor, "shop", pods.SearchQuery{ListQuery: pods.ListQuery{Path: "/etc"}, Query: "root"}); !errors.Is(err, pods.ErrPath) {
		t.Error(err)
	}
}
