package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/restic/chunker"
)

// Repository is the backups of one server in a Storage:
//
//	podgate.json                 whose they are
//	podgate-TIME/TIME.backup     a backup, of the generation that began at the first TIME
//	podgate-TIME/NUMBER.pack     contents, of any backup of the generation
//
// A backup is a file in the form of [Write] whose entries have in place of their contents
// where these are in packs. A generation is whole in itself; after a month another one
// begins, and one of which no backup is kept goes. So nothing that was written is ever
// read or written anew, which a server could not do that encrypts for others. Where there
// are recipients each of the files is encrypted.
type Repository struct {
	Storage    Storage
	Recipients []Recipient
	Keys       []string // the recipients as they were written
	// Of the last days, weeks and months in which a backup was made, so many keep
	// their newest one. The newest of all is always kept.
	Daily, Weekly, Monthly int
	Dir                    string // the data folder

	size       int         // of packs before compression, in bytes; 0: packSize
	polynomial chunker.Pol // of new generations; 0: a random one
}

const (
	nameOwner    = "podgate.json"
	stampForm    = "20060102T150405Z"
	begins       = "podgate-" // a generation
	suffixBackup = ".backup"
	suffixPack   = ".pack"
	suffixAge    = ".age"

	// generationAge is the age from which a generation gets no more backups.
	generationAge = 30 * 24 * time.Hour
)

// Made is one backup in a Storage.
type Made struct {
	Name       string
	Generation string
	At         time.Time
	Encrypted  bool
	Size       int64 // of the file, without packs
}

func backupName(generation string, at time.Time, encrypted bool) string {
	return sealedName(generation+"/"+at.UTC().Format(stampForm)+suffixBackup, encrypted)
}

func packName(generation string, number uint32, encrypted bool) string {
	return sealedName(fmt.Sprintf("%s/%06d%s", generation, number, suffixPack), encrypted)
}

func sealedName(name string, encrypted bool) string {
	if encrypted {
		name += suffixAge
	}
	return name
}

// generation is what there is of one.
type generation struct {
	backups int
	packs   map[uint32]Object
	bytes   int64 // of packs
}

// has reports whether packs of these sizes are there.
func (g *generation) has(sizes []int64) bool {
	for n, size := range sizes {
		if g.packs[uint32(n)].Size != size {
			return false
		}
	}
	return true
}

// Listing is what is in a Storage.
type Listing struct {
	Made   []Made   // the newest first
	Future []string // say to be from later than a day after now, and count for nothing
	all    map[string]*generation
}

// Backups returns what is in a Storage. Other files are none of ours.
func Backups(ctx context.Context, s Storage, now time.Time) (*Listing, error) {
	objects, err := s.List(ctx, begins)
	if err != nil {
		return nil, err
	}
	l := &Listing{all: map[string]*generation{}}
	for _, o := range objects {
		dir, file := path.Split(o.Name)
		dir = strings.TrimSuffix(dir, "/")
		if stamp, ok := strings.CutPrefix(dir, begins); !ok || !isStamp(stamp) {
			continue
		}
		plain, encrypted := strings.CutSuffix(file, suffixAge)
		g := l.all[dir]
		if g == nil {
			g = &generation{packs: map[uint32]Object{}}
		}
		if stamp, ok := strings.CutSuffix(plain, suffixBackup); ok && isStamp(stamp) {
			g.backups++
			at, _ := time.Parse(stampForm, stamp) // it is one
			switch {
			case o.Size == 0: // cut off by a file system
			case at.After(now.Add(24 * time.Hour)):
				l.Future = append(l.Future, o.Name)
			default:
				l.Made = append(l.Made, Made{o.Name, dir, at, encrypted, o.Size})
			}
		} else if n, err := strconv.ParseUint(strings.TrimSuffix(plain, suffixPack), 10, 32); err == nil && strings.HasSuffix(plain, suffixPack) {
			g.packs[uint32(n)] = o
			g.bytes += o.Size
		} else {
			continue
		}
		l.all[dir] = g
	}
	slices.SortFunc(l.Made, func(a, b Made) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(b.Name, a.Name)) })
	slices.Sort(l.Future)
	return l, nil
}

