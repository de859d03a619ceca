package sandbox

import (
	"slices"
	"strings"
	"testing"
)

// What a region says that it has, its pods find.
func TestToolsAreOnThePath(t *testing.T) {
	t.Parallel()
	path := strings.Split(strings.TrimPrefix(environ()[0], "PATH="), ":")
	for _, dir := range toolDirs {
		if !slices.Contains(path, dir) {
			t.Errorf("%s is not on a pod's PATH, %q", dir, path)
		}
	}
}
