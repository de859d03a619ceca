package pods_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/podstest"
)

// What visitors and the pod's own connections carry is counted once, also what goes to
// more targets than the ledger keeps and what was carried before a stop.
func TestTrafficOfAPod(t *testing.T) {
	t.Parallel()
	seen := &seeing{gates: map[string]*egress.Gate{}}
	h := newHouse(t, func(c *pods.Config) {
		c.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}
		c.Egress = egress.Config{Resolver: nowhere{}, Own: func() ([]netip.Prefix, error) { return nil, nil }, Dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			_ = far.Close()
			return near, nil
		}}
		open := c.Regions[0].Open
		c.Regions[0].Open = func(ctx context.Context) (pods.Runtime, error) {
			r, err := open(ctx)
			seen.Runtime = r
			return seen, err
		}
	})
	h.fake.SetAgent(podstest.RealAgent)
	h.create(t, "shop")
	measured := func() (in, out int64) {
		t.Helper()
		if err := h.Measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		used, err := h.Used(h.ann, "shop")
		if err != nil || len(used.Points) == 0 {
			t.Fatalf("%+v %v", used, err)
		}
		last := used.Points[len(used.Points)-1]
		return last.In, last.Out
	}
	visits := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, _, err := h.DialApp(ctx, "shop")
		return conn, err
	}}}
	visit := func() {
		t.Helper()
		res, err := visits.Post("http://shop/", "text/plain", strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	carry := func(targets int) {
		t.Helper()
		gate := seen.gates["shop"]
		for i := range targets {
			conn, id, err := gate.Dial(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr("93.184.216.34"), uint16(1000+i)))
			if err != nil {
				t.Fatal(err)
			}
			gate.Moved(id, 100_000, 200_000)
			gate.Closed(id)
			_ = conn.Close()
		}
	}
	visit()
	if in, out := measured(); in < 1000 || in > 2000 || out < 20 || out > 2000 {
		t.Errorf("a visit carried %d in, %d out", in, out)
	}
	carry(300)
	if in, out := measured(); in != 300*200_000 || out != 300*100_000 {
		t.Errorf("the pod's own connections carried %d in, %d out", in, out)
	}
	if in, out := measured(); in != 0 || out != 0 {
		t.Errorf("when nothing happened %d in, %d out", in, out)
	}
	gauge := func() pods.Gauge {
		t.Helper()
		for {
			list, err := h.Gauges(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("%+v %v", list, err)
			}
			if list[0].Status != pods.StatusUnknown { // or its agent has not answered yet
				return list[0]
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	// Whoever watches the server sees it grow, and takes nothing from the samples.
	if g := gauge(); g.Team != h.ann.Team.Slug || g.Name != "shop" || g.Status != "running" || g.In < 300*200_000 || g.In > 300*200_000+2000 || g.Out < 300*100_000 {
		t.Errorf("%+v", g)
	}
	before := gauge()
	carry(1)
	if g := gauge(); g.In != before.In+200_000 || g.Out != before.Out+100_000 {
		t.Errorf("%+v after %+v", g, before)
	}
	if in, out := measured(); in != 200_000 || out != 100_000 {
		t.Errorf("seen by a watcher, a connection carried %d in, %d out", in, out)
	}
	carry(1)
	if _, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if in, out := measured(); in != 0 || out != 0 {
		t.Errorf("the start carried %d in, %d out", in, out)
	}
}
