package pods_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/wire"
	"podgate/store"
)

// seeing is a runtime that remembers the gates of what it starts.
type seeing struct {
	pods.Runtime
	gates map[string]*egress.Gate
}

func (s *seeing) Start(ctx context.Context, spec pods.Spec, say func(string)) error {
	s.gates[spec.Name] = spec.Gate
	return s.Runtime.Start(ctx, spec, say)
}

// nowhere is a world in which every name is 93.184.216.34 and nobody answers.
type nowhere struct{}

func (nowhere) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}
func (nowhere) LookupTXT(context.Context, string) ([]string, error) { return nil, nil }
func (nowhere) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, nil }
func (nowhere) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, nil
}

// What region, team and pod say counts together and at once, people see it, and
// what was refused stands in the pod's log.
func TestNetworkOfAPod(t *testing.T) {
	t.Parallel()
	seen := &seeing{gates: map[string]*egress.Gate{}}
	list, err := egress.ParseRules([]string{"registry.example.com"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(c *pods.Config) {
		c.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}
		c.NameLists = map[string][]egress.Rule{"packages": list}
		c.Egress = egress.Config{Resolver: nowhere{}, Own: func() ([]netip.Prefix, error) { return nil, nil }}
		open := c.Regions[0].Open
		c.Regions[0].Open = func(ctx context.Context) (pods.Runtime, error) {
			r, err := open(ctx)
			seen.Runtime = r
			return seen, err
		}
	})
	h.create(t, "shop")
	shop := seen.gates["shop"]
	if shop == nil {
		t.Fatal("the pod was started without a gate")
	}
	show := func() pods.Pod {
		t.Helper()
		p, err := h.Get(t.Context(), h.ann, "shop")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := show(); p.Network != "internet" || p.NetworkNames != nil || p.Refused != nil {
		t.Errorf("%+v", p)
	}
	asks := func(name string) egress.Code { return shop.Ask(t.Context(), name, egress.KindA).Code }
	if asks("other.example.com") != egress.CodeOK {
		t.Error("it may not reach what it may")
	}
	set := func(err error) {
		t.Helper()
		if err := errors.Join(err, h.NetworkChanged()); err != nil {
			t.Fatal(err)
		}
	}
	team := h.ann.Team.ID
	set(h.db.SetTeamNetwork(team, store.Network{Mode: "names", Names: []string{"@packages", "api.example.com", "@gone"}}))
	if asks("other.example.com") != egress.CodeNotFound || asks("api.example.com") != egress.CodeOK || asks("registry.example.com") != egress.CodeOK {
		t.Error("the team's list does not count")
	}
	p := show()
	if p.Network != "names" || !slices.Equal(p.NetworkNames, []string{"registry.example.com", "api.example.com"}) || len(p.Refused) != 1 || !strings.Contains(p.Refused[0], "other.example.com: the team allows only names on its list; a team owner can allow it") {
		t.Errorf("%+v", p)
	}
	set(h.db.SetPodNetwork(p.ID, store.Network{Mode: "none"}))
	if asks("api.example.com") != egress.CodeNotFound || show().Network != "none" {
		t.Errorf("%+v", show())
	}
	set(errors.Join(h.db.SetTeamNetwork(team, store.Network{}), h.db.SetPodNetwork(p.ID, store.Network{Mode: "internet"})))
	if asks("other.example.com") != egress.CodeOK {
		t.Error("what was taken away does not come back")
	}
	for _, q := range []pods.LogQuery{{Source: "network"}, {Source: "network", Grep: "api.example.com"}, {Source: "network", Since: time.Now().Add(time.Hour)}, {Source: "network", Lines: 1}} {
		lines, err := h.Logs(t.Context(), h.ann, "shop", q)
		want := 2
		if q.Grep != "" || q.Lines == 1 {
			want = 1
		}
		if !q.Since.IsZero() {
			want = 0
		}
		if err != nil || len(lines) != want || want > 0 && lines[len(lines)-1].Source != "network" {
			t.Errorf("%+v: %+v, %v", q, lines, err)
		}
	}
	all, err := h.Logs(t.Context(), h.ann, "shop", pods.LogQuery{})
	if err != nil || !slices.ContainsFunc(all, func(l wire.LogLine) bool { return l.Source == "network" }) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := h.Network(h.bob, "shop"); !errors.Is(err, pods.ErrNotFound) {
		t.Errorf("another team sees %v", err)
	}
	n, err := h.Network(h.ann, "shop")
	if err != nil || n.Mode != egress.ModeInternet || len(n.Ledger) == 0 {
		t.Errorf("%+v, %v", n, err)
	}
}

// What can change while the service runs counts at once, and a faulty
// configuration changes nothing.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	seen := &seeing{gates: map[string]*egress.Gate{}}
	var cfg pods.Config
	h := newHouse(t, func(c *pods.Config) {
		c.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}
		c.Egress = egress.Config{Resolver: nowhere{}, Own: func() ([]netip.Prefix, error) { return nil, nil }}
		open := c.Regions[0].Open
		c.Regions[0].Open = func(ctx context.Context) (pods.Runtime, error) {
			r, err := open(ctx)
			seen.Runtime = r
			return seen, err
		}
		cfg = *c
	})
	h.create(t, "shop")
	asks := func() egress.Code { return seen.gates["shop"].Ask(t.Context(), "api.example.com", egress.KindA).Code }
	plans := func() []string {
		t.Helper()
		all, err := h.Plans(h.ann)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		return names
	}
	before := plans()
	faulty := cfg
	faulty.Plans = []pods.Plan{{Name: "none"}}
	faulty.Regions = nil
	if err := h.Reconfigure(faulty); err == nil || asks() != egress.CodeOK || !slices.Equal(plans(), before) {
		t.Errorf("%v, %v", err, plans())
	}
	next := cfg
	next.Plans = []pods.Plan{{Name: "tiny", Limits: pods.Limits{Memory: 64 << 20, CPUs: 1, Disk: 1 << 30, Processes: 20}}}
	next.Quota = pods.Quota{Pods: 1, Memory: 4 << 30}
	next.Regions = slices.Clone(cfg.Regions)
	next.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeNone}}}
	if err := h.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	if asks() != egress.CodeNotFound || !slices.Equal(plans(), []string{"tiny"}) {
		t.Errorf("the network is open: %v, plans %v", asks(), plans())
	}
	if _, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "more", Preset: "static"}, nil); !errors.Is(err, pods.ErrOverQuota) {
		t.Errorf("over the new quota: %v", err)
	}
	gone := next
	gone.Regions = slices.Clone(next.Regions)
	gone.Regions[0].Name = "elsewhere"
	if err := h.Reconfigure(gone); err != nil || asks() != egress.CodeNotFound {
		t.Errorf("a region that left the configuration is open: %v, %v", err, asks())
	}
}

func TestCheckNetwork(t *testing.T) {
	t.Parallel()
	lists := map[string][]egress.Rule{"packages": nil}
	for _, n := range []store.Network{{}, {Mode: "none"}, {Mode: "internet"}, {Mode: "names"}, {Mode: "names", Names: []string{"a.example.com:443", "@packages", "10.0.0.0/8"}}} {
		if err := pods.CheckNetwork(n, lists); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	for want, n := range map[string]store.Network{
		"not \"all\"":       {Mode: "all"},
		"only where":        {Mode: "internet", Names: []string{"a.example.com"}},
		"no list":           {Mode: "names", Names: []string{"@other"}},
		"characters":        {Mode: "names", Names: []string{"a b"}},
		"at most 200 names": {Mode: "names", Names: make([]string, 201)},
	} {
		if err := pods.CheckNetwork(n, lists); !errors.Is(err, pods.ErrBadInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", n, err, want)
		}
	}
}
