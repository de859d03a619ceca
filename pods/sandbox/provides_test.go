package sandbox

import (
	"strings"
	"testing"

	"podgate/pods/preset"
)

func TestProvides(t *testing.T) {
	t.Parallel()
	r := &Runtime{}
	for _, tool := range []string{"", "env"} {
		if err := r.Provides(preset.Needs{Tool: tool}); err != nil {
			t.Errorf("%q: %v", tool, err)
		}
	}
	for _, tool := range []string{"no-such-tool", "../bin", "."} {
		err := r.Provides(preset.Needs{Tool: tool, Get: "install it"})
		if err == nil || !strings.Contains(err.Error(), tool+" is not installed") || !strings.HasSuffix(err.Error(), "has to install it") {
			t.Errorf("%q: %v", tool, err)
		}
	}
}
