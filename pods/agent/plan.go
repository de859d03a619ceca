package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"podgate/pods/wire"
)

// Presets of an AppSpec.
const (
	presetStatic  = "static"
	presetNode    = "nodejs"
	presetPython  = "python"
	presetPHP     = "php"
	presetCommand = "command"
)

var presets = []string{presetStatic, presetNode, presetPython, presetPHP, presetCommand}

const procfile = "Procfile"

// startPlan is how an app is started: with our own file server, or with a shell
// command.
type startPlan struct {
	static bool
	shell  string
}

func (p startPlan) String() string {
	if p.static {
		return "file server of podgate"
	}
	return p.shell
}

func runs(shell string) (startPlan, error) { return startPlan{shell: shell}, nil }

// planStart finds what starts the app in dir: the first that fits. path is the
// PATH of the app. The error is a *Fault that says what to add.
func planStart(spec wire.AppSpec, dir, path string) (startPlan, error) {
	if spec.Preset == presetStatic {
		return startPlan{static: true}, nil
	}
	shell, present, err := procfileEntry(dir, "web")
	if err != nil {
		return startPlan{}, err
	}
	if shell != "" {
		return runs(shell)
	}
	app := appFolder{dir: dir, path: path}
	var p startPlan
	switch spec.Preset {
	case presetNode:
		p, err = app.planNode()
	case presetPython:
		p, err = app.planPython()
	case presetPHP:
		p, err = app.planPHP()
	}
	if err != nil || p != (startPlan{}) {
		return p, err
	}
	if !present && (app.has("index.html") || app.has("public/index.html") || app.has("dist/index.html")) {
		return startPlan{static: true}, nil
	}
	return startPlan{}, faultf(wire.FaultFailed, "there is nothing to start: %s, then reload", wanted[spec.Preset])
}

// wanted says what each preset could start.
var wanted = map[string]string{
	presetNode:    "write a Procfile with a line «web: COMMAND», a package.json with a start script, or server.js, app.js or index.js into " + podApp,
	presetPython:  "write a Procfile with a line «web: COMMAND», or app.py or main.py into " + podApp,
	presetPHP:     "write a Procfile with a line «web: COMMAND», or index.php or public/index.php into " + podApp,
	presetCommand: "write a Procfile with a line «web: COMMAND» into " + podApp + "; the command must listen on $PORT",
}

// appFolder answers questions about an app's files.
type appFolder struct{ dir, path string }

func (a appFolder) has(rel string) bool {
	info, err := os.Stat(filepath.Join(a.dir, rel))
	return err == nil && info.Mode().IsRegular()
}

// first returns the first of names that is a file.
func (a appFolder) first(names ...string) string {
	for _, n := range names {
		if a.has(n) {
			return n
		}
	}
	return ""
}

