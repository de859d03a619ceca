package pods

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/pods/wire"
	"podgate/store"
)

// Limits of a pod's environment variables.
const (
	MaxEnvVars  = 100
	MaxEnvName  = 128      // bytes
	MaxEnvValue = 32 << 10 // bytes
	MaxEnvTotal = 64 << 10 // bytes of all names and values
)

// reservedEnv are the variables that the agent sets for the app.
var reservedEnv = []string{"PORT", "HOME", "USER", "LOGNAME", "PWD", "TMPDIR", "SHELL"}

// checkEnv refuses variables that cannot be set, are the agent's, or are too
// many or too large. Its errors name the variable and never show a value.
func checkEnv(env map[string]string) error {
	if len(env) > MaxEnvVars {
		return refuse(ErrBadInput, "env has %d variables, at most %d are allowed; put the rest into a file", len(env), MaxEnvVars)
	}
	total := 0
	for name, value := range env {
		if err := checkVar(name, value); err != nil {
			return err
		}
		total += len(name) + len(value)
	}
	if total > MaxEnvTotal {
		return refuse(ErrBadInput, "env has %d bytes, at most %d are allowed; put large values into files", total, MaxEnvTotal)
	}
	return nil
}

func checkVar(name, value string) error {
	switch {
	case len(name) > MaxEnvName || !isEnvName(name):
		return refuse(ErrBadInput, "env: %q is not a variable name; use letters, digits and underscores, no digit first, at most %d characters", text.Short(name, maxSnippet), MaxEnvName)
	case slices.Contains(reservedEnv, name) || strings.HasPrefix(name, "PODGATE_"):
		return refuse(ErrBadInput, "env: %s is set by podgate itself; leave it out", name)
	case len(value) > MaxEnvValue:
		return refuse(ErrBadInput, "env: the value of %s has %d bytes, at most %d are allowed; put it into a file", name, len(value), MaxEnvValue)
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return refuse(ErrBadInput, "env: the value of %s is not text; put binary data into a file", name)
	}
	return nil
}

func isEnvName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}

// EnvChange is how a change of environment variables ended. They are set whatever
// became of the app.
type EnvChange struct {
	Pod       Pod
	Restarted bool  // the app was told to start anew, as its pod runs
	Failed    error // why it did not
}

// SetEnv gives the variables of set their values, takes those of unset away, and
// restarts the app of a pod that runs. What is refused changes nothing. Values
// go in and never come out again.
func (s *Service) SetEnv(ctx context.Context, a authz.Actor, name string, set map[string]string, unset []string, p Progress) (EnvChange, error) {
	if err := a.Allow(authz.ManagePod, a.Team.ID); err != nil {
		return EnvChange{}, err
	}
	if err := checkEnvChange(set, unset); err != nil {
		return EnvChange{}, err
	}
	var out EnvChange
	pod, err := s.manage(ctx, a, name, "starting", turnWait, func(op *operation, rec store.Pod) error {
		change := func(env map[string]string) error {
			maps.Copy(env, set)
			maps.DeleteFunc(env, func(name, _ string) bool { return slices.Contains(unset, name) })
			return checkEnv(env)
		}
		rec, err := trace.Do(op.ctx, "store set_env", func() (store.Pod, error) { return s.cfg.DB.SetEnv(rec.ID, change) })
		if errors.Is(err, store.ErrNotFound) {
			return errAbsent
		}
		if err != nil || rec.Want != store.WantRunning {
			return err
		}
		op.forgive()
		s.rearm(rec, op.live)
		out.Restarted = true
		out.Failed = s.startPod(op, rec, wire.AppRequest{Action: "restart", WaitMillis: millis(startWait)}, p)
		return context.Cause(op.ctx)
	})
	out.Pod = pod
	return out, err
}

func checkEnvChange(set map[string]string, unset []string) error {
	if len(set)+len(unset) == 0 {
		return refuse(ErrBadInput, "there is nothing to change; give set, unset or both")
	}
	for _, name := range unset {
		if _, both := set[name]; both {
			return refuse(ErrBadInput, "env: %s is in set and in unset; leave it out of one", text.Short(name, maxSnippet))
		}
		if err := checkVar(name, ""); err != nil {
			return err
		}
	}
	return checkEnv(set)
}
