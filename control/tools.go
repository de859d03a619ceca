package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

// pathTools is where the tools for pods are called, in MCP's own protocol. Whoever
// reaches the socket calls them as the command line.
const pathTools = "/v1/tools"

// The parameters of pathTools: for which team, by its slug, or else by a pod.
const (
	paramTeam = "team"
	paramPod  = "pod"
)

// tools calls a tool for one team.
func (h *handler) tools(w http.ResponseWriter, r *http.Request) error {
	if h.Tools == nil {
		return errNotRunning
	}
	query := r.URL.Query()
	team, err := h.teamMeant(query.Get(paramTeam), query.Get(paramPod))
	if err != nil {
		return inWords(err)
	}
	h.Tools.ServeHTTP(w, r.WithContext(authz.WithActor(r.Context(), authz.CommandLine(team))))
	return nil
}

var errNotRunning = web.Fault(http.StatusServiceUnavailable, "not_running", "No server runs here: pods are there only while one does.", nil)

// teamMeant returns the team that a command is for: the one that it names, the one
// that owns the pod, or the only one.
func (h *handler) teamMeant(slug, pod string) (store.Team, error) {
	if slug != "" {
		return h.Accounts.TeamBySlug(slug)
	}
	if pod != "" {
		p, err := h.pod(pod)
		if err == nil {
			return h.DB.Team(p.Team)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return store.Team{}, err
		}
	}
	teams, err := h.DB.Teams()
	switch {
	case err != nil:
		return store.Team{}, err
	case len(teams) == 0:
		return store.Team{}, wordsFor{store.ErrNotFound, "There is no team yet. Open the link that «podgate» printed, or add one with «podgate team add»."}
	case len(teams) > 1:
		return store.Team{}, wordsFor{account.ErrInvalid, fmt.Sprintf("There are %d teams: say for which one with --team SLUG. «podgate team list» shows them.", len(teams))}
	}
	return teams[0], nil
}

// Tools returns the address at which the tools of the running server are called
// for a team, or for the one that owns a pod, and the way there. Both may be empty
// where there is one team.
func (c *Client) Tools(team, pod string) (address string, way http.RoundTripper) {
	query := url.Values{}
	if team != "" {
		query.Set(paramTeam, team)
	} else if pod != "" {
		query.Set(paramPod, pod)
	}
	return "http://podgate" + pathTools + "?" + query.Encode(), c.roundTrip
}
