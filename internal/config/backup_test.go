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
	const s3 = "s3_endpoint = \"https://s3.example.com\"\ns3_access_key = \"AK\"\ns3_secret_key_file = \"/key\""
	for text, want := range map[string]string{
		`to = "/mnt/b"`: "", `to = "/mnt/b"` + "\n" + `schedule = "23:59"` + "\n" + `recipients = ["age1x"]` + "\n" + `max_age = "48h"`: "",
		`schedule = "3:30"`: "time of the day", `schedule = "24:00"`: "time of the day", `to = "b"`: "absolute path",
		`to = "` + dir + `/b"`: "overlap", `to = "` + filepath.Dir(dir) + `"`: "overlap", `max_age = "48h"`: "backup.to", `recipients = ["age1x"]`: "backup.to",
		`to = "/b"` + "\n" + `recipients = ["AGE-SECRET-KEY-1"]`: "no public key", `keep_daily = -1`: "too little", `to = "/b"` + "\n" + `max_age = "24h"`: "out of range",
		`to = "s3://my-backups/podgate"` + "\n" + s3: "", `to = "s3://my.backups"` + "\n" + s3: "", `to = "s3://bucket/a/B_c/"` + "\n" + s3: "", s3: "",
		`to = "s3://b"` + "\n" + s3: "is no bucket", `to = "s3://bucket//a"` + "\n" + s3: "is no bucket", `to = "s3://bucket/a/../b"` + "\n" + s3: "is no bucket", `to = "s3://Bucket"` + "\n" + s3: "is no bucket",
		`to = "s3://bucket"`: "backup.s3_access_key, backup.s3_endpoint, backup.s3_secret_key_file", `s3_endpoint = "http://s3.example.com"`: "in clear", `s3_endpoint = "http://127.0.0.1:9000"`: "",
		`s3_endpoint = "s3.example.com"`: "not a web address", `s3_endpoint = "https://s3.example.com/bucket"`: "more than", `s3_endpoint = "https://a:b@s3.example.com"`: "more than", `s3_region = ""`: "no region", `s3_access_key = "a/b"`: "no access key", `s3_secret_key_file = "key"`: "absolute path",
	} {
		file := filepath.Join(t.TempDir(), "podgate.toml")
		if err := os.WriteFile(file, []byte("data_dir = \""+dir+"\"\n[backup]\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(file, nil, nil)
		if want == "" && (err != nil || s.Backup.On() != strings.Contains(text, "to = ") || s.File != file) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
