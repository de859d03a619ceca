package mcp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/mcp"
	"podgate/oauth"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// guarded is the endpoint behind the real bearer check, over the fake runtime.
type guarded struct {
	testing.TB
	db      *store.DB
	world   storetest.World
	grant   store.Grant
	refresh store.Hash // the first refresh token
	code    store.Redemption
	folder  string // of the pod shop
	history *history.Recorder
	service *pods.Service
	between func() // runs between the bearer check and the endpoint
	url     string
}

// token is the access token of the one connection.
var token = "pgat_" + string(tokenOf) + strings.Repeat("t", 43)

var tokenOf = store.GrantID(strings.Repeat("g", 26))

func newGuarded(t testing.TB) *guarded {
	t.Helper()
	g := &guarded{TB: t, db: storetest.New(t), between: func() {}}
	fake, log := podstest.NewFake(t), slog.New(slog.DiscardHandler)
	service := podstest.ServiceOver(t, g.db, fake)
	g.service = service
	g.connect(service, fake)
	auth, err := oauth.New(oauth.Config{Issuer: "https://podgate.example", DB: g.db, Pages: noPages{}, Sessions: noPages{}, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	g.history = history.New(history.Config{DB: g.db, Now: time.Now})
	endpoint, err := mcp.New(mcp.Config{Pods: service, Version: "1", History: g.history, Log: log, InsufficientScope: auth.InsufficientScope, Watch: auth.Watch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = endpoint.Close() })
	checked := auth.Bearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.between(); endpoint.ServeHTTP(w, r) }))
	stack := &web.Stack{Log: log, Now: time.Now}
	srv := httptest.NewServer(stack.Handle(func(w http.ResponseWriter, r *http.Request) error { checked.ServeHTTP(w, r); return nil }, web.WriteJSONError))
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

