package preset

import (
	"regexp"
	"strings"
	"sync"
)

var python = Preset{
	Name:        "python",
	Description: "Python 3: a virtual environment with requirements.txt or pyproject.toml at reload, then Procfile, gunicorn, uvicorn, app.py or main.py",
	Port:        8000,
	Needs:       Needs{Tool: "python3", Get: "install Python 3 with its venv module (on Debian and Ubuntu: apt install python3 python3-venv)"},
	// Output would otherwise reach the log in blocks, much later.
	Env:        map[string]string{"PYTHONUNBUFFERED": "1"},
	InstallEnv: map[string]string{"PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
	Bin:        ".venv/bin",
	Wanted:     "or app.py or main.py",
	Steps: []Step{
		{"Write an app that listens on the port in $PORT", "app/app.py"},
		{"List what it needs", "app/requirements.txt"},
		{"Reload the pod: it installs, starts and answers here", "reload"},
	},
	install: installPython,
	start:   startPython,
}

func installPython(app App) (string, error) {
	const venv = "{ test -x .venv/bin/python || python3 -m venv .venv; } && .venv/bin/python -m pip install "
	switch {
	case app.has("requirements.txt"):
		return venv + "-r requirements.txt", nil
	case app.has("pyproject.toml"):
		return venv + ".", nil
	}
	return "", nil
}

var (
	asgiApp = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^(app|application)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(?:FastAPI|Starlette|Quart|Litestar)\(`)
	})
	wsgiApp = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^(app|application)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(?:Flask|Bottle|create_app|get_wsgi_application|API)\(`)
	})
)

func startPython(app App) (Start, error) {
	for _, f := range []string{"app.py", "main.py", "wsgi.py", "asgi.py"} {
		src, err := app.read(f)
		if err != nil {
			continue
		}
		module := strings.TrimSuffix(f, ".py")
		if m := asgiApp().FindSubmatch(src); m != nil && app.HasTool("uvicorn") {
			return app.run("uvicorn", `--host 127.0.0.1 --port "$PORT" `+module+":"+string(m[1]))
		}
		if m := wsgiApp().FindSubmatch(src); m != nil && app.HasTool("gunicorn") {
			return app.run("gunicorn", `--bind "127.0.0.1:$PORT" `+module+":"+string(m[1]))
		}
	}
	if f := app.first("app.py", "main.py"); f != "" {
		return app.run("python3", f)
	}
	return Start{}, nil
}
