package mcp_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"podgate/internal/authz"
	"podgate/store"
)

var update = flag.Bool("update", false, "write the answers that the server gives into testdata/*.txtar")

// TestTranscripts replays testdata/*.txtar. A file has a comment that names the
// clause or the client fault it guards, then pairs of «request» and «answer»
// sections.
//
// A request is its method, then headers, an empty line and the body. The
// headers Content-Type and Accept that clients send are added unless a line
// names them («Accept:» with nothing sends none). «era: V» adds the version
// header, and for the stateless revision also Mcp-Method and Mcp-Name as the
// body has them, and «{meta}» in the body is what that revision wants in
// _meta, «{meta with tasks}» the same of a client that knows tasks. «{N of TEXT}» repeats a text. Answers leave out the headers that
// stand on all of them.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	b := newBench(t)
	b.kept("commands only", []store.Scope{authz.ScopeRead}, authz.ScopeExec)
	t.Run("files", func(t *testing.T) {
		for _, path := range files {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
				t.Parallel()
				replay(t, b, path)
			})
		}
	})
}

func replay(t *testing.T, b *bench, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("the transcript does not say what it guards")
	}
	var got string
	for i, file := range archive.Files {
		switch name, _, _ := strings.Cut(file.Name, " "); name {
		case "request":
			got = exchange(t, b, string(file.Data))
		case "answer":
			if want := string(file.Data); got != want && !*update {
				t.Errorf("%s\n--- got\n%s--- want\n%s", file.Name, got, want)
			}
			archive.Files[i].Data = []byte(got)
		default:
			t.Fatalf("unknown section %q", file.Name)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func exchange(t *testing.T, b *bench, text string) string {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = expand(t, strings.TrimSuffix(body, "\n"))
	lines := strings.Split(strings.TrimSpace(head), "\n")
	r, err := http.NewRequestWithContext(t.Context(), lines[0], b.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer ann"}}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case name == "era":
			addEra(r.Header, value, body)
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return describe(res, string(raw))
}

func addEra(h http.Header, version, body string) {
	h.Set("Mcp-Protocol-Version", version)
	if version != modern {
		return
	}
	var m struct {
		Method string `json:"method"`
		Params struct {
			Name string `json:"name"`
			Task string `json:"taskId"`
		} `json:"params"`
	}
	if json.Unmarshal([]byte(body), &m) == nil {
		h.Set("Mcp-Method", m.Method)
	}
	if name := m.Params.Name + m.Params.Task; name != "" {
		h.Set("Mcp-Name", name)
	}
}

const meta = `"_meta": {"io.modelcontextprotocol/protocolVersion": "` + modern + `", "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"}, "io.modelcontextprotocol/clientCapabilities": {}}`

var repeated = regexp.MustCompile(`\{(\d+) of ([^}]+)\}`)

func expand(t *testing.T, body string) string {
	body = strings.ReplaceAll(body, "{meta}", meta)
	body = strings.ReplaceAll(body, "{meta with tasks}", strings.Replace(meta, `Capabilities": {}`, `Capabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}`, 1))
	return repeated.ReplaceAllStringFunc(body, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(m[2], n)
	})
}

func describe(res *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", res.StatusCode)
	var names []string
	for name := range res.Header {
		if !slices.Contains([]string{"Date", "Content-Length", "X-Request-Id", "X-Content-Type-Options"}, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(res.Header[name], ", "))
	}
	if body != "" {
		b.WriteString("\n" + pretty(body))
	}
	return b.String()
}

// pretty is a body for reading. The answers to a batch are in the order of their ids:
// its calls run side by side, and JSON-RPC 2.0, section 6, lets them come in any.
func pretty(body string) string {
	var out bytes.Buffer
	var batch []json.RawMessage
	if json.Unmarshal([]byte(body), &batch) == nil {
		slices.SortStableFunc(batch, func(a, b json.RawMessage) int { return strings.Compare(idOf(a), idOf(b)) })
		if sorted, err := json.Marshal(batch); err == nil {
			body = string(sorted)
		}
	}
	if json.Indent(&out, []byte(strings.TrimSpace(body)), "", "  ") != nil {
		return strings.TrimRight(body, "\n") + "\n"
	}
	return out.String() + "\n"
}

func idOf(message json.RawMessage) string {
	var m struct{ ID json.RawMessage }
	_ = json.Unmarshal(message, &m) // what is none has none
	return string(m.ID)
}
