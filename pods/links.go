package pods

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// Bounds of links, through which files come and go without an access token.
const (
	LinkLife    = 15 * time.Minute // from when it is made to when its use begins, or from its use on
	MaxLinkUse  = time.Hour
	maxLinks    = 2000 // in all
	maxOfTeam   = 50   // of a team
	usedOfTeam  = 4    // of them used at a time
	linkEntropy = 32   // bytes
)

// The words for who comes with a link.
var (
	ErrNoLink   = errors.New("no such link")
	ErrLinkUsed = errors.New("link was used")
	ErrOffset   = errors.New("wrong offset")
)

var (
	errNoLink   = refuse(ErrNoLink, "it is mistyped or older than %d minutes, or the server was restarted; have a new one made", int(LinkLife.Minutes()))
	errLinkUsed = refuse(ErrLinkUsed, "each link works once; have a new one made")
)

// Link is an address that is good for one file of one pod, once.
type Link struct {
	ID      string // not secret
	Secret  string // is all that it takes
	Path    string
	Expires time.Time
	Room    int64 // of an upload: bytes that there is room for
	Folder  bool  // of a download: it comes as tar.gz
	Size    int64 // of a download of a file
}

// link is one that was given out. Only the hash of its secret is kept.
type link struct {
	id      string
	secret  store.Hash
	actor   authz.Actor // who had it made, as they were
	action  authz.Action
	pod     store.PodID
	name    string // the pod's
	path    string
	mode    uint32
	unpack  bool
	spent   bool // the deploy of the file deletes it
	folder  bool
	expires time.Time
	last    time.Time // expires is never after that

	// Guarded by links.mu.
	busy bool
	done bool
}

// links are those that were given out and are not yet too old.
type links struct {
	mu  sync.Mutex
	all map[store.Hash]*link
}

// add keeps l under a secret of its own, which it returns.
func (t *links) add(l *link, now time.Time) (string, error) {
	var raw [linkEntropy]byte
	_, _ = rand.Read(raw[:]) // never fails
	secret := base64.RawURLEncoding.EncodeToString(raw[:])
	l.secret, l.expires, l.last = store.HashSecret(secret), now.Add(LinkLife), now.Add(LinkLife+MaxLinkUse)
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := 0
	for _, other := range t.all {
		if other.actor.Team.ID == l.actor.Team.ID && (other.busy || now.Before(other.expires)) {
			mine++
		}
	}
	if mine >= maxOfTeam || len(t.all) >= maxLinks {
		return "", refuse(ErrBusy, "there are %d links for files already, each for %d minutes; use those, or try again later", mine, int(LinkLife.Minutes()))
	}
	if t.all == nil {
		t.all = map[store.Hash]*link{}
	}
	t.all[l.secret] = l
	return secret, nil
}

// sweep forgets the links that are too old and returns those of uploads that never
// came to their end, or to their deploy.
func (t *links) sweep(now time.Time) (left []*link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, l := range t.all {
		if l.busy || now.Before(l.expires) {
			continue
		}
		delete(t.all, key)
		if l.action == authz.WriteFiles && (!l.done || l.spent) {
			left = append(left, l)
		}
	}
	return left
}

// sweepLinks forgets old links, and has the pods that run forget what has come of
// their uploads. Others do so when they start.
func (s *Service) sweepLinks(ctx context.Context) {
	for _, l := range s.links.sweep(s.cfg.Now()) {
		rec, err := s.current(l.pod)
		if err == nil && rec.Want == store.WantRunning {
			err = s.of(rec).client.forget(ctx, l)
		}
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotRunning) {
			s.cfg.Log.Warn("the rest of an upload is still in its pod", "pod", l.pod, "error", err)
		}
	}
}

// find returns a link that is good for an action. t.mu is held.
func (t *links) find(secret string, action authz.Action, now time.Time) (*link, error) {
	l := t.all[store.HashSecret(secret)]
	switch {
	case l == nil || l.action != action || !l.busy && !now.Before(l.expires):
		return nil, errNoLink
	case l.done:
		return nil, errLinkUsed
	}
	return l, nil
}

// look is find for who does not use the link.
func (t *links) look(secret string, action authz.Action, now time.Time) (*link, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.find(secret, action, now)
}

// take begins the only use of a link for an action.
func (t *links) take(secret string, action authz.Action, now time.Time) (*link, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, err := t.find(secret, action, now)
	if err != nil {
		return nil, err
	}
	busy := 0
	for _, other := range t.all {
		if other.busy && other.actor.Team.ID == l.actor.Team.ID {
			busy++
		}
	}
	switch {
	case l.busy:
		return nil, refuse(ErrBusy, "the link is being used already; wait until that has ended")
	case busy >= usedOfTeam:
		return nil, refuse(ErrBusy, "the team has %d files on their way already; try again when one is through", busy)
	}
	l.busy = true
	return l, nil
}

