package pods_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

// limited is ann through a connection with limits.
func (h *house) limited(l store.Limits) authz.Actor {
	a := h.ann
	a.Limits = l
	return a
}

func (h *house) make(a authz.Actor, name string) error {
	_, err := h.Create(context.Background(), a, pods.CreateRequest{Name: name, Preset: "static"}, nil)
	return err
}

// A pod outside the prefix is answered like one that is absent, in every call
// and byte for byte, also when it belongs to another team of the same user.
func TestPodsOutsideThePrefixAreAbsent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "web-shop")
	h.create(t, "other")
	if err := h.make(h.bob, "his"); err != nil {
		t.Fatal(err)
	}
	if err := h.db.PutMember(store.Member{Team: h.bob.Team.ID, User: h.ann.User, Role: store.RoleMember, Created: day}); err != nil {
		t.Fatal(err)
	}
	a := h.limited(store.Limits{Prefix: "web-"})
	for method, call := range h.calls(t.Context()) {
		absent := call(a, "web-absent")
		wants(t, absent, pods.ErrNotFound, "list_pods")
		for _, name := range []string{"other", "his", "absent", "", "web", "WEB-SHOP"} {
			if err := call(a, name); err == nil || err.Error() != absent.Error() {
				t.Errorf("%s of %q: %v", method, name, err)
			}
		}
	}
	if _, err := h.Exec(t.Context(), a, "web-shop", pods.ExecRequest{Command: "true"}, nil); err != nil {
		t.Errorf("inside the prefix: %v", err)
	}
	if p := h.status(t, "other"); p.Status != "running" {
		t.Errorf("the pod outside was changed: %+v", p)
	}
}

func TestListHoldsToThePrefix(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{"web-1", "web-2", "web", "shop"} {
		h.create(t, name)
	}
	for prefix, want := range map[string]string{"web-": "[web-1 web-2]", "web": "[web web-1 web-2]", "": "[shop web web-1 web-2]", "none": "[]"} {
		list, err := h.List(t.Context(), h.limited(store.Limits{Prefix: prefix}))
		names := []string{}
		for _, p := range list {
			names = append(names, p.Name)
		}
		if err != nil || fmt.Sprint(names) != want {
			t.Errorf("%q sees %v, %v; want %s", prefix, names, err, want)
		}
	}
}

func TestCreateHoldsToThePrefix(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 10, Memory: 700 << 20} })
	h.create(t, "taken")
	a := h.limited(store.Limits{Prefix: "web-"})
	for _, name := range []string{"taken", "free", "web", "xweb-1"} {
		wants(t, h.make(a, name), pods.ErrLimited, "name begins with web-")
	}
	if err := h.make(a, "web-1"); err != nil {
		t.Errorf("inside: %v", err)
	}
	// The quota is the team's; what the pods outside need is not told.
	_, err := h.Create(t.Context(), a, pods.CreateRequest{Name: "web-2", Preset: "static", Plan: "medium"}, nil)
	wants(t, err, pods.ErrOverQuota, "no room for plan medium with 512 MiB")
	if err != nil && strings.Contains(err.Error(), "700") {
		t.Errorf("the sum over all pods is told: %v", err)
	}
}

func TestReadOnlyConnection(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	reads := map[string]bool{"Get": true, "Deploys": true, "ReadFile": true, "ListFiles": true, "SearchFiles": true, "CreateDownload": true, "Logs": true, "Download": true, "ExportHome": true, "Watch": true, "FollowLogs": true}
	a := h.limited(store.Limits{ReadOnly: true})
	calls := h.calls(t.Context())
	calls["Create"] = h.make
	for method, call := range calls {
		for _, name := range []string{"shop", "absent"} {
			var denied *authz.Denied
			err := call(a, name)
			if refused := errors.As(err, &denied) && denied.Limit == authz.LimitReadOnly && denied.Scope == ""; refused == reads[method] {
				t.Errorf("%s of %s: %v", method, name, err)
			}
		}
	}
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("the pod was changed: %+v", p)
	}
	if list, err := h.List(t.Context(), a); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// Two creates at once cannot both take the last place.
