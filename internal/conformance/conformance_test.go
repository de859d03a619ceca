package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	check := func(id, status string) Check { return Check{ID: id, Status: status, Message: "why"} }
	for name, c := range map[string]struct {
		verdict Verdict
		known   Baseline
		want    []string // the start of each fault
	}{
		"all passed":        {Verdict{"a": {check("1", "SUCCESS"), check("2", "INFO")}}, nil, nil},
		"failed":            {Verdict{"a": {check("1", "SUCCESS"), check("2", "FAILURE")}}, nil, []string{"a:2: FAILURE: why"}},
		"a warning":         {Verdict{"a": {check("1", "WARNING")}}, nil, []string{"a:1: WARNING: why"}},
		"a skip":            {Verdict{"a": {check("1", "SUCCESS"), check("2", "SKIPPED")}}, nil, []string{"a:2: SKIPPED: why"}},
		"a new status":      {Verdict{"a": {check("1", "UNKNOWN")}}, nil, []string{"a:1: UNKNOWN: why"}},
		"known failure":     {Verdict{"a": {check("1", "FAILURE")}}, Baseline{"a:1": "because"}, nil},
		"known, and passes": {Verdict{"a": {check("1", "SUCCESS")}}, Baseline{"a:1": "because"}, []string{"a:1 passes now; take it out of the baseline (because)"}},
		"known, and absent": {Verdict{"a": {check("1", "SUCCESS")}}, Baseline{"a:2": "because"}, []string{"a:2 stands in the baseline"}},
		"did not run":       {Verdict{}, nil, []string{"a: " + didNotRun}},
		"says nothing":      {Verdict{"a": {check("1", "INFO")}}, nil, []string{"a: " + didNotRun}},
	} {
		got := judge(c.verdict, []string{"a"}, c.known)
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for folder, text := range map[string]string{
		"server-server-stateless-2026-07-28T01-02-03-456Z":                                   `[{"id":"1","status":"SUCCESS"},{"id":"2","status":"FAILURE"}]`,
		"authorization-server-authorization-server-metadata-endpoint-2026-07-28T01-02-03-4Z": `[{"id":"3","status":"INFO"}]`,
	} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, folder, "checks.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := Read(t, dir)
	if len(v) != 2 || len(v["server-stateless"]) != 2 || len(v["authorization-server-metadata-endpoint"]) != 1 {
		t.Errorf("read %v", v)
	}
}
