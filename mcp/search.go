package mcp

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/pods/wire"
)

type listFilesInput struct {
	Name      string `json:"name" jsonschema:"the pod's name"`
	Path      string `json:"path,omitempty" jsonschema:"the folder; /home/pod/app when left out"`
	Recursive bool   `json:"recursive,omitempty" jsonschema:"true to list all that lies below the folder too"`
	Glob      string `json:"glob,omitempty" jsonschema:"only names like this: *.js (in any folder), src/**/*.{ts,tsx} (from path on)"`
	Cursor    string `json:"cursor,omitempty" jsonschema:"of an answer that was cut, to go on there"`
}

type fileOutput struct {
	Name     string    `json:"name" jsonschema:"from path on"`
	Type     string    `json:"type" jsonschema:"file, dir, symlink or other"`
	Size     int64     `json:"size" jsonschema:"in bytes"`
	Mode     string    `json:"mode"`
	Modified time.Time `json:"modified"`
	Target   string    `json:"target,omitempty" jsonschema:"where a symlink leads"`
}

type listFilesOutput struct {
	Path    string       `json:"path"`
	Entries []fileOutput `json:"entries"`
	walkOutput
}

// walkOutput is what answers say that may not be all.
type walkOutput struct {
	Cut     bool     `json:"cut" jsonschema:"whether there may be more"`
	Cursor  string   `json:"cursor,omitempty" jsonschema:"with which to call again to go on, when cut"`
	Skipped []string `json:"skipped,omitempty" jsonschema:"folders and files that were left out; name one in path to look there"`
}

type searchFilesInput struct {
	Name            string `json:"name" jsonschema:"the pod's name"`
	Query           string `json:"query" jsonschema:"the text to look for, within one line"`
	Path            string `json:"path,omitempty" jsonschema:"the folder to look in; /home/pod/app when left out"`
	Regex           bool   `json:"regex,omitempty" jsonschema:"true when query is a regular expression (RE2)"`
	Glob            string `json:"glob,omitempty" jsonschema:"only in files like this: *.js (in any folder), src/**/*.{ts,tsx} (from path on)"`
	CaseInsensitive bool   `json:"case_insensitive,omitempty" jsonschema:"true to take small and capital letters for the same"`
	Cursor          string `json:"cursor,omitempty" jsonschema:"of an answer that was cut, to go on there"`
	Limit           int    `json:"limit,omitempty" jsonschema:"how many lines at most; 100 when left out"`
}

type matchOutput struct {
	Path string `json:"path" jsonschema:"from path on"`
	Line int    `json:"line"`
	Text string `json:"text" jsonschema:"the line, or the part of a long one that has it"`
}

type searchFilesOutput struct {
	Path    string        `json:"path"`
	Matches []matchOutput `json:"matches"`
	Files   int           `json:"files" jsonschema:"how many files were looked through"`
	Binary  int           `json:"binary,omitempty" jsonschema:"how many were not, since they are no text"`
	walkOutput
}

// addSearchTools adds the tools that look through folders.
func (e *endpoint) addSearchTools(s *sdk.Server) {
	add(e, s, tool{
		name: "search_files", title: "Search files", action: authz.ReadFiles, hints: readOnly, later: true,
		description: "Looks for text, or a regular expression, in the files of a running pod and answers with the lines that have it. Links are not followed; node_modules, .git and the like are left out unless path or glob names them, and so are binary files and those over 16 MiB. An answer that is cut says with which cursor to go on.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			notEmpty(s, "query")
			between(s, "limit", 1, wire.MaxMatches)
			for _, p := range []string{"query", "glob"} {
				longest(s, p, pods.MaxQuery)
			}
		},
	}, e.searchFiles)
}

