package images

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"node":                            "docker.io/library/node:latest",
		"node:24-slim":                    "docker.io/library/node:24-slim",
		"team/app":                        "docker.io/team/app:latest",
		"docker.io/library/node:24":       "docker.io/library/node:24",
		"index.docker.io/library/node:24": "docker.io/library/node:24",
		"ghcr.io/a/b/c:1":                 "ghcr.io/a/b/c:1",
		"localhost:5000/a:1":              "localhost:5000/a:1",
		"example.com/a" + digest:          "example.com/a" + digest,
		"example.com/a:1" + digest:        "example.com/a" + digest,
		"file:/srv/app.tar":               "file:/srv/app.tar",
		"":                                "",
		"Node":                            "",
		"a b":                             "",
		"https://example.com/a":           "",
		"example.com/a:" + strings.Repeat("x", 200): "",
		"example.com/a@sha256:abc":                  "",
		"example.com/../a":                          "",
		"file:":                                     "",
		"file:app.tar":                              "",
		"file:/srv/../app.tar":                      "",
		"file:/srv/\x00":                            "",
		"file:/srv/a\nb":                            "",
		"file:/" + strings.Repeat("x", 600):         "",
	} {
		r, err := Parse(text)
		if (err != nil) != (want == "") || r.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, r, err, want)
		}
	}
	r := parse(t, "node")
	if r.Registry() != "docker.io" || r.Repository() != "library/node" || r.IsFile() || !parse(t, "file:/a").IsFile() || parse(t, "file:/a").Registry() != "" {
		t.Errorf("%q %q", r.Registry(), r.Repository())
	}
}

// How a reference is written is one way, which reads as itself.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"node:24-slim", "docker.io/a/b@sha256:" + strings.Repeat("0", 64), "file:/a/b.tar", "localhost:1/x", "[::1]:5000/a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() || again.Registry() != r.Registry() || again.file != r.file {
			t.Errorf("%q reads as %q, and that as %q (%v)", text, r, again, err)
		}
		if strings.ContainsAny(r.String(), "\n\x00 ") && !r.IsFile() {
			t.Errorf("%q", r)
		}
	})
}

func TestLogins(t *testing.T) {
	t.Parallel()
	all, err := parseLogins([]byte(`{"auths": {"https://index.docker.io/v1/": {"auth": "YTpiOmM="}, "ghcr.io": {"username": "u", "password": "p"}, "x.example.com:5000": {"identitytoken": "t"}, "empty.example.com": {}}}`))
	if err != nil || len(all) != 3 || all["index.docker.io"].Password != "b:c" || all["ghcr.io"].Username != "u" || all["x.example.com:5000"].IdentityToken != "t" {
		t.Errorf("%+v, %v", all, err)
	}
	for text, want := range map[string]string{
		`{"credsStore": "desktop"}`:          "does not run",
		`{"credHelpers": {"ghcr.io": "x"}}`:  "does not run",
		`{"auths": {"a": {"auth": "?"}}}`:    "base64",
		`{"auths": {"a": {"auth": "YQ=="}}}`: "base64",
		`[]`:                                 "JSON",
	} {
		if _, err := parseLogins([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := readLogins(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

func FuzzLogins(f *testing.F) {
	f.Add([]byte(`{"auths": {"a": {"auth": "YTpi"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := parseLogins(raw)
		if err != nil && all != nil {
			t.Error("both passwords and an error")
		}
	})
}
