package main

import (
	"net/http"
	"time"

	"podgate/internal/web"
)

// healthRoutes are for programs that watch the server.
func (srv *server) healthRoutes() []web.Route {
	// Open to any origin like all that needs no cookie; so a name of loopback is
	// as good as the public one.
	route := func(path string, h web.Handler) web.Route {
		return web.Route{Method: http.MethodGet, Path: path, Handler: h, Errors: web.WriteJSONError, CORS: true}
	}
	return []web.Route{route("/healthz", serveHealth), route("/readyz", srv.serveReady)}
}

// serveHealth says that the process answers.
func serveHealth(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	web.WriteJSON(w, http.StatusOK, map[string]bool{"ok": true})
	return nil
}

// readiness is the answer of /readyz. Strangers may read it: it names no pod
// and no cause that only the log may hold.
type readiness struct {
	Ready        bool                `json:"ready"`
	Problems     []problem           `json:"problems"` // why it is not
	Certificates []certificateStatus `json:"certificates"`
	PodProblems  int                 `json:"pod_problems,omitempty"` // pods whose certificate was refused last
	Backup       *backupStatus       `json:"backup,omitempty"`
}

// backupStatus is how the daily backups are. When they were and why one failed is for
// administrators.
type backupStatus struct {
	OK bool `json:"ok"` // the newest is neither late nor missing, and the last try did not fail
}

type certificateStatus struct {
	Name      string     `json:"name"`
	Expires   *time.Time `json:"expires,omitempty"`
	LastError string     `json:"last_error,omitempty"`
	FailedAt  *time.Time `json:"failed_at,omitempty"`
}

// serveReady says whether the server does all that it is there for: 200 or 503.
func (srv *server) serveReady(w http.ResponseWriter, _ *http.Request) error {
	if _, err := srv.accounts.NeedsSetup(); err != nil { // the store answers
		return web.Fault(http.StatusServiceUnavailable, "not_ready", "The database cannot be read. The server's log says why.", err)
	}
	answer, certificates := readiness{Certificates: []certificateStatus{}}, true
	if srv.certs != nil {
		status := srv.certs.Status()
		certificates, answer.PodProblems = status.Ready(time.Now()), status.PodProblems
		for _, n := range status.Names {
			answer.Certificates = append(answer.Certificates, certificateStatus{n.Name, present(n.Expires), n.Problem, present(n.At)})
		}
	}
	if b := srv.backupState(); b != nil {
		answer.Backup = &backupStatus{b.State == "ok"}
	}
	answer.Problems = srv.problems(certificates)
	answer.Ready = len(answer.Problems) == 0
	w.Header().Set("Cache-Control", "no-store")
	code := http.StatusOK
	if !answer.Ready {
		code = http.StatusServiceUnavailable
	}
	web.WriteJSON(w, code, answer)
	return nil
}

// present leaves the zero time out of an answer.
func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
