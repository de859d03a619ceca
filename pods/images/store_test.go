package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// left is what is in the folder of a store.
func left(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What a registry serves is not believed, and nothing is left of what is refused.
func TestRegistryThatLies(t *testing.T) {
	t.Parallel()
	good := layerOf(t, entry{name: "a", content: strings.Repeat("content ", 5000)})
	blob := func(change func([]byte) []byte) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
					next.ServeHTTP(w, r)
					return
				}
				recorder := httptest.NewRecorder()
				next.ServeHTTP(recorder, r)
				w.WriteHeader(recorder.Code)
				_, _ = w.Write(change(recorder.Body.Bytes()))
			})
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"another byte":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"the last byte": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b },
		"cut":           func(b []byte) []byte { return b[:len(b)-1] },
		"half":          func(b []byte) []byte { return b[:len(b)/2] },
		"nothing":       func([]byte) []byte { return nil },
		"more":          func(b []byte) []byte { return append(bytes.Clone(b), "more"...) },
		"twice":         func(b []byte) []byte { return slices.Concat(b, b) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := serveRegistry(t, blob(change))
			push(t, host+"/a:1", imageOf(t, v1.Config{}, good))
			s := openStore(t, nil)
			_, _, err := s.Get(t.Context(), parse(t, host+"/a:1"), quiet)
			var pull *PullError
			if !errors.As(err, &pull) {
				t.Fatalf("%v", err)
			}
			if got := left(t, s); len(got) > 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// A layer that is what its compressed digest says but not what the configuration says.
func TestLayerOfAnotherImage(t *testing.T) {
	t.Parallel()
	image := imageOf(t, v1.Config{}, layerOf(t, entry{name: "a"}))
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	host := serveRegistry(t, nil)
	push(t, host+"/a:1", image)
	s := openStore(t, nil)
	if _, _, err := s.Get(t.Context(), parse(t, host+"/a:1"), quiet); err == nil || !strings.Contains(err.Error(), "configuration says") {
		t.Errorf("%v", err)
	}
}

// A manifest in which a person's registry could be asked for what is none of its business.
func TestForeignLayers(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]v1.Manifest{
		"an address":  {Layers: []v1.Descriptor{{MediaType: types.OCILayer, URLs: []string{"http://127.0.0.1/"}}}},
		"foreign":     {Layers: []v1.Descriptor{{MediaType: types.DockerForeignLayer}}},
		"no layer":    {Layers: []v1.Descriptor{{MediaType: "application/pdf"}}},
		"below zero":  {Layers: []v1.Descriptor{{MediaType: types.OCILayer, Size: -1}}},
		"many":        {Layers: make([]v1.Descriptor, maxLayers+1)},
		"large":       {Config: v1.Descriptor{Size: maxConfig + 1}},
		"large, back": {Config: v1.Descriptor{Size: -1}},
	} {
		var refused *refusal
		if err := checkManifest(&m); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bombs are refused by what they unpack to, whatever they say.
func TestBombs(t *testing.T) {
	t.Parallel()
	zeros := layerOf(t, entry{name: "a", content: strings.Repeat("\x00", 80<<20)})
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(zeros)), nil })
	if err != nil {
		t.Fatal(err)
	}
	diff, err := layer.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	fine := func(int) error { return nil }
	if err := unpackLayer(&unpacker{root: root, owner: -1, left: 1 << 30}, layer, diff, 1000, fine); err == nil || !strings.Contains(err.Error(), "times its size") {
		t.Errorf("%v", err)
	}
	if err := unpackLayer(&unpacker{root: root, owner: -1, left: 1 << 20}, layer, diff, 1<<30, fine); err == nil || !strings.Contains(err.Error(), "room for") {
		t.Errorf("%v", err)
	}
	if err := unpackLayer(&unpacker{root: root, owner: -1, left: 1 << 30}, layer, diff, 1<<30, fine); err != nil {
		t.Errorf("%v", err)
	}
}

