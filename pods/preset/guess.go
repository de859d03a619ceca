package preset

// Guess returns the name of the preset that fits what lies in the folder; empty
// when nothing there says. A Procfile alone says how an app starts and not what
// it needs, so a language comes before it. A language's list of what to install
// comes before package.json, which apps of any language have for their styles
// and scripts, unless that says how to start. A script beside an index.html is
// one for the browser, unless it is called server.js.
func Guess(app App) string {
	pkg, _ := app.pkg()
	switch {
	case pkg.script("start") != "":
		return nodejs.Name
	case app.has("composer.json"):
		return php.Name
	case app.first("requirements.txt", "pyproject.toml") != "":
		return python.Name
	case app.has("go.mod"):
		return golang.Name
	case app.first("package.json", "server.js") != "":
		return nodejs.Name
	case app.first("app.py", "main.py") != "":
		return python.Name
	case app.first("index.php", "public/index.php") != "":
		return php.Name
	case app.has("main.go"):
		return golang.Name
	case app.has(procfile):
		return command.Name
	case app.first("index.html", "public/index.html", "dist/index.html") != "":
		return static.Name
	case app.first("app.js", "index.js") != "":
		return nodejs.Name
	}
	return ""
}
