package preset

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

var golang = Preset{
	Name:        "go",
	Description: "Go: go build at reload, then Procfile or the program built",
	Port:        8080,
	Needs:       Needs{Tool: "go", Get: "install Go (on Debian and Ubuntu: apt install golang-go; or from go.dev/dl into /usr/local/go)"},
	// The compiler takes what memory it finds: net/http alone 300 MB, and 180 MB
	// like this. A module cache is read-only otherwise and resists deletion.
	InstallEnv: map[string]string{
		"GOMAXPROCS": "1", "GOGC": "50", "GOMEMLIMIT": "100MiB", "GOFLAGS": "-buildvcs=false -modcacherw",
	},
	Bin:    "bin",
	Wanted: "or main.go",
	Steps: []Step{
		{"Write a server that listens on the port in $PORT", "app/main.go"},
		{"Name the module, if it needs others", "app/go.mod"},
		{"Reload the pod: it builds, starts and answers here", "reload"},
	},
	install: installGo,
	start:   startGo,
}

// installGo builds in the home: /tmp is memory.
func installGo(app App) (string, error) {
	const build = "rm -rf ~/.cache/go-tmp && mkdir -p ~/.cache/go-tmp && GOTMPDIR=~/.cache/go-tmp go build "
	if !app.has("go.mod") {
		if len(app.sources(".")) == 0 {
			return "", nil
		}
		return build + "-o bin/app *.go", nil
	}
	what, err := app.mains()
	if err != nil {
		return "", err
	}
	// What a go.mod leaves out is found, as long as nothing pins it.
	if app.first("go.sum", "go.work", "vendor/modules.txt") == "" {
		return build + "-mod=mod " + what, nil
	}
	return build + what, nil
}

func startGo(app App) (Start, error) {
	switch {
	case app.has("bin/app"):
		return Start{Shell: "exec bin/app"}, nil
	case app.has("go.mod") || len(app.sources(".")) > 0:
		return Start{}, errors.New("nothing is built yet; use manage_pod with action reload")
	}
	return Start{}, nil
}

var plainName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) })

// mains returns which programs of a module are built, and to where: the folder
// itself, else what lies in cmd.
func (a App) mains() (string, error) {
	if a.isMain(".") {
		return "-o bin/app .", nil
	}
	var found []string
	for _, name := range a.names("cmd") {
		if plainName().MatchString(name) && a.isMain(path.Join("cmd", name)) {
			found = append(found, name)
		}
	}
	web, _, err := a.procfileLine("web")
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", errors.New("there is no package main in " + appFolder + " or in a folder of its cmd folder; write main.go, then reload")
	case web != "":
		return "-o bin/ ./cmd/...", nil
	case len(found) > 1:
		return "", fmt.Errorf("cmd has several programs (%s); write a Procfile with a line «web: bin/NAME», then reload", strings.Join(found[:min(len(found), 5)], ", "))
	}
	return "-o bin/app ./cmd/" + found[0], nil
}

var mainClause = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^package\s+main\b`) })

// isMain reports whether the folder has a package main.
func (a App) isMain(dir string) bool {
	for _, name := range a.sources(dir) {
		// Of a long file the beginning is enough.
		if src, _ := a.read(path.Join(dir, name)); mainClause().Match(src) {
			return true
		}
	}
	return false
}

// sources returns the names of a folder's Go files but those of tests.
func (a App) sources(dir string) []string {
	var found []string
	for _, name := range a.names(dir) {
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			found = append(found, name)
		}
	}
	return found
}

// maxNames is how many entries of a folder are looked at.
const maxNames = 1000

// names returns what a folder holds.
func (a App) names(dir string) []string {
	f, err := os.Open(filepath.Join(a.Dir, dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxNames)
	return names
}
