package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A region that says no more than its name and runtime has the defaults of the
// rest.
func TestRegionDefaults(t *testing.T) {
	t.Parallel()
	s, err := loadText(t, "[[region]]\nname = \"local\"\nruntime = \"sandbox\"")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(resolved(Default()).Regions, s.Regions); diff != "" {
		t.Error(diff)
	}
}

// Settings that are a region's own now are refused with what to write instead.
func TestMovedSettings(t *testing.T) {
	t.Parallel()
	const region = "[[region]]\nname = \"local\"\nruntime = \"sandbox\"\nlimits = \"off\"\n"
	for name, c := range map[string]struct {
		text string
		env  []string
		want string // FILE stands for the file's name
	}{
		"in the file": {text: "[pods]\nbinds = [\"/opt/tools\"]\nlimits = \"require\"", want: `
  pods.binds (FILE): is a setting of each region now; take it out and write
      [[region]]
      name = "local"
      runtime = "sandbox"
      limits = "require"
      binds = ["/opt/tools"]
  pods.limits (FILE): is a setting of each region now; take it out and write what pods.binds says`},
		"beside a region": {text: region + "[pods]\nbinds = [\"/opt/tools\"]", want: `
  pods.binds (FILE): is a setting of each region now; take it out and write
      [[region]]
      name = "local"
      runtime = "sandbox"
      limits = "off"
      binds = ["/opt/tools"]`},
		"in the environment": {env: []string{"PODGATE_PODS_BINDS=/opt/a,/opt/b", "PODGATE_PODS_LIMITS=require"}, want: `
  pods.binds (PODGATE_PODS_BINDS): is a setting of each region now; take it out and write
      PODGATE_REGION='[{name = "local", runtime = "sandbox", limits = "require", binds = ["/opt/a", "/opt/b"]}]'
  pods.limits (PODGATE_PODS_LIMITS): is a setting of each region now; take it out and write what pods.binds says`},
		"in the file, with a region in the environment": {text: "[pods]\nlimits = \"off\"", env: []string{`PODGATE_REGION=[{name = "local", runtime = "sandbox"}]`}, want: `
  pods.limits (FILE): is a setting of each region now; take it out and write
      PODGATE_REGION='[{name = "local", runtime = "sandbox", limits = "off"}]'`},
		"of the wrong kind": {text: "[pods]\nbinds = 3", want: `
  pods.binds (FILE): 3 is not a list in [ ]
  pods.binds (FILE): is a setting of each region now; take it out and write
      [[region]]
      name = "local"
      runtime = "sandbox"
      limits = "auto"`},
	} {
		_, err := loadText(t, c.text, c.env...)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), ":")
		if i, j := strings.IndexByte(got, '('), strings.IndexByte(got, ')'); strings.Contains(c.want, "(FILE)") {
			got = strings.ReplaceAll(got, got[i+1:j], "FILE")
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What a refusal says to write is a configuration with the effect that was
// meant.
func TestMovedSettingsAsWritten(t *testing.T) {
	t.Parallel()
	want := []Region{{Name: "local", Runtime: "sandbox", Limits: "require", Binds: []string{`/opt/a "quoted" folder`, "/opt/b"}, Mail: true}}
	file, env := newLoader(), newLoader()
	file.document("text", regionTable(want[0]))
	env.env(Environ{strings.ReplaceAll(strings.TrimSpace(regionVariable(want)), "'", "")})
	for _, l := range []loader{file, env} {
		if diff := cmp.Diff(want, l.Regions); diff != "" || len(l.faults) > 0 {
			t.Errorf("%s %v", diff, l.faults)
		}
	}
}