// leave ends a use. One that is through is the last, and one that is not can be
// followed by another for a while.
func (t *links) leave(l *link, done bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.busy, l.done = false, done
	l.expires = now.Add(LinkLife)
	if l.last.Before(l.expires) {
		l.expires = l.last
	}
}

// uploaded finds an upload that is through by its id.
func (t *links) uploaded(id string, team store.TeamID, pod store.PodID) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.all {
		if l.id == id && l.done && l.action == authz.WriteFiles && l.actor.Team.ID == team && l.pod == pod {
			return l
		}
	}
	return nil
}

// UploadedFile returns where the file of an upload is, of which all has come, and
// whether a deploy deletes it.
func (s *Service) UploadedFile(a authz.Actor, name, id string) (at string, spent bool, err error) {
	rec, err := s.find(a, authz.WriteFiles, name)
	if err != nil {
		return "", false, err
	}
	l := s.links.uploaded(id, a.Team.ID, rec.ID)
	switch {
	case l == nil:
		return "", false, refuse(ErrBadInput, "the pod has no upload of that id that is through; send the file to the url of create_upload first, or make a new one")
	case l.unpack:
		return "", false, refuse(ErrBadInput, "that upload was unpacked into %s; make one without unpack for an archive that is to be deployed", l.path)
	}
	return l.path, l.spent, nil
}

// actorNow is the actor of a link with what is left of its rights.
func (s *Service) actorNow(a authz.Actor) (authz.Actor, error) {
	if a.IsCommandLine() {
		return a, nil
	}
	m, err := s.cfg.DB.Member(a.Team.ID, a.User)
	if err != nil {
		return authz.Actor{}, fmt.Errorf("%w: %w", authz.ErrRevoked, err)
	}
	a.Role = m.Role
	if a.Grant == "" {
		return a, nil
	}
	g, err := s.cfg.DB.GrantOf(a.Grant, a.User, s.cfg.Now())
	if err != nil || g.Team != a.Team.ID {
		return authz.Actor{}, fmt.Errorf("%w: %w", authz.ErrRevoked, errors.Join(err, errNoLink))
	}
	if a.Team, err = s.cfg.DB.Team(g.Team); err != nil {
		return authz.Actor{}, fmt.Errorf("%w: %w", authz.ErrRevoked, err)
	}
	a.Limits = g.Limits
	a.Scopes = slices.DeleteFunc(slices.Clone(a.Scopes), func(scope store.Scope) bool { return !slices.Contains(g.Scopes, scope) })
	return a, nil
}

// useLink is asMaker for the one who has a link to themselves meanwhile. done is
// whether it is spent.
func (s *Service) useLink(ctx context.Context, secret string, action authz.Action, do func(context.Context, authz.Actor, *link) (done bool, err error)) error {
	l, err := s.links.take(secret, action, s.cfg.Now())
	if err != nil {
		return err
	}
	done := false
	defer func() { s.links.leave(l, done, s.cfg.Now()) }()
	done, err = s.asMaker(ctx, l, do)
	return err
}

// asMaker runs do as whoever had a link made, as long as they may do what it is
// for.
func (s *Service) asMaker(ctx context.Context, l *link, do func(context.Context, authz.Actor, *link) (done bool, err error)) (done bool, err error) {
	action := l.action
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	allowed := func() (authz.Actor, error) {
		a, err := s.actorNow(l.actor)
		if err == nil {
			if err = a.AllowPod(action, a.Team.ID, l.name); err != nil {
				err = fmt.Errorf("%w: %w", authz.ErrRevoked, err)
			}
		}
		return a, err
	}
	look := func() {
		if _, err := allowed(); err != nil {
			cancel(err)
		}
	}
	stop := s.cfg.DB.OnLossOf(l.actor.User, look)
	if l.actor.Grant != "" {
		stop = s.cfg.DB.OnLoss(l.actor.Grant, look)
	}
	defer stop()
	a, err := allowed() // after the watch began, so that nothing is missed
	if err != nil {
		return false, err
	}
	rec, err := s.find(a, action, l.name)
	if err == nil && rec.ID != l.pod {
		err = errAbsent // another one of the same name
	}
	if err != nil {
		return false, err
	}
	done, err = do(ctx, a, l)
	if cause := context.Cause(ctx); errors.Is(cause, authz.ErrRevoked) {
		return done, cause
	}
	return done, err
}
