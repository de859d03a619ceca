package oauth

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"podgate/store"
)

var update = flag.Bool("update", false, "write the answers that the server gives into testdata/*.txtar")

// TestTranscripts replays testdata/*.txtar. A file has a comment that names the
// clause or the client fault it guards, then pairs of «request» and «answer»
// sections in order; «wait 11m» lets time pass, «given» takes steps that
// another transcript shows, «config» (first) changes the configuration, and
// «document URL» (first) is a client metadata document that can be fetched;
// without one no name resolves.
//
// A request is its first line, then lines «?name=value» for the query and
// «Name: value» for headers, then an empty line and the body; body lines
// «&name=value» are encoded as a form. Answers show every header but the ones
// that stand on all of them. Random values read {client_1}, {code_1} and so on,
// and requests use the same words.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			replay(t, path, nil)
		})
	}
}

// replay replays one transcript; prepare, if there is one, sees the fixture and
// the scribe first.
func replay(t *testing.T, path string, prepare func(*fixture, *scribe)) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("the transcript does not say what it guards")
	}
	s := &scribe{names: map[string]string{}, values: map[string]string{}, counts: map[string]int{}}
	var f *fixture
	var n *internet
	begin := func(change ...func(*Config)) {
		f = newFixture(t, change...)
		if prepare != nil {
			prepare(f, s)
		}
	}
	var got string
	for i, file := range archive.Files {
		name, arg, _ := strings.Cut(file.Name, " ")
		if name == "config" {
			begin(configure(t, string(file.Data)))
			continue
		}
		if name == "document" {
			if n == nil {
				n = newInternet(t)
				begin(online(n))
			}
			n.publish(arg, string(file.Data))
			continue
		}
		if f == nil {
			begin()
		}
		switch name {
		case "given":
			s.given(f, string(file.Data))
		case "wait":
			d, err := time.ParseDuration(arg)
			f.must(err)
			f.clock.advance(d)
		case "request":
			got = s.exchange(f, string(file.Data))
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

func configure(t *testing.T, text string) func(*Config) {
	return func(c *Config) {
		for line := range strings.Lines(text) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
			case "registration":
				c.Registration = value
			case "refresh_token_ttl":
				d, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				c.RefreshTTL = d
			case "redirect_schemes":
				c.RedirectSchemes = strings.Split(value, ",")
			case "issuer":
				c.Issuer = value
			default:
				t.Fatalf("unknown key %q", name)
			}
		}
	}
}

// scribe gives random values names that stay the same from run to run.
type scribe struct {
	names, values map[string]string // value to name and back
	counts        map[string]int
	shorten       func(body string) string // of answers; may be nil
}

func (s *scribe) exchange(f *fixture, text string) string {
	for name, value := range s.values {
		text = strings.ReplaceAll(text, name, value)
	}
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	var query []string
	var headers []string
	for _, line := range lines[1:] {
		if p, ok := strings.CutPrefix(line, "?"); ok {
			query = append(query, encodePair(p))
		} else {
			headers = append(headers, line)
		}
	}
	if len(query) > 0 {
		target += "?" + strings.Join(query, "&")
	}
	if strings.HasPrefix(body, "&") {
		body = encodeForm(body)
		if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Content-Type") }) {
			headers = append(headers, "Content-Type: application/x-www-form-urlencoded")
		}
	}
	cors := slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Origin") }) && !strings.Contains(target, "authorize")
	a := f.send(method, target, strings.TrimSuffix(body, "\n"), headers...)
	if method == http.MethodHead {
		a.body = "" // as net/http does on the wire
	}
	return s.describe(a, cors)
}

// given makes clients, then codes and tokens of the first one: alice lets it
// read pods and run commands in red.
func (s *scribe) given(f *fixture, steps string) {
	for step := range strings.Lines(steps) {
		switch strings.TrimSpace(step) {
		case "client":
			s.name("client", string(f.register()))
		case "code":
			s.name("code", f.code(store.ClientID(s.values["{client_1}"]), "alice", "red"))
		case "token":
			s.name("token", f.connect(store.ClientID(s.values["{client_1}"]), "alice", "red"))
		case "refresh":
			_, refresh := f.connectBoth(store.ClientID(s.values["{client_1}"]), "alice", "red")
			s.name("refresh", refresh)
		default:
			f.Fatalf("unknown step %q", step)
		}
	}
}

func encodePair(p string) string {
	name, value, _ := strings.Cut(p, "=")
	return url.QueryEscape(name) + "=" + url.QueryEscape(value)
}

func encodeForm(body string) string {
	var pairs []string
	for line := range strings.Lines(body) {
		pairs = append(pairs, encodePair(strings.TrimPrefix(strings.TrimSpace(line), "&")))
	}
	return strings.Join(pairs, "&")
}

func (s *scribe) describe(a answer, cors bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", a.status)
	var names []string
	for name := range a.header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "X-Request-Id" || name == "X-Content-Type-Options" || strings.HasPrefix(name, "Access-Control") && !cors {
			continue
		}
		for _, value := range a.header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	if a.body != "" && s.shorten != nil {
		a.body = s.shorten(a.body)
	}
	if a.body != "" {
		b.WriteString("\n" + pretty(a.body))
	}
	return s.scrub(b.String())
}

func pretty(body string) string {
	var out bytes.Buffer
	if json.Indent(&out, []byte(strings.TrimSpace(body)), "", "  ") != nil {
		return body
	}
	return out.String() + "\n"
}

// randoms finds every kind of random value in an answer, in the place where it
// first appears.
var randoms = []struct {
	kind    string
	pattern *regexp.Regexp
}{
	{"client", regexp.MustCompile(`"client_id": "([a-z2-7]{26})"`)},
	{"token", regexp.MustCompile(`(pgat_[a-z2-7]{26}[A-Za-z0-9_-]{43})`)},
	{"refresh", regexp.MustCompile(`(pgrt_[a-z2-7]{26}[A-Za-z0-9_-]{65})`)},
	{"request", regexp.MustCompile(`CONSENT ([A-Za-z0-9_-]{43})`)},
	{"code", regexp.MustCompile(`[?&]code=([A-Za-z0-9_-]{43})`)},
}

func (s *scribe) name(kind, value string) {
	if s.names[value] != "" {
		return
	}
	s.counts[kind]++
	name := fmt.Sprintf("{%s_%d}", kind, s.counts[kind])
	s.names[value], s.values[name] = name, value
}

func (s *scribe) scrub(text string) string {
	for _, r := range randoms {
		for _, m := range r.pattern.FindAllStringSubmatch(text, -1) {
			s.name(r.kind, m[1])
		}
	}
	for value, name := range s.names {
		text = strings.ReplaceAll(text, value, name)
	}
	return text
}
