package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckBind(t *testing.T) {
	t.Parallel()
	for want, folders := range map[string][]string{
		"": {"/opt", "/opt/tools", "/srv/node-24", "/etc/php", "/mnt/big/tools", "/home/ada/tools", "/home/podium/x", "/var/lib/tools", "/tmp/x", "/librarian", "/opt/a \"quoted\" folder",
			"/var/www", "/var/cache/models", "/var/log/other", "/etc/ssl/other", "/etc/java"},
		"is not a clean absolute path; write a folder with tools, such as \"/opt/tools\"": {
			"", ".", "opt", "../opt", "/opt/", "//opt", "/opt/../etc", "/opt/./x", "/opt\x00",
		},
		"pods see already; leave it out": {"/usr", "/usr/local", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/lib/x", "/usr/local/share/x",
			"/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/certs/x.pem", "/etc/java-21-openjdk/x", "/etc/localtime"},
		"would show pods what is not theirs": {
			"/dev", "/dev/shm", "/proc", "/proc/1", "/sys", "/run", "/run/user", "/var/run/docker.sock", "/var/lock", "/root", "/root/.ssh", "/home/pod", "/boot", "/boot/efi",
			"/etc/ssl/private", "/etc/ssl/private/key.pem", "/var/lib", "/home/ada",
		},
		"that are the pod's own; write": {"/", "/etc", "/home", "/home/pod/tools", "/var", "/var/log", "/var/log/pod", "/var/log/pod/x", "/tmp", "/var/tmp",
			"/etc/ssl", "/etc/passwd", "/etc/resolv.conf", "/etc/os-release"},
	} {
		for _, folder := range folders {
			err := CheckBind(folder)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", folder, err, want)
			}
		}
	}
}

func TestCheckBindFollowsLinks(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := func(name, target string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, bad := range []string{link("etc", "/etc"), link("root", "/"), link("all", "etc"), link("dev", "/dev"), link("up", "/proc/..") + "/etc"} {
		if err := CheckBind(bad); err == nil || !strings.Contains(err.Error(), "leads to") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, good := range []string{link("usr", "/usr/share"), link("dangling", "/nowhere/at/all"), link("here", "."), dir} {
		if err := CheckBind(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func TestBindThroughALink(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, target, want string }{
		{"/usr/local/go", "/opt/go", `write "/opt/go", which it leads to`},
		{"/usr/bin/awk", "/etc/alternatives/awk", "leave it out"},
		{"/opt/tools", "/usr/local/share/tools", ""},
		{"/opt/tools", "/etc/php", ""},
		{"/opt/tools", "/home/ada", "leads to"},
		{"/opt/tools", "/home", "leads to"},
		{"/etc", "/opt/etc", "that are the pod's own"},
	} {
		err := judge(c.name, c.target)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v, want %q", c.name, c.target, err, c.want)
		}
	}
}
