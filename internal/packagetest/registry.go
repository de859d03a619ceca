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
	"net/http"
	"path"
	"strings"
)

// Package is one package in one version.
type Package struct {
	Name, Version string
	Files         map[string]string // of npm below package/, of PyPI in site-packages; of Packagist with a composer.json that says what is loaded
	Scripts       map[string]string // of PyPI: commands, as module:function
}

// NPM is a registry for npm at address, its own URL. Requests for what it does not
// have are answered 404.
func NPM(address string, packages ...Package) http.Handler {
	mux := http.NewServeMux()
	for _, p := range packages {
		tarball := npmTarball(p)
		sum := sha512.Sum512(tarball)
		file := fmt.Sprintf("%s-%s.tgz", path.Base(p.Name), p.Version)
		document, err := json.Marshal(map[string]any{
			"name": p.Name, "dist-tags": map[string]string{"latest": p.Version},
			"versions": map[string]any{p.Version: map[string]any{
				"name": p.Name, "version": p.Version,
				"dist": map[string]string{
					"tarball": address + "/" + p.Name + "/-/" + file, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
				},
			}},
		})
		if err != nil {
			panic(err) // strings are always JSON
		}
		mux.HandleFunc("GET /"+p.Name, send("application/json", document))
		mux.HandleFunc("GET /"+p.Name+"/-/"+file, send("application/octet-stream", tarball))
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

func tarOf(files map[string]string) []byte {
	var b bytes.Buffer
	archive := tar.NewWriter(&b)
	for name, text := range files {
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
		for name, function := range p.Scripts {
			fmt.Fprintf(&lines, "%s = %s\n", name, function)
		}
		files[about+"entry_points.txt"] = lines.String()
	}
	var record strings.Builder
	for name := range files {
		fmt.Fprintf(&record, "%s,,\n", name)
	}
	files[about+"RECORD"] = record.String() + about + "RECORD,,\n"
	for name, text := range files {
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
