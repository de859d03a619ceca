package store_test

import (
	"fmt"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// household is a server as a few people use it, day after day.
type household struct {
	testing.TB
	db    *store.DB
	w     storetest.World // whose Now is the day
	pod   store.PodID
	grant store.Grant // refreshed several times a day, for the whole year
	used  int         // refresh tokens of it so far
}

func (h *household) must(_ any, err error) {
	h.Helper()
	if err != nil {
		h.Fatalf("on %s: %v", h.w.Now.Format(time.DateOnly), err)
	}
}

// day lets pass what a day brings: people sign in, assistants connect anew and refresh,
// strangers knock, pods are deployed, made and deleted.
func (h *household) day() {
	h.Helper()
	now := h.w.Now
	h.w.SignIn(h, h.db)
	h.w.Offline(h, h.db, "pods:read")
	for range 2 {
		r := store.Rotation{
			Family: storetest.Family(h.grant.ID), Token: store.HashSecret(fmt.Sprint(h.grant.ID, h.used)), Client: h.w.Client.ID, Salt: []byte("salt"),
			Next: store.HashSecret(fmt.Sprint(h.grant.ID, h.used+1)), NextExpires: now.Add(90 * 24 * time.Hour),
			Access: store.HashSecret(store.NewID()), AccessExpires: now.Add(time.Hour),
		}
		_, err := h.db.RotateRefresh(r, now)
		h.must(nil, err)
		h.used++
	}
	for range 15 {
		h.db.NoteStep(store.StepNote{Attempt: store.AttemptID(store.NewID()), Visitor: store.NewID(), Client: h.w.Client.ID, User: h.w.User.ID, Step: store.Step{Kind: "authorize", At: now}})
		h.db.NoteStep(store.StepNote{Attempt: store.AttemptID(store.NewID()), Visitor: store.NewID(), Step: store.Step{Kind: "challenge", At: now}})
		h.db.NoteAudit(store.AuditEntry{Action: "deploy", Object: store.NewID(), Actor: h.w.User.ID, Outcome: store.AuditOK, At: now})
		h.db.NoteAudit(store.AuditEntry{Action: "sign_in", Object: store.NewID(), Outcome: "wrong password", Stranger: true, At: now})
	}
	h.must(nil, h.db.FlushHistory())
	h.must(nil, h.db.CreateClient(store.Client{ID: store.ClientID(store.NewID()), Name: "stranger", RedirectURIs: []string{"https://stranger.example/"}, Created: now, Expires: now.Add(store.ClientUnusedTTL)}))
	h.must(nil, h.db.CreateInvitation(store.Invitation{Hash: store.HashSecret(store.NewID()), Team: h.w.Team.ID, Role: store.RoleMember, Created: now, Expires: now.Add(store.InvitationTTL)}))
	deploy, err := h.db.BeginDeploy(store.Deploy{Pod: h.pod, Action: "deploy", Source: "12 files", Release: -1, By: h.w.User.ID, Began: now})
	h.must(nil, err)
	deploy.State, deploy.Ended, deploy.Lines = store.DeployFailed, now, []string{"npm ERR! code E404", "npm ERR! 404 Not Found"}
	h.must(nil, h.db.EndDeploy(deploy, nil))
	var samples []store.UsageSample
	for i := range 24 {
		samples = append(samples, store.UsageSample{Pod: h.pod, At: now.Add(time.Duration(i) * store.UsageStep), UsagePoint: store.UsagePoint{Known: true, Memory: 1 << 27, CPU: 30000, In: 1e6, Out: 1e6}})
	}
	h.must(nil, h.db.PutUsage(samples))
	short := h.create(store.NewID())
	h.must(nil, h.db.ForgetPod(short, now.Add(7*24*time.Hour)))
	h.must(h.db.Sweep(h.Context(), now.Add(20*time.Hour)))
	h.w.Now = now.Add(24 * time.Hour)
}

func (h *household) create(name string) store.PodID {
	h.Helper()
	id := store.PodID(store.NewID())
	h.must(nil, h.db.CreatePod(store.Pod{ID: id, Name: name, Team: h.w.Team.ID, Region: "local", Preset: "static", Plan: "small", Want: store.WantRunning, Created: h.w.Now}, h.w.Now, func([]store.Pod) error { return nil }))
	return id
}

func (h *household) counts() map[string]int {
	h.Helper()
	list, err := h.db.Counts()
	h.must(nil, err)
	all := map[string]int{}
	for _, c := range list {
		all[c.Kind] = c.N
	}
	return all
}

// A server that is used every day of a year is after it as it was after a third of it:
// what people did not make themselves is forgotten in time, and the file does not grow.
func TestYear(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	h := &household{TB: t, db: db, w: storetest.Populate(t, db, "ada", t0)}
	h.pod = h.create("blog")
	h.grant, _ = h.w.Offline(t, db, "pods:read")
	for range 120 { // longer than anything is kept, but sessions, of which there are 20 at most
		h.day()
	}
	early := h.counts()
	stats, err := db.Stats()
	h.must(nil, err)
	size := stats.Size
	for range 365 - 120 {
		h.day()
	}
	for kind, n := range h.counts() {
		if n > early[kind] {
			t.Errorf("%d of %s after a year, and %d after 120 days", n, kind, early[kind])
		}
	}
	if stats, err = db.Stats(); err != nil || stats.Size > size+size/10 { // how full its pages are varies
		t.Errorf("the file has %d bytes after a year, and had %d after 120 days, %v", stats.Size, size, err)
	}
	t.Logf("after a year %d bytes, %d of them free, %v", stats.Size, stats.Free, h.counts())
}
