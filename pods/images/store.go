package images

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	namesFile    = "names.json"
	workPrefix   = ".work-"
	maxAtOnce    = 2                // images that are pulled at the same time
	silence      = time.Minute      // without a byte ends a pull
	sayEvery     = 10 * time.Second // how often a long layer is told of
	namesVersion = 1
)

// Config is what Open wants to know.
type Config struct {
	Dir string           // where images are; made when absent
	Log *slog.Logger     // nil: slog.Default
	Now func() time.Time // required
	// Owner is the uid that unpacked files belong to; -1: that of this process.
	Owner int
	// MaxSize is how many bytes all images may have together, MaxImage how many one.
	MaxSize, MaxImage int64
	// Used names the digests that pods have as their root, which stay. nil: none.
	Used func() ([]string, error)
	// Left is how many bytes may still be written to the disk of Dir. nil: no bound.
	Left func() (int64, error)
	// Logins is a file of passwords in Docker's form; empty: none. See readLogins.
	Logins string
	// Transport asks registries; nil: one over TLS, with the proxies of the environment.
	Transport http.RoundTripper
}

// Store keeps images. It is safe for concurrent use; Dir is one Store's alone.
type Store struct {
	cfg       Config
	transport http.RoundTripper
	logins    map[string]authn.AuthConfig
	room      chan struct{} // a token each pull
	life      context.Context
	end       context.CancelFunc
	pulls     flights[Image] // by reference, and by digest

	mu       sync.Mutex
	names    map[string]Kept
	held     map[string]int // digests that somebody is about to use
	reserved int64          // bytes that pulls may still need
}

// Open prepares Dir, and removes from it what a crash has left half done.
func Open(cfg Config) (*Store, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	s := &Store{cfg: cfg, transport: onlyTLS{cfg.Transport}, room: make(chan struct{}, maxAtOnce), held: map[string]int{}, names: map[string]Kept{}}
	var err error
	if cfg.Logins != "" {
		if s.logins, err = readLogins(cfg.Logins); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(s.sweep(), s.readNames()); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what is being pulled.
func (s *Store) Close() {
	s.end()
	s.pulls.wait()
}

func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), workPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.cfg.Dir, e.Name())))
		}
	}
	return err
}

// kept is the file with what references name.
type kept struct {
	Version int    `json:"version"`
	Images  []Kept `json:"images"`
}

func (s *Store) readNames() error {
	raw, err := os.ReadFile(filepath.Join(s.cfg.Dir, namesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all kept
	if err := json.Unmarshal(raw, &all); err != nil || all.Version != namesVersion {
		return fmt.Errorf("%s in %s cannot be read (version %d); delete it, and images are looked for anew", namesFile, s.cfg.Dir, all.Version)
	}
	for _, k := range all.Images {
		s.names[k.Reference] = k
	}
	return nil
}

// setName notes what a reference names; the zero Kept: nothing any more. The disk has it
// on return.
func (s *Store) setName(reference string, k Kept) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, was := s.names[reference]
	if k.Digest == "" {
		delete(s.names, reference)
	} else {
		s.names[reference] = k
	}
	raw, err := json.MarshalIndent(kept{namesVersion, s.listLocked()}, "", "\t")
	if err == nil {
		err = s.write(namesFile, raw)
	}
	if err != nil {
		delete(s.names, reference)
		if was {
			s.names[reference] = before
		}
	}
	return err
}

// List returns what references name, in their order.
func (s *Store) List() []Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listLocked()
}

func (s *Store) listLocked() []Kept {
	all := []Kept{}
	for _, k := range s.names {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kept) int { return strings.Compare(a.Reference, b.Reference) })
	return all
}

// write makes a file of Dir, whole or not at all.
func (s *Store) write(name string, raw []byte) error {
	temporary := filepath.Join(s.cfg.Dir, workPrefix+rand.Text())
	err := writeFile(temporary, raw)
	if err == nil {
		err = os.Rename(temporary, filepath.Join(s.cfg.Dir, name))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temporary))
	}
	return syncFolder(s.cfg.Dir)
}

func writeFile(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Get returns the image that a reference has named since it was first asked for, which
// is pulled when it is not here. Who asks for one that somebody is pulling waits for the
// same pull, which ends with the last of them. say hears what is done, from one goroutine
// at a time and only before Get returns. The image stays at least until release is
// called.
func (s *Store) Get(ctx context.Context, r Reference, say func(string)) (_ Image, release func(), err error) {
	image, err := s.have(r.String())
	if errors.Is(err, fs.ErrNotExist) {
		return s.fetch(ctx, r, s.digest(r.String()), say)
	}
	return image, s.releaser(image.Digest), err
}

// Pull is Get of what the reference names now, and has it name that from now on.
func (s *Store) Pull(ctx context.Context, r Reference, say func(string)) (_ Image, release func(), err error) {
	return s.fetch(ctx, r, "", say)
}

// digest is what a reference has named so far; empty: it was not asked for yet.
func (s *Store) digest(reference string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[reference].Digest
}

// fetch is Pull of the image with that digest; of what there is now when it is empty.
func (s *Store) fetch(ctx context.Context, r Reference, digest string, say func(string)) (_ Image, release func(), err error) {
	_, err = s.pulls.join(ctx, s.life, r.String()+" "+digest, say, func(ctx context.Context, say func(string)) (Image, error) {
		return s.pull(ctx, r, digest, say)
	})
	var image Image
	if err == nil {
		image, err = s.have(r.String())
	}
	if err != nil {
		return Image{}, nil, &PullError{r.String(), err}
	}
	return image, s.releaser(image.Digest), nil
}

// PullError says why an image cannot be had, in words for a person.
type PullError struct {
	Reference string
	Err       error
}

func (e *PullError) Error() string {
	return fmt.Sprintf("the image %s cannot be had: %s", e.Reference, wordsOf(e.Err))
}

func (e *PullError) Unwrap() error { return e.Err }

// have returns the image that a reference names, held. The error is fs.ErrNotExist when
// it is not here.
func (s *Store) have(reference string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.names[reference]
	if !ok {
		return Image{}, fs.ErrNotExist
	}
	image, err := s.load(k.Digest)
	if err == nil {
		s.held[image.Digest]++
	}
	return image, err
}

func (s *Store) hold(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[digest]++
}

func (s *Store) releaser(digest string) func() {
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held[digest]--; s.held[digest] == 0 {
			delete(s.held, digest)
		}
	})
}

