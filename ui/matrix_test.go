package ui_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/store"
	"podgate/ui/pagetest"
)

// What a page answers, as people notice it. Anything else is its status.
const (
	shown  = "200"
	done   = "done"    // sent on to another page
	signIn = "sign in" // sent there
	denied = "403"
	absent = "404"
)

// A row is what somebody in each of the roles is answered at a route.
type row struct {
	route string
	at    func(w *world, role string) (path string, form url.Values)
	want  [6]string // in the order of roles
	ends  bool      // the session, so everybody comes anew afterwards
	by    string    // who changes something with it; "": nobody does
}

// to is where a row leads whoever tries it.
func to(path string, form ...string) func(*world, string) (string, url.Values) {
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	return func(*world, string) (string, url.Values) { return path, values }
}

// ofMember leads to the connection of the member, whoever tries.
func ofMember(below string) func(*world, string) (string, url.Values) {
	return func(w *world, _ string) (string, url.Values) {
		return "/connection/" + string(w.grants["member"].ID) + below, url.Values{"scope": {"pods:read"}}
	}
}

// toRevoke leads to a new connection of the member.
func toRevoke(w *world, _ string) (string, url.Values) {
	g := w.Connect(w.people["member"], "red", "Codex", "127.0.0.1:9", "pods:read")
	return revokePath(g), nil
}

// endsOwn leads to the end of a further session of whoever tries.
func endsOwn(w *world, role string) (string, url.Values) {
	session := store.HashSecret("none").String()
	if role != "nobody" {
		session = store.HashSecret(w.arrive(role).Cookie("podgate")).String()
	}
	return "/account/end-session", url.Values{"session": {session}}
}

// Everybody that is signed in, whatever their role, is answered alike.
func everybody(answer string) [6]string {
	return [6]string{signIn, answer, answer, answer, answer, answer}
}

// Those of the pod's team are answered alike, and for all others it is not there.
func teamPage(answer string) [6]string {
	return [6]string{signIn, absent, answer, answer, answer, absent}
}

func anybody(answer string) [6]string {
	return [6]string{answer, answer, answer, answer, answer, answer}
}

// ofTeam is what those get who change the team red: its owner and an administrator.
func ofTeam(answer string) [6]string {
	return [6]string{signIn, absent, denied, denied, answer, answer}
}

// ofServer is what an administrator gets; for others there is nothing.
func ofServer(answer string) [6]string {
	return [6]string{signIn, absent, absent, absent, absent, answer}
}

func toTakeAdmin(w *world, _ string) (string, url.Values) {
	u := newcomer(w)
	if err := w.DB.SetAdmin(u.ID, true); err != nil {
		w.T.Fatal(err)
	}
	return "/server/people/no-admin", url.Values{"user": {string(u.ID)}}
}

func ofNewcomer(below string) func(*world, string) (string, url.Values) {
	return func(w *world, _ string) (string, url.Values) {
		return "/server/person/" + string(newcomer(w).ID) + below, url.Values{"own": {pagetest.Password}, "password": {"a long and new sentence"}}
	}
}

func ofNewClient(act string) func(*world, string) (string, url.Values) {
	return func(w *world, _ string) (string, url.Values) {
		g := w.Connect(newcomer(w), "red", "Codex", "127.0.0.1:9", "pods:read")
		return "/server/clients/" + act + "?client=" + url.QueryEscape(string(g.Client)), nil
	}
}

// newcomer makes somebody who is a member of the team red.
func newcomer(w *world) store.User {
	return w.AddUser("new"+strings.ToLower(store.NewID())+"@example.com", false, "red")
}

// ofPasskey leads to a new passkey of the member.
func ofPasskey(below string) func(*world, string) (string, url.Values) {
	return func(w *world, role string) (string, url.Values) {
		key := w.passkey("member")
		return "/account/passkeys" + below + "?passkey=" + key, url.Values{"passkey": {key}, "name": {"renamed"}}
	}
}

func toRemoveMember(w *world, _ string) (string, url.Values) {
	return "/team/red/member/" + string(newcomer(w).ID) + "/remove", nil
}