func isStamp(s string) bool {
	at, err := time.Parse(stampForm, s)
	return err == nil && at.Format(stampForm) == s
}

// At returns the newest backup, or the newest whose time begins with when: a day such as
// 2026-11-26, or more of 20261126T033000Z.
func (l *Listing) At(when string) (Made, error) {
	digits := strings.ReplaceAll(when, "-", "")
	for _, m := range l.Made {
		if strings.HasPrefix(m.At.Format(stampForm), digits) {
			return m, nil
		}
	}
	if len(l.Made) == 0 {
		return Made{}, errors.New("there is no backup")
	}
	var known []string
	for _, m := range l.Made[:min(len(l.Made), 20)] {
		known = append(known, m.At.Format(stampForm))
	}
	return Made{}, fmt.Errorf("there is no backup of %s; the newest are of %s", when, strings.Join(known, ", "))
}

// spare returns those of a list that need not be kept.
func (r *Repository) spare(list []Made) []Made {
	keep := map[string]bool{}
	if len(list) > 0 {
		keep[list[0].Name] = true
	}
	for _, rule := range []struct {
		n    int
		span func(time.Time) string
	}{
		{r.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{r.Weekly, func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprint(year, " ", week) }},
		{r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		seen := map[string]bool{}
		for _, m := range list {
			if span := rule.span(m.At); !seen[span] && len(seen) < rule.n {
				seen[span] = true
				keep[m.Name] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(m Made) bool { return keep[m.Name] })
}

// prune deletes the backups that need not be kept, and the packs that none refers to. A
// generation keeps its packs until it has no backup.
func (r *Repository) prune(ctx context.Context, l *Listing) (err error) {
	for _, m := range r.spare(l.Made) {
		if gone := r.Storage.Delete(ctx, m.Name); gone != nil {
			err = errors.Join(err, gone)
			continue
		}
		l.all[m.Generation].backups--
		l.Made = slices.DeleteFunc(l.Made, func(other Made) bool { return other == m })
	}
	for name, g := range l.all {
		if g.backups == 0 {
			err = errors.Join(err, r.deletePacks(ctx, g, 0))
			delete(l.all, name)
		}
	}
	return err
}

// sweep deletes the packs of backups that were never complete.
func (r *Repository) sweep(ctx context.Context, l *Listing, c *cache) error {
	var err error
	for _, g := range l.all {
		if g.backups == 0 {
			err = errors.Join(err, r.deletePacks(ctx, g, 0))
		}
	}
	if c != nil {
		err = errors.Join(err, r.deletePacks(ctx, l.all[c.Generation], uint32(len(c.Packs))))
	}
	return err
}

// deletePacks deletes those from a number on.
func (r *Repository) deletePacks(ctx context.Context, g *generation, from uint32) (err error) {
	for n, o := range g.packs {
		if n >= from {
			err = errors.Join(err, r.Storage.Delete(ctx, o.Name))
			delete(g.packs, n)
		}
	}
	return err
}

// owner is podgate.json.
type owner struct {
	Application string `json:"application"`
	Server      string `json:"server"`
}

// ErrForeign is that the backups are another server's.
var ErrForeign = errors.New("the backups there are another server's")

// own makes the Storage this server's when it is nobody's.
func (r *Repository) own(ctx context.Context) error {
	id, err := serverID(r.Dir)
	if err != nil {
		return err
	}
	is, err := r.owned(ctx)
	if err != nil || is {
		return err
	}
	raw, err := json.Marshal(owner{application, id})
	if err != nil {
		return err
	}
	return r.Storage.Put(ctx, nameOwner, bytes.NewReader(append(raw, '\n')))
}

// owned reports whether the Storage is this server's or nobody's; another's is
// ErrForeign.
func (r *Repository) owned(ctx context.Context) (bool, error) {
	raw, err := readObject(ctx, r.Storage, nameOwner, 1<<10)
	if isAbsent(err) {
		return false, nil
	}
	var is owner
	if err == nil {
		err = json.Unmarshal(raw, &is)
	}
	here, unread := readStatus(r.Dir)
	err = cmpOr(err, unread)
	if err == nil && is.Server != here.Server {
		err = fmt.Errorf("%w: %s; give each server a place of its own in backup.to, or, if this one has taken the place of that one, say «podgate backup adopt»", ErrForeign, r.Storage)
	}
	return err == nil, err
}

// Release makes a Storage nobody's, and so the next server's that makes a backup there.
func Release(ctx context.Context, s Storage) error { return s.Delete(ctx, nameOwner) }

// serverID is who this server is to others in the same Storage. A restored server is
// another one, since a backup does not have it.
func serverID(dir string) (string, error) {
	s, err := readStatus(dir)
	if err != nil || s.Server != "" {
		return s.Server, err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	s.Server = hex.EncodeToString(id)
	return s.Server, s.write(dir)
}

// keys is the sum of who can open the backups.
func (r *Repository) keys() string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(r.Keys)), "\n")))
	return hex.EncodeToString(sum[:])
}

