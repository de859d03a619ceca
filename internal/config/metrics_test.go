package config

import (
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"listen = \"localhost:9464\"", "listen = \"[::1]:9464\"", "token_file = \"/etc/podgate/metrics\"", "listen = \":9464\"\ntoken_file = \"/etc/podgate/metrics\"",
	} {
		if _, err := loadText(t, "[metrics]\n"+text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"listen = \":9464\"":         "shows the numbers to whoever comes",
		"listen = \"10.0.0.7:9464\"": "metrics.token_file",
		"listen = \"here\"":          "is not an address with a port",
	} {
		if _, err := loadText(t, "[metrics]\n"+text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
