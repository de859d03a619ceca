package podpages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) createRoutes() []web.Route {
	return []web.Route{
		s.Get("/pods/new", s.SignedIn(s.serveCreate)),
		s.Post("/pods/new", s.SignedIn(s.handleCreate)),
		s.Post("/pods/first", s.SignedIn(s.handleFirst)),
	}
}

// createPage is the content of create.html.
type createPage struct {
	Teams   []choice
	Presets []presetChoice
	Plans   []choice
	Name    string
	Address string // of a pod called NAME
	Fault   page.Fault
}

type presetChoice struct {
	choice
	Words  string
	Reason string // why it is not to be had
}

// makers are the teams in which a person may make pods.
func (s *Pages) makers(p page.Person) (list []authz.Actor, err error) {
	memberships, err := s.Account.TeamsOf(p.User.ID)
	for _, m := range memberships {
		if a := authz.Person(p.User.ID, m); a.Allow(authz.CreatePod, a.Team.ID) == nil {
			list = append(list, a)
		}
	}
	if err == nil && (len(list) == 0 || s.pods == nil) {
		err = web.Fault(http.StatusForbidden, "forbidden", "There is no team in which you may make pods. An owner of a team can let you.", nil)
	}
	return list, err
}

// serveCreate is GET /pods/new. Query: preset and team.
func (s *Pages) serveCreate(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	return s.createPage(w, r, p, http.StatusOK, pods.CreateRequest{Preset: q.Get("preset")}, q.Get("team"), page.Fault{})
}

func (s *Pages) createPage(w http.ResponseWriter, r *http.Request, p page.Person, status int, asked pods.CreateRequest, team string, fault page.Fault) error {
	makers, err := s.makers(p)
	if err != nil {
		return err
	}
	presets, err := s.pods.Presets(makers[0])
	if err != nil {
		return err
	}
	plans, err := s.pods.Plans(makers[0])
	if err != nil {
		return err
	}
	view := createPage{Name: text.Line(asked.Name, 63), Address: webAddress(s.pods.Address("NAME")), Fault: fault, Plans: planChoices(plans, asked.Plan)}
	for _, a := range makers {
		view.Teams = append(view.Teams, choice{a.Team.Slug, text.Line(a.Team.Name, 60), a.Team.Slug == team})
	}
	for i, known := range presets {
		c := presetChoice{choice{known.Name, known.Name, known.Name == asked.Preset || asked.Preset == "" && i == 0}, known.Description, ""}
		if !known.Available {
			c.Reason = text.Line(known.Reason, 300)
		}
		view.Presets = append(view.Presets, c)
	}
	return s.area.Render(w, r, page.Plain, status, "create", page.Frame{Title: "New pod", Here: "pods", Wide: true, Page: view, Scripts: []string{"pods.js"}})
}

// planChoices are the plans with what they allow.
func planChoices(plans []pods.Plan, chosen string) (list []choice) {
	for i, p := range plans {
		list = append(list, choice{p.Name, p.Name + ": " + limitWords(p.Limits), p.Name == chosen || chosen == "" && i == 0})
	}
	return list
}

// limitWords is what a plan allows, in few words.
func limitWords(l pods.Limits) string {
	cores := strconv.FormatFloat(l.CPUs, 'f', -1, 64)
	return fmt.Sprintf("%s memory, %s %s, %s disk", page.BytesWords(l.Memory), cores, map[bool]string{true: "core", false: "cores"}[cores == "1"], page.BytesWords(l.Disk))
}

// handleCreate is POST /pods/new.
func (s *Pages) handleCreate(w http.ResponseWriter, r *http.Request, p page.Person) error {
	f := r.PostForm
	asked := pods.CreateRequest{Name: strings.TrimSpace(f.Get("name")), Preset: f.Get("preset"), Plan: f.Get("plan")}
	actor, err := s.makerIn(p, f.Get("team"))
	if err != nil {
		return err
	}
	err = s.create(r, p, actor, asked)
	words, status, ok := "", 0, false
	if err != nil {
		if words, status, ok = podsFault(err); !ok {
			return err
		}
		return s.createPage(w, r, p, status, asked, f.Get("team"), page.Fault{Message: words, Field: fieldOf(err)})
	}
	s.SetNotice(w, "pod-create", 0)
	return s.Redirect(w, "/pod/"+asked.Name)
}

// fieldOf is the field of the form that an error is about.
func fieldOf(err error) string {
	switch {
	case errors.Is(err, pods.ErrInvalidName), errors.Is(err, pods.ErrNameTaken):
		return "name"
	case errors.Is(err, pods.ErrUnknownPlan), errors.Is(err, pods.ErrOverQuota):
		return "plan"
	}
	return "preset"
}

// makerIn is the person in the team of that slug; in their only one when it is empty.
func (s *Pages) makerIn(p page.Person, slug string) (authz.Actor, error) {
	makers, err := s.makers(p)
	if err != nil {
		return authz.Actor{}, err
	}
	for _, a := range makers {
		if a.Team.Slug == slug || slug == "" && len(makers) == 1 {
			return a, nil
		}
	}
	return authz.Actor{}, web.Fault(http.StatusForbidden, "forbidden", "You may make no pods in that team. Open the page again and choose another.", nil)
}

// create makes a pod and returns once it is there, whether or not it runs already.
// One that did not start is there as well, and says why.
func (s *Pages) create(r *http.Request, p page.Person, a authz.Actor, asked pods.CreateRequest) error {
	o := opened{p, a, text.Line(asked.Name, 63)}
	_, err := s.soon(r, o.Actor, func(ctx context.Context) error {
		_, err := s.pods.Create(ctx, a, asked, nil)
		return err
	}, func(err error) { s.noteChange(r, o, "create", err) })
	if errors.Is(err, pods.ErrNotStarted) || errors.Is(err, pods.ErrAppFailed) {
		return nil
	}
	return err
}

// firstName is what the first pod of a person is called, or begins with.
const firstName = "hello"

// handleFirst is POST /pods/first: a pod with a page to look at, in one press.
func (s *Pages) handleFirst(w http.ResponseWriter, r *http.Request, p page.Person) error {
	actor, err := s.makerIn(p, r.PostForm.Get("team"))
	if err != nil {
		return err
	}
	name := firstName
	for range 3 {
		err = s.create(r, p, actor, pods.CreateRequest{Name: name, Preset: "static"})
		if !errors.Is(err, pods.ErrNameTaken) {
			break
		}
		name = firstName + "-" + strings.ToLower(store.NewID())[:5]
	}
	if words, status, ok := podsFault(err); err != nil && ok {
		return web.Fault(status, "pods", "The pod could not be made: "+words, err)
	}
	if err != nil {
		return err
	}
	s.SetNotice(w, "pod-first", 0)
	return s.Redirect(w, "/pod/"+name)
}
