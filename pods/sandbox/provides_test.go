package sandbox

import (
	"strings"
	"testing"

	"podgate/pods/preset"
)

func TestProvides(t *testing.T) {
	t.Parallel()
	for name, needs := range map[string]preset.Needs{
		"nothing": {}, "a tool": {Tool: "env"}, "a tool or an image": {Tool: "env", Image: "node:24"},
	} {
		if err := provides(needs, false); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, tool := range []string{"no-such-tool", "../bin", "."} {
		err := provides(preset.Needs{Tool: tool, Get: "install it", Image: "node:24"}, false)
		if err == nil || !strings.Contains(err.Error(), tool+" is not installed") || !strings.HasSuffix(err.Error(), "has to install it") {
			t.Errorf("%q: %v", tool, err)
		}
		if err := provides(preset.Needs{Tool: tool, Image: "node:24"}, true); err != nil {
			t.Errorf("%q, with an image: %v", tool, err)
		}
	}
	if err := provides(preset.Needs{Image: "node:24"}, false); err == nil || !strings.Contains(err.Error(), "keeps no images") {
		t.Errorf("an image alone: %v", err)
	}
}
