package podpages

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) overviewRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name", s.onPod(s.serveOverview)),
	}
}

// overviewPage is the content of overview.html.
type overviewPage struct {
	Head         podHead
	Fault        string // why what was pressed did not work
	Actions      []action
	Wrong        bool
	Tail         []string // what the app printed last, when it failed
	LastExit     string
	LastExitAt   time.Time
	Restarts     int
	Facts        []fact
	Created      time.Time
	Started      time.Time
	Plans        []choice // that the person may choose from; empty: they may not
	MayDeploy    bool
	MayDelete    bool
	Deploys      []deployView
	Network      string
	NetworkNames []string
	Refused      []string
	Roles        []fact
	Role         string
	Charts       []chart
}

// action is a button: what is done with the pod, as part of an address and in words.
type action struct {
	Path, Name string
	Primary    bool
}

// fact is a word and what it stands for.
type fact struct{ Name, Value string }

// serveOverview is GET /pod/:name.
func (s *Pages) serveOverview(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.overview(w, r, o, http.StatusOK, "")
}

// overviewDeploys is how many deploys the overview shows.
const overviewDeploys = 3

func (s *Pages) overview(w http.ResponseWriter, r *http.Request, o opened, status int, fault string) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	deploys, err := s.pods.Deploys(o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	plans, err := s.pods.Plans(o.Actor)
	if err != nil {
		return s.podError(err)
	}
	view := overviewPage{
		Head: s.head(o, pod, "Overview"), Fault: fault, Actions: actionsOf(o, pod.Status), Wrong: wrong(pod.Status), Restarts: pod.Restarts,
		LastExit: text.Line(pod.LastExit.Reason, 600), LastExitAt: pod.LastExit.At, Facts: factsOf(pod), Created: pod.Created, Started: pod.Started,
		MayDeploy: o.may(authz.Deploy), MayDelete: o.may(authz.DeletePod), Deploys: s.deployViews(o, deploys[:min(len(deploys), overviewDeploys)]),
		Network: networkWords(pod), Roles: roleFacts(), Role: string(o.Actor.Role),
	}
	if o.may(authz.ChangePlan) {
		view.Plans = planChoices(plans, pod.Plan)
	}
	if view.Wrong {
		for _, line := range pod.Tail[max(0, len(pod.Tail)-10):] {
			view.Tail = append(view.Tail, text.Line(line.Text, 300))
		}
	}
	for _, refused := range pod.Refused {
		view.Refused = append(view.Refused, text.Line(refused, 300))
	}
	if view.Charts, err = s.charts(o, pod); err != nil {
		return s.podError(err)
	}
	f := page.Frame{Title: o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"live.js", "pods.js"}}
	if view.Wrong {
		f.Title = pod.Status + " · " + o.Name
	}
	return s.area.Render(w, r, page.Plain, status, "overview", f)
}

// actionsOf are the buttons that make sense for a pod in that state, for somebody who
// may press them.
func actionsOf(o opened, status string) []action {
	if !o.may(authz.ManagePod) {
		return nil
	}
	switch status {
	case "stopped":
		return []action{{"start", "Start", true}}
	case "creating", "starting":
		return []action{{"stop", "Stop", false}}
	case "stopping":
		return nil
	case "failed":
		return []action{{"restart", "Restart", true}, {"reload", "Install and restart", false}, {"start", "Start", false}, {"stop", "Stop", false}}
	}
	return []action{{"restart", "Restart", false}, {"reload", "Install and restart", false}, {"stop", "Stop", false}}
}

// factsOf is what a pod is, in words and numbers.
func factsOf(pod pods.Pod) []fact {
	facts := []fact{
		{"Preset", text.Line(pod.Preset, 40)},
		{"Plan", text.Line(pod.Plan, 63) + ": " + limitWords(pod.Limits)},
		{"Memory", memoryWords(pod)},
	}
	if pod.Disk > 0 && pod.Limits.Disk > 0 {
		facts = append(facts, fact{"Disk", page.BytesWords(pod.Disk) + " of " + page.BytesWords(pod.Limits.Disk)})
	}
	if pod.Processes > 0 {
		facts = append(facts, fact{"Processes", fmt.Sprintf("%d of %d", pod.Processes, pod.Limits.Processes)})
	}
	if pod.Command != "" {
		facts = append(facts, fact{"Command", text.Line(pod.Command, 300)})
	}
	if pod.Region != "" {
		facts = append(facts, fact{"Region", text.Line(pod.Region, 63)})
	}
	return facts
}

// networkWords is what a pod may reach.
func networkWords(pod pods.Pod) string {
	switch pod.Network {
	case "internet":
		return "It may reach the whole internet."
	case "names":
		if len(pod.NetworkNames) == 0 {
			return "It may reach listed names only, and none is listed."
		}
		shown := pod.NetworkNames[:min(len(pod.NetworkNames), 8)]
		words := "It may reach " + text.Line(strings.Join(shown, ", "), 500)
		if more := len(pod.NetworkNames) - len(shown); more > 0 {
			words += fmt.Sprintf(" and %d more", more)
		}
		return words + "."
	}
	return "It reaches nothing outside."
}

// roleFacts say what each role may do, from the one table of that.
func roleFacts() []fact {
	var facts []fact
	for _, role := range []store.Role{store.RoleOwner, store.RoleMember, store.RoleViewer} {
		facts = append(facts, fact{string(role), authz.RoleWords(role)})
	}
	return facts
}

// podError is an error of the pods service as a page. One that is about a pod which
// has just gone looks like one that never was.
func (s *Pages) podError(err error) error {
	if errors.Is(err, pods.ErrNotFound) || errors.Is(err, pods.ErrNotMember) {
		return noPod(err)
	}
	if pods.IsPublic(err) {
		status := http.StatusConflict
		if errors.Is(err, pods.ErrNoFile) || errors.Is(err, pods.ErrNoJob) {
			status = http.StatusNotFound
		}
		return web.Fault(status, "refused", sentence(err), err)
	}
	return err
}

// sentence is an error of the pods service for a person.
func sentence(err error) string {
	words := text.Line(inPages(err.Error()), 800)
	first, size := utf8.DecodeRuneInString(words)
	return string(unicode.ToUpper(first)) + words[size:] + "."
}

// memoryWords: «12 MB of 256 MB» for a running pod, «up to 256 MB» otherwise.
func memoryWords(p pods.Pod) string {
	switch {
	case p.Memory > 0 && p.Limits.Memory > 0:
		return page.BytesWords(p.Memory) + " of " + page.BytesWords(p.Limits.Memory)
	case p.Memory > 0:
		return page.BytesWords(p.Memory)
	case p.Limits.Memory > 0:
		return "up to " + page.BytesWords(p.Limits.Memory)
	}
	return ""
}
