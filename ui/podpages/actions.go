package podpages

import (
	"context"
	"net/http"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/ui/page"
)

func (s *Pages) actionRoutes() []web.Route {
	routes := []web.Route{
		s.Get("/pod/:name/delete", s.onPod(s.serveDelete)),
		s.Post("/pod/:name/delete", s.onPod(s.handleDelete)),
		s.Post("/pod/:name/plan", s.onPod(s.handlePlan)),
	}
	for verb, do := range map[string]func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){
		"start": s.pods.Start, "stop": s.pods.Stop, "restart": s.pods.Restart, "reload": s.pods.Reload,
	} {
		routes = append(routes, s.Post("/pod/:name/"+verb, s.onPod(func(w http.ResponseWriter, r *http.Request, o opened) error {
			return s.act(w, r, o, verb, authz.ManagePod, func(ctx context.Context) error {
				_, err := do(ctx, o.Actor, o.Name, nil)
				return err
			})
		})))
	}
	return routes
}

// began is the notice of something that was begun with a pod.
func began(done, going string) page.Notice {
	return page.Notice{Page: "overview", Section: "actions", Text: goesOn(done, going)}
}

// goesOn are the words for what has ended, or goes on, which a notice's number tells.
func goesOn(done, going string) func(int) string {
	return func(ended int) string {
		if ended == 0 {
			return going
		}
		return done
	}
}

// forbidden is what those are told who may see a pod and not change it.
func forbidden() error {
	return web.Fault(http.StatusForbidden, "forbidden", "Your role in this team lets you look at pods and change nothing. An owner of the team can give you another.", nil)
}

// act does something with a pod and shows its page, with why not when it failed.
func (s *Pages) act(w http.ResponseWriter, r *http.Request, o opened, verb string, action authz.Action, do func(context.Context) error) error {
	if !o.may(action) {
		s.noteChange(r, o, verb, forbidden())
		return forbidden()
	}
	done, err := s.soon(r, o.Actor, do, func(err error) { s.noteChange(r, o, verb, err) })
	if err != nil {
		return s.overviewFault(w, r, o, err)
	}
	s.SetNotice(w, "pod-"+verb, first(done))
	if r.PostForm.Get("from") == "list" {
		return s.Redirect(w, "/")
	}
	return s.Redirect(w, "/pod/"+o.Name)
}

// overviewFault shows the page of a pod with why something did not work, or the page
// of an error that is not for the person.
func (s *Pages) overviewFault(w http.ResponseWriter, r *http.Request, o opened, err error) error {
	words, status, ok := podsFault(err)
	if !ok {
		return s.podError(err)
	}
	return s.overview(w, r, o, status, words)
}

// noteChange puts what a person did with a pod into the audit list.
func (s *Pages) noteChange(r *http.Request, o opened, verb string, failed error) {
	s.note(r, o, history.AuditPod, verb+" "+o.Name, failed)
}

// deletePage is the content of delete.html.
type deletePage struct {
	Head  podHead
	Fault string
}

// serveDelete is GET /pod/:name/delete.
func (s *Pages) serveDelete(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.deletePage(w, r, o, http.StatusOK, "")
}

func (s *Pages) deletePage(w http.ResponseWriter, r *http.Request, o opened, status int, fault string) error {
	if !o.may(authz.DeletePod) {
		return forbidden()
	}
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := deletePage{s.head(o, pod, "Settings"), fault}
	return s.area.Render(w, r, page.Plain, status, "delete", page.Frame{Title: "Delete " + o.Name, Here: "pods", Page: view})
}

// handleDelete is POST /pod/:name/delete.
func (s *Pages) handleDelete(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.DeletePod) {
		s.noteChange(r, o, "delete", forbidden())
		return forbidden()
	}
	if r.PostForm.Get("confirm") != o.Name {
		return s.deletePage(w, r, o, http.StatusUnprocessableEntity, "That is not the pod's name. Nothing was deleted.")
	}
	done, err := s.soon(r, o.Actor, func(ctx context.Context) error { return s.pods.Delete(ctx, o.Actor, o.Name, o.Name) }, func(err error) { s.noteChange(r, o, "delete", err) })
	if err != nil {
		words, status, ok := podsFault(err)
		if !ok {
			return s.podError(err)
		}
		return s.deletePage(w, r, o, status, words)
	}
	s.SetNotice(w, "pod-delete", first(done))
	return s.Redirect(w, "/")
}

// handlePlan is POST /pod/:name/plan.
func (s *Pages) handlePlan(w http.ResponseWriter, r *http.Request, o opened) error {
	plan := r.PostForm.Get("plan")
	return s.act(w, r, o, "plan", authz.ChangePlan, func(ctx context.Context) error {
		_, err := s.pods.ChangePlan(ctx, o.Actor, o.Name, plan, nil)
		return err
	})
}
