package sandbox

import (
	"strings"
	"testing"
)

func TestCheckBind(t *testing.T) {
	t.Parallel()
	for want, folders := range map[string][]string{
		"": {"/opt", "/opt/tools", "/srv/node-24", "/etc/php", "/mnt/big/tools", "/home/ada/tools", "/home/podium", "/var/lib/tools", "/tmp/x", "/librarian", "/opt/a \"quoted\" folder"},
		"is not a clean absolute path; write a folder with tools, such as \"/opt/tools\"": {
			"", ".", "opt", "../opt", "/opt/", "//opt", "/opt/../etc", "/opt/./x", "/opt\x00",
		},
		"pods see already; leave it out": {"/usr", "/usr/local", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/lib/x"},
		"would show pods what is not theirs": {
			"/dev", "/dev/shm", "/proc", "/proc/1", "/sys", "/run", "/run/user", "/var/run/docker.sock", "/var/lock", "/root", "/root/.ssh", "/boot", "/boot/efi",
		},
		"that are the pod's own; write": {"/", "/etc", "/home", "/home/pod", "/home/pod/tools", "/var", "/var/log", "/var/log/pod", "/var/log/pod/x", "/tmp", "/var/tmp"},
	} {
		for _, folder := range folders {
			err := CheckBind(folder)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", folder, err, want)
			}
		}
	}
}
