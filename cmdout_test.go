package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"podgate/internal/text"
)

// What a command prints for programs is looked at on terminals too, and has names in it
// that strangers or other servers chose.
func TestJSONIsPlain(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b]0;owned\x07\u009b31m\u202eb\x7f\u2028\U000e0001"
	var b bytes.Buffer
	if err := printJSON(&b, map[string]string{"team": hostile}); err != nil {
		t.Fatal(err)
	}
	if seen := strings.ReplaceAll(b.String(), "\n", ""); text.Visible(seen) != seen {
		t.Errorf("%q", b.String())
	}
	var back map[string]string
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back["team"] != hostile {
		t.Errorf("%q, %v", back, err)
	}
}
