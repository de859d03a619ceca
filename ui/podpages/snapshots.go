package podpages

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) snapshotRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/snapshots", s.onPod(s.serveSnapshots)),
		s.Post("/pod/:name/snapshots", s.onPod(s.handleTake)),
		s.Get("/pod/:name/snapshots/restore", s.onPod(s.confirmSnapshot(restoring))),
		s.Post("/pod/:name/snapshots/restore", s.onPod(s.handleRestore)),
		s.Get("/pod/:name/snapshots/delete", s.onPod(s.confirmSnapshot(dropping))),
		s.Post("/pod/:name/snapshots/delete", s.onPod(s.handleDrop)),
		s.Post("/pod/:name/clone", s.onPod(s.handleClone)),
		s.Get("/pods/deleted", s.SignedIn(s.serveDeleted)),
		s.Post("/pods/deleted", s.SignedIn(s.handleUndelete)),
		s.Get("/pods/deleted/purge", s.SignedIn(s.servePurge)),
		s.Post("/pods/deleted/purge", s.SignedIn(s.handlePurge)),
	}
}

// snapshotsPage is the content of snapshots.html.
type snapshotsPage struct {
	Head      podHead
	Fault     string
	Snapshots []snapshotView
	Sum       string
	Most      int
	May       bool // take, restore, delete and copy
	Note      string
	To        string // the name of a copy
}

type snapshotView struct {
	ID, Why, Note, By, Size, Missing string
	Moving                           bool
	At                               time.Time
	Restore, Delete                  string // pages that ask
}

// snapshotWhys are the reasons for a snapshot in words.
var snapshotWhys = map[string]string{
	store.SnapshotByHand: "Taken by hand", store.SnapshotDeploy: "Before a deploy", store.SnapshotRestore: "Before a restore",
}

// serveSnapshots is GET /pod/:name/snapshots.
func (s *Pages) serveSnapshots(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.snapshotsPage(w, r, o, http.StatusOK, "")
}

func (s *Pages) snapshotsPage(w http.ResponseWriter, r *http.Request, o opened, status int, fault string) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	list, err := s.pods.Snapshots(o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := snapshotsPage{Head: s.head(o, pod, "Snapshots"), Fault: fault, Most: pods.MaxSnapshots, May: o.may(authz.Deploy)}
	if fault != "" {
		view.Note, view.To = text.Short(text.Line(r.PostForm.Get("note"), 200), 200), text.Short(text.Line(r.PostForm.Get("to"), 63), 63)
	}
	var sum int64
	for _, p := range list {
		sum += p.Bytes
		v := snapshotView{
			ID: p.ID, Why: snapshotWhys[p.Why], Note: text.Line(p.Note, 200), By: text.Line(p.By, 80), Size: sizeWords(p.Bytes), Moving: p.Moving, At: p.Created,
			Restore: "/pod/" + o.Name + "/snapshots/restore?" + url.Values{"id": {p.ID}}.Encode(), Delete: "/pod/" + o.Name + "/snapshots/delete?" + url.Values{"id": {p.ID}}.Encode(),
		}
		if p.LeftOut > 0 {
			v.Missing = "without " + page.Plural(p.LeftOut, "file", "files") + " such as sockets"
		}
		view.Snapshots = append(view.Snapshots, v)
	}
	view.Sum = sizeWords(sum)
	return s.area.Render(w, r, page.Plain, status, "snapshots", page.Frame{Title: "Snapshots · " + o.Name, Here: "pods", Wide: true, Page: view})
}

// doSnapshot does something with the snapshots of a pod and shows them.
func (s *Pages) doSnapshot(w http.ResponseWriter, r *http.Request, o opened, verb, notice string, do func(context.Context) error) error {
	if !o.may(authz.Deploy) {
		s.noteChange(r, o, verb, forbidden())
		return forbidden()
	}
	done, err := s.soon(r, o.Actor, do, func(err error) { s.noteChange(r, o, verb, err) })
	if err != nil {
		words, status, ok := podsFault(err)
		if !ok {
			return s.podError(err)
		}
		return s.snapshotsPage(w, r, o, status, words)
	}
	s.SetNotice(w, notice, first(done))
	return s.Redirect(w, "/pod/"+o.Name+"/snapshots")
}

// handleTake is POST /pod/:name/snapshots with note.
func (s *Pages) handleTake(w http.ResponseWriter, r *http.Request, o opened) error {
	note := strings.TrimSpace(r.PostForm.Get("note"))
	return s.doSnapshot(w, r, o, "snapshot", "pod-snapshot", func(ctx context.Context) error {
		_, err := s.pods.TakeSnapshot(ctx, o.Actor, o.Name, note, nil)
		return err
	})
}

