package podpages_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"podgate/store"
	"podgate/ui/pagetest"
)

// What is pressed on the page of snapshots, without script.
func TestSnapshotsPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	if a := b.Get("/pod/blog/snapshots"); !strings.Contains(a.Text(), "There are none yet.") {
		t.Errorf("at first: %s", a.Text())
	}
	const hostile = `<b>"mine"</b>`
	a := b.Post("/pod/blog/snapshots", url.Values{"note": {hostile}})
	if !strings.Contains(a.Text(), "The snapshot is taken.") || !strings.Contains(a.Text(), hostile) || !strings.Contains(a.Text(), "1 of 10") || strings.Contains(a.HTML, hostile) {
		t.Errorf("taken: %s", a.Text())
	}
	if a := b.Post("/pod/blog/snapshots", url.Values{"note": {"two\nlines"}}); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.Text(), "one line") {
		t.Errorf("a bad note: %d %s", a.StatusCode, a.Text())
	}
	link := regexp.MustCompile(`/pod/blog/snapshots/restore\?id=[a-z0-9]+`).FindString(a.HTML)
	if a := b.Get(link); a.H1() != "Restore this snapshot?" || !strings.Contains(a.Text(), "can be undone") || !strings.Contains(a.HTML, `action="`+link+`"`) {
		t.Errorf("asked: %s", a.Text())
	}
	if a := b.Post(link, nil); !strings.Contains(a.Text(), "The snapshot is restored.") || !strings.Contains(a.Text(), "Before a restore") {
		t.Errorf("restored: %s", a.Text())
	}
	gone := strings.Replace(link, "/restore?", "/delete?", 1)
	if a := b.Get(gone); a.H1() != "Delete this snapshot?" {
		t.Errorf("asked: %s", a.Text())
	}
	if a := b.Post(gone, nil); !strings.Contains(a.Text(), "The snapshot is deleted.") || strings.Contains(a.Text(), hostile) {
		t.Errorf("deleted: %s", a.Text())
	}
	if a := b.Post(link, nil); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.Text(), "no such snapshot") {
		t.Errorf("what is gone: %d %s", a.StatusCode, a.Text())
	}
	if a := b.Post("/pod/blog/clone", url.Values{"to": {"blog"}}); a.StatusCode != http.StatusConflict || !strings.Contains(a.HTML, `value="blog"`) {
		t.Errorf("a name that is taken: %d %s", a.StatusCode, a.Text())
	}
	if a := b.Post("/pod/blog/clone", url.Values{"to": {"twin"}}); a.H1() != "Pods" || state(t, s, "twin") != store.WantRunning {
		t.Errorf("a copy: %s", a.Text())
	}
}

// Owners bring a deleted pod back, and nobody else sees it.
func TestDeletedPodsPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	mia := s.AddUser("mia@example.com", false, "red")
	for user, role := range map[store.UserID]store.Role{ada.ID: store.RoleOwner, mia.ID: store.RoleMember} {
		if err := s.DB.SetRole(s.Actor(ada, "red").Team.ID, user, role); err != nil {
			t.Fatal(err)
		}
	}
	s.CreatePod(ada, "red", "blog", "static")
	b, other := s.Browser(), s.Browser()
	b.Enter("ada@example.com")
	other.Enter("mia@example.com")
	if a := b.Get("/"); strings.Contains(a.HTML, "/pods/deleted") {
		t.Errorf("at first: %s", a.Text())
	}
	a := b.Post("/pod/blog/delete", url.Values{"confirm": {"blog"}})
	if !strings.Contains(a.Text(), "an owner of its team can bring it back") || !strings.Contains(a.Text(), "1 deleted pod can be brought back") {
		t.Errorf("deleted: %s", a.Text())
	}
	a = b.Get("/pods/deleted")
	id := regexp.MustCompile(`name="id" value="([a-z0-9]+)"`).FindStringSubmatch(a.HTML)
	if len(id) != 2 || !strings.Contains(a.Text(), "blog") {
		t.Fatalf("the page: %s", a.Text())
	}
	form := url.Values{"team": {"red"}, "id": {id[1]}, "as": {"blog"}}
	if a := other.Get("/"); strings.Contains(a.HTML, "/pods/deleted") {
		t.Errorf("a member is shown: %s", a.Text())
	}
	if a := other.Get("/pods/deleted"); strings.Contains(a.Text(), "blog") {
		t.Errorf("a member sees: %s", a.Text())
	}
	for _, path := range []string{"/pods/deleted", "/pods/deleted/purge?" + form.Encode()} {
		if a := other.Post(path, form); a.StatusCode != http.StatusNotFound {
			t.Errorf("a member, %s: %d %s", path, a.StatusCode, a.Text())
		}
	}
	s.CreatePod(ada, "red", "blog", "static")
	if a := b.Post("/pods/deleted", form); a.StatusCode != http.StatusConflict || !strings.Contains(a.Text(), "another pod has the name blog") {
		t.Errorf("a name that is taken: %d %s", a.StatusCode, a.Text())
	}
	form.Set("as", "old-blog")
	if a := b.Post("/pods/deleted", form); a.H1() != "Pods" || !strings.Contains(a.Text(), "The pod is back") || state(t, s, "old-blog") != store.WantRunning {
		t.Errorf("brought back: %s", a.Text())
	}
	b.Post("/pod/old-blog/delete", url.Values{"confirm": {"old-blog"}})
	purge := "/pods/deleted/purge?" + form.Encode()
	if a := b.Get(purge); a.H1() != "Delete for good?" {
		t.Errorf("asked: %s", a.Text())
	}
	if a := b.Post(purge, nil); !strings.Contains(a.Text(), "The pod is gone for good.") || !strings.Contains(a.Text(), "There are none.") {
		t.Errorf("purged: %s", a.Text())
	}
}
