package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		`to = "/mnt/b"`: "", `to = "/mnt/b"` + "\n" + `schedule = "23:59"` + "\n" + `recipients = ["age1x"]` + "\n" + `max_age = "48h"`: "",
		`schedule = "3:30"`: "time of the day", `schedule = "24:00"`: "time of the day", `to = "b"`: "absolute path",
		`to = "` + dir + `/b"`: "overlap", `to = "` + filepath.Dir(dir) + `"`: "overlap", `max_age = "48h"`: "backup.to", `recipients = ["age1x"]`: "backup.to",
		`to = "/b"` + "\n" + `recipients = ["AGE-SECRET-KEY-1"]`: "no public key", `keep_daily = -1`: "too little", `to = "/b"` + "\n" + `max_age = "24h"`: "out of range",
	} {
		file := filepath.Join(t.TempDir(), "podgate.toml")
		if err := os.WriteFile(file, []byte("data_dir = \""+dir+"\"\n[backup]\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(file, nil, nil)
		if want == "" && (err != nil || !s.Backup.On() || s.File != file) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