// An image for another processor, or with more strings than a process can be given.
func TestImagesThatDoNotFit(t *testing.T) {
	t.Parallel()
	host := serveRegistry(t, nil)
	s := openStore(t, nil)
	other := imageOf(t, v1.Config{})
	config, _ := other.ConfigFile()
	config = config.DeepCopy()
	config.Architecture = "pdp11"
	other, err := mutate.ConfigFile(other, config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		image v1.Image
		want  string
	}{
		"pdp11": {other, "is for linux/pdp11"},
		"env":   {imageOf(t, v1.Config{Env: []string{"A=" + strings.Repeat("x", maxStrings)}}), "KiB together"},
		"zero":  {imageOf(t, v1.Config{Cmd: []string{"a\x00b"}}), "zero byte"},
	} {
		push(t, host+"/"+name+":1", c.image)
		if _, _, err := s.Get(t.Context(), parse(t, host+"/"+name+":1"), quiet); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.Get(t.Context(), parse(t, host+"/absent:1"), quiet); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Errorf("%v", err)
	}
}

// Passwords go to the registry they are for, over TLS or to this machine, and to nobody
// that it sends us on to.
func TestPasswordsStay(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	elsewhere := map[string]int{}
	var blobs http.Handler
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		elsewhere[r.Header.Get("Authorization")]++
		mu.Unlock()
		blobs.ServeHTTP(w, r)
	}))
	defer other.Close()
	asked := map[string]int{}
	host := serveRegistry(t, func(next http.Handler) http.Handler {
		blobs = next
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			mu.Lock()
			asked[user+":"+password]++
			mu.Unlock()
			switch {
			case r.Method != http.MethodGet:
				next.ServeHTTP(w, r) // pushing is the test's
			case user != "ada" || password != "secret":
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			case strings.Contains(r.URL.Path, "/blobs/"):
				http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	open := httptest.NewServer(blobs)
	defer open.Close()
	push(t, strings.TrimPrefix(open.URL, "http://")+"/a:1", imageOf(t, v1.Config{}, layerOf(t, entry{name: "a"})))
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {%q: {"auth": "YWRhOnNlY3JldA=="}}, "credsStore": "never-run"}`, host), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, func(c *Config) { c.Logins = file })
	if _, release, err := s.Get(t.Context(), parse(t, host+"/a:1"), quiet); err != nil {
		t.Fatal(err)
	} else {
		release()
	}
	if len(elsewhere) != 1 || elsewhere[""] == 0 || asked["ada:secret"] == 0 {
		t.Errorf("elsewhere %v, asked %v", elsewhere, asked)
	}
	if _, _, err := openStore(t, nil).Get(t.Context(), parse(t, host+"/a:1"), quiet); err == nil || !strings.Contains(err.Error(), "not for everybody") {
		t.Errorf("%v", err)
	}
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOnlyTLS(t *testing.T) {
	t.Parallel()
	asked := 0
	o := onlyTLS{roundTrip(func(*http.Request) (*http.Response, error) { asked++; return nil, io.EOF })}
	for address, want := range map[string]bool{
		"https://example.com/": true, "https://10.0.0.1/": true, "http://127.0.0.1:5000/": true, "http://[::1]:5000/": true, "http://localhost:1/": true,
		"http://example.com/": false, "http://10.0.0.1:5000/": false, "http://registry.local/": false, "http://localhost.example.com/": false, "ftp://example.com/": false,
	} {
		asked = 0
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.RoundTrip(r); (asked == 1) != want || err == nil {
			t.Errorf("%s: asked %d times, %v", address, asked, err)
		}
	}
}

// Who asks for the same at the same time waits for one pull; the last to go ends it.
func TestPullsAreShared(t *testing.T) {
	t.Parallel()
	var served, cut atomic.Int32
	gate := make(chan struct{})
	waiting := make(chan struct{}, 100)
	host := serveRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
				served.Add(1)
				waiting <- struct{}{}
				select {
				case <-gate:
				case <-r.Context().Done():
					cut.Add(1)
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	push(t, host+"/a:1", imageOf(t, v1.Config{}, layerOf(t, entry{name: "a"})))
	s := openStore(t, nil)
	var all sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	get := func(ctx context.Context, want error) {
		all.Go(func() {
			image, release, err := s.Get(ctx, parse(t, host+"/a:1"), quiet)
			if !errors.Is(err, want) || want == nil && len(treeOf(t, image.Root)) != 1 {
				t.Errorf("%v, want %v", err, want)
			}
			if err == nil {
				release()
			}
		})
	}
	get(ctx, context.Canceled)
	<-waiting
	for range 10 {
		get(t.Context(), nil)
	}
	for {
		s.pulls.mu.Lock()
		fl := s.pulls.flying[parse(t, host+"/a:1").String()+" "]
		fl.mu.Lock()
		n := len(fl.waiting)
		fl.mu.Unlock()
		s.pulls.mu.Unlock()
		if n == 11 {
			break
		}
	}
	leave() // whoever began it
	close(gate)
	all.Wait()
	if served.Load() != 1 {
		t.Errorf("the manifest was asked for %d times", served.Load())
	}
}

func TestPullThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}), make(chan struct{})
	host := serveRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				close(begun)
				<-r.Context().Done()
				close(ended)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	push(t, host+"/a:1", imageOf(t, v1.Config{}, layerOf(t, entry{name: "a"})))
	s := openStore(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-begun; leave() }()
	if _, _, err := s.Get(ctx, parse(t, host+"/a:1"), quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-ended
	s.pulls.wait()
	if got := left(t, s); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// What a crash leaves is removed, what is whole stays, and the names are known again.
func TestStoreAfterACrash(t *testing.T) {
	t.Parallel()
	host := serveRegistry(t, nil)
	push(t, host+"/a:1", imageOf(t, v1.Config{}, layerOf(t, entry{name: "a"})))
	dir := t.TempDir()
	s := openStore(t, func(c *Config) { c.Dir = dir })
	image, release, err := s.Get(t.Context(), parse(t, host+"/a:1"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	release()
	s.Close()
	if err := os.MkdirAll(filepath.Join(dir, workPrefix+"x", rootFolder, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, func(c *Config) {
		c.Dir = dir
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.EOF })
	})
	if got, want := left(t, again), []string{namesFile, folderOf(image.Digest)}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	got, release, err := again.Get(t.Context(), parse(t, host+"/a:1"), quiet)
	if err != nil || got.Digest != image.Digest {
		t.Fatalf("%v, %v", got, err)
	}
	release()
}

// What no name and no pod needs goes; what somebody has stays, also when it is in the way.
func TestCollect(t *testing.T) {
	t.Parallel()
	host := serveRegistry(t, nil)
	var mu sync.Mutex
	var used []string
	s := openStore(t, func(c *Config) {
		c.MaxSize, c.MaxImage = 4<<20, 2<<20
		c.Used = func() ([]string, error) { mu.Lock(); defer mu.Unlock(); return used, nil }
	})
	get := func(name, content string, pull bool) (Image, error) {
		push(t, host+"/"+name, imageOf(t, v1.Config{}, layerOf(t, entry{name: "a", content: content})))
		do := s.Get
		if pull {
			do = s.Pull
		}
		image, release, err := do(t.Context(), parse(t, host+"/"+name), quiet)
		if err == nil {
			release()
		}
		return image, err
	}
	has := func(want ...Image) {
		t.Helper()
		var got []string
		for _, name := range left(t, s) {
			if d := digestOf(name); d != "" {
				got = append(got, d)
			}
		}
		var wanted []string
		for _, i := range want {
			wanted = append(wanted, i.Digest)
		}
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("there are %q, want %q", got, wanted)
		}
	}
	big := strings.Repeat("x", 1<<20)
	one, err := get("a:1", big+"1", false)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	used = []string{one.Digest}
	mu.Unlock()
	two, err := get("a:1", big+"2", true)
	if err != nil {
		t.Fatal(err)
	}
	has(one, two) // a pod has one, the name is two's
	three, err := get("b:1", big+"3", false)
	if err != nil {
		t.Fatal(err)
	}
	has(one, three) // two was what could be spared
	mu.Lock()
	used = nil
	mu.Unlock()
	if err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	has(three)
	// Its name still has its digest, though the registry has moved on.
	push(t, host+"/a:1", empty.Image)
	push(t, host+"/a:old", imageOf(t, v1.Config{}, layerOf(t, entry{name: "a", content: big + "2"})))
	again, release, err := s.Get(t.Context(), parse(t, host+"/a:1"), quiet)
	if err != nil || again.Digest != two.Digest {
		t.Fatalf("%v, %v", again, err)
	}
	release()
	if err := s.Remove(parse(t, host+"/a:1").String()); err != nil {
		t.Fatal(err)
	}
	has(three)
	if err := s.Remove("example.com/a:1"); err == nil {
		t.Error("what is not there was removed")
	}
	if _, err := get("c:1", strings.Repeat("x", 2<<20), false); err == nil || !strings.Contains(err.Error(), "room for") {
		t.Errorf("%v", err)
	}
}