// tool reports whether name can be run.
func (a appFolder) tool(name string) bool {
	for _, d := range filepath.SplitList(a.path) {
		info, err := os.Stat(filepath.Join(d, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// needs refuses a plan whose tool is not there.
func (a appFolder) needs(tool, shell string) (startPlan, error) {
	if !a.tool(tool) {
		return startPlan{}, faultf(wire.FaultFailed, "%s is not installed here, and the app needs it", tool)
	}
	return runs("exec " + shell)
}

func (a appFolder) planNode() (startPlan, error) {
	if b, err := readSmall(filepath.Join(a.dir, "package.json")); err == nil {
		var pkg struct {
			Scripts map[string]any `json:"scripts"`
		}
		if err := json.Unmarshal(b, &pkg); err != nil {
			return startPlan{}, faultf(wire.FaultFailed, "package.json cannot be read: %v", err)
		}
		if s, _ := pkg.Scripts["start"].(string); s != "" {
			return a.needs("npm", "npm start")
		}
	}
	if f := a.first("server.js", "app.js", "index.js"); f != "" {
		return a.needs("node", "node "+f)
	}
	return startPlan{}, nil
}

var (
	asgiApp = regexp.MustCompile(`(?m)^(app|application)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(?:FastAPI|Starlette|Quart|Litestar)\(`)
	wsgiApp = regexp.MustCompile(`(?m)^(app|application)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(?:Flask|Bottle|create_app|get_wsgi_application|API)\(`)
)

func (a appFolder) planPython() (startPlan, error) {
	for _, f := range []string{"app.py", "main.py", "wsgi.py", "asgi.py"} {
		src, err := readSmall(filepath.Join(a.dir, f))
		if err != nil {
			continue
		}
		module := strings.TrimSuffix(f, ".py")
		if m := asgiApp.FindSubmatch(src); m != nil && a.tool("uvicorn") {
			return runs("exec uvicorn --host 127.0.0.1 --port \"$PORT\" " + module + ":" + string(m[1]))
		}
		if m := wsgiApp.FindSubmatch(src); m != nil && a.tool("gunicorn") {
			return runs("exec gunicorn --bind \"127.0.0.1:$PORT\" " + module + ":" + string(m[1]))
		}
	}
	if f := a.first("app.py", "main.py"); f != "" {
		return a.needs("python3", "python3 "+f)
	}
	return startPlan{}, nil
}

func (a appFolder) planPHP() (startPlan, error) {
	switch {
	case a.has("public/index.php"), a.has("public/index.html"):
		return a.needs("php", `php -S "127.0.0.1:$PORT" -t public`)
	case a.has("index.php"):
		return a.needs("php", `php -S "127.0.0.1:$PORT"`)
	}
	return startPlan{}, nil
}

// planInstall returns the shell command of the install step, "" when there is
// nothing to install.
func planInstall(spec wire.AppSpec, dir string) (string, error) {
	app := appFolder{dir: dir}
	switch spec.Preset {
	case presetNode:
		switch {
		case app.has("package-lock.json") && app.has("package.json"):
			return "npm ci", nil
		case app.has("package.json"):
			return "npm install", nil
		}
	case presetPython:
		const venv = "{ test -x .venv/bin/python || python3 -m venv .venv; } && .venv/bin/python -m pip install "
		switch {
		case app.has("requirements.txt"):
			return venv + "-r requirements.txt", nil
		case app.has("pyproject.toml"):
			return venv + ".", nil
		}
	case presetPHP:
		if app.has("composer.json") {
			return "composer install --no-interaction", nil
		}
	case presetCommand:
		shell, _, err := procfileEntry(dir, "release")
		return shell, err
	}
	return "", nil
}

// toolPath is the folder where the install step puts programs.
func toolPath(preset, dir string) string {
	switch preset {
	case presetNode:
		return filepath.Join(dir, "node_modules", ".bin")
	case presetPython:
		return filepath.Join(dir, ".venv", "bin")
	case presetPHP:
		return filepath.Join(dir, "vendor", "bin")
	}
	return ""
}

// procfileEntry returns the command of one line «name: command» of the
// Procfile. present says that there is a Procfile at all.
func procfileEntry(dir, name string) (shell string, present bool, err error) {
	b, err := readSmall(filepath.Join(dir, procfile))
	if os.IsNotExist(err) {
		return "", false, nil
	}
	if err != nil {
		return "", true, faultf(wire.FaultFailed, "the Procfile cannot be read: %v", rootCause(err))
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "", true, faultf(wire.FaultFailed, "the Procfile has a NUL byte; write it as text")
	}
	for line := range strings.Lines(strings.TrimPrefix(string(b), "\ufeff")) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true, nil
		}
	}
	return "", true, nil
}

// readSmall reads a regular file of at most 64 KiB; a longer one is refused.
func readSmall(name string) ([]byte, error) {
	const limit = 64 << 10
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, faultf(wire.FaultFailed, "%s is not a regular file", filepath.Base(name))
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(b) > limit {
		err = faultf(wire.FaultTooLarge, "%s is over %d bytes", filepath.Base(name), limit)
	}
	return b, err
}
