package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

// Pods come and go as files: pathExport answers as pathBackup does, and the body of
// pathImport is the file. What is to be done stands in the query.
const (
	pathExport = "/v1/pod/export"
	pathImport = "/v1/pod/import"
)

// PodFiles makes files of pods, and pods of files.
type PodFiles interface {
	// ExportPod writes the file of a pod and returns its manifest as JSON.
	ExportPod(ctx context.Context, w io.Writer, name string, withEnv bool) (manifest []byte, err error)
	ImportPod(ctx context.Context, r io.Reader, a authz.Actor, as PodImport) (ImportedPod, error)
}

// PodImport is what a person says of a pod that is made of a file.
type PodImport struct {
	Team string // slug; empty: the only one
	Name string // empty: that in the file
	Plan string // as Name
}

// ImportedPod is what became of the file.
type ImportedPod struct {
	Pod        string   `json:"pod"`
	URL        string   `json:"url"`
	Team       string   `json:"team"`
	Plan       string   `json:"plan"`
	Status     string   `json:"status"`
	Files      int      `json:"files"`
	Bytes      int64    `json:"bytes"`
	WithoutEnv []string `json:"env_without_values,omitempty"` // variables that have to be set
	Problem    string   `json:"problem,omitempty"`            // why it did not start
	ID         string   `json:"-"`
}

const (
	paramName    = "name"
	paramPlan    = "plan"
	paramWithEnv = "with_env"
)

func (h *handler) exportPod(w http.ResponseWriter, r *http.Request) error {
	if h.PodFiles == nil {
		return errNotRunning
	}
	query := r.URL.Query()
	p, err := h.pod(query.Get(paramName))
	if err != nil {
		return inWords(err)
	}
	withEnv := query.Get(paramWithEnv) != ""
	subject := about{pod: p.ID, more: p.Name}
	if withEnv {
		subject.more = join(p.Name, "with the values of its environment")
	}
	if t, err := h.DB.Team(p.Team); err == nil {
		subject.team = t.Slug
	}
	h.audit(history.AuditPodExport, subject, "") // what was sent is known, even if it breaks off
	return h.stream(w, func(out io.Writer) ([]byte, error) {
		return h.PodFiles.ExportPod(r.Context(), out, p.Name, withEnv)
	})
}

func (h *handler) importPod(w http.ResponseWriter, r *http.Request) error {
	if h.PodFiles == nil {
		return errNotRunning
	}
	query := r.URL.Query()
	team, err := h.teamMeant(query.Get(paramTeam), "")
	if err != nil {
		return inWords(err)
	}
	made, err := h.PodFiles.ImportPod(r.Context(), r.Body, authz.CommandLine(team), PodImport{team.Slug, query.Get(paramName), query.Get(paramPlan)})
	if err != nil {
		return inWords(err)
	}
	h.audit(history.AuditPodImport, about{team: team.Slug, pod: store.PodID(made.ID), more: made.Pod}, "")
	web.WriteJSON(w, http.StatusOK, made)
	return nil
}

// ExportPod has the running server write the file of a pod to w, and returns its
// manifest as JSON. After an error, what was written is no such file.
func (c *Client) ExportPod(ctx context.Context, w io.Writer, name string, withEnv bool) (json.RawMessage, error) {
	query := url.Values{paramName: {name}}
	if withEnv {
		query.Set(paramWithEnv, "yes")
	}
	return c.receive(ctx, pathExport+"?"+query.Encode(), w)
}

// ImportPod has the running server make a pod of the file that r reads.
func (c *Client) ImportPod(ctx context.Context, r io.Reader, as PodImport) (ImportedPod, error) {
	var made ImportedPod
	query := url.Values{paramTeam: {as.Team}, paramName: {as.Name}, paramPlan: {as.Plan}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://podgate"+pathImport+"?"+query.Encode(), io.NopCloser(r))
	if err != nil {
		return made, err
	}
	resp, err := c.roundTrip.RoundTrip(req)
	if err != nil {
		return made, fmt.Errorf("ask the running server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return made, refusal(resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return made, err
	}
	return made, json.NewDecoder(bytes.NewReader(raw)).Decode(&made)
}
