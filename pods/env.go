package pods

import (
	"slices"
	"strings"
	"unicode/utf8"

	"podgate/internal/text"
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