func TestMaxPodsHoldsInParallel(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 100, Memory: 1 << 40} })
	h.create(t, "web-old")
	h.create(t, "other-1")
	h.create(t, "other-2")
	a := h.limited(store.Limits{Prefix: "web-", MaxPods: 3})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if err := h.make(a, fmt.Sprintf("web-%d", i)); err != nil && !errors.Is(err, pods.ErrLimited) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := h.List(t.Context(), a); err != nil || len(list) != 3 {
		t.Fatalf("%d pods, %v", len(list), err)
	}
	wants(t, h.make(a, "web-more"), pods.ErrLimited, "limited to 3")
	if err := h.Delete(t.Context(), a, "web-old", "web-old"); err != nil {
		t.Fatal(err)
	}
	if err := h.make(a, "web-more"); err != nil {
		t.Errorf("after a delete: %v", err)
	}
	if err := h.make(h.limited(store.Limits{Prefix: "other-", MaxPods: 3}), "other-3"); err != nil {
		t.Errorf("a connection with another prefix: %v", err)
	}
}

// A deploy makes pods, within the limits of its connection, and does not say which
// names outside them are pods.
func TestDeployHoldsToTheLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "web-shop")
	h.create(t, "other")
	deploy := func(l store.Limits, name string) error {
		_, err := h.Deploy(t.Context(), h.limited(l), pods.DeployRequest{Name: name, Archive: "a.tar"}, nil)
		if err == nil {
			t.Errorf("%+v: %s was deployed", l, name)
			return errors.New("none")
		}
		return err
	}
	present, absent := deploy(store.Limits{Prefix: "web-"}, "other").Error(), deploy(store.Limits{Prefix: "web-"}, "absent").Error()
	if strings.ReplaceAll(present, "other", "absent") != absent || !strings.Contains(absent, "web-") {
		t.Errorf("%q and %q", present, absent)
	}
	deploy(store.Limits{ReadOnly: true}, "web-shop")
	deploy(store.Limits{ReadOnly: true}, "web-new")
	deploy(store.Limits{MaxPods: 2}, "web-new")
	list, err := h.List(t.Context(), h.ann)
	if err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{"web-shop", "other"} {
		if noted, err := h.Deploys(h.ann, name); err != nil || len(noted) != 0 {
			t.Errorf("of %s is noted %+v, %v", name, noted, err)
		}
	}
}

// A team's own quota stands in the place of the settings', each part of it by itself,
// and what its connections may have besides does not change it.
func TestQuotaOfATeam(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.ann
	if got := h.QuotaOf(a.Team); got != pods.DefaultQuota() {
		t.Errorf("by itself: %+v", got)
	}
	a.Team.Quota = store.Quota{Pods: 1}
	if err := h.make(a, "first"); err != nil {
		t.Fatal(err)
	}
	wants(t, h.make(a, "second"), pods.ErrOverQuota, "1 pods of 1")
	a.Team.Quota = store.Quota{Memory: 300 << 20}
	wants(t, h.make(a, "second"), pods.ErrOverQuota, "256 MiB of the 300 MiB")
	a.Team.Quota = store.Quota{Pods: 2, Memory: 1 << 40}
	if err := h.make(a, "second"); err != nil {
		t.Error(err)
	}
	if used, err := h.UsedBy(a.Team.ID); err != nil || used.Pods != 2 || used.Memory != 512<<20 {
		t.Errorf("%+v, %v", used, err)
	}
	// Both prefixes hold, and the smaller number.
	c := h.limited(store.Limits{Prefix: "web-", MaxPods: 5})
	c.Grant, c.Team.Quota = "grant", a.Team.Quota
	c.Team.Quota.Pods = 10
	c.Team.Policy.Limits = store.Limits{Prefix: "web-ann-", MaxPods: 1}
	wants(t, h.make(c, "web-bob"), pods.ErrLimited, "begins with web-ann-")
	if err := h.make(c, "web-ann-1"); err != nil {
		t.Error(err)
	}
	wants(t, h.make(c, "web-ann-2"), pods.ErrLimited, "limited to 1")
}