func toChangeRole(w *world, _ string) (string, url.Values) {
	return "/team/red/role", url.Values{"user": {string(newcomer(w).ID)}, "role": {"viewer"}}
}

func toWithdraw(w *world, _ string) (string, url.Values) {
	_, i, err := w.Account.Invite(w.T.Context(), w.Actor(w.people["owner"], "red"), account.NewInvitation{Role: store.RoleViewer})
	if err != nil {
		w.T.Fatal(err)
	}
	return "/team/red/withdraw", url.Values{"invitation": {i.Hash.String()}}
}

// ofMakers is what those get who change the team's pods; to viewers it is refused.
func ofMakers(answer string) [6]string {
	return [6]string{signIn, absent, denied, answer, answer, absent}
}

// matrix is what every route answers everybody. Those of the team red's things come
// with whoever must not learn that there are any.
var matrix = []row{
	{"GET /", to("/"), everybody(shown), false, ""},
	{"GET /connect", to("/connect"), everybody(shown), false, ""},
	{"GET /pods/new", to("/pods/new"), [6]string{signIn, shown, denied, shown, shown, denied}, false, ""},
	{"POST /pods/new", to("/pods/new", "name", "Not so", "preset", "static"), [6]string{signIn, "422", denied, "422", "422", denied}, false, ""},
	{"POST /pods/first", to("/pods/first"), [6]string{signIn, done, denied, done, done, denied}, false, "foreign member owner"},
	{"GET /assets/:name", to("/assets/none"), anybody(absent), false, ""},
	{"GET /manifest.webmanifest", to("/manifest.webmanifest"), anybody(shown), false, ""},
	{"GET /setup", to("/setup"), anybody(denied), false, ""},
	{"POST /setup", to("/setup", "token", "guessed", "email", "eve@example.com", "password", "a long and plain sentence"), anybody(denied), false, ""},
	{"GET /sign-in", to("/sign-in"), [6]string{shown, done, done, done, done, done}, false, ""},
	{"POST /sign-in", to("/sign-in", "email", "owner@example.com", "password", "guessed wrongly"), anybody(denied), false, ""},
	{"POST /sign-in/passkey", to("/sign-in/passkey", "answer", "{}"), anybody(denied), false, ""},
	{"POST /sign-out", to("/sign-out"), anybody(signIn), true, ""},
	{"GET /account", to("/account"), everybody(shown), false, ""},
	{"POST /account/password", to("/account/password", "old", "guessed wrongly", "password", "a long and new sentence", "again", "a long and new sentence"), everybody(denied), false, ""},
	{"GET /account/prove", to("/account/prove"), everybody(shown), false, ""},
	{"POST /account/prove", to("/account/prove", "password", "guessed wrongly"), everybody(denied), false, ""},
	{"GET /account/passkeys", to("/account/passkeys"), everybody(shown), false, ""},
	{"POST /account/passkeys", to("/account/passkeys", "name", "mine", "answer", "{}"), everybody(denied), false, ""},
	{"POST /account/passkeys/name", ofPasskey("/name"), [6]string{signIn, absent, absent, done, absent, absent}, false, "member"},
	{"GET /account/passkeys/remove", ofPasskey("/remove"), [6]string{signIn, absent, absent, shown, absent, absent}, false, ""},
	{"POST /account/passkeys/remove", ofPasskey("/remove"), [6]string{signIn, absent, absent, done, absent, absent}, false, "member"},
	{"POST /account/end-session", endsOwn, everybody(done), false, ""},
	{"GET /account/log-out-everywhere", to("/account/log-out-everywhere"), everybody(shown), false, ""},
	{"GET /activity", to("/activity"), everybody(shown), false, ""},
	{"GET /audit", to("/audit"), everybody(shown), false, ""},
	{"GET /connections", to("/connections"), everybody(shown), false, ""},
	{"GET /connection/:id", ofMember(""), [6]string{signIn, absent, absent, shown, shown, shown}, false, ""},
	{"POST /connection/:id/name", ofMember("/name"), [6]string{signIn, absent, absent, done, done, done}, false, "member owner admin"},
	{"GET /connection/:id/limits", ofMember("/limits"), [6]string{signIn, absent, absent, shown, shown, shown}, false, ""},
	{"POST /connection/:id/limits", ofMember("/limits"), [6]string{signIn, absent, absent, done, done, done}, false, "member owner admin"},
	{"GET /connection/:id/revoke", ofMember("/revoke"), [6]string{signIn, absent, absent, shown, shown, shown}, false, ""},
	{"POST /connection/:id/revoke", toRevoke, [6]string{signIn, done, done, done, done, done}, false, "member owner admin"}, // nobody learns whether there was one
	{"GET /team", to("/team"), [6]string{signIn, done, done, done, done, shown}, false, ""},
	{"GET /team/:slug", to("/team/red"), [6]string{signIn, absent, shown, shown, shown, shown}, false, ""},
	{"GET /team/:slug/settings", to("/team/red/settings"), [6]string{signIn, absent, shown, shown, shown, shown}, false, ""},
	{"POST /team/:slug/invite", to("/team/red/invite", "email", "", "role", "owner"), ofTeam(shown), false, "owner admin"},
	{"POST /team/:slug/withdraw", toWithdraw, ofTeam(done), false, "owner admin"},
	{"POST /team/:slug/role", toChangeRole, ofTeam(done), false, "owner admin"},
	{"GET /team/:slug/member/:user/remove", toRemoveMember, ofTeam(shown), false, ""},
	{"POST /team/:slug/member/:user/remove", toRemoveMember, ofTeam(done), false, "owner admin"},
	{"GET /team/:slug/leave", to("/team/red/leave"), [6]string{signIn, absent, shown, shown, shown, denied}, false, ""},
	{"POST /team/:slug/rename", to("/team/red/rename", "name", "The reds", "slug", "red"), ofTeam(done), false, "owner admin"},
	{"POST /team/:slug/policy", to("/team/red/policy", "scope", "pods:read"), ofTeam(done), false, "owner admin"},
	{"POST /team/:slug/network", to("/team/red/network", "mode", "none"), ofTeam(done), false, "owner admin"},
	{"GET /team/:slug/remove", to("/team/red/remove"), ofTeam("422"), false, ""}, // it has pods
	{"POST /team/:slug/remove", to("/team/red/remove"), ofTeam("409"), false, ""},
	{"GET /invitation", to("/invitation"), anybody(absent), false, ""},
	{"POST /invitation/accept", to("/invitation/accept"), everybody(absent), false, ""},
	{"POST /invitation/join", to("/invitation/join", "email", "eve@example.com", "name", "Eve", "password", "a long and plain sentence"), anybody(absent), false, ""},
	{"POST /invitation/sign-in", to("/invitation/sign-in"), anybody(signIn), true, ""},
	{"GET /server", to("/server"), ofServer(shown), false, ""},
	{"POST /server/doctor", to("/server/doctor"), ofServer(absent), false, ""}, // none here
	{"GET /server/people", to("/server/people"), ofServer(shown), false, ""},
	{"POST /server/people", to("/server/people", "email", "added@example.com", "password", "a long and plain sentence", "admin", "yes"), ofServer(done), false, "admin"},
	{"POST /server/people/no-admin", toTakeAdmin, ofServer(done), false, "admin"},
	{"GET /server/person/:user/admin", ofNewcomer("/admin"), ofServer(shown), false, ""},
	{"POST /server/person/:user/admin", ofNewcomer("/admin"), ofServer(done), false, "admin"},
	{"GET /server/person/:user/password", ofNewcomer("/password"), ofServer(shown), false, ""},
	{"POST /server/person/:user/password", ofNewcomer("/password"), ofServer(done), false, "admin"},
	{"GET /server/person/:user/remove", ofNewcomer("/remove"), ofServer(shown), false, ""},
	{"POST /server/person/:user/remove", ofNewcomer("/remove"), ofServer(done), false, "admin"},
	{"GET /server/teams", to("/server/teams"), ofServer(shown), false, ""},
	{"POST /server/teams", to("/server/teams", "name", "The new ones"), ofServer(done), false, "admin"},
	{"GET /server/quota/:slug", to("/server/quota/red"), ofServer(shown), false, ""},
	{"POST /server/quota/:slug", to("/server/quota/red", "pods", "7"), ofServer(done), false, "admin"},
	{"GET /server/connections", to("/server/connections"), ofServer(shown), false, ""},
	{"GET /server/clients", to("/server/clients"), ofServer(shown), false, ""},
	{"GET /server/clients/:act", ofNewClient("block"), ofServer(shown), false, ""},
	{"POST /server/clients/:act", ofNewClient("block"), ofServer(done), false, "admin"},
	{"GET /server/settings", to("/server/settings"), ofServer(shown), false, ""},
	{"GET /pod/:name", to("/pod/blog"), teamPage(shown), false, ""},
	{"GET /events", to("/events"), everybody(shown), false, ""},
	{"POST /pod/:name/start", to("/pod/blog/start"), ofMakers(done), false, ""}, // it runs
	{"POST /pod/:name/restart", to("/pod/blog/restart"), ofMakers(done), false, ""},
	{"POST /pod/:name/reload", to("/pod/blog/reload"), ofMakers(done), false, "member owner"},
	{"POST /pod/:name/stop", to("/pod/shop/stop"), ofMakers(done), false, ""}, // it is stopped
	{"POST /pod/:name/plan", to("/pod/blog/plan", "plan", "none"), ofMakers("422"), false, ""},
	{"GET /pod/:name/delete", to("/pod/blog/delete"), ofMakers(shown), false, ""},
	{"POST /pod/:name/delete", to("/pod/blog/delete", "confirm", "other"), ofMakers("422"), false, ""},
	{"GET /pod/:name/deploys", to("/pod/blog/deploys"), teamPage(shown), false, ""},
	{"POST /pod/:name/deploys", to("/pod/blog/deploys"), ofMakers("400"), false, ""}, // no app comes
	{"GET /pod/:name/rollback", to("/pod/blog/rollback?to=1"), ofMakers(shown), false, ""},
	{"POST /pod/:name/rollback", to("/pod/blog/rollback?to=99"), ofMakers("422"), false, ""},
	{"GET /pod/:name/snapshots", to("/pod/blog/snapshots"), teamPage(shown), false, ""},
	{"POST /pod/:name/snapshots", to("/pod/blog/snapshots", "note", "mine"), ofMakers(done), false, ""},
	{"GET /pod/:name/snapshots/restore", to("/pod/blog/snapshots/restore?id=none"), ofMakers("404"), false, ""},
	{"POST /pod/:name/snapshots/restore", to("/pod/blog/snapshots/restore?id=none"), ofMakers("422"), false, ""},
	{"GET /pod/:name/snapshots/delete", to("/pod/blog/snapshots/delete?id=none"), ofMakers("404"), false, ""},
	{"POST /pod/:name/snapshots/delete", to("/pod/blog/snapshots/delete?id=none"), ofMakers("422"), false, ""},
	{"POST /pod/:name/clone", to("/pod/blog/clone", "to", "Not a name"), ofMakers("422"), false, ""},
	{"GET /pods/deleted", to("/pods/deleted"), everybody(shown), false, ""},
	{"POST /pods/deleted", to("/pods/deleted", "team", "red", "id", "none"), everybody("404"), false, ""},
	{"GET /pods/deleted/purge", to("/pods/deleted/purge?team=red&id=none"), everybody("404"), false, ""},
	{"POST /pods/deleted/purge", to("/pods/deleted/purge?team=red&id=none"), everybody("404"), false, ""},
	{"GET /pod/:name/logs", to("/pod/blog/logs"), teamPage(shown), false, ""},
	{"GET /pod/:name/logs/download", to("/pod/blog/logs/download"), teamPage(shown), false, ""},
	{"GET /pod/:name/logs/events", to("/pod/blog/logs/events"), teamPage(shown), false, ""},
	{"POST /account/log-out-everywhere", to("/account/log-out-everywhere"), everybody(shown), true, "foreign viewer member owner"},  // and every connection
	{"POST /team/:slug/leave", to("/team/red/leave"), [6]string{signIn, absent, done, done, "409", denied}, false, "viewer member"}, // the only owner stays
}

