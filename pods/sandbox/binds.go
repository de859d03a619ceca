package sandbox

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// What of a machine's files a pod sees without being told to, and what it must
// not be told to see. Entries are absolute; * stands for any part of a name.
var (
	// shown are the parts of the host that every pod sees, read-only.
	shown = slices.Concat([]string{"/usr"}, below("/", topLevel), below("/etc", fromEtc))

	// ownPlaces are where a pod has files of its own, which a bind there or
	// above would hide.
	ownPlaces = slices.Concat([]string{home, logDir, "/tmp", "/var/tmp"}, below("/etc", madeInEtc))

	// private are folders of the host that tell about its processes, its
	// devices or its administrator, and links that lead into them.
	private = []string{"/boot", "/dev", "/proc", "/root", "/run", "/sys", "/var/lock", "/var/run", "/etc/ssl/private"}

	// crowded are folders that hold what belongs to people and services: parts
	// of one may be shown, but not all of it.
	crowded = []string{"/home/*", "/var/lib"}
)

// topLevel are the folders that are links into /usr on most systems and
// folders of their own on some.
var topLevel = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// fromEtc are the parts of /etc that programs need and that tell nothing about
// the machine's people and services. Patterns as of filepath.Match.
var fromEtc = []string{
	"alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "pki", "crypto-policies",
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "services", "protocols", "java-*-openjdk",
}

// madeInEtc are the files and links of /etc that are made for a pod.
var madeInEtc = []string{"passwd", "group", "hosts", "hostname", "nsswitch.conf", "shells", "resolv.conf", "mtab", "os-release"}

func below(dir string, names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, path.Join(dir, name))
	}
	return all
}

const instead = `; write a folder with tools, such as "/opt/tools"`

// CheckBind returns why a file or folder of the host cannot be shown to pods,
// read-only and at the same place, and what to write instead, or nil when it
// can be. It looks at the machine only to see where links lead: what is absent
// is judged by its name, and pods are started without it.
func CheckBind(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%q is not a clean absolute path%s", name, instead)
	}
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		target = name // absent
	}
	return judge(name, target)
}

// judge is CheckBind of a place that leads to target.
func judge(name, target string) error {
	outside := !among(shown, target, within)
	switch here := among(shown, name, within); {
	case here && outside:
		return fmt.Errorf("%q is a link that pods see already; write %q, which it leads to", name, target)
	case here:
		return fmt.Errorf("%q is a part of the system that pods see already; leave it out", name)
	}
	if err := checkPlace(name); err != nil {
		return err
	}
	if outside && checkPlace(target) != nil {
		return fmt.Errorf("%q leads to %q, which would show pods what is not theirs%s", name, target, instead)
	}
	return nil
}

// checkPlace judges a place by its name.
func checkPlace(name string) error {
	if among(private, name, within) || among(crowded, name, same) {
		return fmt.Errorf("%q would show pods what is not theirs%s", name, instead)
	}
	hides := among(slices.Concat(ownPlaces, shown, private), name, around)
	if hides || among([]string{home, logDir}, name, within) {
		return fmt.Errorf("%q would take the place of files that are the pod's own%s", name, instead)
	}
	return nil
}

// among reports whether name has that relation to one of the places.
func among(places []string, name string, relation func(name, place string) bool) bool {
	return slices.ContainsFunc(places, func(place string) bool { return relation(name, place) })
}

// within reports whether name is the place or below it.
func within(name, place string) bool {
	n, p := parts(name), parts(place)
	return len(n) >= len(p) && agree(n, p)
}

// around reports whether name is the place or above it.
func around(name, place string) bool {
	n, p := parts(name), parts(place)
	return len(n) <= len(p) && agree(n, p)
}

func same(name, place string) bool { return within(name, place) && around(name, place) }

// parts are the names of a clean absolute path; / has none.
func parts(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

// agree reports whether the parts that both have fit.
func agree(names, patterns []string) bool {
	for i := range min(len(names), len(patterns)) {
		if ok, err := path.Match(patterns[i], names[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
