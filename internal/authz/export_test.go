package authz

import (
	"maps"
	"slices"
)

// Actions are those of the table, so that none goes without a test.
func Actions() []Action { return slices.Sorted(maps.Keys(policy)) }
