package agent

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"podgate/internal/packagetest"
	"podgate/pods/wire"
)

const goServer = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	say := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "built in ", os.Getenv("PODGATE_NAME")) }
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(say)); err != nil {
		panic(err)
	}
}
`

// reload asks for a reload that must lead to an app that runs.
func (a *testAgent) reload(spec *wire.AppSpec) {
	a.t.Helper()
	if st := a.app(wire.AppRequest{Action: actionReload, Spec: spec, WaitMillis: 60000}); st.App != wire.AppRunning || st.Reason != "" {
		a.t.Fatalf("%+v\n%s", st, a.log("source=install"))
	}
}

// A Go app is built and runs, from single files and from a module whose program
// lies in cmd. What the compiler leaves lies in the home.
func TestGoApp(t *testing.T) {
	t.Parallel()
	tool := packagetest.Need(t, "go")
	cache, err := exec.Command(tool, "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, func(c *Config) { c.Environ = []string{"PATH=" + filepath.Dir(tool) + ":/usr/bin:/bin"} })
	spec := a.spec(t, "go")
	spec.Env = map[string]string{"GOCACHE": strings.TrimSpace(string(cache)), "GOTOOLCHAIN": "local"}
	a.put("main.go", goServer)
	a.put("main_test.go", "package main\n")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: spec, WaitMillis: 20000}); st.App != wire.AppFailed || !strings.Contains(st.Reason, "nothing is built yet") {
		t.Errorf("before a build: %+v", st)
	}
	a.reload(spec)
	if _, body := get(t, spec.Port, "/"); body != "built in blue-fox" {
		t.Errorf("%q", body)
	}
	a.run("rm main.go main_test.go bin/app")
	a.put("go.mod", "module example.com/shop\n\ngo 1.20\n")
	a.put("lib.go", "package shop\n")
	a.put("cmd/shop/main.go", strings.Replace(goServer, "built in", "a module in", 1))
	a.reload(spec)
	if _, body := get(t, spec.Port, "/"); body != "a module in blue-fox" {
		t.Errorf("%q", body)
	}
	if got := a.run("ls ~/.cache/go-tmp"); got.Code != 0 || got.stdout != "" {
		t.Errorf("left by the build: %+v", got)
	}
}

// A front end is built with what it needs for development, and what was built is
// served in place of the source.
func TestBuiltApp(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "npm")
	a := startAgent(t)
	spec := a.spec(t, "nodejs")
	spec.Env = map[string]string{"NODE_ENV": "production"}
	a.put("index.html", "source")
	a.put("tool/package.json", `{"name": "tool", "version": "1.0.0", "bin": "build.js"}`)
	a.put("tool/build.js", "#!/usr/bin/env node\nconst fs = require('fs')\nfs.mkdirSync('dist')\nfs.writeFileSync('dist/index.html', 'built for ' + process.env.NODE_ENV)\n", "mode", "755")
	a.put("package.json", `{"scripts": {"build": "tool", "dev": "false"}, "devDependencies": {"tool": "file:tool"}}`)
	a.reload(spec)
	for _, path := range []string{"/", "/users/7"} {
		if code, body := get(t, spec.Port, path); code != 200 || body != "built for production" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
}