// pull finds out what r names, has it unpacked and notes it.
func (s *Store) pull(ctx context.Context, r Reference, digest string, say func(string)) (Image, error) {
	select {
	case s.room <- struct{}{}:
	default:
		say("waiting for other images")
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return Image{}, ctx.Err()
		}
	}
	defer func() { <-s.room }()
	ctx, watch := newWatch(ctx)
	defer watch.end()
	say("looking for the image " + r.String())
	c, closer, err := s.open(ctx, r, digest)
	if err != nil {
		return Image{}, watch.cause(err)
	}
	defer closer()
	s.hold(c.digest)
	defer s.releaser(c.digest)()
	image, err := s.unpacked(ctx, c, watch, say)
	if err != nil {
		return Image{}, watch.cause(err)
	}
	if err := s.setName(r.String(), Kept{r.String(), image.Digest, s.cfg.Now().UTC()}); err != nil {
		return Image{}, err
	}
	if err := s.Collect(); err != nil {
		s.cfg.Log.Warn("images that nobody uses are still there", "error", err)
	}
	return image, nil
}

// unpacked returns the image with the digest of c, unpacking it when it is not there.
// Who waits for somebody else's unpacking does it when that one goes away.
func (s *Store) unpacked(ctx context.Context, c *content, w *watch, say func(string)) (image Image, err error) {
	heard := func(line string) { w.alive(); say(line) }
	for {
		image, err = s.pulls.join(ctx, s.life, c.digest, heard, func(ctx context.Context, say func(string)) (Image, error) {
			image, err := s.load(c.digest)
			if errors.Is(err, fs.ErrNotExist) {
				image, err = s.unpack(ctx, c, w, say)
			}
			return image, err
		})
		if ctx.Err() != nil || s.life.Err() != nil || !errors.Is(err, context.Canceled) {
			return image, err
		}
	}
}

// unpack makes the folder of an image. Nothing of it is seen before the disk has all.
func (s *Store) unpack(ctx context.Context, c *content, w *watch, say func(string)) (_ Image, err error) {
	if !validDigest(c.digest) {
		return Image{}, refuse("its digest is of a kind that podgate does not know")
	}
	facts, err := factsOf(c.config.Config)
	if err != nil {
		return Image{}, err
	}
	most, done, err := s.reserve(c.size)
	if err != nil {
		return Image{}, err
	}
	defer done()
	work := filepath.Join(s.cfg.Dir, workPrefix+rand.Text())
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	if err := os.MkdirAll(filepath.Join(work, rootFolder), 0o700); err != nil {
		return Image{}, err
	}
	root, err := os.OpenRoot(filepath.Join(work, rootFolder))
	if err != nil {
		return Image{}, err
	}
	defer root.Close()
	u := &unpacker{root: root, owner: s.cfg.Owner, left: most}
	tell := &teller{say: say, now: s.cfg.Now, told: s.cfg.Now()}
	came := func(n int) error {
		w.alive()
		tell.add(n)
		return context.Cause(ctx)
	}
	if err := c.unpack(u, say, came); err != nil {
		return Image{}, cmp.Or(context.Cause(w.ctx), context.Cause(ctx), err)
	}
	if err := errors.Join(root.Chmod(".", folderMode), u.own("."), os.Chmod(work, folderMode)); err != nil {
		return Image{}, err
	}
	facts.Size, facts.Files = u.total, u.entries
	return s.publish(work, Image{Digest: c.digest, Facts: facts})
}

// publish moves a finished folder to its place.
func (s *Store) publish(work string, i Image) (Image, error) {
	raw, err := json.Marshal(i)
	if err != nil {
		return Image{}, err
	}
	if err := writeFile(filepath.Join(work, factsFile), raw); err != nil {
		return Image{}, err
	}
	dir, err := os.Open(work)
	if err != nil {
		return Image{}, err
	}
	if err := errors.Join(syncAll(dir), dir.Close()); err != nil {
		return Image{}, err
	}
	if err := os.Rename(work, filepath.Join(s.cfg.Dir, folderOf(i.Digest))); err != nil {
		return Image{}, err
	}
	if err := syncFolder(s.cfg.Dir); err != nil {
		return Image{}, err
	}
	return s.load(i.Digest)
}
