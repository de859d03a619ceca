package control

import (
	"context"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

// Deleted pods are a person's to bring back, so no tool does it.
const (
	pathDeleted  = "/v1/pod/deleted"
	pathUndelete = "/v1/pod/undelete"
	pathPurge    = "/v1/pod/purge"
)

// Undeleter brings deleted pods back: pods.Service.
type Undeleter interface {
	DeletedPods(a authz.Actor) ([]pods.DeletedPod, error)
	Undelete(ctx context.Context, a authz.Actor, name, as string, p pods.Progress) (pods.Pod, error)
	Purge(ctx context.Context, a authz.Actor, name, confirm string) error
}

// DeletedPod is a pod that can be brought back.
type DeletedPod struct {
	ID      string    `json:"id"` // tells it from another that had the name
	Name    string    `json:"name"`
	Team    string    `json:"team"`
	Preset  string    `json:"preset"`
	Plan    string    `json:"plan"`
	Deleted time.Time `json:"deleted"`
	Until   time.Time `json:"until"` // from then on it is gone for good
}

type undeleteRequest struct {
	Name string `json:"name"`
	As   string `json:"as,omitempty"`
	Team string `json:"team,omitempty"`
}

// UndeletedPod is one that was brought back.
type UndeletedPod struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	URL    string `json:"url"`
}

// deleted lists the deleted pods of one team or, without its slug, of all.
func (h *handler) deleted(_ context.Context, r undeleteRequest) ([]DeletedPod, error) {
	if h.Undelete == nil {
		return nil, errNotRunning
	}
	teams, err := h.DB.Teams()
	if r.Team != "" {
		var one store.Team
		one, err = h.Accounts.TeamBySlug(r.Team)
		teams = []store.Team{one}
	}
	if err != nil {
		return nil, err
	}
	list := []DeletedPod{}
	for _, team := range teams {
		found, err := h.Undelete.DeletedPods(authz.CommandLine(team))
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			list = append(list, DeletedPod{p.ID, p.Name, team.Slug, p.Preset, p.Plan, p.Deleted.UTC(), p.Until.UTC()})
		}
	}
	return list, nil
}

// findDeleted is the team of a deleted pod, and which it is.
func (h *handler) findDeleted(ctx context.Context, r undeleteRequest) (store.Team, DeletedPod, error) {
	list, err := h.deleted(ctx, r)
	if err != nil {
		return store.Team{}, DeletedPod{}, err
	}
	var found []DeletedPod
	for _, p := range list {
		if p.ID == r.Name || p.Name == r.Name && (len(found) == 0 || found[0].Team != p.Team) {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return store.Team{}, DeletedPod{}, wordsFor{store.ErrNotFound, "No pod " + r.Name + " was deleted in the last seven days. «podgate pod undelete» without a name shows those that were."}
	case len(found) > 1:
		return store.Team{}, DeletedPod{}, wordsFor{store.ErrMismatch, "Several teams had a pod of that name: say which with --team SLUG."}
	}
	team, err := h.Accounts.TeamBySlug(found[0].Team)
	return team, found[0], err
}

// undelete writes its own entry, which is about the pod, as purge does.
func (h *handler) undelete(ctx context.Context, r undeleteRequest) (UndeletedPod, error) {
	team, p, err := h.findDeleted(ctx, r)
	if err != nil {
		return UndeletedPod{}, err
	}
	back, err := h.Undelete.Undelete(ctx, authz.CommandLine(team), p.ID, r.As, nil)
	if back.ID != "" { // it is back, also when its app did not start
		h.notePod(team, p, join("undelete "+p.Name, r.As))
		if err != nil && pods.IsPublic(err) {
			back.Reason, err = err.Error(), nil
		}
	}
	return UndeletedPod{back.Name, back.Status, back.Reason, back.URL}, err
}

func (h *handler) purge(ctx context.Context, r undeleteRequest) (DeletedPod, error) {
	team, p, err := h.findDeleted(ctx, r)
	if err == nil {
		err = h.Undelete.Purge(ctx, authz.CommandLine(team), p.ID, p.Name)
	}
	if err == nil {
		h.notePod(team, p, "delete for good "+p.Name)
	}
	return p, err
}

func (h *handler) notePod(team store.Team, p DeletedPod, what string) {
	h.History.Audit(history.Visitor{}, store.AuditEntry{
		Action: history.AuditPod, ActorName: history.CommandLine, Pod: store.PodID(p.ID), Team: team.ID, TeamName: team.Slug, Object: what,
	})
}

// DeletedPods lists the pods that can be brought back: of one team or, without a slug,
// of all.
func (c *Client) DeletedPods(ctx context.Context, team string) ([]DeletedPod, error) {
	return ask[[]DeletedPod](ctx, c, pathDeleted, undeleteRequest{Team: team})
}

// Undelete brings a pod back by its name or id, under its name or another.
func (c *Client) Undelete(ctx context.Context, name, as, team string) (UndeletedPod, error) {
	return ask[UndeletedPod](ctx, c, pathUndelete, undeleteRequest{name, as, team})
}

// Purge deletes a deleted pod for good.
func (c *Client) Purge(ctx context.Context, name, team string) (DeletedPod, error) {
	return ask[DeletedPod](ctx, c, pathPurge, undeleteRequest{Name: name, Team: team})
}
