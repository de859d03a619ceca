package podpages

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) deployRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/deploys", s.onPod(s.serveDeploys)),
		{Method: http.MethodPost, Path: "/pod/:name/deploys", Handler: s.fromOurs(s.onPod(s.handleDeploy)), Errors: s.WriteError, Page: true},
		s.Get("/pod/:name/rollback", s.onPod(s.serveRollback)),
		s.Post("/pod/:name/rollback", s.onPod(s.handleRollback)),
	}
}

// fromOurs lets only forms of our own pages through, and leaves their bodies alone.
func (s *Pages) fromOurs(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.PageHost.SameOrigin(r); err != nil {
			return err
		}
		return h(w, r)
	}
}

// deploysPage is the content of deploys.html.
type deploysPage struct {
	Head    podHead
	Fault   string
	Deploys []deployView
	May     bool
}

// deployView is a deploy in a list.
type deployView struct {
	Number         int
	What           string // deploy, reload or rollback, with what it was made from
	State, Word    string
	Reason         string
	Lines          []string
	By             string
	Preset, Commit string
	Live           bool
	Back           string // the page that goes back to it; empty: nobody can, or not this reader
	Began          time.Time
	Ago, Took      string
}

func (s *Pages) deployViews(o opened, list []pods.Deploy) (views []deployView) {
	for _, d := range list {
		v := deployView{
			Number: d.Number, What: text.Line(d.Action, 20), Reason: text.Line(inPages(d.Reason), 600), By: text.Line(d.By, 80),
			Preset: text.Line(d.Preset, 40), Commit: text.Short(text.Line(d.Commit, 60), 10), Live: d.Live, Began: d.Began, Ago: page.Ago(s.Now(), d.Began),
		}
		if d.Source != "" {
			v.What += " of " + text.Line(d.Source, 200)
		}
		v.State, v.Word = deployState(d)
		if d.Kept && o.may(authz.Deploy) {
			v.Back = "/pod/" + o.Name + "/rollback?to=" + strconv.Itoa(d.Number)
		}
		if !d.Ended.IsZero() && d.Ended.After(d.Began) {
			v.Took = page.Lasts(d.Ended.Sub(d.Began))
		}
		for _, line := range d.Lines {
			v.Lines = append(v.Lines, text.Line(line, 300))
		}
		views = append(views, v)
	}
	return views
}

// deployState is the class and the word of how far a deploy has come.
func deployState(d pods.Deploy) (state, word string) {
	switch {
	case d.State == store.DeployBuilding:
		return "starting", "building"
	case d.State == store.DeployFailed:
		return "failed", "failed"
	case d.Live:
		return "running", "live"
	}
	return "stopped", "worked"
}

// serveDeploys is GET /pod/:name/deploys.
func (s *Pages) serveDeploys(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.deploysPage(w, r, o, http.StatusOK, "")
}

func (s *Pages) deploysPage(w http.ResponseWriter, r *http.Request, o opened, status int, fault string) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	list, err := s.pods.Deploys(o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := deploysPage{Head: s.head(o, pod, "Deploys"), Fault: fault, Deploys: s.deployViews(o, list), May: o.may(authz.Deploy)}
	f := page.Frame{Title: "Deploys · " + o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"live.js", "pods.js"}}
	return s.area.Render(w, r, page.Plain, status, "deploys", f)
}

// serveRollback is GET /pod/:name/rollback?to=NUMBER.
func (s *Pages) serveRollback(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.Deploy) {
		return forbidden()
	}
	number, err := strconv.Atoi(r.URL.Query().Get("to"))
	if err != nil || number < 0 {
		return web.Fault(http.StatusNotFound, "not_found", "There is no such deploy.", nil)
	}
	to := strconv.Itoa(number)
	return s.Confirm(w, r, "Roll back "+o.Name, "pods", page.Confirmation{
		Title: "Roll back?", Text: "The app of deploy " + to + " takes the place of the one that runs in " + o.Name + ".",
		After:  "Nothing is installed anew, and files outside of the app stay as they are. When it does not answer, what runs now goes on.",
		Action: "/pod/" + o.Name + "/rollback?to=" + to, Button: "Roll back", Back: "/pod/" + o.Name + "/deploys",
	})
}

// handleRollback is POST /pod/:name/rollback?to=NUMBER.
func (s *Pages) handleRollback(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.Deploy) {
		s.noteChange(r, o, "rollback", forbidden())
		return forbidden()
	}
	number, err := strconv.Atoi(r.URL.Query().Get("to"))
	if err != nil || number < 0 {
		return web.Fault(http.StatusNotFound, "not_found", "There is no such deploy.", nil)
	}
	done, err := s.soon(r, o.Actor, func(ctx context.Context) error {
		_, err := s.pods.Rollback(ctx, o.Actor, o.Name, &number, nil)
		return err
	}, func(err error) { s.noteChange(r, o, "rollback", err) })
	if err != nil {
		return s.deploysFault(w, r, o, err)
	}
	s.SetNotice(w, "pod-rollback", first(done))
	return s.Redirect(w, "/pod/"+o.Name+"/deploys")
}

func (s *Pages) deploysFault(w http.ResponseWriter, r *http.Request, o opened, err error) error {
	words, status, ok := podsFault(err)
	if !ok {
		return s.podError(err)
	}
	return s.deploysPage(w, r, o, status, words)
}