// Every route answers everybody as the table says, and no route is without a row: the
// full product of what can be asked and who can ask. From another site's page nobody
// gets a form through.
func TestRoleMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var have []string
	audited := map[string]bool{} // the forms that were seen to leave an entry
	for _, r := range w.UI.Routes() {
		have = append(have, r.Method+" "+r.Path)
	}
	for _, r := range slices.Concat(podRows, matrix) {
		if !slices.Contains(have, r.route) {
			t.Errorf("%s is in the table and no route", r.route)
			continue
		}
		method, _, _ := strings.Cut(r.route, " ")
		for i, role := range roles {
			b := w.browsers[role]
			path, form := r.at(w, role)
			if method == http.MethodPost {
				a := ask(w, b, method, path, form, http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}})
				if a.StatusCode != http.StatusForbidden {
					t.Errorf("%s by %s from another site: %d", r.route, role, a.StatusCode)
				}
			}
			before, noted := w.state(), w.entries()
			a := ask(w, b, method, path, form, http.Header{"Origin": {w.PageOrigin()}, "Sec-Fetch-Site": {"same-origin"}})
			if got := said(a.Response); got != r.want[i] {
				t.Errorf("%s by %s: %s, want %s\n%.600s", r.route, role, got, r.want[i], a.body)
			}
			if after := w.state(); after != before && !strings.Contains(r.by, role) {
				t.Errorf("%s by %s changes\n%s\nto\n%s", r.route, role, before, after)
			}
			if method == http.MethodPost && role != "nobody" {
				more := w.entries() > noted
				if changed := w.state() != before; changed && !more {
					t.Errorf("%s by %s changes something and leaves no entry in the audit list", r.route, role)
				} else if changed || r.want[i] == done && more {
					audited[r.route] = true
				}
			}
			if r.ends {
				w.browsers[role] = w.arrive(role)
			}
			if strings.Contains(a.body, "hidden-pod") && role != "foreign" {
				t.Errorf("%s shows %s what another team has", r.route, role)
			}
		}
	}
	for _, route := range have {
		if post := strings.HasPrefix(route, http.MethodPost); post && audited[route] == slices.Contains(auditedElsewhere, route) {
			t.Errorf("%s: seen here to leave an entry: %v; named in auditedElsewhere: %v", route, audited[route], !audited[route])
		}
		if !slices.ContainsFunc(slices.Concat(podRows, matrix), func(r row) bool { return r.route == route }) {
			t.Errorf("%s has no row in the table of who may what: add one to matrix", route)
		}
	}
}

