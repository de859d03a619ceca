package preset

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// folder makes an app folder of files by name.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tools makes a folder with a program of each name, as $PATH.
func tools(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func preset(t *testing.T, name string) Preset {
	t.Helper()
	p, ok := Find(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return p
}

// Every preset has all that its users rely on.
func TestEveryPreset(t *testing.T) {
	t.Parallel()
	names := Names()
	if want := []string{"static", "nodejs", "python", "php", "go", "command"}; !slices.Equal(names, want) {
		t.Errorf("offered are %q, want %q", names, want)
	}
	for _, p := range All() {
		switch {
		case p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			t.Errorf("%q is no DNS label", p.Name)
		case p.Description == "" || p.Port < 1024 || p.Port > 65535:
			t.Errorf("%s: %q on port %d", p.Name, p.Description, p.Port)
		case (p.Needs.Tool == "") != (p.Needs.Get == ""):
			t.Errorf("%s: a tool and how to get it belong together: %+v", p.Name, p.Needs)
		case (p.start == nil) != (p.Wanted == ""):
			t.Errorf("%s: what it looks for and what to write belong together: %q", p.Name, p.Wanted)
		case filepath.IsAbs(p.Bin) || strings.Contains(p.Bin, ".."):
			t.Errorf("%s: programs outside the app folder: %s", p.Name, p.Bin)
		case len(p.Steps) != 3:
			t.Errorf("%s: %d steps", p.Name, len(p.Steps))
		}
		if found := slices.Index(names, p.Name); names[found] != p.Name || slices.Contains(names[found+1:], p.Name) {
			t.Errorf("%s occurs twice", p.Name)
		}
	}
	if p, ok := Find("cobol"); ok {
		t.Errorf("found %+v", p)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	bin := tools(t, "npm", "node", "python3", "php", "gunicorn", "uvicorn")
	const files = "file server of podgate"
	const builds = `{"scripts":{"build":"x"}}`
	starts := func(script string) string { return `{"scripts":{"build":"x","start":"` + script + `"}}` }
	for _, c := range []struct {
		preset string
		files  map[string]string
		path   string
		want   string // "" for nothing to start
	}{
		{"static", nil, "", files},
		{"static", map[string]string{"Procfile": "web: ./run"}, "", files},
		{"command", map[string]string{"Procfile": "web: ./run --port $PORT"}, "", "./run --port $PORT"},
		{"command", map[string]string{"Procfile": "\ufeffworker: x\r\n web :  X=1 ./run a:b \r\n"}, "", "X=1 ./run a:b"},
		{"command", map[string]string{"Procfile": "worker: x", "index.html": ""}, "", "nothing, only workers and cron lines"},
		{"command", map[string]string{"Procfile": "release: x", "index.html": ""}, "", ""},
		{"command", map[string]string{"Procfile": "web: x\ncron: x"}, "", ""},
		{"command", map[string]string{"Procfile": "web: \x00"}, "", ""},
		{"command", map[string]string{"Procfile": strings.Repeat("#", 70<<10)}, "", ""},
		{"command", map[string]string{"index.html": ""}, "", files},
		{"command", nil, "", ""},
		{"nodejs", map[string]string{"Procfile": "web: a", "server.js": ""}, bin, "a"},
		{"nodejs", map[string]string{"Procfile": "worker: a", "server.js": ""}, bin, "exec node server.js"},
		{"nodejs", map[string]string{"package.json": `{"scripts":{"start":"x"}}`, "server.js": ""}, bin, "exec npm start"},
		{"nodejs", map[string]string{"package.json": `{"scripts":{"start":7}}`, "server.js": ""}, bin, "exec node server.js"},
		{"nodejs", map[string]string{"package.json": `{}`, "app.js": "", "index.js": ""}, bin, "exec node app.js"},
		{"nodejs", map[string]string{"package.json": `{`, "app.js": ""}, bin, ""},
		{"nodejs", map[string]string{"index.js": ""}, "", ""},
		{"nodejs", map[string]string{"package.json": builds, "index.html": "", "dist/index.html": ""}, bin, files + " on dist"},
		{"nodejs", map[string]string{"package.json": builds, "public/index.html": "", "build/index.html": ""}, bin, files + " on build"},
		{"nodejs", map[string]string{"package.json": builds, "out/index.html": ""}, bin, files + " on out"},
		{"nodejs", map[string]string{"package.json": builds, "index.html": "", "dist/main.js": ""}, bin, files},
		{"nodejs", map[string]string{"package.json": builds, "dist/index.html": "", "server.js": ""}, bin, "exec node server.js"},
		{"nodejs", map[string]string{"package.json": builds, "dist/index.html": "", "Procfile": "web: a"}, bin, "a"},
		{"nodejs", map[string]string{"package.json": `{}`, "index.html": "", "dist/index.html": ""}, bin, files},
		{"nodejs", map[string]string{"package.json": starts("node dist/server.js"), "dist/index.html": ""}, bin, "exec npm start"},
		{"nodejs", map[string]string{"package.json": starts("react-scripts start"), "build/index.html": ""}, bin, files + " on build"},
		{"nodejs", map[string]string{"package.json": starts("react-scripts start")}, bin, "exec npm start"},
		{"nodejs", map[string]string{"package.json": starts("astro dev"), "dist/index.html": ""}, bin, files + " on dist"},
		{"nodejs", map[string]string{"package.json": starts("vite --host"), "dist/index.html": ""}, bin, files + " on dist"},
		{"nodejs", map[string]string{"package.json": starts("npx vite preview"), "dist/index.html": ""}, bin, files + " on dist"},
		{"nodejs", map[string]string{"package.json": starts("vitess"), "dist/index.html": ""}, bin, "exec npm start"},
		{"nodejs", map[string]string{"package.json": starts("next start"), "out/index.html": ""}, bin, files + " on out"},
		{"nodejs", map[string]string{"package.json": starts("next start"), "dist/index.html": ""}, bin, "exec npm start"},
		{"nodejs", map[string]string{"index.html": ""}, "", files},
		{"python", map[string]string{"app.py": "from flask import Flask\napp = Flask(__name__)\n"}, bin, `exec gunicorn --bind "127.0.0.1:$PORT" app:app`},
		{"python", map[string]string{"main.py": "import fastapi\napplication: X = fastapi.FastAPI()\n"}, bin, `exec uvicorn --host 127.0.0.1 --port "$PORT" main:application`},
		{"python", map[string]string{"main.py": "print(1)"}, bin, "exec python3 main.py"},
		{"python", map[string]string{"main.py": "print(1)"}, "", ""},
		{"php", map[string]string{"public/index.php": "", "index.php": ""}, bin, `exec php -S "127.0.0.1:$PORT" -t public`},
		{"php", map[string]string{"index.php": ""}, bin, `exec php -S "127.0.0.1:$PORT"`},
		{"php", map[string]string{"index.html": ""}, bin, files},
		{"go", map[string]string{"bin/app": "", "main.go": ""}, "", "exec bin/app"},
		{"go", map[string]string{"bin/app": "", "Procfile": "web: bin/shop"}, "", "bin/shop"},
		{"go", map[string]string{"index.html": "", "main.go": ""}, "", ""},
		{"go", map[string]string{"index.html": "", "go.mod": ""}, "", ""},
		{"go", map[string]string{"index.html": "", "x_test.go": ""}, "", files},
	} {
		start, err := preset(t, c.preset).Start(App{Dir: folder(t, c.files), Path: c.path})
		got := start.String()
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s %.60q: %q, %v; want %q", c.preset, c.files, got, err, c.want)
		}
	}
}

// What to write is said whole, for each preset that may have nothing to start.
func TestNothingToStart(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nodejs":  "there is nothing to start: write a Procfile with a line «web: COMMAND», a package.json with a start or build script, or server.js, app.js or index.js into /home/pod/app, then reload",
		"python":  "there is nothing to start: write a Procfile with a line «web: COMMAND», or app.py or main.py into /home/pod/app, then reload",
		"php":     "there is nothing to start: write a Procfile with a line «web: COMMAND», or index.php or public/index.php into /home/pod/app, then reload",
		"go":      "there is nothing to start: write a Procfile with a line «web: COMMAND», or main.go into /home/pod/app, then reload",
		"command": "there is nothing to start: write a Procfile with a line «web: COMMAND» into /home/pod/app; the command must listen on $PORT, then reload",
	} {
		if start, err := preset(t, name).Start(App{Dir: t.TempDir()}); err == nil || err.Error() != want {
			t.Errorf("%s: %v %v", name, start, err)
		}
	}
	if _, err := preset(t, "nodejs").Start(App{Dir: folder(t, map[string]string{"app.js": ""})}); err == nil || !strings.Contains(err.Error(), "node is not installed here") {
		t.Errorf("without node: %v", err)
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	const pip = "{ test -x .venv/bin/python || python3 -m venv .venv; } && .venv/bin/python -m pip install "
	const build = "rm -rf ~/.cache/go-tmp && mkdir -p ~/.cache/go-tmp && GOTMPDIR=~/.cache/go-tmp go build "
	for _, c := range []struct {
		preset string
		files  map[string]string
		want   string
	}{
		{"static", map[string]string{"package.json": "", "Procfile": "release: x"}, ""},
		{"nodejs", map[string]string{"package.json": "{}"}, "npm install"},
		{"nodejs", map[string]string{"package.json": "{}", "package-lock.json": ""}, "npm ci"},
		{"nodejs", map[string]string{"package.json": `{"scripts":{"build":"x"}}`}, "npm install --include=dev && npm run build"},
		{"nodejs", map[string]string{"package.json": `{"scripts":{"build":"x"}}`, "package-lock.json": ""}, "npm ci --include=dev && npm run build"},
		{"nodejs", map[string]string{"package-lock.json": ""}, ""},
		{"python", map[string]string{"requirements.txt": "", "pyproject.toml": ""}, pip + "-r requirements.txt"},
		{"python", map[string]string{"pyproject.toml": ""}, pip + "."},
		{"python", nil, ""},
		{"php", map[string]string{"composer.json": ""}, "composer install --no-interaction"},
		{"php", nil, ""},
		{"go", nil, ""},
		{"go", map[string]string{"x_test.go": ""}, ""},
		{"go", map[string]string{"main.go": "", "x_test.go": ""}, build + "-o bin/app *.go"},
		{"go", map[string]string{"go.mod": "", "main.go": "// About.\npackage main\n"}, build + "-mod=mod -o bin/app ."},
		{"go", map[string]string{"go.mod": "", "go.sum": "", "main.go": "package main // x"}, build + "-o bin/app ."},
		{"go", map[string]string{"go.mod": "", "vendor/modules.txt": "", "main.go": "package main"}, build + "-o bin/app ."},
		{"go", map[string]string{"go.mod": "", "go.work": "", "lib.go": "package lib", "cmd/shop/shop.go": "package main", "cmd/README": ""}, build + "-o bin/app ./cmd/shop"},
		{"go", map[string]string{"go.mod": "", "go.sum": "", "cmd/a/a.go": "package main", "cmd/b;x/b.go": "package main", "cmd/lib/c.go": "package lib"}, build + "-o bin/app ./cmd/a"},
		{"go", map[string]string{"go.mod": "", "go.sum": "", "cmd/a/a.go": "package main", "cmd/b/b.go": "package main", "Procfile": "web: bin/b"}, build + "-o bin/ ./cmd/..."},
		{"command", map[string]string{"Procfile": "web: x\nrelease: make"}, ""},
	} {
		got, err := preset(t, c.preset).Install(App{Dir: folder(t, c.files)})
		if err != nil || got != c.want {
			t.Errorf("%s with %q: %q, %v", c.preset, c.files, got, err)
		}
	}
}

// The release line is one of every kind of app that has processes.
func TestRelease(t *testing.T) {
	t.Parallel()
	files := map[string]string{"Procfile": "web: x\nrelease: make all", "package.json": "{}"}
	for _, p := range All() {
		want := "make all"
		if p.Name == "static" {
			want = ""
		}
		if got, err := p.Release(App{Dir: folder(t, files)}); err != nil || got != want {
			t.Errorf("%s: %q, %v", p.Name, got, err)
		}
		if got, err := p.Release(App{Dir: folder(t, nil)}); err != nil || got != "" {
			t.Errorf("%s without a Procfile: %q, %v", p.Name, got, err)
		}
	}
}

// A module that does not say which program is the app is told what to write.
func TestWhichProgram(t *testing.T) {
	t.Parallel()
	for want, files := range map[string]map[string]string{
		"there is no package main in /home/pod/app or in a folder of its cmd folder": {"go.mod": "", "lib.go": "package lib", "x_test.go": "package main"},
		"write a Procfile with a line «web: bin/NAME»":                               {"go.mod": "", "cmd/a/a.go": "package main", "cmd/b/b.go": "package main"},
		"the Procfile has a NUL byte":                                                {"go.mod": "", "cmd/a/a.go": "package main", "Procfile": "\x00"},
	} {
		if shell, err := preset(t, "go").Install(App{Dir: folder(t, files)}); err == nil || !strings.Contains(err.Error(), want) || shell != "" {
			t.Errorf("%q: %q, %v; want %s", files, shell, err, want)
		}
	}
}

// A file that is a pipe must not hold up a start.
func TestPipes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ preset, name string }{{"command", procfile}, {"nodejs", "package.json"}, {"python", "app.py"}} {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, c.name), 0o644); err != nil {
			t.Fatal(err)
		}
		start, err := preset(t, c.preset).Start(App{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "Procfile") || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v %v", c.preset, start, err)
		}
	}
}

func FuzzProcfile(f *testing.F) {
	for _, s := range []string{"", "web: ./run", "\ufeffweb:x", "web:\nweb: y", " web : a:b \r\nrelease:c", ":", "web"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := procfileEntry(text, "web")
		if strings.ContainsRune(got, '\n') || got != strings.TrimSpace(got) || !strings.Contains(text, got) {
			t.Errorf("%q of %q", got, text)
		}
	})
}

func FuzzPackageJSON(f *testing.F) {
	for _, s := range []string{"", "{}", `{"scripts":{"start":"x"}}`, `{"scripts":{"start":7}}`, `{"scripts":[]}`, `{"scripts":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := parseManifest(raw); m.script("start") != "" && (err != nil || len(raw) < len(`{"scripts":{"start":"x"}}`)) {
			t.Errorf("%q: %v %v", raw, m, err)
		}
	})
}
