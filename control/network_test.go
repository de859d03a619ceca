package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
	"podgate/store/storetest"
)

// networksOver is a service of pods with one region that cannot be opened, and
// the list "packages".
func networksOver(db *store.DB) *pods.Service {
	rules := func(written ...string) []egress.Rule {
		all, err := egress.ParseRules(written, nil)
		if err != nil {
			panic(err)
		}
		return all
	}
	s, err := pods.New(pods.Config{
		DB: db, NameLists: map[string][]egress.Rule{"packages": rules("one.example.org", "two.example.org")},
		Regions: []pods.Region{{
			Name: "local", Kind: "sandbox", Open: func(context.Context) (pods.Runtime, error) { return nil, errors.ErrUnsupported },
			Network: egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}},
		}},
	})
	if err != nil {
		panic(err)
	}
	return s
}

// withPod is a client with the team ada and its pod hello.
func withPod(t *testing.T) (*Client, *store.DB) {
	t.Helper()
	c, db, _ := recording(t)
	w := storetest.Populate(t, db, "ada", t0)
	for _, p := range []store.Pod{
		{ID: "p1", Name: "hello", Team: w.Team.ID, Region: "local", Want: store.WantRunning},
		{ID: "p2", Name: "going", Team: w.Team.ID, Region: "local", Want: store.WantGone},
	} {
		if err := db.CreatePod(p, t0, func([]store.Pod) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return c, db
}

func layersOf(n Network) string {
	var all []string
	for _, l := range n.Layers {
		all = append(all, fmt.Sprintf("%s: %s %q %q", l.Who, l.Mode, l.Allow, l.Names))
	}
	return strings.Join(append(all, n.Region+": "+n.Mode), "\n")
}

func TestNetworkIsShownAndSet(t *testing.T) {
	t.Parallel()
	c, db := withPod(t)
	ctx := t.Context()
	team, err := c.TeamNetwork(ctx, "ada")
	if want := "the region: internet [] []\nthe team: inherit [] []\nlocal: internet"; err != nil || len(team.Regions) != 1 || layersOf(team.Regions[0]) != want {
		t.Errorf("%+v %v", team, err)
	}
	team, err = c.SetTeamNetwork(ctx, NetworkSetting{Name: "ada", Mode: "names", Allow: []string{"@packages", "*.example.net:443"}})
	want := "the region: internet [] []\n" +
		`the team: names ["@packages" "*.example.net:443"] ["one.example.org" "two.example.org" "*.example.net:443"]`
	if err != nil || layersOf(team.Regions[0]) != want+"\nlocal: names" {
		t.Errorf("%+v %v", team, err)
	}
	pod, err := c.SetPodNetwork(ctx, NetworkSetting{Name: "hello", Mode: "none"})
	if err != nil || layersOf(pod.Network) != want+"\nthe pod's own setting: none [] []\nlocal: none" || pod.Team != "ada" || pod.Ledger == nil {
		t.Errorf("%+v %v", pod, err)
	}
	if pod, err = c.SetPodNetwork(ctx, NetworkSetting{Name: "hello", Mode: Inherit}); err != nil || pod.Mode != "names" {
		t.Errorf("%+v %v", pod, err)
	}
	if p, err := db.PodByName("hello"); err != nil || !p.Network.IsZero() {
		t.Errorf("%+v %v", p, err)
	}
	if names, err := c.PodNames(ctx); err != nil || !slices.Equal(names, []string{"hello"}) {
		t.Error(names, err)
	}
	list, err := c.Audit(ctx, ListRequest{Limit: 10})
	var told []string
	for _, e := range list {
		told = append(told, fmt.Sprintf("%s %s %s", e.Action, e.Team, e.Object))
	}
	if want := []string{"set_pod_network ada hello, inherit", "set_pod_network ada hello, none", "set_team_network ada names @packages *.example.net:443"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("%q %v", told, err)
	}
}

// What is not understood gets an answer that says so, changes nothing, and
// stands in no list.
func TestNetworkRefusals(t *testing.T) {
	t.Parallel()
	c, db := withPod(t)
	ctx := t.Context()
	was := store.Network{Mode: "names", Names: []string{"api.example.com"}}
	team, err := db.TeamBySlug("ada")
	if err := errors.Join(err, db.SetTeamNetwork(team.ID, was), db.SetPodNetwork("p1", was)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		NetworkSetting
		code, says string
	}{
		{NetworkSetting{Mode: "everything"}, "invalid", `not "everything"`},
		{NetworkSetting{Mode: ""}, "invalid", "none, names, internet, or inherit"},
		{NetworkSetting{Mode: "names"}, "invalid", "--allow"},
		{NetworkSetting{Mode: "internet", Allow: []string{"api.example.com"}}, "invalid", "only where the network is names"},
		{NetworkSetting{Mode: "inherit", Allow: []string{"api.example.com"}}, "invalid", "only where the network is names"},
		{NetworkSetting{Mode: "names", Allow: []string{"a.example.com", "https://b.example.com/"}}, "invalid", "https://b.example.com/"},
		{NetworkSetting{Mode: "names", Allow: []string{"@absent"}}, "invalid", `"@absent" is no list`},
		{NetworkSetting{Mode: "names", Allow: slices.Repeat([]string{"a.example.com"}, 201)}, "invalid", "at most 200"},
		{NetworkSetting{Name: "absent", Mode: "none"}, "not_found", `"absent"`},
		{NetworkSetting{Name: "going", Mode: "none"}, "not_found", `"going"`},
	} {
		forTeam, forPod := bad.NetworkSetting, bad.NetworkSetting
		if bad.Name == "" {
			forTeam.Name, forPod.Name = "ada", "hello"
		}
		for what, err := range map[string]error{"team": second(c.SetTeamNetwork(ctx, forTeam)), "pod": second(c.SetPodNetwork(ctx, forPod))} {
			var refusal *Error
			if !errors.As(err, &refusal) || refusal.Code != bad.code || !strings.Contains(refusal.Message, bad.says) || strings.Contains(refusal.Message, "store:") {
				t.Errorf("%s %+v: %v", what, bad.NetworkSetting, err)
			}
		}
	}
	team, err1 := db.TeamBySlug("ada")
	pod, err2 := db.PodByName("hello")
	list, err3 := c.Audit(ctx, ListRequest{Limit: 10})
	if err := errors.Join(err1, err2, err3); err != nil || !slices.Equal(team.Network.Names, was.Names) || !slices.Equal(pod.Network.Names, was.Names) || len(list) != 0 {
		t.Errorf("%+v %+v %+v %v", team.Network, pod.Network, list, err)
	}
}

// heedful is the networks of a server whose pods run: gates take the policy when
// they are told of a change.
type heedful struct {
	*pods.Service
	db   *store.DB
	gate *egress.Gate
	fail error
}

func (h *heedful) NetworkChanged() error {
	p, err := h.db.PodByName("hello")
	if err == nil {
		h.gate.SetPolicy(egress.Policy{Layers: h.Service.NetworkOf(p).Layers})
	}
	return errors.Join(err, h.fail)
}

func (h *heedful) NetworkOf(p store.Pod) pods.PodNetwork {
	n := h.Service.NetworkOf(p)
	n.Ledger = h.gate.Ledger()
	return n
}

// A change counts at once for a pod that runs, and the ledger tells of both.
func TestNetworkChangeCountsAtOnce(t *testing.T) {
	t.Parallel()
	plain, db := withPod(t)
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	n := &heedful{Service: networksOver(db), db: db, gate: egress.NewGate(egress.Config{
		Now:  func() time.Time { return t0.In(time.FixedZone("far", 3600)) },
		Dial: func(context.Context, string, string) (net.Conn, error) { return near, nil },
		Own:  func() ([]netip.Prefix, error) { return nil, nil },
	}, egress.Policy{})}
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return t0 }
	h := NewHandler(Config{DB: db, Accounts: account.New(account.Config{DB: db, Log: log, Now: now}), Log: log, Now: now, Networks: n})
	c := &Client{roundTrip: inProcess{h}}
	to := netip.MustParseAddrPort("1.1.1.1:443")
	if _, _, err := n.gate.Dial(t.Context(), "tcp", to); err != nil || n.gate.Stale() {
		t.Fatal(err)
	}
	if _, err := c.SetTeamNetwork(t.Context(), NetworkSetting{Name: "ada", Mode: "none"}); err != nil || !n.gate.Stale() {
		t.Errorf("what is open may stay: %v", err)
	}
	if err := n.gate.Check("tcp", to); err == nil {
		t.Error("the pod may open more")
	}
	pod, err := c.PodNetwork(t.Context(), "hello")
	want := []egress.Entry{{Target: "1.1.1.1", Port: 443, Network: "tcp", Connections: 1, Open: 1, Refused: 1, Reason: "the team allows no network; a team owner can allow it", First: t0, Last: t0}}
	if err != nil || !slices.Equal(pod.Ledger, want) {
		t.Errorf("%+v %v", pod.Ledger, err)
	}
	n.fail = errors.New("no reading")
	if _, err := c.SetPodNetwork(t.Context(), NetworkSetting{Name: "hello", Mode: "none"}); err == nil || !strings.Contains(err.Error(), "the change is stored, but") {
		t.Errorf("%v", err)
	}
	if pod, err := plain.PodNetwork(t.Context(), "hello"); err != nil || pod.Mode != "none" || len(pod.Ledger) != 0 {
		t.Errorf("%+v %v", pod, err)
	}
}
