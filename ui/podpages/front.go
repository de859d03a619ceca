package podpages

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/ui/page"
)

func (s *Pages) frontRoutes() []web.Route {
	return []web.Route{
		s.Get("/", s.serveFront),
		s.Get("/connect", s.SignedIn(s.serveConnect)),
	}
}

// frontPage is the content of front.html.
type frontPage struct {
	Fresh   bool // nothing is here yet, so what to do comes first
	Teams   []choice
	Makes   []choice // the teams in which the person may make pods
	Outages []string // regions where pods cannot run, and how to mend it
	Fault   string   // why pods cannot be shown
	Filter  filter
	States  []choice
	Groups  []podGroup
	All     int // pods there are
	Wrong   int // of them failed
	Listed  string
	Part    page.Part
	Self    string // where the page is had again
	Admin   bool
	Email   string
	Deleted int // pods that the person may bring back
	connectGuide
}

// choice is an entry of a list to choose from.
type choice struct {
	Value, Name string
	Chosen      bool
}

// filter is what the address asks to see.
type filter struct{ Q, State, Team string }

// podGroup is some rows under one heading; without a heading where there is one only.
type podGroup struct {
	ID, Title string
	All       int // also those that are on other pages of the list
	Rows      []podRow
}

// podRow is a pod in a list.
type podRow struct {
	Name, Team     string // the team's only where it says something
	Status, Word   string
	Reason         string
	URL, Host      string // empty unless http or https
	Preset, Memory string
	Since          string // a verb: started, created
	At             time.Time
	Ago            string
	Action, Button string // what the person would press first, and what that says; or empty
	group          string // the slug of its team, or attention
}

// statusWords are what people read for a status that does not speak for itself.
var statusWords = map[string]string{pods.StatusUnknown: "no answer yet"}

// wrong reports whether a status is one that somebody should see to.
func wrong(status string) bool { return status == "failed" || status == "failing" }

// serveFront is GET /. Query: q, state and team, and page.
func (s *Pages) serveFront(w http.ResponseWriter, r *http.Request) error {
	if _, _, ok := s.Current(r); !ok {
		needs, err := s.Account.NeedsSetup()
		if err != nil {
			return err
		}
		if needs {
			return s.Redirect(w, "/setup")
		}
	}
	return s.SignedIn(s.front)(w, r)
}

func (s *Pages) front(w http.ResponseWriter, r *http.Request, p page.Person) error {
	view, err := s.frontOf(r, p)
	if err != nil {
		return err
	}
	f := page.Frame{Title: "Pods", Here: "pods", Wide: true, Page: view, Scripts: []string{"live.js"}, Failed: view.Wrong, Counted: true}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "front", f)
}

func (s *Pages) frontOf(r *http.Request, p page.Person) (frontPage, error) {
	view := frontPage{Admin: p.User.Admin, Email: p.User.Email, Self: r.URL.RequestURI(), connectGuide: s.connectGuide()}
	if s.pods == nil {
		view.Fault = "This server has no place for pods to run."
		memberships, err := s.Account.TeamsOf(p.User.ID)
		for _, m := range memberships {
			view.Teams = append(view.Teams, choice{Value: m.Team.Slug, Name: m.Team.Name})
		}
		view.Fresh = true
		return view, err
	}
	front, err := s.pods.Front(r.Context(), p.User.ID, s.Now())
	if err != nil {
		return view, err
	}
	view.Deleted = front.Deleted
	slices.SortStableFunc(front.Teams, func(a, b pods.FrontTeam) int { return cmp.Compare(a.Actor.Team.Slug, b.Actor.Team.Slug) })
	q := r.URL.Query()
	view.Filter = filter{Q: text.Short(text.Line(q.Get("q"), 100), 100), State: q.Get("state"), Team: q.Get("team")}
	view.addTeams(front)
	view.States = choices(view.Filter.State, "", "All states", "failed", "Failed", "running", "Running", "stopped", "Stopped")
	view.Fresh = len(front.Teams) > 0 && front.Connections == 0 && view.All == 0
	if len(front.Teams) > 0 {
		view.Outages = s.outages(front.Teams[0].Actor)
	}
	all := view.rows(front, s.Now())
	rows, part := page.Cut(r, all, "q", "state", "team")
	view.Part = part
	view.group(rows, all)
	return view, nil
}

// addTeams notes the teams and counts their pods.
func (v *frontPage) addTeams(front pods.Front) {
	var names []string
	for _, t := range front.Teams {
		team := choice{Value: t.Actor.Team.Slug, Name: t.Actor.Team.Name, Chosen: t.Actor.Team.Slug == v.Filter.Team}
		v.Teams = append(v.Teams, team)
		if t.Actor.Allow(authz.CreatePod, t.Actor.Team.ID) == nil {
			v.Makes = append(v.Makes, team)
		}
		for _, pod := range t.Pods {
			v.All++
			names = append(names, pod.Name)
			if wrong(pod.Status) {
				v.Wrong++
			}
		}
	}
	v.Listed = pods.Listed(names)
}

// choices makes a list of pairs of values and names.
func choices(chosen string, pairs ...string) (list []choice) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, choice{pairs[i], pairs[i+1], pairs[i] == chosen})
	}
	return list
}