// auditedElsewhere are the forms that get nowhere in the table, or end what tells who it
// was: TestFormsAreAudited and TestFormsOfPodsAreAudited see what they leave.
var auditedElsewhere = []string{
	"POST /setup", "POST /sign-in", "POST /sign-out", "POST /account/password", "POST /sign-in/passkey", "POST /account/prove", "POST /account/passkeys", // TestPasskeyForms
	"POST /invitation/sign-in", "POST /invitation/accept", "POST /invitation/join",
	"POST /pods/new", "POST /pod/:name/plan", "POST /pod/:name/deploys", "POST /pod/:name/rollback", "POST /pod/:name/env", "POST /pod/:name/network",
	"POST /pod/:name/jobs", "POST /pod/:name/job/stop", "POST /pod/:name/files/upload", "POST /pod/:name/delete", "POST /team/:slug/remove",
	"POST /pod/:name/snapshots/restore", "POST /pod/:name/snapshots/delete", "POST /pod/:name/clone", "POST /pods/deleted", "POST /pods/deleted/purge",
	"POST /server/doctor", // looks, and changes nothing
}

// reply is an answer and as much of its body as is there at once: streams of events
// have no end.
type reply struct {
	*http.Response
	body string
}

func ask(w *world, b *pagetest.Browser, method, path string, form url.Values, header http.Header) reply {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.PageOrigin()+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.T.Fatal(err)
	}
	req.Header = header
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Client.Do(req)
	if err != nil {
		w.T.Fatal(err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return reply{resp, ""}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	return reply{resp, string(body)}
}

func said(r *http.Response) string {
	location := r.Header.Get("Location")
	switch {
	case strings.HasPrefix(location, "/sign-in"):
		return signIn
	case location != "":
		return done
	}
	return strconv.Itoa(r.StatusCode)
}