// connect makes ann with the pod shop and a connection with a refresh token,
// limited to pods whose name begins with sh.
func (g *guarded) connect(service *pods.Service, fake *podstest.Fake) {
	g.Helper()
	g.world = storetest.Populate(g, g.db, "ann", time.Now())
	ann := authz.Person(g.world.User.ID, store.Membership{Team: g.world.Team, Role: store.RoleOwner})
	pod, err := service.Create(g.Context(), ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	if err != nil {
		g.Fatal(err)
	}
	g.folder = fake.Dir(pod.ID)
	g.code = g.world.OfflineCode(g, g.db, authz.Scopes()...)
	g.code.Grant, g.code.Access = tokenOf, store.HashSecret(token)
	redeemed, err := g.db.RedeemCode(g.code, g.world.Now)
	if err != nil {
		g.Fatal(err)
	}
	g.grant, g.refresh = redeemed.Grant, g.code.Refresh.Token
	if g.grant, err = g.db.LimitGrant(g.grant.ID, g.grant.User, authz.Scopes(), store.Limits{Prefix: "sh"}, g.world.Now); err != nil {
		g.Fatal(err)
	}
}

// takes are the ways in which a connection, or what it may do, is taken away.
func (g *guarded) takes() map[string]func() error {
	none := func(_ any, err error) error { return err }
	limit := func(l store.Limits, scopes ...store.Scope) func() error {
		return func() error {
			_, err := g.db.LimitGrant(g.grant.ID, g.grant.User, scopes, l, g.world.Now)
			return err
		}
	}
	return map[string]func() error{
		"the person revokes it":      func() error { return g.db.RevokeGrant(g.grant.ID, g.grant.User) },
		"signed out everywhere":      func() error { _, _, err := g.db.EndEverything(g.grant.User); return err },
		"a new password was set":     func() error { _, _, err := g.db.ResetPassword(g.grant.User, "$argon2id$"); return err },
		"the membership ended":       func() error { return none(g.db.RemoveMember(g.grant.Team, g.grant.User)) },
		"the person was deleted":     func() error { return g.db.DeleteUser(g.grant.User) },
		"the access token was ended": func() error { return g.db.RevokeToken(storetest.AccessOf(g.code), g.grant.Client) },
		"the refresh token was":      func() error { return g.db.RevokeRefresh(g.family(), g.grant.Client) },
		"the code came twice":        func() error { return expect(store.ErrSpent)(g.db.RedeemCode(g.code, g.world.Now)) },
		"a refresh token came twice": g.replayRefresh,
		"a new connection took its place": func() error {
			return none(g.db.RedeemCode(g.world.Replacing(g, g.db, authz.ScopeRead), g.world.Now))
		},
		"running commands was taken": limit(store.Limits{Prefix: "sh"}, authz.ScopeRead, authz.ScopeWrite),
		"it became read-only":        limit(store.Limits{Prefix: "sh", ReadOnly: true}, authz.Scopes()...),
		"the person may only look on": func() error {
			other := store.Member{Team: g.grant.Team, User: "bob", Role: store.RoleOwner}
			return errors.Join(g.db.CreateUser(store.User{ID: "bob", Email: "bob@example.com"}, other), g.db.SetRole(g.grant.Team, g.grant.User, store.RoleViewer))
		},
		"the team became read-only": func() error {
			return g.db.SetTeamPolicy(g.grant.Team, store.Policy{Limits: store.Limits{ReadOnly: true}})
		},
		"the team took running commands": func() error {
			return g.db.SetTeamPolicy(g.grant.Team, store.Policy{Scopes: []store.Scope{authz.ScopeRead, authz.ScopeWrite}})
		},
		"the team set a prefix": func() error {
			return g.db.SetTeamPolicy(g.grant.Team, store.Policy{Limits: store.Limits{Prefix: "web-"}})
		},
		"another prefix was set": limit(store.Limits{Prefix: "web-"}, authz.Scopes()...),
	}
}

// expect makes an error of any other error.
func expect(want error) func(any, error) error {
	return func(_ any, err error) error {
		if errors.Is(err, want) {
			return nil
		}
		return fmt.Errorf("%v in place of %v", err, want)
	}
}

// family is what the refresh tokens of the connection share.
func (g *guarded) family() store.Credential {
	return store.Credential{Grant: g.grant.ID, Hash: g.grant.Refresh.Family}
}

// rotation is a refresh with a token, for tokens of its own.
func (g *guarded) rotation(of store.Hash) store.Rotation {
	name := store.NewID()
	return store.Rotation{
		Family: g.family(), Token: of, Client: g.grant.Client, Salt: []byte(name), Next: store.HashSecret("next" + name),
		NextExpires: g.world.Now.Add(24 * time.Hour), Access: store.HashSecret("access" + name), AccessExpires: g.world.Now.Add(time.Hour),
	}
}

// replayRefresh uses a refresh token that a second successor has taken the place
// of.
func (g *guarded) replayRefresh() error {
	first, err := g.refreshWith(g.refresh)
	if err == nil {
		_, err = g.refreshWith(first)
	}
	if err != nil {
		return err
	}
	return expect(store.ErrSpent)(g.refreshWith(g.refresh))
}

func (g *guarded) refreshWith(of store.Hash) (next store.Hash, err error) {
	r := g.rotation(of)
	_, err = g.db.RotateRefresh(r, g.world.Now)
	return r.Next, err
}

// running is a call of exec_command that holds a pipe open with all that it
// started, and ends by itself when a line comes through another.
type running struct {
	alive  *os.File
	answer chan string // "broken off", or the status with the body
}

const command = "exec 3>alive; sleep 1000 & read line <go; kill $!; echo finished"

// run begins the call in one era and returns when the command has begun.
func (g *guarded) run(era string, stream bool) running {
	g.Helper()
	params := args{"name": "exec_command", "arguments": args{"name": "shop", "command": command}}
	if stream {
		params["_meta"] = args{"progressToken": "p"}
	}
	return g.runAs(era, params)
}

// runAs is run for a call with those parameters.
func (g *guarded) runAs(era string, params args) running {
	g.Helper()
	for _, pipe := range []string{"alive", "go"} {
		if err := syscall.Mkfifo(g.path(pipe), 0o666); err != nil {
			g.Fatal(err)
		}
	}
	r := running{answer: make(chan string, 1)}
	go func() { r.answer <- g.post(era, params) }()
	var err error
	if r.alive, err = os.Open(g.path("alive")); err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = r.alive.Close() })
	return r
}

