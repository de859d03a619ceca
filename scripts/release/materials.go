package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bill is a bill of materials in the form of CycloneDX 1.6 (ECMA-424).
type bill struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Serial     string      `json:"serialNumber"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
}

// materials writes what is in the programs, as the programs themselves say.
func (r *release) materials(programs map[target]string) error {
	modules := map[string]component{}
	golang := ""
	for _, t := range r.targets {
		info, err := buildinfo.ReadFile(programs[t])
		if err != nil {
			return fmt.Errorf("read what is in %s: %w", t, err)
		}
		golang = info.GoVersion
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			purl := "pkg:golang/" + m.Path + "@" + m.Version
			modules[purl] = component{"library", purl, m.Path, m.Version, purl}
		}
	}
	std := strings.TrimPrefix(golang, "go")
	purl := "pkg:golang/std@" + std
	modules[purl] = component{"library", purl, "std", std, purl}
	own := "pkg:golang/podgate@" + r.version
	b := bill{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata:   metadata{r.date.Format("2006-01-02T15:04:05Z"), component{"application", own, "podgate", r.version, own}},
		Components: slices.SortedFunc(maps.Values(modules), func(a, b component) int { return cmp.Compare(a.PURL, b.PURL) }),
	}
	// A number of its own that is the same for the same release (RFC 9562 section 5.8).
	sum := sha256.Sum256([]byte(fmt.Sprint(b)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	id := hex.EncodeToString(sum[:16])
	b.Serial = "urn:uuid:" + strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("podgate_%s_sbom.cdx.json", r.number()), append(raw, '\n'), 0o644)
}

// installers writes what brings the program to a machine: a script, and a formula for
// Homebrew.
func (r *release) installers() error {
	sums := map[target]string{}
	var lines strings.Builder
	for _, t := range r.targets {
		sum, err := r.sum(r.archiveName(t))
		if err != nil {
			return err
		}
		sums[t] = sum
		fmt.Fprintf(&lines, "\t%s-%s) archive=%s sum=%s ;;\n", t.os, t.arch, r.archiveName(t), sum)
	}
	script := strings.NewReplacer("@URL@", r.url, "@VERSION@", r.version, "@NUMBER@", r.number(), "@ARCHIVES@", strings.TrimSuffix(lines.String(), "\n")).Replace(installScript)
	if err := r.write("install.sh", []byte(script), 0o755); err != nil {
		return err
	}
	return r.write("podgate.rb", []byte(r.formula(sums)), 0o644)
}

func (r *release) formula(sums map[target]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "class Podgate < Formula\n  desc \"Place for small apps by AI assistants, on your own machine\"\n  version \"%s\"\n  license \"Apache-2.0\"\n\n", r.number())
	for _, system := range []struct{ os, word string }{{"darwin", "macos"}, {"linux", "linux"}} {
		var below strings.Builder
		for _, cpu := range []struct{ arch, word string }{{"arm64", "arm"}, {"amd64", "intel"}} {
			t := target{system.os, cpu.arch}
			if sum, ok := sums[t]; ok {
				fmt.Fprintf(&below, "    on_%s do\n      url \"%s/%s\"\n      sha256 \"%s\"\n    end\n", cpu.word, r.url, r.archiveName(t), sum)
			}
		}
		if below.Len() > 0 {
			fmt.Fprintf(&b, "  on_%s do\n%s  end\n\n", system.word, below.String())
		}
	}
	b.WriteString(`  def install
    bin.install "podgate"
    man1.install Dir["man/*.1"]
    bash_completion.install "completion/bash" => "podgate"
    zsh_completion.install "completion/zsh" => "_podgate"
    fish_completion.install "completion/fish" => "podgate.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/podgate version")
  end
end
`)
	return b.String()
}

// installScript downloads the archive of the system that it runs on, holds it against
// the sum that stands in the script, and copies the program.
const installScript = `#!/bin/sh
# Installs podgate @VERSION@:
#
#	sh install.sh            into /usr/local/bin, or ~/.local/bin without the right to
#	sh install.sh FOLDER     into another folder
#
# PODGATE_DOWNLOAD names another place for the files, such as a mirror or a folder.
set -eu
from=${PODGATE_DOWNLOAD:-@URL@}
if [ $# -gt 0 ]; then to=$1
elif [ -w /usr/local/bin ]; then to=/usr/local/bin
else to=$HOME/.local/bin
fi
fail() { echo "install podgate: $*" >&2; exit 1; }

system=$(uname -s | tr '[:upper:]' '[:lower:]')
case $(uname -m) in
	x86_64 | amd64) cpu=amd64 ;;
	aarch64 | arm64) cpu=arm64 ;;
	*) cpu=$(uname -m) ;;
esac
case $system-$cpu in
@ARCHIVES@
	*) fail "there is no program for $system on $cpu; build it with Go from the source" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -d "$from" ]; then cp "$from/$archive" "$work/archive"
elif command -v curl >/dev/null; then curl -fsSL -o "$work/archive" "$from/$archive"
elif command -v wget >/dev/null; then wget -qO "$work/archive" "$from/$archive"
else fail "neither curl nor wget is there"
fi || fail "$from/$archive cannot be had"

if command -v sha256sum >/dev/null; then found=$(sha256sum "$work/archive")
else found=$(shasum -a 256 "$work/archive")
fi
[ "${found%% *}" = "$sum" ] || fail "$archive is not what was released: its SHA-256 is ${found%% *}, and $sum was expected. Nothing was installed."

tar -xzf "$work/archive" -C "$work"
mkdir -p "$to" || fail "$to cannot be made"
# Beside and renamed: a podgate that runs keeps its file.
cp "$work/podgate_@NUMBER@/podgate" "$to/.podgate.new" && chmod 755 "$to/.podgate.new" && mv "$to/.podgate.new" "$to/podgate" || fail "$to cannot be written; run this as root, or name another folder"
echo "podgate @VERSION@ is in $to. Start it with: podgate"
case :$PATH: in *":$to:"*) ;; *) echo "$to is not in your PATH." ;; esac
`
