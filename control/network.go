package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"podgate/account"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
)

const (
	pathTeamNetwork    = "/v1/team/network"
	pathTeamNetworkSet = "/v1/team/network/set"
	pathPodNetwork     = "/v1/pod/network"
	pathPodNetworkSet  = "/v1/pod/network/set"
	pathPodNames       = "/v1/pod/names"
)

// Networks is what pods may reach: pods.Service. Where no server runs it is one
// whose regions are not open.
type Networks interface {
	CheckNetwork(store.Network) error
	NetworkChanged() error
	NetworkOf(store.Pod) pods.PodNetwork
	NetworksOf(store.Team) []pods.PodNetwork
}

// Inherit is the mode of a team or a pod that takes nothing away.
const Inherit = "inherit"

// NetworkSetting is what somebody lets a team or a pod reach.
type NetworkSetting struct {
	Name  string   `json:"name"` // of the pod, or the team's slug
	Mode  string   `json:"mode"` // none, names, internet or inherit
	Allow []string `json:"allow,omitempty"`
}

// NetworkLayer is what one of those who decide lets pods reach.
type NetworkLayer struct {
	Who   string   `json:"who"`
	Mode  string   `json:"mode"`
	Allow []string `json:"allow,omitempty"` // as it was written; of teams and pods
	Names []string `json:"names"`           // the same with lists in place of their names
}

// Network is what holds for pods in one region.
type Network struct {
	Region string         `json:"region"`
	Mode   string         `json:"mode"` // the narrowest of the layers
	Layers []NetworkLayer `json:"layers"`
}

// TeamNetwork is what a team's pods may reach at most, in each region.
type TeamNetwork struct {
	Team    string    `json:"team"`
	Regions []Network `json:"regions"`
}

// PodNetwork is what a pod may reach, and what it has reached since the server
// was started.
type PodNetwork struct {
	Pod  string `json:"pod"`
	Team string `json:"team"`
	Network
	Ledger []egress.Entry `json:"ledger"`
}

type nameRequest struct {
	Name string `json:"name"`
}

// wordsFor gives an error other words, for a person.
type wordsFor struct {
	error
	words string
}

func (w wordsFor) Error() string { return w.words }
func (w wordsFor) Unwrap() error { return w.error }

func (h *handler) pod(name string) (store.Pod, error) {
	p, err := h.DB.PodByName(name)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Want == store.WantGone {
		return store.Pod{}, wordsFor{store.ErrNotFound, fmt.Sprintf("There is no pod %q.", name)}
	}
	return p, err
}

