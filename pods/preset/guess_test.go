package preset

import (
	"strings"
	"testing"
)

func TestGuess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ files, want string }{
		{"", ""},
		{"README.md style.css", ""},
		{"index.html", "static"},
		{"public/index.html", "static"},
		{"dist/index.html", "static"},
		{"index.html app.js index.js", "static"},
		{"app.js", "nodejs"},
		{"index.js", "nodejs"},
		{"index.html server.js", "nodejs"},
		{"package.json index.html", "nodejs"},
		{"package.json=start requirements.txt", "nodejs"},
		{"package.json requirements.txt", "python"},
		{"package.json composer.json", "php"},
		{"requirements.txt", "python"},
		{"pyproject.toml", "python"},
		{"app.py index.html", "python"},
		{"main.py", "python"},
		{"index.php index.html", "php"},
		{"public/index.php", "php"},
		{"composer.json", "php"},
		{"go.mod cmd/x/main.go index.html", "go"},
		{"go.mod package.json", "go"},
		{"main.go index.html", "go"},
		{"Procfile", "command"},
		{"Procfile index.html", "command"},
		{"Procfile app.py", "python"},
		{"Procfile package.json", "nodejs"},
	} {
		files := map[string]string{}
		for name := range strings.FieldsSeq(c.files) {
			name, start, _ := strings.Cut(name, "=")
			files[name] = "{}"
			if start != "" {
				files[name] = `{"scripts":{"start":"x"}}`
			}
		}
		if got := Guess(App{Dir: folder(t, files)}); got != c.want {
			t.Errorf("%s: %q, want %q", c.files, got, c.want)
		}
	}
}
