package agent

import (
	"os"
	"strings"
	"testing"

	"podgate/internal/packagetest"
	"podgate/pods/wire"
)

// The release line runs after the install and before the new app, whatever the preset
// is. When it fails, what ran before goes on; going back does without it.
func TestReleaseLine(t *testing.T) {
	t.Parallel()
	packagetest.Need(t, "python3")
	a := startAgent(t)
	before := a.spec(t, "static")
	a.put("index.html", "by hand")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: before, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	release := func(n int, line string) wire.DeployRequest {
		t.Helper()
		folder := a.home("releases/" + string(rune('0'+n)))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"Procfile": "release: " + line + "\nweb: exec python3 -u serve.py", "serve.py": server} {
			if err := os.WriteFile(folder+"/"+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r := a.deployment(t, n, before)
		r.Spec.Preset, r.Keep = "nodejs", []int{1}
		r.Spec.Env = map[string]string{"X": "42"}
		return r
	}
	runs := func() string {
		raw, _ := os.ReadFile(a.home("data/runs")) // none yet
		return string(raw)
	}
	_, fault := a.deploys(release(1, "echo why; exit 5"))
	if fault == nil || !strings.HasPrefix(fault.Message, "the release line of the Procfile (echo why; exit 5) exited with code 5; ") || len(fault.Lines) == 0 || fault.Lines[len(fault.Lines)-1].Text != "why" {
		t.Errorf("a release line that fails: %+v", fault)
	}
	if _, page := get(t, before.Port, "/"); page != "by hand" {
		t.Errorf("after that the app says %q", page)
	}
	good := release(1, `echo "$PODGATE_NAME $X $PORT" >>$PODGATE_DATA/runs`)
	if _, fault := a.deploys(good); fault != nil {
		t.Fatalf("%+v\n%s", fault, a.log("lines=50"))
	}
	want := strings.Replace("blue-fox 42 PORT\n", "PORT", strings.TrimSpace(a.run("echo $PORT").stdout), 1)
	if got := runs(); got != want {
		t.Errorf("the release line noted %q, want %q", got, want)
	}
	good.Spec.Release = 1
	if st := a.app(wire.AppRequest{Action: actionReload, Spec: &good.Spec, WaitMillis: 20000}); st.App != wire.AppRunning || runs() != want+want {
		t.Errorf("after a reload: %+v, %q", st, runs())
	}
	good.Kept, good.Max = true, 0
	if _, fault := a.deploys(good); fault != nil || runs() != want+want {
		t.Errorf("after going back: %+v, %q", fault, runs())
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("requirements.txt", "")
	a.put("Procfile", "release: python migrate.py")
	spec := a.spec(t, "python")
	steps, err := (&agent{cfg: a.cfg}).steps(a.home("app"), *spec)
	if err != nil || len(steps) != 2 || !strings.Contains(steps[0].shell, "pip install ") || steps[1].shell != "python migrate.py" {
		t.Fatalf("%+v, %v", steps, err)
	}
	path := "PATH=" + a.home("app/.venv/bin") + ":"
	for _, s := range steps {
		if !strings.Contains(strings.Join(s.env, "\n"), path) {
			t.Errorf("%s has %q", s.name, s.env)
		}
	}
}