// confirming is what is asked before something is done with a snapshot.
type confirming struct{ path, title, text, after, button string }

var (
	restoring = confirming{"restore", "Restore this snapshot?", "The files of %s become those of %s, and the app is started anew.", "The files as they are now become a snapshot themselves, so this can be undone. Environment variables stay as they are.", "Restore"}
	dropping  = confirming{"delete", "Delete this snapshot?", "The snapshot of %s from %s is deleted.", "The pod goes on as it is.", "Delete"}
)

// confirmSnapshot is GET of one of the pages that ask. Query: id.
func (s *Pages) confirmSnapshot(c confirming) func(http.ResponseWriter, *http.Request, opened) error {
	return func(w http.ResponseWriter, r *http.Request, o opened) error {
		if !o.may(authz.Deploy) {
			return forbidden()
		}
		list, err := s.pods.Snapshots(o.Actor, o.Name)
		if err != nil {
			return s.podError(err)
		}
		for _, p := range list {
			if p.ID != r.URL.Query().Get("id") {
				continue
			}
			at := "/pod/" + o.Name + "/snapshots"
			words := strings.Replace(strings.Replace(c.text, "%s", o.Name, 1), "%s", p.Created.UTC().Format("2 January 2006, 15:04 UTC"), 1)
			return s.Confirm(w, r, c.button+" · "+o.Name, "pods", page.Confirmation{
				Title: c.title, Text: words, After: c.after, Action: at + "/" + c.path + "?" + url.Values{"id": {p.ID}}.Encode(), Button: c.button, Back: at,
			})
		}
		return web.Fault(http.StatusNotFound, "not_found", "The pod has no such snapshot. It may have made room for a newer one.", nil)
	}
}

// handleRestore is POST /pod/:name/snapshots/restore?id=ID.
func (s *Pages) handleRestore(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.doSnapshot(w, r, o, "restore", "pod-restore", func(ctx context.Context) error {
		_, err := s.pods.RestoreSnapshot(ctx, o.Actor, o.Name, r.URL.Query().Get("id"), nil)
		return err
	})
}

// handleDrop is POST /pod/:name/snapshots/delete?id=ID.
func (s *Pages) handleDrop(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.doSnapshot(w, r, o, "delete snapshot of", "pod-drop", func(ctx context.Context) error {
		return s.pods.DeleteSnapshot(ctx, o.Actor, o.Name, r.URL.Query().Get("id"))
	})
}

// handleClone is POST /pod/:name/clone with to, snapshot and env.
func (s *Pages) handleClone(w http.ResponseWriter, r *http.Request, o opened) error {
	form := pods.CloneRequest{Name: o.Name, To: strings.TrimSpace(r.PostForm.Get("to")), Snapshot: r.PostForm.Get("snapshot"), WithEnv: r.PostForm.Get("env") != ""}
	if !o.may(authz.Deploy) {
		s.noteChange(r, o, "clone", forbidden())
		return forbidden()
	}
	done, err := s.soon(r, o.Actor, func(ctx context.Context) error {
		_, err := s.pods.Clone(ctx, o.Actor, form, nil)
		return err
	}, func(err error) { s.noteChange(r, o, "clone", err) })
	if err != nil {
		words, status, ok := podsFault(err)
		if !ok {
			return s.podError(err)
		}
		return s.snapshotsPage(w, r, o, status, words)
	}
	s.SetNotice(w, "pod-clone", first(done))
	return s.Redirect(w, "/")
}

// deletedPage is the content of deleted.html.
type deletedPage struct {
	Fault string
	Pods  []deletedView
}

type deletedView struct {
	ID, Name, Preset, Team, Slug string
	Deleted, Until               time.Time
	Purge                        string // the page that asks
}

// deletedPods are those that a person may bring back.
func (s *Pages) deletedPods(p page.Person) (list []deletedView, err error) {
	if s.pods == nil {
		return nil, nil
	}
	memberships, err := s.Account.TeamsOf(p.User.ID)
	for _, m := range memberships {
		a := authz.Person(p.User.ID, m)
		if a.Allow(authz.UndeletePod, a.Team.ID) != nil {
			continue
		}
		found, ferr := s.pods.DeletedPods(a)
		if ferr != nil {
			return nil, ferr
		}
		for _, d := range found {
			list = append(list, deletedView{
				d.ID, text.Line(d.Name, 63), text.Line(d.Preset, 40), text.Line(m.Team.Name, 60), m.Team.Slug, d.Deleted, d.Until,
				"/pods/deleted/purge?" + url.Values{"team": {m.Team.Slug}, "id": {d.ID}}.Encode(),
			})
		}
	}
	return list, err
}

