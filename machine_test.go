package main

import (
	"strings"
	"testing"

	"podgate/internal/config"
)

// The page of settings shows all of them with where each came from, and of an
// address that may hold a secret only the host.
func TestShownSettings(t *testing.T) {
	t.Parallel()
	s := &config.Settings{}
	s.Notify.WebhookURL = "https://user:hidden@hooks.example.com/hidden?hidden=1"
	found := ""
	for _, line := range shownSettings(s) {
		if strings.Contains(line.Value, "hidden") {
			t.Errorf("%s is shown as %s", line.Key, line.Value)
		}
		if line.Key == "notify.webhook_url" {
			found = line.Value
		}
	}
	if found != "https://hooks.example.com/…" {
		t.Errorf("the address of the webhook is shown as %q", found)
	}
}
