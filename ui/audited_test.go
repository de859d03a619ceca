package ui_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/store"
	"podgate/ui/pagetest"
)

// What people do with pods, and how they come to a team and end one, is noted once it
// is done, with who did it.
func TestFormsOfPodsAreAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.Browser()
	owner.SignIn(emailOf("owner"))
	noted := func(action store.AuditAction, object, email string) (n int) {
		list, err := w.History.AuditList(store.AuditQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Entries {
			if e.Action == action && strings.Contains(e.Object, object) && e.ActorName == email && e.Outcome == store.AuditOK {
				n += e.Count
			}
		}
		return n
	}
	// leaves does something and waits for its entry: what takes long is noted when it
	// has ended.
	leaves := func(email string, action store.AuditAction, object string, do func() pagetest.Answer) pagetest.Answer {
		t.Helper()
		before := noted(action, object, email)
		a := do()
		for deadline := time.Now().Add(20 * time.Second); noted(action, object, email) == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s left no entry %s %q:\n%d %.800s", a.Request.URL, action, object, a.StatusCode, a.Text())
			}
		}
		return a
	}
	do := func(b *pagetest.Browser, email, path string, form url.Values, action store.AuditAction, object string) pagetest.Answer {
		t.Helper()
		return leaves(email, action, object, func() pagetest.Answer { return b.Post(path, form) })
	}
	mine := emailOf("owner")
	do(owner, mine, "/pods/new", url.Values{"name": {"fresh"}, "preset": {"static"}}, history.AuditPod, "create fresh")
	do(owner, mine, "/pod/fresh/plan", url.Values{"plan": {"medium"}}, history.AuditPod, "plan fresh")
	do(owner, mine, "/pod/fresh/env", url.Values{"name": {"TOKEN"}, "value": {"one"}}, history.AuditPodEnv, "set TOKEN")
	do(owner, mine, "/pod/fresh/network", url.Values{"mode": {"none"}}, history.AuditPodNetwork, "fresh: nothing")
	job := do(owner, mine, "/pod/fresh/jobs", url.Values{"command": {"sleep 600"}}, history.AuditPodJob, "started one")
	do(owner, mine, "/pod/fresh/job/stop", url.Values{"id": {job.Request.URL.Query().Get("id")}}, history.AuditPodJob, "stopped one")
	leaves(mine, history.AuditPodFiles, "uploaded 1 file", func() pagetest.Answer { return sendFile(t, w, owner, "/pod/fresh/files/upload", "file", "new.html") })
	leaves(mine, history.AuditPod, "deploy fresh", func() pagetest.Answer { return sendFile(t, w, owner, "/pod/fresh/deploys", "folder", "index.html") })
	do(owner, mine, "/pod/fresh/rollback?to=0", nil, history.AuditPod, "rollback fresh")
	do(owner, mine, "/pod/fresh/snapshots", url.Values{"note": {"mine"}}, history.AuditPod, "snapshot fresh")
	do(owner, mine, "/pod/fresh/clone", url.Values{"to": {"other"}}, history.AuditPod, "clone fresh")
	red := w.Actor(w.people["owner"], "red")
	list, err := w.Pods.Snapshots(red, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	do(owner, mine, "/pod/fresh/snapshots/restore?id="+list[0].ID, nil, history.AuditPod, "restore fresh")
	do(owner, mine, "/pod/fresh/snapshots/delete?id="+list[0].ID, nil, history.AuditPod, "delete snapshot of fresh")
	do(owner, mine, "/pod/fresh/delete", url.Values{"confirm": {"fresh"}}, history.AuditPod, "delete fresh")
	gone := func() url.Values {
		t.Helper()
		list, err := w.Pods.DeletedPods(red)
		if err != nil || len(list) == 0 {
			t.Fatal(list, err)
		}
		return url.Values{"team": {"red"}, "id": {list[0].ID}}
	}
	do(owner, mine, "/pods/deleted", gone(), history.AuditPod, "undelete fresh")
	do(owner, mine, "/pod/fresh/delete", url.Values{"confirm": {"fresh"}}, history.AuditPod, "delete fresh")
	do(owner, mine, "/pods/deleted/purge?"+gone().Encode(), nil, history.AuditPod, "delete for good fresh")

	link := func() string {
		t.Helper()
		secret, _, err := w.Account.Invite(t.Context(), w.Actor(w.people["owner"], "red"), account.NewInvitation{Role: store.RoleViewer})
		if err != nil {
			t.Fatal(err)
		}
		return "/invitation?token=" + url.QueryEscape(secret)
	}
	guest, theirs := w.Browser(), emailOf("foreign")
	guest.SignIn(theirs)
	accept := url.Values{"shown": {hidden(guest.Get(link()), "shown")}}
	do(guest, theirs, "/invitation/accept", accept, history.AuditInviteAccept, "viewer")
	do(guest, theirs, "/invitation/sign-in", nil, history.AuditSignOut, "")
	stranger := w.Browser()
	join := url.Values{"shown": {hidden(stranger.Get(link()), "shown")}, "email": {"new@example.com"}, "name": {"New"}, "password": {password}}
	do(stranger, "new@example.com", "/invitation/join", join, history.AuditInviteAccept, "viewer")

	foreign := w.Browser()
	foreign.SignIn(theirs)
	do(foreign, theirs, "/pod/hidden-pod/delete", url.Values{"confirm": {"hidden-pod"}}, history.AuditPod, "delete hidden-pod")
	do(foreign, theirs, "/team/green/remove", url.Values{"confirm": {"green"}, "slug": {"green"}}, history.AuditTeamRemove, "")
}

// hidden is the value of a hidden field.
func hidden(a pagetest.Answer, name string) string {
	for _, n := range a.All("input") {
		if pagetest.Attr(n, "name") == name {
			return pagetest.Attr(n, "value")
		}
	}
	return ""
}

// sendFile sends a page as a form does.
func sendFile(t *testing.T, w *world, b *pagetest.Browser, path, field, name string) pagetest.Answer {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(part, "<h1>Hello</h1>")
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, w.PageOrigin()+path, &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {form.FormDataContentType()}, "Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}}
	return b.Read(req)
}
