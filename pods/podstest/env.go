package podstest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"podgate/pods"
)

// testSetEnv also sees to it that a value that was set is in what the app runs
// with, and in nothing that is told.
func testSetEnv(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", map[string]string{"KEPT": "a-secret-one", "GONE": "a-secret-two"})
	b.write("shop", "Procfile", "worker: echo \"$KEPT,$GONE,$TOKEN\" > seen; exec sleep 1000\n")
	set := func(set map[string]string, unset ...string) (pods.EnvChange, error) {
		return b.SetEnv(t.Context(), b.actor, "shop", set, unset, nil)
	}
	for _, c := range []struct {
		set   map[string]string
		unset []string
		says  string
	}{
		{nil, nil, "nothing to change"},
		{map[string]string{"A": "a-secret"}, []string{"A"}, "in set and in unset"},
		{map[string]string{"PORT": "a-secret"}, nil, "set by podgate itself"},
		{nil, []string{"PODGATE_X"}, "set by podgate itself"},
		{map[string]string{"a-secret name": "x"}, nil, "not a variable name"},
		{nil, []string{""}, "not a variable name"},
		{map[string]string{"A": "a-secret\x00"}, nil, "not text"},
		{map[string]string{"A": "a-secret" + strings.Repeat("x", pods.MaxEnvValue)}, nil, "at most"},
		{map[string]string{"A": strings.Repeat("x", pods.MaxEnvValue), "B": strings.Repeat("x", pods.MaxEnvValue-20)}, nil, "at most"}, // with those that are there
	} {
		_, err := set(c.set, c.unset...)
		if !errors.Is(err, pods.ErrBadInput) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "a-secret\x00") {
			t.Errorf("%.100v: %v", c, err)
		}
	}
	if got := b.prints("shop", `echo "$KEPT,$GONE,$A"`); got != "a-secret-one,a-secret-two,\n" {
		t.Errorf("after refusals: %q", got)
	}
	change, err := set(map[string]string{"TOKEN": "a-secret-three"}, "GONE", "ABSENT")
	if err != nil || !change.Restarted || fmt.Sprint(change.Pod.Env) != "[KEPT TOKEN]" || strings.Contains(fmt.Sprintf("%+v", change), "secret") {
		t.Errorf("%+v %v", change, err)
	}
	b.until("the app has it", func() bool { return string(b.run("shop", "cat seen").Stdout) == "a-secret-one,,a-secret-three\n" })
	if got := b.prints("shop", `echo "$KEPT,$GONE,$TOKEN"`); got != "a-secret-one,,a-secret-three\n" {
		t.Errorf("a command has %q", got)
	}
	if p, err := b.Get(t.Context(), b.actor, "shop"); err != nil || fmt.Sprint(p.Env) != "[KEPT TOKEN]" || strings.Contains(fmt.Sprintf("%+v", p), "secret") {
		t.Errorf("%+v %v", p, err)
	}
	// An app that does not start with it says why; the variables stay.
	b.write("shop", "Procfile", "web: test -z \"$BROKEN\" && exec sleep 1000; echo it is broken; exit 9\n")
	change, err = set(map[string]string{"BROKEN": "x"})
	if err != nil || !change.Restarted || change.Pod.Status == "running" || !strings.Contains(fmt.Sprint(change.Pod.Tail), "it is broken") {
		t.Errorf("%+v %v", change, err)
	}
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	change, err = set(map[string]string{"LATER": "x"}, "BROKEN")
	if err != nil || change.Restarted || change.Failed != nil || change.Pod.Status != "stopped" || fmt.Sprint(change.Pod.Env) != "[KEPT LATER TOKEN]" {
		t.Errorf("of a stopped pod: %+v %v", change, err)
	}
}