// serveDeleted is GET /pods/deleted.
func (s *Pages) serveDeleted(w http.ResponseWriter, r *http.Request, p page.Person) error {
	return s.deletedPage(w, r, p, http.StatusOK, "")
}

func (s *Pages) deletedPage(w http.ResponseWriter, r *http.Request, p page.Person, status int, fault string) error {
	list, err := s.deletedPods(p)
	if err != nil {
		return err
	}
	return s.area.Render(w, r, page.Plain, status, "deleted", page.Frame{Title: "Deleted pods", Here: "pods", Wide: true, Page: deletedPage{fault, list}})
}

// deletedOf finds the deleted pod that a query or form names by team and id.
func (s *Pages) deletedOf(p page.Person, team, id string) (authz.Actor, deletedView, error) {
	list, err := s.deletedPods(p)
	if err != nil {
		return authz.Actor{}, deletedView{}, err
	}
	memberships, err := s.Account.TeamsOf(p.User.ID)
	for _, v := range list {
		for _, m := range memberships {
			if v.ID == id && v.Slug == team && m.Team.Slug == team {
				return authz.Person(p.User.ID, m), v, err
			}
		}
	}
	if err == nil {
		err = web.Fault(http.StatusNotFound, "not_found", "No such pod can be brought back: it is back already, or gone for good, or you do not own its team.", nil)
	}
	return authz.Actor{}, deletedView{}, err
}

// noteDeleted puts what somebody did with a deleted pod into the audit list.
func (s *Pages) noteDeleted(r *http.Request, p page.Person, a authz.Actor, v deletedView, what string, failed error) {
	e := store.AuditEntry{Action: history.AuditPod, Object: what + " " + v.Name, Team: a.Team.ID, TeamName: a.Team.Slug, Outcome: store.AuditOK, Pod: store.PodID(v.ID)}
	if failed != nil {
		e.Outcome = "failed"
		if pods.IsPublic(failed) {
			e.Outcome = "refused"
		}
	}
	s.Audit(r, p, e)
}

// handleUndelete is POST /pods/deleted with team, id and as.
func (s *Pages) handleUndelete(w http.ResponseWriter, r *http.Request, p page.Person) error {
	a, v, err := s.deletedOf(p, r.PostForm.Get("team"), r.PostForm.Get("id"))
	if err != nil {
		return err
	}
	as := strings.TrimSpace(r.PostForm.Get("as"))
	done, err := s.soon(r, a, func(ctx context.Context) error {
		_, err := s.pods.Undelete(ctx, a, v.ID, as, nil)
		return err
	}, func(err error) { s.noteDeleted(r, p, a, v, "undelete", err) })
	if err != nil {
		return s.deletedFault(w, r, p, err)
	}
	s.SetNotice(w, "pod-undelete", first(done))
	return s.Redirect(w, "/")
}

func (s *Pages) deletedFault(w http.ResponseWriter, r *http.Request, p page.Person, err error) error {
	words, status, ok := podsFault(err)
	if !ok {
		return s.podError(err)
	}
	return s.deletedPage(w, r, p, status, words)
}

// servePurge is GET /pods/deleted/purge. Query: team and id.
func (s *Pages) servePurge(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	_, v, err := s.deletedOf(p, q.Get("team"), q.Get("id"))
	if err != nil {
		return err
	}
	return s.Confirm(w, r, "Delete for good", "pods", page.Confirmation{
		Title: "Delete for good?", Text: "All files of " + v.Name + ", its snapshots and its environment variables are lost.",
		After: "Nobody can bring it back then.", Action: v.Purge, Button: "Delete for good", Back: "/pods/deleted",
	})
}

// handlePurge is POST /pods/deleted/purge. Query: team and id.
func (s *Pages) handlePurge(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	a, v, err := s.deletedOf(p, q.Get("team"), q.Get("id"))
	if err != nil {
		return err
	}
	done, err := s.soon(r, a, func(ctx context.Context) error { return s.pods.Purge(ctx, a, v.ID, v.Name) }, func(err error) { s.noteDeleted(r, p, a, v, "delete for good", err) })
	if err != nil {
		return s.deletedFault(w, r, p, err)
	}
	s.SetNotice(w, "pod-purge", first(done))
	return s.Redirect(w, "/pods/deleted")
}
