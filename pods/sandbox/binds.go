package sandbox

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// topLevel are the folders that are links into /usr on most systems and
// folders of their own on some.
var topLevel = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// private are folders of the host that tell about its processes, its devices or
// its administrator, and links that lead into them.
var private = []string{"/boot", "/dev", "/proc", "/root", "/run", "/sys", "/var/lock", "/var/run"}

// ownPlaces are where a pod has files of its own. A folder above them would hide
// them.
var ownPlaces = []string{"/etc", "/tmp", "/var/tmp", home, logDir}

// CheckBind returns why a folder of the host cannot be shown to pods, and what
// to write instead, or nil when it can be. It only looks at the path: a folder
// that is absent is no error, and pods are started without it.
func CheckBind(folder string) error {
	const instead = `; write a folder with tools, such as "/opt/tools"`
	isAbove := func(place string) bool { return within(place, folder) }
	isBelow := func(place string) bool { return within(folder, place) }
	first, _, _ := strings.Cut(strings.TrimPrefix(folder, "/"), "/")
	switch {
	case !path.IsAbs(folder) || path.Clean(folder) != folder || strings.ContainsRune(folder, 0):
		return fmt.Errorf("%q is not a clean absolute path%s", folder, instead)
	case first == "usr" || slices.Contains(topLevel, first):
		return fmt.Errorf("%q is a part of the system that pods see already; leave it out", folder)
	case slices.ContainsFunc(private, isBelow):
		return fmt.Errorf("%q would show pods what is not theirs%s", folder, instead)
	case slices.ContainsFunc(ownPlaces, isAbove), within(folder, home), within(folder, logDir):
		return fmt.Errorf("%q would take the place of files that are the pod's own%s", folder, instead)
	}
	return nil
}

// within reports whether a clean path is the folder or below it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}
