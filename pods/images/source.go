package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	maxManifest = 4 << 20  // bytes
	maxConfig   = 4 << 20  // bytes
	maxLayers   = 200      // of one image
	ratioFloor  = 64 << 20 // bytes that a layer may unpack to, however small it is
	maxRatio    = 200      // bytes of more than that for each byte of the layer
)

// content is an image that can be unpacked. Its layers are checked as they are read,
// its manifest and configuration have been.
type content struct {
	digest string
	config *v1.ConfigFile
	layers []v1.Layer
	size   int64 // bytes of all layers as they come
}

// open finds the image that r names now, or that it named when that had the digest. ctx
// ends what is read of it, too. The function lets go of it.
func (s *Store) open(ctx context.Context, r Reference, digest string) (*content, func(), error) {
	if digest != "" && !r.IsFile() {
		r.at = r.at.Context().Digest(digest)
	}
	image, closer, err := s.find(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	c, err := check(image)
	if err == nil && digest != "" && c.digest != digest {
		err = refuse("it is another than it was when pods began to use it; put that back, or give this one another name")
	}
	if err != nil {
		closer()
		return nil, nil, err
	}
	return c, closer, nil
}

func (s *Store) find(ctx context.Context, r Reference) (v1.Image, func(), error) {
	if r.IsFile() {
		return openFile(r.file)
	}
	image, err := remote.Image(r.at, remote.WithContext(ctx), remote.WithTransport(s.transport), remote.WithUserAgent("podgate"),
		remote.WithPlatform(platform()), remote.WithAuth(s.credentials(r.at.Context().RegistryStr())))
	return image, func() {}, err
}

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// check reads manifest and configuration, and compares them with their digests.
func check(image v1.Image) (*content, error) {
	raw, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	if len(raw) > maxManifest {
		return nil, refuse("its manifest is over %d MiB", maxManifest>>20)
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, refuse("its manifest cannot be read: %v", err)
	}
	if err := checkManifest(manifest); err != nil {
		return nil, err
	}
	c := &content{digest: digest.String()}
	if c.config, err = checkConfig(image, manifest); err != nil {
		return nil, err
	}
	for _, l := range manifest.Layers {
		c.size += l.Size
	}
	c.layers, err = image.Layers()
	if err == nil && len(c.layers) != len(c.config.RootFS.DiffIDs) {
		err = refuse("it has %d layers and the digests of %d", len(c.layers), len(c.config.RootFS.DiffIDs))
	}
	return c, err
}

func checkManifest(m *v1.Manifest) error {
	switch {
	case m.Config.Size < 0 || m.Config.Size > maxConfig:
		return refuse("its configuration is over %d MiB", maxConfig>>20)
	case len(m.Layers) > maxLayers:
		return refuse("it has more than %d layers", maxLayers)
	}
	for _, l := range m.Layers {
		// What is at an address that the manifest names is asked for from here, which
		// is near places that are nobody's business.
		if !l.MediaType.IsLayer() || !l.MediaType.IsDistributable() || len(l.URLs) > 0 {
			return refuse("it has a layer of a kind that podgate does not take (%s)", short(string(l.MediaType)))
		}
		if l.Size < 0 {
			return refuse("it has a layer with a size below zero")
		}
	}
	return nil
}

func checkConfig(image v1.Image, m *v1.Manifest) (*v1.ConfigFile, error) {
	raw, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	if digest, _, err := v1.SHA256(bytes.NewReader(raw)); err != nil || digest != m.Config.Digest {
		return nil, errors.Join(err, refuse("its configuration is not what its manifest says"))
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, refuse("its configuration cannot be read: %v", err)
	}
	here := platform()
	if config.OS != "" && config.OS != here.OS || config.Architecture != "" && config.Architecture != here.Architecture {
		return nil, refuse("it is for %s/%s, and this machine is %s/%s", short(config.OS), short(config.Architecture), here.OS, here.Architecture)
	}
	return config, nil
}

// unpack puts all layers below u's root. say hears of each.
func (c *content) unpack(u *unpacker, say func(string), came func(int) error) error {
	for i, l := range c.layers {
		size, err := l.Size()
		if err != nil {
			return err
		}
		say(fmt.Sprintf("layer %d of %d, %.1f MB", i+1, len(c.layers), float64(size)/1e6))
		if err := unpackLayer(u, l, c.config.RootFS.DiffIDs[i], size, came); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return nil
}

// unpackLayer unpacks a layer whose bytes have the digest want once they are no longer
// compressed. That is looked at when all have come; until then nobody sees what was made.
func unpackLayer(u *unpacker, l v1.Layer, want v1.Hash, size int64, came func(int) error) (err error) {
	raw, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	hash, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return refuse("its digest is of a kind that podgate does not know")
	}
	most := int64(ratioFloor)
	if size < 1<<40 {
		most += maxRatio * size
	}
	bounded := &boundedReader{from: io.TeeReader(raw, hash), left: most, came: came}
	if err := u.layer(bounded); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil { // what is after the end of the archive
		return err
	}
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != want.Hex {
		return refuse("its content is not what the image's configuration says")
	}
	return nil
}

// boundedReader fails when more comes than may, and tells that something came.
type boundedReader struct {
	from io.Reader
	left int64
	came func(n int) error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if n > 0 {
		if err := b.came(n); err != nil {
			return 0, err
		}
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, refuse("unpacks to more than %d times its size", maxRatio)
	}
	return n, err
}

// newTransport is how registries are asked. Proxies are those of the environment.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 15 * time.Second}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 1 << 20,
	}
}

// onlyTLS refuses to speak plain HTTP with other machines: the library would with some
// names and with addresses of local networks, and whoever is on the way could then read
// passwords.
type onlyTLS struct{ http.RoundTripper }

func (o onlyTLS) RoundTrip(r *http.Request) (*http.Response, error) {
	if a, err := netip.ParseAddr(r.URL.Hostname()); r.URL.Scheme != "https" && r.URL.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil, fmt.Errorf("the registry at %s does not speak TLS, and passwords are not sent without", r.URL.Host)
	}
	return o.RoundTripper.RoundTrip(r)
}

// credentials are what the registry is shown.
func (s *Store) credentials(registry string) authn.Authenticator {
	if c, ok := s.logins[registry]; ok {
		return authn.FromConfig(c)
	}
	return authn.Anonymous
}

// wordsOf is what went wrong, for a person.
func wordsOf(err error) string {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err.Error()
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return "the registry does not have it, or not for everybody"
	case http.StatusTooManyRequests:
		return "the registry was asked too often and wants us to wait"
	}
	return fmt.Sprintf("the registry answered %d", answer.StatusCode)
}