// usable returns the cache if the next backup can refer to what it knows: it belongs to
// this place and these keys, it is of the newest backup, and its generation is young. One
// that cannot be read is as none.
func (r *Repository) usable(l *Listing, now time.Time) *cache {
	c, err := openCache(r.Dir)
	if err != nil || c == nil {
		return nil // that it cannot be written either is said after the backup
	}
	began, err := time.Parse(stampForm, strings.TrimPrefix(c.Generation, begins))
	g := l.all[c.Generation]
	if err == nil && g != nil && len(l.Made) > 0 && l.Made[0].Name == c.Last && c.Storage == r.Storage.String() && c.Recipients == r.keys() && now.Sub(began) < generationAge && g.has(c.Packs) {
		return c
	}
	c.file.Close() // it was only read
	return nil
}

// WriteFunc writes a backup to w, with its contents in p.
type WriteFunc func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error)

// Make makes a backup, as of now. A process that is killed meanwhile leaves packs that
// the next call takes away, and no backup.
func (r *Repository) Make(ctx context.Context, now time.Time, write WriteFunc) (made Made, m *Manifest, err error) {
	if err := r.own(ctx); err != nil {
		return made, nil, err
	}
	l, err := Backups(ctx, r.Storage, now)
	if err != nil {
		return made, nil, err
	}
	c := r.usable(l, now)
	if c != nil {
		defer c.file.Close()
	}
	if err := r.sweep(ctx, l, c); err != nil {
		return made, nil, err
	}
	if room, err := r.Storage.Room(); err == nil && room < 0 { // it may be full, which nobody says
		if err := r.prune(ctx, l); err != nil {
			return made, nil, err
		}
	}
	if err := r.room(ctx, l, c); err != nil {
		return made, nil, err
	}
	made = Made{At: now.UTC().Truncate(time.Second), Encrypted: len(r.Recipients) > 0}
	if len(l.Made) > 0 && !made.At.After(l.Made[0].At) {
		if l.Made[0].At.Sub(made.At) > time.Minute {
			return made, nil, fmt.Errorf("the newest backup is of %s, later than now; set the clock, or take it away", l.Made[0].At.Format(stampForm))
		}
		made.At = l.Made[0].At.Add(time.Second) // the next second, or a clock that was set a little
	}
	p, head, err := r.packs(c, made.At) // which no generation that has a backup can have as its name
	if err != nil {
		return made, nil, err
	}
	defer p.files.now.close()
	made.Generation, made.Name = p.generation, backupName(p.generation, made.At, made.Encrypted)
	p.at = made.At
	file, err := newSpool(r.Dir)
	if err != nil {
		return made, nil, err
	}
	defer file.close()
	if err := p.begin(ctx); err != nil {
		return made, nil, err
	}
	err = Encrypt(file, r.Recipients, func(w io.Writer) (err error) { m, err = write(p.ctx, w, p); return err })
	if err := p.end(err); err != nil {
		if ctx.Err() != nil {
			return made, nil, ctx.Err() // the next one takes away what is there
		}
		return made, nil, errors.Join(err, r.undo(p.generation, uint32(len(head.Packs))))
	}
	if _, made.Size, err = file.rewind(); err != nil {
		return made, nil, err
	}
	if err := r.complete(ctx, p, now); err != nil {
		return made, nil, err
	}
	if err := r.Storage.Put(ctx, made.Name, file.file); err != nil {
		return made, nil, err // it may have come all the same, so its packs stay for now
	}
	head.Last, head.Packs = made.Name, p.stored
	if err := writeCache(r.Dir, head, p); err != nil {
		// What is remembered is not of the newest backup, so the next one is whole.
		return made, m, fmt.Errorf("%w: %w", errForgotten, err)
	}
	return made, m, nil
}

