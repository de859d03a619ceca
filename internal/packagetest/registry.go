package packagetest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Package is one package in one version.
type Package struct {
	Name, Version string
	Files         map[string]string // of npm below package/, of PyPI in site-packages; of Packagist with a composer.json that says what is loaded
	Scripts       map[string]string // of PyPI: commands, as module:function
}

// NPM is a registry for npm at address, its own URL. Of several versions of a package the
// last is the latest. Requests for what it does not have are answered 404.
func NPM(address string, packages ...Package) http.Handler {
	mux := http.NewServeMux()
	versions, latest := map[string]map[string]any{}, map[string]string{}
	for _, p := range packages {
		tarball := npmTarball(p)
		if versions[p.Name] == nil {
			versions[p.Name] = map[string]any{}
		}
		versions[p.Name][p.Version] = map[string]any{
			"name": p.Name, "version": p.Version,
			"dist": map[string]string{"tarball": address + npmPath(p), "integrity": integrity(tarball)},
		}
		latest[p.Name] = p.Version
		mux.HandleFunc("GET "+npmPath(p), send("application/octet-stream", tarball))
	}
	for name, all := range versions {
		document, err := json.Marshal(map[string]any{"name": name, "dist-tags": map[string]string{"latest": latest[name]}, "versions": all})
		must(err)
		mux.HandleFunc("GET /"+name, send("application/json", document))
	}
	return mux
}

func integrity(tarball []byte) string {
	sum := sha512.Sum512(tarball)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// NPMLock is the package-lock.json of an app of version 1.0.0 that has the packages from
// a registry at address, each as what package.json asks for by wants.
func NPMLock(app, address string, wants map[string]string, packages ...Package) string {
	all := map[string]any{"": map[string]any{"name": app, "version": "1.0.0", "dependencies": wants}}
	for _, p := range packages {
		all["node_modules/"+p.Name] = map[string]string{
			"version": p.Version, "resolved": address + npmPath(p), "integrity": integrity(npmTarball(p)),
		}
	}
	raw, err := json.Marshal(map[string]any{"name": app, "version": "1.0.0", "lockfileVersion": 3, "packages": all})
	must(err)
	return string(raw)
}

// npmPath is where a registry has a package.
func npmPath(p Package) string {
	return fmt.Sprintf("/%s/-/%s-%s.tgz", p.Name, path.Base(p.Name), p.Version)
}

// GoProxy is a proxy of Go modules (go.dev/ref/mod#goproxy-protocol). Versions begin
// with v, and a package without a go.mod gets one.
func GoProxy(packages ...Package) http.Handler {
	mux := http.NewServeMux()
	for _, p := range packages {
		mod := p.Files["go.mod"]
		if mod == "" {
			mod = "module " + p.Name + "\n"
		}
		var b bytes.Buffer
		archive := zip.NewWriter(&b)
		for _, name := range byName(p.Files) {
			text := p.Files[name]
			w, err := archive.Create(p.Name + "@" + p.Version + "/" + name)
			must(err)
			must(write(w, text))
		}
		must(archive.Close())
		at := "GET /" + p.Name + "/@v/"
		mux.HandleFunc(at+"list", send("text/plain", []byte(p.Version+"\n")))
		mux.HandleFunc(at+p.Version+".info", send("application/json", fmt.Appendf(nil, `{"Version": %q}`, p.Version)))
		mux.HandleFunc(at+p.Version+".mod", send("text/plain", []byte(mod)))
		mux.HandleFunc(at+p.Version+".zip", send("application/zip", b.Bytes()))
	}
	return mux
}

// PyPI is an index for pip (PEP 503).
func PyPI(packages ...Package) http.Handler {
	mux := http.NewServeMux()
	for _, p := range packages {
		wheel := pythonWheel(p)
		file := fmt.Sprintf("%s-%s-py3-none-any.whl", p.Name, p.Version)
		page := fmt.Sprintf("<!DOCTYPE html><a href=\"/files/%s#sha256=%x\">%s</a>", file, sha256.Sum256(wheel), html.EscapeString(file))
		mux.HandleFunc("GET /simple/"+p.Name+"/", send("text/html", []byte(page)))
		mux.HandleFunc("GET /files/"+file, send("application/octet-stream", wheel))
	}
	return mux
}

// Packagist is a repository for composer at address, its own URL, of its second version.
func Packagist(address string, packages ...Package) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /packages.json", send("application/json", []byte(`{"packages": [], "metadata-url": "/p2/%package%.json"}`)))
	for _, p := range packages {
		file := "/dist/" + strings.ReplaceAll(p.Name, "/", "-") + "-" + p.Version + ".tar"
		var version map[string]any
		must(json.Unmarshal([]byte(p.Files["composer.json"]), &version))
		version["name"], version["version"] = p.Name, p.Version
		version["dist"] = map[string]string{"type": "tar", "url": address + file}
		document, err := json.Marshal(map[string]any{"packages": map[string]any{p.Name: []any{version}}})
		must(err)
		mux.HandleFunc("GET /p2/"+p.Name+".json", send("application/json", document))
		mux.HandleFunc("GET "+file, send("application/octet-stream", tarOf(p.Files)))
	}
	return mux
}

func send(kind string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(body) // a client that is gone needs none
	}
}

func npmTarball(p Package) []byte {
	files := map[string]string{"package/package.json": fmt.Sprintf(`{"name": %q, "version": %q, "main": "index.js"}`, p.Name, p.Version)}
	for name, text := range p.Files {
		files["package/"+name] = text
	}
	var b bytes.Buffer
	packed := gzip.NewWriter(&b)
	must(write(packed, string(tarOf(files))))
	must(packed.Close())
	return b.Bytes()
}

// byName returns the names in an order that is always the same: an archive that is made
// twice has one sum.
func byName(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }

func tarOf(files map[string]string) []byte {
	var b bytes.Buffer
	archive := tar.NewWriter(&b)
	for _, name := range byName(files) {
		text := files[name]
		must(archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		must(write(archive, text))
	}
	must(archive.Close())
	return b.Bytes()
}

// pythonWheel is a wheel (PEP 427) whose record has no sums, which pip does not want.
func pythonWheel(p Package) []byte {
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	about := fmt.Sprintf("%s-%s.dist-info/", p.Name, p.Version)
	files := map[string]string{
		about + "METADATA": fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", p.Name, p.Version),
		about + "WHEEL":    "Wheel-Version: 1.0\nGenerator: podgate\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
	}
	for name, text := range p.Files {
		files[name] = text
	}
	if len(p.Scripts) > 0 {
		var lines strings.Builder
		lines.WriteString("[console_scripts]\n")
		for _, name := range byName(p.Scripts) {
			fmt.Fprintf(&lines, "%s = %s\n", name, p.Scripts[name])
		}
		files[about+"entry_points.txt"] = lines.String()
	}
	var record strings.Builder
	for _, name := range byName(files) {
		fmt.Fprintf(&record, "%s,,\n", name)
	}
	files[about+"RECORD"] = record.String() + about + "RECORD,,\n"
	for _, name := range byName(files) {
		text := files[name]
		w, err := archive.Create(name)
		must(err)
		must(write(w, text))
	}
	must(archive.Close())
	return b.Bytes()
}

type writer interface{ Write([]byte) (int, error) }

func write(w writer, text string) error {
	_, err := w.Write([]byte(text))
	return err
}

// must is for writes to memory, which do not fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
