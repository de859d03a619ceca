package podpages

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/ui/page"
)

// shownOutput is how much of what a job printed is shown, in bytes.
const shownOutput = 64 << 10

func (s *Pages) jobRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/jobs", s.onPod(s.serveJobs)),
		s.Post("/pod/:name/jobs", s.onPod(s.handleStartJob)),
		s.Get("/pod/:name/job", s.onPod(s.serveJob)),
		s.Post("/pod/:name/job/stop", s.onPod(s.handleStopJob)),
	}
}

// jobsPage is the content of jobs.html.
type jobsPage struct {
	Head    podHead
	Jobs    []jobRow
	Part    page.Part
	Exec    bool // the reader may run commands
	Command string
	Fault   string
	Wrong   bool // the fault is of the form
}

type jobRow struct {
	ID, Href, Command, State, Word string
	Started, Ended                 time.Time
	Output                         string
}

func jobRowOf(o opened, j pods.Job) jobRow {
	row := jobRow{
		ID: j.ID, Href: "/pod/" + o.Name + "/job?" + url.Values{"id": {j.ID}}.Encode(), Command: j.Command, State: "stopped",
		Started: j.Started, Ended: j.Ended, Output: sizeWords(j.Output), Word: jobWord(j),
	}
	switch {
	case j.State == pods.JobRunning:
		row.State = "running"
	case j.Code != 0 || j.Signal != "":
		row.State = "failed"
	}
	return row
}

// jobWord says how a job is, in words.
func jobWord(j pods.Job) string {
	switch {
	case j.State == pods.JobRunning:
		return "running"
	case j.State == "exited" && j.Code == 0 && j.Signal == "":
		return "done"
	case j.State == "exited" && j.Signal == "":
		return "exit code " + strconv.Itoa(j.Code)
	case j.State == "exited":
		return "killed by " + j.Signal
	case j.State == "timed_out":
		return "its time was up"
	}
	return strings.ReplaceAll(j.State, "_", " ")
}

// serveJobs is GET /pod/:name/jobs: the commands in the background, the newest first.
func (s *Pages) serveJobs(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showJobs(w, r, o, http.StatusOK, "", "")
}

func (s *Pages) showJobs(w http.ResponseWriter, r *http.Request, o opened, status int, command, fault string) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := jobsPage{Head: s.head(o, pod, "Jobs"), Exec: o.may(authz.Exec), Command: command, Fault: fault, Wrong: fault != ""}
	list, err := s.pods.Jobs(r.Context(), o.Actor, o.Name)
	switch {
	case err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)):
		return s.podError(err)
	case err != nil && fault == "":
		view.Fault, status = sentence(err), http.StatusConflict
	}
	list, view.Part = page.Cut(r, list)
	for _, j := range list {
		view.Jobs = append(view.Jobs, jobRowOf(o, j))
	}
	return s.area.Render(w, r, page.Plain, status, "jobs", page.Frame{Title: "Jobs · " + o.Name, Here: "pods", Wide: true, Page: view})
}

// handleStartJob is POST /pod/:name/jobs with command.
func (s *Pages) handleStartJob(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.Exec) {
		return s.mayNot()
	}
	command := strings.ReplaceAll(r.PostFormValue("command"), "\r\n", "\n")
	job, err := s.pods.StartJob(r.Context(), o.Actor, o.Name, pods.ExecRequest{Command: command})
	s.note(r, o, history.AuditPodJob, "started one", err) // what it does is nobody else's
	if err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)) {
		return s.podError(err)
	}
	if err != nil {
		return s.showJobs(w, r, o, http.StatusConflict, command, sentence(err))
	}
	s.SetNotice(w, "job-started", 0)
	return s.Redirect(w, jobRowOf(o, job).Href)
}

// jobPage is the content of job.html.
type jobPage struct {
	Head   podHead
	Job    jobRow
	Dir    string
	Reason string
	Before string // how much of its output is not shown
	Lines  []jobLine
	Stop   bool
	Live   bool
}

type jobLine struct {
	Spans []span
	Cut   int
}

// serveJob is GET /pod/:name/job: one command and the end of what it printed. Query: id.
func (s *Pages) serveJob(w http.ResponseWriter, r *http.Request, o opened) error {
	out, err := s.pods.Job(r.Context(), o.Actor, o.Name, r.URL.Query().Get("id"), pods.JobQuery{Offset: -1, Limit: shownOutput})
	if err != nil {
		return s.podError(err)
	}
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := jobPage{Head: s.head(o, pod, "Jobs"), Job: jobRowOf(o, out.Job), Dir: out.Job.Dir, Reason: out.Job.Reason, Live: out.Job.State == pods.JobRunning}
	view.Stop = view.Live && o.may(authz.Exec)
	if out.Offset > 0 {
		view.Before = sizeWords(out.Offset)
	}
	printed := strings.TrimSuffix(strings.ToValidUTF8(string(out.Data), "\ufffd"), "\n")
	if printed != "" {
		for line := range strings.SplitSeq(printed, "\n") {
			spans, cut := spansOf(strings.TrimSuffix(line, "\r"))
			view.Lines = append(view.Lines, jobLine{spans, cut})
		}
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "job", page.Frame{Title: "Job · " + o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"jobs.js"}})
}

// handleStopJob is POST /pod/:name/job/stop with id.
func (s *Pages) handleStopJob(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.Exec) {
		return s.mayNot()
	}
	job, err := s.pods.StopJob(r.Context(), o.Actor, o.Name, r.PostFormValue("id"))
	s.note(r, o, history.AuditPodJob, "stopped one", err)
	if err != nil {
		return s.podError(err)
	}
	s.SetNotice(w, "job-stopped", 0)
	return s.Redirect(w, jobRowOf(o, job).Href)
}
