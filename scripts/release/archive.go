package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5" // what the format of Debian's packages wants; it secures nothing
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"podgate/internal/service"
)

// member is a file of an archive. One whose name ends in a slash is a folder.
type member struct {
	name    string
	content []byte
	mode    int64
}

// packed is a tar of members that root owns, compressed. Folders come before what is in
// them.
func packed(members []member, when time.Time) ([]byte, error) {
	raw, err := tarred(members, when, nil)
	if err != nil {
		return nil, err
	}
	return zipped(raw)
}

// tarred is a tar of members, which root owns but for the ones named in owners.
func tarred(members []member, when time.Time, owners map[string]int) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: m.mode, ModTime: when, Size: int64(len(m.content)), Typeflag: tar.TypeReg, Format: tar.FormatGNU, Uname: "root", Gname: "root"}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if id := owners[m.name]; id != 0 {
			h.Uid, h.Gid, h.Uname, h.Gname = id, id, "", ""
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(m.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func zipped(raw []byte) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(raw); err != nil {
		return nil, err
	}
	err := zip.Close()
	return out.Bytes(), err
}

// archive writes the program with its texts, all in one folder.
func (r *release) archive(t target, program []byte, texts []text) error {
	top := fmt.Sprintf("podgate_%s/", r.number())
	members := []member{{top, nil, 0o755}, {top + "podgate", program, 0o755}, {top + "man/", nil, 0o755}, {top + "completion/", nil, 0o755}}
	for _, f := range texts {
		if f.name == "podgate.service" && t.os != "linux" {
			continue
		}
		members = append(members, member{top + f.name, f.content, 0o644})
	}
	raw, err := packed(members, r.date)
	if err != nil {
		return err
	}
	return r.write(r.archiveName(t), raw, 0o644)
}

// debianVersion is the version as Debian's packages have it: ~ sorts before the end.
func (r *release) debianVersion() string { return strings.Replace(r.number(), "-", "~", 1) }

const (
	debianProgram     = "/usr/bin/podgate"
	debianProfile     = "/usr/share/podgate/apparmor"
	debianProfileName = "usr.bin.podgate" // another than that of podgate service install
)

// debian writes a package (deb(5)). The service is installed and not started: it needs
// an address first.
func (r *release) debian(t target, program []byte, texts []text) error {
	const docs = "./usr/share/doc/podgate/"
	files := []member{{"." + debianProgram, program, 0o755}, {"." + debianProfile, []byte(service.Sealed(service.Profile(debianProfileName, debianProgram))), 0o644}}
	for _, f := range texts {
		m := member{content: f.content, mode: 0o644}
		switch {
		case f.name == "LICENSE":
			m.name = docs + "copyright"
		case f.name == "podgate.service":
			m.name = "./usr/lib/systemd/system/podgate.service"
			m.content = []byte(unitFor(debianProgram))
		case f.name == "config.example.toml":
			m.name, m.content = "./etc/podgate.toml", bytes.Replace(f.content, []byte("\ndata_dir = \"data\"\n"), []byte("\ndata_dir = \"/var/lib/podgate\"\n"), 1)
		case strings.HasPrefix(f.name, "man/"):
			m.name = "./usr/share/man/man1/" + path.Base(f.name)
		case f.name == "completion/bash":
			m.name = "./usr/share/bash-completion/completions/podgate"
		case f.name == "completion/zsh":
			m.name = "./usr/share/zsh/vendor-completions/_podgate"
		case f.name == "completion/fish":
			m.name = "./usr/share/fish/vendor_completions.d/podgate.fish"
		default:
			m.name = docs + f.name
		}
		files = append(files, m)
	}
	var sums strings.Builder
	size := 0
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.content), strings.TrimPrefix(f.name, "./"))
		size += len(f.content)
	}
	control := fmt.Sprintf(debianControl, r.debianVersion(), t.arch, (size+1023)/1024)
	about, err := packed([]member{
		{"./", nil, 0o755}, {"./control", []byte(control), 0o644}, {"./md5sums", []byte(sums.String()), 0o644}, {"./conffiles", []byte("/etc/podgate.toml\n"), 0o644},
		{"./postinst", []byte(debianPostinst), 0o755}, {"./prerm", []byte(debianPrerm), 0o755}, {"./postrm", []byte(debianPostrm), 0o755},
	}, r.date)
	if err != nil {
		return err
	}
	data, err := packed(withFolders(files), r.date)
	if err != nil {
		return err
	}
	raw := ar(r.date, member{"debian-binary", []byte("2.0\n"), 0o644}, member{"control.tar.gz", about, 0o644}, member{"data.tar.gz", data, 0o644})
	return r.write(fmt.Sprintf("podgate_%s_%s.deb", r.debianVersion(), t.arch), raw, 0o644)
}

