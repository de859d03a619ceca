package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// entry is one of a tar.
type entry struct {
	tar.Header
	content []byte
}

func entriesOf(t *testing.T, raw []byte) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if _, twice := all[h.Name]; err != nil || twice {
			t.Fatalf("%s: twice, or %v", h.Name, err)
		}
		all[h.Name] = entry{*h, content}
	}
}

// imageIsWhole reads an image as engines do: by the layout of OCI, and by what «docker
// save» writes.
func imageIsWhole(t *testing.T, dist string, here target) {
	if here.os != "linux" {
		t.Skip("images are for Linux")
	}
	raw, err := os.ReadFile(filepath.Join(dist, "podgate_1.2.3-rc.1_image_"+here.arch+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	files := entriesOf(t, raw)
	read := func(name string, into any) {
		t.Helper()
		if err := json.Unmarshal(files[name].content, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	blob := func(d descriptor, kind string) string {
		t.Helper()
		name := "blobs/sha256/" + d.Digest[len("sha256:"):]
		content := files[name].content
		if d.MediaType != kind || d.Size != len(content) || d.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(content)) {
			t.Fatalf("%+v is not what is there: %d bytes", d, len(content))
		}
		return name
	}
	var layout struct{ ImageLayoutVersion string }
	var index imageIndex
	var manifest imageManifest
	var config imageConfig
	var saved []savedImage
	read("oci-layout", &layout)
	read("index.json", &index)
	if len(files) != 8 || files["blobs/sha256/"].Typeflag != tar.TypeDir {
		t.Errorf("%d files", len(files))
	}
	if layout.ImageLayoutVersion != "1.0.0" || index.SchemaVersion != 2 || len(index.Manifests) != 1 || *index.Manifests[0].Platform != (platform{here.arch, "linux"}) {
		t.Fatalf("%+v %+v", layout, index)
	}
	read(blob(index.Manifests[0], typeImage), &manifest)
	configName := blob(manifest.Config, typeConfig)
	read(configName, &config)
	if len(manifest.Layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		t.Fatalf("%+v %+v", manifest, config)
	}
	layerName := blob(manifest.Layers[0], typeLayer)
	read("manifest.json", &saved)
	if len(saved) != 1 || saved[0].Config != configName || len(saved[0].Layers) != 1 || saved[0].Layers[0] != layerName || saved[0].RepoTags[0] != "podgate:1.2.3-rc.1" {
		t.Errorf("%+v", saved)
	}
	zip, err := gzip.NewReader(bytes.NewReader(files[layerName].content))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(zip)
	if err != nil || config.RootFS.DiffIDs[0] != fmt.Sprintf("sha256:%x", sha256.Sum256(layer)) {
		t.Fatalf("the layer is not the one of the configuration: %v", err)
	}
	inside := entriesOf(t, layer)
	c := config.Config
	if program := inside[c.Entrypoint[0][1:]]; program.Mode != 0o755 || program.Uid != 0 || len(program.content) < 1<<20 {
		t.Errorf("the program has mode %o, owner %d and %d bytes", program.Mode, program.Uid, len(program.content))
	}
	for volume := range c.Volumes {
		if data := inside[volume[1:]+"/"]; fmt.Sprintf("%d:%d", data.Uid, data.Gid) != c.User || data.Uid == 0 || data.Mode != 0o700 {
			t.Errorf("%s is of %d with mode %o, and the user is %s", volume, data.Uid, data.Mode, c.User)
		}
	}
	if roots := x509.NewCertPool(); !roots.AppendCertsFromPEM(inside["etc/ssl/certs/ca-certificates.crt"].content) {
		t.Error("nobody is trusted")
	}
	if len(inside) != 14 || config.Architecture != here.arch || c.Labels["org.opencontainers.image.revision"] == "" {
		t.Errorf("%d files, %+v", len(inside), config)
	}
}