func (h *handler) podNames(context.Context, empty) ([]string, error) {
	list, err := h.DB.Pods()
	names := make([]string, 0, len(list))
	for _, p := range list {
		if p.Want != store.WantGone {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names, err
}

func (h *handler) teamNetwork(_ context.Context, r nameRequest) (TeamNetwork, error) {
	t, err := h.Accounts.TeamBySlug(r.Name)
	if err != nil {
		return TeamNetwork{}, err
	}
	shown := TeamNetwork{Team: t.Slug, Regions: []Network{}}
	for _, n := range h.Networks.NetworksOf(t) {
		shown.Regions = append(shown.Regions, showNetwork(n, t.Network))
	}
	return shown, nil
}

func (h *handler) podNetwork(_ context.Context, r nameRequest) (PodNetwork, error) {
	p, err := h.pod(r.Name)
	if err != nil {
		return PodNetwork{}, err
	}
	t, err := h.DB.Team(p.Team)
	if err != nil {
		return PodNetwork{}, err
	}
	n := h.Networks.NetworkOf(p)
	shown := PodNetwork{Pod: p.Name, Team: t.Slug, Network: showNetwork(n, t.Network, p.Network), Ledger: []egress.Entry{}}
	for _, e := range n.Ledger {
		e.First, e.Last = e.First.UTC(), e.Last.UTC()
		shown.Ledger = append(shown.Ledger, e)
	}
	return shown, nil
}

// showNetwork shows the layers: the region's, and below it those whose settings
// are written.
func showNetwork(n pods.PodNetwork, written ...store.Network) Network {
	shown := Network{Region: n.Region, Mode: string(n.Mode), Layers: []NetworkLayer{}}
	for i, l := range n.Layers {
		layer := NetworkLayer{Who: l.Who, Mode: modeWord(string(l.Mode)), Names: append([]string{}, l.Hosts()...)}
		if i > 0 && i <= len(written) {
			layer.Allow = written[i-1].Names
		}
		shown.Layers = append(shown.Layers, layer)
	}
	return shown
}

func modeWord(mode string) string {
	if mode == "" {
		return Inherit
	}
	return mode
}

// setting reads what somebody has asked for. ErrInvalid and pods.ErrBadInput.
func (h *handler) setting(s NetworkSetting) (store.Network, error) {
	n := store.Network{Mode: s.Mode, Names: s.Allow}
	switch {
	case s.Mode == Inherit:
		n.Mode = ""
	case s.Mode == "":
		return n, wordsFor{account.ErrInvalid, "Say what may be reached: none, names, internet, or inherit for what stands above it."}
	case s.Mode == string(egress.ModeNames) && len(s.Allow) == 0:
		return n, wordsFor{account.ErrInvalid, "List the names with --allow, all of them at once; to let nothing be reached use --mode none."}
	}
	return n, h.Networks.CheckNetwork(n)
}

func (h *handler) setTeamNetwork(ctx context.Context, s NetworkSetting) (TeamNetwork, error) {
	n, err := h.setting(s)
	if err != nil {
		return TeamNetwork{}, err
	}
	t, err := h.Accounts.TeamBySlug(s.Name)
	if err != nil {
		return TeamNetwork{}, err
	}
	if err := h.heeded(h.DB.SetTeamNetwork(t.ID, n)); err != nil {
		return TeamNetwork{}, err
	}
	return h.teamNetwork(ctx, nameRequest{s.Name})
}

func (h *handler) setPodNetwork(ctx context.Context, s NetworkSetting) (PodNetwork, error) {
	n, err := h.setting(s)
	if err != nil {
		return PodNetwork{}, err
	}
	p, err := h.pod(s.Name)
	if err != nil {
		return PodNetwork{}, err
	}
	if err := h.heeded(h.DB.SetPodNetwork(p.ID, n)); err != nil {
		return PodNetwork{}, err
	}
	return h.podNetwork(ctx, nameRequest{s.Name})
}

// heeded lets a change that was stored count for the pods that run.
func (h *handler) heeded(stored error) error {
	if stored != nil {
		return stored
	}
	if err := h.Networks.NetworkChanged(); err != nil {
		return fmt.Errorf("the change is stored, but pods that run do not heed it before they start again: %w", err)
	}
	return nil
}

func ofTeamNetwork(s NetworkSetting) about { return about{team: s.Name, more: settingWords(s)} }

func (h *handler) ofPodNetwork(s NetworkSetting) about {
	a := about{more: join(s.Name, settingWords(s))}
	if p, err := h.pod(s.Name); err == nil {
		a.pod = p.ID
		if t, err := h.DB.Team(p.Team); err == nil {
			a.team = t.Slug
		}
	}
	return a
}

func settingWords(s NetworkSetting) string {
	if len(s.Allow) == 0 {
		return s.Mode
	}
	return s.Mode + " " + strings.Join(s.Allow, " ")
}

// TeamNetwork shows what the pods of a team may reach.
func (c *Client) TeamNetwork(ctx context.Context, slug string) (TeamNetwork, error) {
	return ask[TeamNetwork](ctx, c, pathTeamNetwork, nameRequest{slug})
}

// SetTeamNetwork changes what the pods of a team may reach, those that run
// included.
func (c *Client) SetTeamNetwork(ctx context.Context, s NetworkSetting) (TeamNetwork, error) {
	return ask[TeamNetwork](ctx, c, pathTeamNetworkSet, s)
}

// PodNetwork shows what a pod may reach and what it has reached.
func (c *Client) PodNetwork(ctx context.Context, name string) (PodNetwork, error) {
	return ask[PodNetwork](ctx, c, pathPodNetwork, nameRequest{name})
}

// SetPodNetwork changes what a pod may reach, also while it runs.
func (c *Client) SetPodNetwork(ctx context.Context, s NetworkSetting) (PodNetwork, error) {
	return ask[PodNetwork](ctx, c, pathPodNetworkSet, s)
}

// PodNames lists every pod by its name.
func (c *Client) PodNames(ctx context.Context) ([]string, error) {
	return ask[[]string](ctx, c, pathPodNames, empty{})
}
