package preset

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

var nodejs = Preset{
	Name:        "nodejs",
	Description: "Node.js: npm install and npm run build at reload, then Procfile, npm start, server.js, app.js or index.js, or the site that was built (Vite, Astro, React, …)",
	Port:        3000,
	Needs:       Needs{Tool: "node", Get: "install nodejs and npm (on Debian and Ubuntu: apt install nodejs npm)"},
	InstallEnv: map[string]string{
		"npm_config_fetch_retries": "2", "npm_config_fetch_retry_factor": "3",
		"npm_config_fetch_retry_mintimeout": "50", "npm_config_fetch_retry_maxtimeout": "150",
		"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_update_notifier": "false",
	},
	Bin:    "node_modules/.bin",
	Wanted: "a package.json with a start or build script, or server.js, app.js or index.js",
	Steps: []Step{
		{"Write a server that listens on process.env.PORT", "app/server.js"},
		{"Name what it needs and how it starts", "app/package.json"},
		{"Reload the pod: it installs, starts and answers here", "reload"},
	},
	install: installNode,
	start:   startNode,
}

// installNode also builds. Builds need what package.json has for development,
// which npm leaves out where NODE_ENV says production.
func installNode(app App) (string, error) {
	if !app.has("package.json") {
		return "", nil
	}
	pkg, err := app.pkg()
	if err != nil {
		return "", err
	}
	install := "npm install"
	if app.has("package-lock.json") {
		install = "npm ci"
	}
	if pkg.script("build") == "" {
		return install, nil
	}
	return install + " --include=dev && npm run build", nil
}

func startNode(app App) (Start, error) {
	var pkg manifest
	if app.has("package.json") {
		var err error
		if pkg, err = app.pkg(); err != nil {
			return Start{}, err
		}
	}
	built := pkg.built(app)
	if start := pkg.script("start"); start != "" && (built == "" || !onlyDevelops(start, built)) {
		return app.run("npm", "start")
	}
	if f := app.first("server.js", "app.js", "index.js"); f != "" {
		return app.run("node", f)
	}
	if built != "" {
		return Start{Static: true, Built: built}, nil
	}
	return Start{}, nil
}

// manifest is what matters of a package.json.
type manifest struct {
	Scripts map[string]any `json:"scripts"`
}

func (a App) pkg() (manifest, error) {
	raw, err := a.read("package.json")
	if err != nil {
		return manifest{}, fmt.Errorf("package.json cannot be read: %w", err)
	}
	return parseManifest(raw)
}

func parseManifest(raw []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return manifest{}, fmt.Errorf("package.json cannot be read: %v", err)
	}
	return m, nil
}

// script returns the command of a script; empty when there is none.
func (m manifest) script(name string) string {
	s, _ := m.Scripts[name].(string)
	return s
}

// built returns the folder into which the build script has written a site; empty
// when there is none. Vite, Astro and Parcel write to dist, Create React App to
// build, Next's export to out.
func (m manifest) built(app App) string {
	if m.script("build") == "" {
		return ""
	}
	folder, _, _ := strings.Cut(app.first("dist/index.html", "build/index.html", "out/index.html"), "/")
	return folder
}

var developmentServer = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\s*(?:npx\s+)?(?:react-scripts start|astro (?:dev|start|preview)|vite|vue-cli-service serve|parcel(?: serve)?|webpack(?:-dev-server| serve))(?:\s|$)`)
})

// onlyDevelops reports whether a start script runs the server with which a site is
// developed or looked at, although it has been built, as Create React App's and
// Astro's do. Next refuses to serve what it exported.
func onlyDevelops(start, built string) bool {
	return developmentServer().MatchString(start) || built == "out" && strings.HasPrefix(strings.TrimSpace(start), "next start")
}