// withFolders adds the folders that files are in.
func withFolders(files []member) []member {
	seen := map[string]bool{}
	var all []member
	for _, f := range files {
		var above []member
		for dir := path.Dir(f.name); dir != "." && !seen["./"+dir]; dir = path.Dir(dir) {
			seen["./"+dir] = true
			above = append(above, member{"./" + strings.TrimPrefix(dir, "./") + "/", nil, 0o755})
		}
		slices.Reverse(above)
		all = append(append(all, above...), f)
	}
	return append([]member{{"./", nil, 0o755}}, all...)
}

// ar is an archive in the common form of ar(5), with names of at most 16 bytes.
func ar(when time.Time, members ...member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, when.Unix(), 0, 0, 0o100000|m.mode, len(m.content))
		b.Write(m.content)
		if len(m.content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

const debianControl = `Package: podgate
Version: %s
Architecture: %s
Maintainer: podgate <podgate@example.invalid>
Installed-Size: %d
Depends: passwd
Recommends: ca-certificates
Section: web
Priority: optional
Description: small apps by AI assistants, on your own machine
 podgate turns a server into a place where AI assistants run small isolated
 apps, called pods. A person types one address into the assistant, signs in,
 chooses a team and approves; the assistant works with the pods of that team
 over MCP, and with nothing else.
`

// debianFunctions are for the scripts: whether a file is as podgate wrote it, by the sum in
// its first line, and whether the service is the package's and none of the machine's own.
const debianFunctions = `untouched() {
	[ "$(head -n 1 "$1" | sed 's/.* //')" = "$(tail -n +2 "$1" | sha256sum | cut -d ' ' -f 1)" ]
}
ours() {
	case $(systemctl show --value --property=FragmentPath podgate) in
		/usr/lib/systemd/system/* | /lib/systemd/system/*) true ;;
		*) false ;;
	esac
}
profile=/etc/apparmor.d/usr.bin.podgate
`

const debianPostinst = `#!/bin/sh
set -e
` + debianFunctions + `
if [ "$1" = configure ]; then
	if ! getent passwd podgate >/dev/null; then
		useradd --system --home-dir /var/lib/podgate --shell /usr/sbin/nologin podgate
	fi
	# AppArmor there keeps programs without a profile from user namespaces.
	if [ -e /proc/sys/kernel/apparmor_restrict_unprivileged_userns ] && command -v apparmor_parser >/dev/null; then
		if [ ! -e $profile ] || untouched $profile; then
			cp /usr/share/podgate/apparmor $profile
		fi
		apparmor_parser --replace $profile || echo "podgate: the AppArmor profile could not be loaded, so pods may not run"
	fi
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		if ours && systemctl is-active --quiet podgate; then
			/usr/bin/podgate upgrade --config /etc/podgate.toml ||
				echo "podgate: what ran before goes on; «systemctl restart podgate» ends it, and its pods for a moment"
		fi
	fi
	if [ -z "$2" ]; then
		echo "podgate: set public_url in /etc/podgate.toml, then: systemctl enable --now podgate"
	fi
fi
`

const debianPrerm = `#!/bin/sh
set -e
` + debianFunctions + `
if [ "$1" = remove ] && [ -d /run/systemd/system ] && ours; then
	systemctl disable --now podgate
fi
`

const debianPostrm = `#!/bin/sh
set -e
` + debianFunctions + `
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	if [ -e $profile ] && untouched $profile; then
		rm $profile
	fi
	echo "podgate: /var/lib/podgate, with every pod's files, is left; delete it when you are sure"
fi
`
