//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// phpFolders are where PHP's command line looks for more settings, on the systems that
// there are.
var phpFolders = []string{"/etc/php/*/cli/conf.d", "/etc/php*/conf.d", "/etc/php.d"}

const (
	phpFile     = "podgate.ini"
	maxPHPFile  = 64 << 10 // bytes of a file of settings
	maxPHPFiles = 200
)

// phpExtension is a setting that loads an extension, by its name or file.
var phpExtension = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*(?:zend_)?extension[ \t]*=[ \t]*"?[A-Za-z0-9_./-]+"?[ \t]*\r?$`)
})

// phpSettings are files for a pod, by their paths: they have PHP load what the machine's
// own command line loads, without which there is neither mbstring nor composer. Of the
// machine's settings nothing else is shown, since licence keys and passwords are among
// them.
func phpSettings(folders []string) map[string]string {
	made := map[string]string{}
	for _, pattern := range folders {
		found, _ := filepath.Glob(pattern) // ours are well formed
		for _, folder := range found {
			if text := phpExtensions(folder); text != "" {
				made[filepath.Join(folder, phpFile)] = text
			}
		}
	}
	return made
}

// phpExtensions are the lines of a folder's settings that load an extension, in the
// order in which PHP reads them.
func phpExtensions(folder string) string {
	files, _ := filepath.Glob(filepath.Join(folder, "*.ini"))
	var b strings.Builder
	for _, name := range files[:min(len(files), maxPHPFiles)] {
		raw, err := os.ReadFile(name)
		if err != nil || len(raw) > maxPHPFile {
			continue
		}
		for _, line := range phpExtension().FindAll(raw, -1) {
			b.Write(bytes.TrimSpace(line))
			b.WriteByte('\n')
		}
	}
	return b.String()
}