func (g *guarded) path(pipe string) string { return filepath.Join(g.folder, "home", "app", pipe) }

func (g *guarded) post(era string, params args) string { return g.send(era, "tools/call", params) }

func (g *guarded) send(era, method string, params args) string {
	return g.sendAs(token, era, method, params)
}

// sendAs is a request of the connection with that access token.
func (g *guarded) sendAs(token, era, method string, params args) string {
	body, header := message(era, method, params)
	req, err := http.NewRequest(http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "broken off"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "broken off"
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

// A call that runs when its access is taken away is broken off at once: its
// connection breaks, and everything that its command started is dead.
func TestTakenAwayInMidCall(t *testing.T) {
	t.Parallel()
	for name := range (&guarded{TB: t}).takes() {
		for i, era := range []string{legacy, modern, legacy} {
			t.Run(fmt.Sprint(name, " ", era, " ", i), func(t *testing.T) {
				t.Parallel()
				g := newGuarded(t)
				if i == 2 { // the short way: see plain.go
					if got := g.post(era, args{"name": "list_pods", "arguments": args{}}); !strings.HasPrefix(got, "200") {
						t.Fatal(got)
					}
				}
				r := g.run(era, i == len(name)%2) // each era with a stream and with one answer
				if err := g.takes()[name](); err != nil {
					t.Fatal(err)
				}
				if left, err := io.ReadAll(r.alive); err != nil || len(left) > 0 {
					t.Errorf("%q, %v", left, err)
				}
				if got := <-r.answer; got != "broken off" {
					t.Errorf("answer: %s", got)
				}
				g.audited("revoked")
			})
		}
	}
}

// audited waits for a call of exec_command with that outcome in the audit list.
func (g *guarded) audited(outcome string) {
	g.Helper()
	var page history.AuditPage
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if page, err = g.history.AuditList(store.AuditQuery{Limit: 10}); err != nil {
			g.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Action == history.AuditTool && e.Outcome == outcome {
				return
			}
		}
	}
	g.Errorf("no call %s in %+v", outcome, page.Entries)
}

// What leaves the call its right leaves it alone: other scopes, a shorter
// prefix, another connection's end, and an access token whose time is up.
func TestWhatLeavesACallAlone(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	r := g.run(modern, false)
	other, _ := g.world.Connect(t, g.db, authz.ScopeRead)
	_, refreshed := g.refreshWith(g.refresh)
	_, limited := g.db.LimitGrant(g.grant.ID, g.grant.User, []store.Scope{authz.ScopeExec}, store.Limits{Prefix: "s"}, g.world.Now)
	revoked := g.db.RevokeGrant(other.ID, other.User)
	_, swept := g.db.Sweep(t.Context(), g.world.Now.Add(31*24*time.Hour))
	finish, opened := os.OpenFile(g.path("go"), os.O_WRONLY, 0)
	if err := errors.Join(refreshed, limited, revoked, swept, opened); err != nil {
		t.Fatal(err)
	}
	_, wrote := fmt.Fprintln(finish)
	if err := errors.Join(wrote, finish.Close()); err != nil {
		t.Fatal(err)
	}
	if got := <-r.answer; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "finished") {
		t.Errorf("answer: %s", got)
	}
}

// An access that is taken away after the bearer check and before the call is
// watched starts nothing.
func TestTakenAwayBeforeTheCall(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.between = func() {
		if err := g.db.RevokeGrant(g.grant.ID, g.grant.User); err != nil {
			t.Error(err)
		}
	}
	call := args{"name": "exec_command", "arguments": args{"name": "shop", "command": "touch ran"}}
	if got := g.post(modern, call); got != "broken off" {
		t.Errorf("answer: %s", got)
	}
	if _, err := os.Stat(g.path("ran")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the command ran: %v", err)
	}
	g.between = func() {}
	if got := g.post(modern, call); !strings.HasPrefix(got, "401 ") {
		t.Errorf("the next request: %s", got)
	}
}
