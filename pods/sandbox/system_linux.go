//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"podgate/pods/egress"
)

// This file says what of the host's system a pod sees, and which files are
// made for it.

// link is a symbolic link to make in the pod.
type link struct{ path, target string }

// systemBinds looks at the host and says what to bind and what to link.
func systemBinds() (binds []bind, links []link) {
	binds = append(binds, bind{Source: "/usr", Target: "/usr"})
	add := func(path string) {
		if target, err := os.Readlink(path); err == nil {
			links = append(links, link{strings.TrimPrefix(path, "/"), target})
		} else {
			binds = append(binds, bind{Source: path, Target: path, Optional: true})
		}
	}
	for _, name := range topLevel {
		if _, err := os.Lstat("/" + name); err == nil {
			add("/" + name)
		}
	}
	for _, pattern := range fromEtc {
		paths, _ := filepath.Glob("/etc/" + pattern) // none for a pattern that fits nothing; ours are well formed
		for _, path := range paths {
			add(path)
		}
	}
	return binds, links
}

// makeFiles fills the new root, which is the working directory, with folders,
// links and the generated part of /etc.
func makeFiles(s spec, links []link) error {
	for _, dir := range []string{"etc", "home/pod", "opt", "mnt", "root", "srv", "var/cache", "var/lib", "var/log/pod", "usr"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	links = append(links, link{"etc/mtab", "/proc/self/mounts"}, link{"var/run", "/run"}, link{"var/lock", "/run"}, link{"etc/os-release", "../usr/lib/os-release"})
	for _, l := range links {
		if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(l.target, l.path); err != nil {
			return err
		}
	}
	files := phpSettings(phpFolders)
	for name, content := range generated(s) {
		files["/etc/"+name] = content
	}
	for name, content := range files {
		name = strings.TrimPrefix(name, "/")
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func generated(s spec) map[string]string {
	hostname := s.Hostname
	shell := "/bin/sh"
	if _, err := os.Stat("/bin/bash"); err == nil {
		shell = "/bin/bash"
	}
	// Without a network this makes a look-up fail at once, where a library's own
	// defaults would make it wait.
	resolv := "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
	if s.Network {
		resolv = fmt.Sprintf("nameserver %s\noptions timeout:10 attempts:2\n", egress.ResolverAddr)
	}
	return map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\npod:x:%d:%d:pod:%s:%s\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
			podUID, podUID, home, shell),
		"group":         fmt.Sprintf("root:x:0:\npod:x:%d:\nnogroup:x:65534:\n", podUID),
		"hosts":         fmt.Sprintf("127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost\n", hostname),
		"hostname":      hostname + "\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"shells":        "/bin/sh\n" + shell + "\n",
		"resolv.conf":   resolv,
	}
}