// rows are the pods that the filter lets through, what failed first.
func (v *frontPage) rows(front pods.Front, now time.Time) (list []podRow) {
	several := len(front.Teams) > 1
	for _, t := range front.Teams {
		if v.Filter.Team != "" && v.Filter.Team != t.Actor.Team.Slug {
			continue
		}
		mine := make([]podRow, 0, len(t.Pods))
		for _, pod := range t.Pods {
			if row := rowOf(t.Actor, pod, now); v.Filter.fits(row) {
				mine = append(mine, row)
			}
		}
		slices.SortStableFunc(mine, func(a, b podRow) int { return a.trouble() - b.trouble() })
		list = append(list, mine...)
	}
	if !several {
		return list
	}
	for i := range list {
		if wrong(list[i].Status) {
			list[i].group = attention
		}
	}
	slices.SortStableFunc(list, func(a, b podRow) int { return min(1, a.trouble()) - min(1, b.trouble()) })
	slices.SortStableFunc(list, func(a, b podRow) int { return first(a.group != attention) - first(b.group != attention) })
	return list
}

// attention is the group of what failed, whatever its team.
const attention = "attention"

func first(last bool) int {
	if last {
		return 1
	}
	return 0
}

// trouble orders rows: what failed, what dies again and again, what runs and has
// something to say, and the rest.
func (r podRow) trouble() int {
	switch {
	case r.Status == "failed":
		return 0
	case r.Status == "failing":
		return 1
	case r.Reason != "":
		return 2
	}
	return 3
}

// fits reports whether a row is asked for.
func (f filter) fits(r podRow) bool {
	q := strings.ToLower(f.Q)
	if !strings.Contains(r.Name+" "+r.Preset+" "+r.Host+" "+strings.ToLower(r.Reason), q) {
		return false
	}
	return f.State == "" || f.State == r.Status || f.State == "failed" && wrong(r.Status)
}

// Any reports whether anything is filtered.
func (f filter) Any() bool { return f != filter{} }

// group puts rows that follow each other and belong together under one heading. all
// are the rows of all pages of the list.
func (v *frontPage) group(rows, all []podRow) {
	count := map[string]int{}
	for _, row := range all {
		count[row.group]++
	}
	names := map[string]string{attention: "Failed"}
	for _, t := range v.Teams {
		names[t.Value] = t.Name
	}
	for _, row := range rows {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].ID != row.group {
			v.Groups = append(v.Groups, podGroup{ID: row.group, Title: names[row.group], All: count[row.group]})
		}
		g := &v.Groups[len(v.Groups)-1]
		if row.group != attention {
			row.Team = ""
		}
		g.Rows = append(g.Rows, row)
	}
}

func rowOf(actor authz.Actor, p pods.Pod, now time.Time) podRow {
	v := podRow{
		Name: text.Line(p.Name, 63), Team: text.Line(actor.Team.Name, 60), Status: text.Line(p.Status, 20), Reason: text.Line(inPages(p.Reason), 300),
		Preset: text.Line(p.Preset, 40), Memory: memoryWords(p), Since: "created", At: p.Created, URL: webAddress(p.URL), group: actor.Team.Slug,
	}
	_, v.Host, _ = strings.Cut(v.URL, "://")
	v.Word = statusWord(v.Status)
	if p.Status == "running" && !p.Started.IsZero() {
		v.Since, v.At = "started", p.Started
	}
	v.Ago = page.Ago(now, v.At)
	if actor.AllowPod(authz.ManagePod, p.Team, p.Name) == nil {
		switch {
		case v.Status == "stopped":
			v.Action, v.Button = "start", "Start"
		case wrong(v.Status):
			v.Action, v.Button = "restart", "Restart"
		}
	}
	return v
}

// statusWord is a status as people read it.
func statusWord(status string) string {
	if word, ok := statusWords[status]; ok {
		return word
	}
	return status
}

// outages says where pods cannot run and why. The words of the runtimes are
// made for the person who owns the machine.
func (s *Pages) outages(actor authz.Actor) []string {
	regions, err := s.pods.Regions(actor)
	if err != nil {
		return nil // the list of pods says what is wrong
	}
	var list []string
	for _, region := range regions {
		if region.Err != nil {
			list = append(list, "Region "+text.Line(region.Name, 40)+": "+text.Line(region.Err.Error(), 600))
		}
	}
	return list
}

// connectGuide is how an assistant is connected.
type connectGuide struct {
	Endpoint string // what people type
	Guides   []guide
	Local    bool
	Alone    bool // on a page of its own
}

func (s *Pages) connectGuide() connectGuide {
	endpoint := s.Issuer + "/api/mcp"
	return connectGuide{Endpoint: endpoint, Guides: s.guides(endpoint), Local: s.Local}
}

// serveConnect is GET /connect.
func (s *Pages) serveConnect(w http.ResponseWriter, r *http.Request, p page.Person) error {
	view := s.connectGuide()
	view.Alone = true
	return s.area.Render(w, r, page.Plain, http.StatusOK, "connect", page.Frame{Title: "Connect an assistant", Here: "connections", Page: view})
}

// podsFault is an error of the pods service for the person who asked, and the status
// it is shown with; ok is false for one that is for the log.
func podsFault(err error) (words string, status int, ok bool) {
	var form uploadFault
	if errors.As(err, &form) {
		return string(form), http.StatusUnprocessableEntity, true
	}
	if !pods.IsPublic(err) {
		return "", 0, false
	}
	status = http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, pods.ErrBusy), errors.Is(err, pods.ErrNameTaken), errors.Is(err, pods.ErrInterrupted):
		status = http.StatusConflict
	case errors.Is(err, pods.ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, pods.ErrLimited):
		status = http.StatusForbidden
	}
	return sentence(err), status, true
}