// errForgotten is that a backup was made, and what is in it could not be noted.
var errForgotten = errors.New("the next backup will be whole, as what is in this one could not be noted")

// complete makes sure that all that a backup refers to is there, and that nobody else
// has taken the place meanwhile, such as a copy of this server with the same files.
func (r *Repository) complete(ctx context.Context, p *Packs, now time.Time) error {
	if is, err := r.owned(ctx); err != nil || !is {
		return cmpOr(err, ErrForeign)
	}
	l, err := Backups(ctx, r.Storage, now)
	if err != nil {
		return err
	}
	if g := l.all[p.generation]; len(p.stored) > 0 && (g == nil || !g.has(p.stored)) {
		err = fmt.Errorf("packs in %s went or changed while the backup was made, as when two servers share the place; the next one will be whole", r.Storage)
		if gone := os.Remove(filepath.Join(r.Dir, nameCache)); gone != nil && !isAbsent(gone) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// packs makes what takes the contents of the next backup, which is of at.
func (r *Repository) packs(c *cache, at time.Time) (*Packs, cacheHead, error) {
	files, err := newSpool(r.Dir)
	if err != nil {
		return nil, cacheHead{}, err
	}
	p := &Packs{storage: r.Storage, recipients: r.Recipients, size: cmp.Or(r.size, packSize), files: &knownFiles{now: files}}
	if c != nil {
		p.generation, p.polynomial, p.chunks, p.next, p.files.before = c.Generation, chunker.Pol(c.Polynomial), c.chunks, uint32(len(c.Packs)), c.files
		p.stored = slices.Clone(c.Packs)
		return p, c.cacheHead, nil
	}
	p.generation, p.chunks = begins+at.Format(stampForm), map[chunkID]ref{}
	if p.polynomial = r.polynomial; p.polynomial == 0 {
		p.polynomial, err = chunker.RandomPolynomial()
	}
	if err != nil {
		files.close()
		return nil, cacheHead{}, err
	}
	return p, cacheHead{Storage: r.Storage.String(), Recipients: r.keys(), Generation: p.generation, Polynomial: uint64(p.polynomial)}, nil
}

// undo deletes the packs of a backup that failed, if there is a way.
func (r *Repository) undo(name string, from uint32) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the backup's may have ended
	defer cancel()
	objects, err := r.Storage.List(ctx, name+"/")
	for _, o := range objects {
		n, bad := strconv.ParseUint(strings.TrimSuffix(strings.TrimSuffix(path.Base(o.Name), suffixAge), suffixPack), 10, 32)
		if bad == nil && uint32(n) >= from {
			err = errors.Join(err, r.Storage.Delete(ctx, o.Name))
		}
	}
	if err != nil {
		return fmt.Errorf("what was written of it could not be taken away: %w", err)
	}
	return nil
}

// leastRoom is what a backup leaves of the disk that it is written to, in bytes: the
// database may be on it.
const leastRoom = 256 << 20

// room says no when a backup somewhat larger than those before has no room, even without
// those that need not be kept.
func (r *Repository) room(ctx context.Context, l *Listing, c *cache) error {
	needs := int64(leastRoom)
	if len(l.Made) > 0 {
		last := l.Made[0].Size
		if c == nil {
			last += l.all[l.Made[0].Generation].bytes
		}
		needs += last + last/4
	}
	left, err := r.Storage.Room()
	if err != nil || left < 0 || left >= needs {
		return err
	}
	if err := r.prune(ctx, l); err != nil {
		return err
	}
	if left, err = r.Storage.Room(); err == nil && left < needs {
		err = fmt.Errorf("there are %d MiB of room in %s, and a backup may take %d MiB; make room, or keep fewer", left>>20, r.Storage, needs>>20)
	}
	return err
}

// isAbsent reports whether there is no such object.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
