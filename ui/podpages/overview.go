package podpages

import (
	"errors"
	"net/http"
	"time"
	"unicode"
	"unicode/utf8"

	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
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
	Preset, Plan string
	Region       string
	Memory       string
	Created      time.Time
	Started      time.Time
}

// serveOverview is GET /pod/:name.
func (s *Pages) serveOverview(w http.ResponseWriter, r *http.Request, o opened) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := overviewPage{
		Head: s.head(o, pod, "Overview"), Preset: text.Line(pod.Preset, 40), Plan: text.Line(pod.Plan, 63), Region: text.Line(pod.Region, 63),
		Memory: memoryWords(pod), Created: pod.Created, Started: pod.Started,
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "overview", page.Frame{Title: o.Name, Here: "pods", Wide: true, Page: view})
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
	words := text.Line(inPages(err.Error()), 400)
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
