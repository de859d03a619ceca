package preset

import (
	"encoding/json"
	"fmt"
)

var nodejs = Preset{
	Name:        "nodejs",
	Description: "Node.js: npm install at reload, then Procfile, npm start, server.js, app.js or index.js",
	Port:        3000,
	Needs:       Needs{Tool: "node", Get: "install nodejs and npm (on Debian and Ubuntu: apt install nodejs npm)"},
	InstallEnv: map[string]string{
		"npm_config_fetch_retries": "2", "npm_config_fetch_retry_mintimeout": "500", "npm_config_fetch_retry_maxtimeout": "2000",
		"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_update_notifier": "false",
	},
	Bin:    "node_modules/.bin",
	Wanted: "a package.json with a start script, or server.js, app.js or index.js",
	Steps: []Step{
		{"Write a server that listens on process.env.PORT", "app/server.js"},
		{"Name what it needs and how it starts", "app/package.json"},
		{"Reload the pod: it installs, starts and answers here", "reload"},
	},
	install: installNode,
	start:   startNode,
}

func installNode(app App) (string, error) {
	switch {
	case !app.has("package.json"):
		return "", nil
	case app.has("package-lock.json"):
		return "npm ci", nil
	}
	return "npm install", nil
}

func startNode(app App) (string, error) {
	if raw, err := app.read("package.json"); err == nil {
		script, err := startScript(raw)
		if err != nil {
			return "", err
		}
		if script {
			return app.run("npm", "start")
		}
	}
	if f := app.first("server.js", "app.js", "index.js"); f != "" {
		return app.run("node", f)
	}
	return "", nil
}

// startScript reports whether a package.json has a start script.
func startScript(raw []byte) (bool, error) {
	var pkg struct {
		Scripts map[string]any `json:"scripts"`
	}
	if err := json.Unmarshal(raw, &pkg); err != nil {
		return false, fmt.Errorf("package.json cannot be read: %v", err)
	}
	s, _ := pkg.Scripts["start"].(string)
	return s != "", nil
}
