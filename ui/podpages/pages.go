package podpages

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// Pages serves the pages of pods.
type Pages struct {
	*page.Shell
	pods      *pods.Service
	area      *page.Area
	streams   *places
	stall     time.Duration // for which a stream waits for its reader
	beat      time.Duration // between two looks at what goes on
	large     *places       // for large forms
	logSaves  *places
	colouring chan struct{} // holds one for each file that is coloured
	slots     *places       // for what goes on; see soon
	uploads   *places       // for apps that come
}

//go:embed templates
var files embed.FS

// New returns the pages of the pods that service keeps; nil: there are none here.
func New(shell *page.Shell, service *pods.Service) (*Pages, error) {
	s := &Pages{
		Shell: shell, pods: service, colouring: make(chan struct{}, maxColouring),
		stall: streamStall, beat: streamBeat, streams: newPlaces(maxStreams, personStreams), large: newPlaces(largeForms, largeFormsEach), logSaves: newPlaces(maxLogSaves, 1), slots: newPlaces(soonMost, soonEach), uploads: newPlaces(maxUploads, 1),
	}
	if service != nil {
		shell.CountFailed = s.countFailed
	}
	var err error
	s.area, err = shell.NewArea(files, notices)
	return s, err
}

// countFailed is for the titles of pages that have something else to show.
func (s *Pages) countFailed(ctx context.Context, user store.UserID) int {
	n, err := s.pods.CountFailed(ctx, user, s.Now())
	if err != nil {
		s.Log.Error("how many pods failed cannot be counted", "error", err)
	}
	return n
}

// notices are what these pages' forms say afterwards.
var notices = map[string]page.Notice{
	"moved":        page.Says("", "", "It has its new name."),
	"file-deleted": page.Says("", "", "It is deleted."),
	"env-set":      page.Says("pod_settings", "env", "The environment is changed, and the app has started anew."),
	"env-later":    page.Says("pod_settings", "env", "The environment is changed. It counts from the pod's next start."),
	"net-set":      page.Says("pod_settings", "network", "What the pod may reach is changed. It holds at once."),
	"job-started":  page.Says("", "", "The command runs."),
	"job-stopped":  page.Says("", "", "The command is stopped."),
	"saved":        page.Says("", "", "The file is saved."),
	"uploaded":     {Text: func(n int) string { return page.Plural(n, "file is", "files are") + " uploaded." }},
	"pod-start":    began("The pod is started.", "The pod is being started. Its state tells how far it is."),
	"pod-stop":     began("The pod is stopped. Its files stay.", "The pod is being stopped."),
	"pod-restart":  began("The app is started anew.", "The app is being started anew. Its state tells how far it is."),
	"pod-reload":   began("What the app needs is installed, and it is started anew.", "What the app needs is being installed. It goes on as before meanwhile."),
	"pod-plan":     began("The plan is changed.", "The plan is being changed. The pod is started anew with it."),
	"pod-create":   page.Says("overview", "actions", "The pod is made. Drop an app below, or ask your assistant for one."),
	"pod-first":    page.Says("overview", "actions", "Your first pod is made. Open its address, then drop an app of your own below."),
	"pod-delete":   began("The pod is deleted. For a week an owner of its team can bring it back.", "The pod is being deleted."),
	"pod-undelete": began("The pod is back, with all that was in it.", "The pod is back and is being started."),
	"pod-clone":    began("The copy is made.", "The files are being copied. The new pod is in the list."),
	"pod-purge":    {Page: "deleted", Section: "deleted", Text: goesOn("The pod is gone for good.", "The pod is being deleted for good.")},
	"pod-snapshot": {Page: "snapshots", Section: "snapshots", Text: goesOn("The snapshot is taken.", "The snapshot is being taken. Look again in a moment.")},
	"pod-restore":  {Page: "snapshots", Section: "snapshots", Text: goesOn("The snapshot is restored. What was there before is a snapshot too.", "The snapshot is being restored. The pod's state tells how far it is.")},
	"pod-drop":     {Page: "snapshots", Section: "snapshots", Text: goesOn("The snapshot is deleted.", "The snapshot is being deleted.")},
	"pod-deploy":   {Page: "deploys", Section: "deploy", Text: goesOn("The app is live.", "The app is being made. What runs goes on until it answers.")},
	"pod-rollback": {Page: "deploys", Section: "deploy", Text: goesOn("The earlier app is live again.", "The earlier app is being started.")},
}

// Routes returns every route of these pages.
func (s *Pages) Routes() []web.Route {
	return slices.Concat(
		s.frontRoutes(), s.overviewRoutes(), s.actionRoutes(), s.createRoutes(), s.deployRoutes(), s.snapshotRoutes(), s.eventRoutes(),
		s.logRoutes(), s.fileRoutes(),
		s.terminalRoutes(),
		s.jobRoutes(), s.settingRoutes(),
	)
}

// opened is a pod in the hands of a person.
type opened struct {
	page.Person
	Actor authz.Actor // the person in the team of the pod
	Name  string      // of a pod that the team has
}

// may reports whether the person may do that with the pod.
func (o opened) may(action authz.Action) bool {
	return o.Actor.AllowPod(action, o.Actor.Team.ID, o.Name) == nil
}

// onPod is the handler of a page below /pod/:name, for those who may see the pod. Its
// request ends with what lets the person at the pod: a file that comes slowly takes
// half an hour, in which they can lose it.
func (s *Pages) onPod(h func(http.ResponseWriter, *http.Request, opened) error) web.Handler {
	return s.SignedIn(func(w http.ResponseWriter, r *http.Request, p page.Person) error {
		actor, name, err := s.podOf(r, p)
		if err != nil {
			return err
		}
		ctx, end := s.whileAllowed(r, p, actor)
		defer end()
		if err = h(w, r.WithContext(ctx), opened{p, actor, name}); err != nil && errors.Is(context.Cause(ctx), authz.ErrRevoked) {
			return noPod(err)
		}
		return err
	})
}

// whileAllowed is the context of a request that ends when the person's session does,
// or their role in the pod's team changes.
func (s *Pages) whileAllowed(r *http.Request, p page.Person, actor authz.Actor) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	look := func() {
		if now, _, err := s.podOf(r, p); !s.StillSignedIn(r) || err != nil || now.Role != actor.Role {
			cancel(authz.ErrRevoked)
		}
	}
	stop := s.Account.OnLossOf(p.User.ID, look)
	look() // for what was taken before that
	return ctx, func() { stop(); cancel(nil) }
}

// podOf finds the pod that a path names among those of the person's teams.
func (s *Pages) podOf(r *http.Request, p page.Person) (authz.Actor, string, error) {
	name := httprouter.ParamsFromContext(r.Context()).ByName("name")
	if s.pods == nil {
		return authz.Actor{}, "", noPod(nil)
	}
	memberships, err := s.Account.TeamsOf(p.User.ID)
	if err != nil {
		return authz.Actor{}, "", err
	}
	team, err := s.pods.TeamOf(name)
	if err != nil && !errors.Is(err, pods.ErrNotFound) {
		return authz.Actor{}, "", err
	}
	for _, m := range memberships {
		if actor := authz.Person(p.User.ID, m); m.Team.ID == team && actor.AllowPod(authz.ReadPod, team, name) == nil {
			return actor, name, nil
		}
	}
	return authz.Actor{}, "", noPod(err)
}

// noPod is what those are told who ask for a pod that is not there for them.
func noPod(cause error) error {
	return web.Fault(http.StatusNotFound, "not_found", "None of your teams has a pod of that name. It may have been deleted, or its name typed wrongly.", cause)
}
