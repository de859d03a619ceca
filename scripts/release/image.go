package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"podgate/internal/service"
)

// This file writes an image for containers: one layer on nothing, with the program and the
// folders that it needs. The tar is both an OCI image layout (image-layout.md of the
// image specification, 1.1) and what «docker save» writes, so Docker, Podman, containerd
// and skopeo all load it.

const (
	imageName  = "podgate"
	typeIndex  = "application/vnd.oci.image.index.v1+json"
	typeImage  = "application/vnd.oci.image.manifest.v1+json"
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor says where a part of the image is, and proves it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type imageManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

type imageIndex struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type imageConfig struct {
	platform
	Created string          `json:"created"`
	Config  containerConfig `json:"config"`
	RootFS  rootFS          `json:"rootfs"`
	History []history       `json:"history"`
}

type containerConfig struct {
	User         string
	ExposedPorts map[string]struct{}
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      map[string]struct{}
	WorkingDir   string
	Labels       map[string]string
	StopSignal   string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// savedImage is an entry of Docker's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// imageUser runs podgate in a container: pods need user namespaces, not root.
const imageUser = 65532

const imageData = "/var/lib/podgate"

// image writes an image for a system.
func (r *release) image(t target, program []byte) error {
	created, tag := r.date.Format(time.RFC3339), r.number()
	layer, err := tarred(imageFiles(program), r.date, map[string]int{imageData[1:] + "/": imageUser})
	if err != nil {
		return err
	}
	zip, err := zipped(layer)
	if err != nil {
		return err
	}
	about := map[string]string{
		"org.opencontainers.image.title": imageName, "org.opencontainers.image.version": tag, "org.opencontainers.image.revision": r.commit,
		"org.opencontainers.image.created": created, "org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.description": "Small apps by AI assistants, on your own machine",
	}
	var files []member
	blob := func(kind string, content []byte) descriptor {
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		files = append(files, member{"blobs/sha256/" + sum, content, 0o644})
		return descriptor{MediaType: kind, Digest: "sha256:" + sum, Size: len(content)}
	}
	asJSON := func(v any) []byte {
		raw, jsonErr := json.Marshal(v)
		if jsonErr != nil {
			err = jsonErr
		}
		return raw
	}
	layers := []descriptor{blob(typeLayer, zip)}
	config := blob(typeConfig, asJSON(imageConfig{
		platform: platform{t.arch, t.os}, Created: created,
		Config: containerConfig{
			User: fmt.Sprintf("%d:%d", imageUser, imageUser), ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "PODGATE_DATA_DIR=" + imageData, "PODGATE_LISTEN=:8080"},
			Entrypoint: []string{service.ProgramPath}, Cmd: []string{"serve"},
			Volumes: map[string]struct{}{imageData: {}}, WorkingDir: "/", Labels: about, StopSignal: "SIGTERM",
		},
		RootFS:  rootFS{"layers", []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
		History: []history{{created, "podgate " + r.version}},
	}))
	manifest := blob(typeImage, asJSON(imageManifest{2, typeImage, config, layers, about}))
	manifest.Platform = &platform{t.arch, t.os}
	manifest.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/" + imageName + ":" + tag, "org.opencontainers.image.ref.name": tag}
	files = append(files,
		member{"index.json", asJSON(imageIndex{2, typeIndex, []descriptor{manifest}}), 0o644},
		member{"manifest.json", asJSON([]savedImage{{files[1].name, []string{imageName + ":" + tag}, []string{files[0].name}}}), 0o644},
		member{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644},
	)
	if err != nil {
		return err
	}
	raw, err := tarred(relative(withFolders(files)), r.date, nil)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("podgate_%s_image_%s.tar", r.number(), t.arch), raw, 0o644)
}

// imageFiles are what is in an image: the program, whom to trust, and folders to write to.
func imageFiles(program []byte) []member {
	files := relative(withFolders([]member{
		{"./etc/passwd", []byte(fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\npodgate:x:%d:%d:podgate:%s:/sbin/nologin\n", imageUser, imageUser, imageData)), 0o644},
		{"./etc/group", []byte(fmt.Sprintf("root:x:0:\npodgate:x:%d:\n", imageUser)), 0o644},
		{"./etc/ssl/certs/ca-certificates.crt", trustedRoots(), 0o644},
		{"." + service.ProgramPath, program, 0o755},
	}))
	return append(files, member{"tmp/", nil, 0o1777}, member{"var/", nil, 0o755}, member{"var/lib/", nil, 0o755}, member{imageData[1:] + "/", nil, 0o700})
}

// relative takes the leading ./ from names, and the folder of that name away.
func relative(files []member) []member {
	for i := range files {
		files[i].name = strings.TrimPrefix(files[i].name, "./")
	}
	return files[1:]
}

// trustedRoots are the certificates of Mozilla's list that hold without further
// conditions, which a file cannot have. They come with a module, so that every machine
// makes the same image.
func trustedRoots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return b.Bytes()
}