func (e *endpoint) listFiles(ctx context.Context, r request, in listFilesInput) (answer[listFilesOutput], error) {
	listing, err := e.cfg.Pods.ListFiles(ctx, r.actor, in.Name, pods.ListQuery{Path: in.Path, Recursive: in.Recursive, Glob: in.Glob, Cursor: in.Cursor})
	if err != nil {
		return answer[listFilesOutput]{}, err
	}
	out := listFilesOutput{Path: text.Valid(listing.Path), Entries: []fileOutput{}, walkOutput: walkOf(listing.Walk)}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", out.Path)
	room := maxOutput - framing
	for i, f := range listing.Entries {
		o := fileOutput{Name: text.Valid(f.Name), Type: f.Type, Size: f.Size, Mode: f.Mode, Modified: f.Modified, Target: text.Valid(f.Target)}
		line := fmt.Sprintf("%s %s %10d %s %s%s\n", o.Mode, o.Type, o.Size, o.Modified.UTC().Format(time.DateTime), o.Name, arrow(o.Target))
		if room -= utf8.RuneCountInString(line); room < 0 && i > 0 {
			out.Cut, out.Cursor = true, wire.Cursor(listing.Entries[i-1].Name, 0)
			break
		}
		out.Entries = append(out.Entries, o)
		b.WriteString(line)
	}
	b.WriteString(out.note())
	return answer[listFilesOutput]{text: b.String(), data: out}, nil
}

func arrow(target string) string {
	if target == "" {
		return ""
	}
	return " -> " + target
}

func (e *endpoint) searchFiles(ctx context.Context, r request, in searchFilesInput) (answer[searchFilesOutput], error) {
	limit := in.Limit
	if limit == 0 {
		limit = 100
	}
	found, err := e.cfg.Pods.SearchFiles(ctx, r.actor, in.Name, pods.SearchQuery{
		ListQuery: pods.ListQuery{Path: in.Path, Glob: in.Glob, Cursor: in.Cursor, Limit: limit},
		Query:     in.Query, Regex: in.Regex, IgnoreCase: in.CaseInsensitive,
	})
	if err != nil {
		return answer[searchFilesOutput]{}, err
	}
	out := searchFilesOutput{Path: text.Valid(found.Path), Matches: []matchOutput{}, Files: found.Files, Binary: found.Binary, walkOutput: walkOf(found.Walk)}
	var b strings.Builder
	room := maxOutput - framing
	for i, m := range found.Matches {
		o := matchOutput{Path: text.Valid(m.Path), Line: m.Line, Text: text.Valid(m.Text)}
		line := fmt.Sprintf("%s:%d: %s\n", o.Path, o.Line, o.Text)
		if room -= utf8.RuneCountInString(line); room < 0 && i > 0 {
			before := found.Matches[i-1]
			out.Cut, out.Cursor = true, wire.Cursor(before.Path, before.Line)
			break
		}
		out.Matches = append(out.Matches, o)
		b.WriteString(line)
	}
	fmt.Fprintf(&b, "(%d lines in %s, %d files looked through, %d binary ones not)\n", len(out.Matches), out.Path, out.Files, out.Binary)
	b.WriteString(out.note())
	return answer[searchFilesOutput]{text: b.String(), data: out}, nil
}

// maxSkipped is how many names of what was left out are shown.
const maxSkipped = 20

func walkOf(w wire.Walk) walkOutput {
	out := walkOutput{Cut: w.Cut, Cursor: w.Cursor}
	for _, s := range w.Skipped[:min(len(w.Skipped), maxSkipped)] {
		out.Skipped = append(out.Skipped, text.Short(text.Valid(s), 100))
	}
	return out
}

// note says what may be missing, and how to get it.
func (w walkOutput) note() string {
	var b strings.Builder
	if len(w.Skipped) > 0 {
		fmt.Fprintf(&b, "(left out: %s; name one in path to look there)\n", strings.Join(w.Skipped, ", "))
	}
	if w.Cut {
		fmt.Fprintf(&b, "(there may be more; call again with cursor %q to go on)\n", w.Cursor)
	}
	return b.String()
}
