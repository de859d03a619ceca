package config

import (
	"slices"
	"strings"
)

// Environ is an environment as os.Environ returns it.
type Environ []string

// Lookup returns the value of a variable; the last wins, as in a shell.
func (e Environ) Lookup(name string) (string, bool) {
	for _, entry := range slices.Backward(e) {
		if key, value, ok := strings.Cut(entry, "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// names lists the variables with that prefix, in order.
func (e Environ) names(prefix string) []string {
	var list []string
	for _, entry := range e {
		if key, _, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(key, prefix) {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
