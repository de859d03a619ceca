package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/store"
	"podgate/store/storetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const password = "correct horse battery staple"

func handlerOver(db *store.DB) http.Handler {
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return t0 }
	return NewHandler(Config{
		DB: db, Accounts: account.New(account.Config{DB: db, Log: log, Now: now}), Issuer: "http://localhost:8080", Log: log, Now: now, Networks: networksOver(db),
	})
}

func localHandler(db *store.DB) (http.Handler, error) { return handlerOver(db), nil }

// serveIn listens on the socket of dir and serves it.
func serveIn(dir string, h http.Handler, log *slog.Logger) (*Server, error) {
	socket, err := Listen(dir)
	if err != nil {
		return nil, err
	}
	return Serve(socket, socket, h, nil, log), nil
}

// startServer serves the control socket of dir over a database there.
func startServer(t *testing.T, dir string) {
	t.Helper()
	db := storetest.Open(t, DatabasePath(dir))
	s, err := serveIn(dir, handlerOver(db), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

func open(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Open(t.Context(), dir, true, localHandler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// ways runs a test over the socket of a server, over the file alone, and over
// a socket whose path is too long for a socket address.
func ways(t *testing.T, test func(t *testing.T, c *Client)) {
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		c := open(t, filepath.Join(t.TempDir(), "new", "data"))
		if c.Running {
			t.Error("it claims that a server runs")
		}
		test(t, c)
	})
	for name, below := range map[string]string{"socket": "", "long path": strings.Repeat(strings.Repeat("x", 60)+"/", 3)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), below)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			startServer(t, dir)
			c := open(t, dir)
			if !c.Running {
				t.Error("it does not see the server")
			}
			test(t, c)
		})
	}
}

func TestPeopleAndTeams(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		team, err := c.AddTeam(ctx, "makers", "The Makers")
		if err != nil || team.Slug != "makers" || team.Members == nil {
			t.Fatalf("%+v, %v", team, err)
		}
		u, err := c.AddUser(ctx, NewUser{Email: "Ada@Example.com", Name: "Ada", Password: password, Admin: true, Teams: []string{"makers"}})
		if err != nil || u.Email != "ada@example.com" || !u.Admin || !u.Created.Equal(t0) || len(u.Teams) != 1 || u.Teams[0] != (UserTeam{"makers", store.RoleMember}) {
			t.Fatalf("%+v, %v", u, err)
		}
		if team, err = c.AddMember(ctx, "makers", "ada@example.com", true); err != nil || len(team.Members) != 1 || team.Members[0].Role != store.RoleOwner {
			t.Fatalf("%+v, %v", team, err)
		}
		teams, err := c.Teams(ctx)
		if err != nil || len(teams) != 1 || teams[0].Name != "The Makers" || len(teams[0].Members) != 1 || teams[0].Members[0] != (TeamMember{"ada@example.com", store.RoleOwner}) {
			t.Fatalf("%+v, %v", teams, err)
		}
		if u, err := c.SetPassword(ctx, "ada@example.com", "another good password"); err != nil || u.Email != "ada@example.com" {
			t.Error(u, err)
		}
		if team, err := c.RemoveMember(ctx, "makers", "ada@example.com"); err != nil || team.Ended != 0 || len(team.Members) != 0 {
			t.Error(team, err)
		}
		if _, err := c.AddUser(ctx, NewUser{Email: "bob@example.com", Password: password, Admin: true}); err != nil {
			t.Error(err)
		}
		if was, err := c.RemoveUser(ctx, "ada@example.com"); err != nil || was.Email != "ada@example.com" || !was.Admin {
			t.Error(was, err)
		}
		users, err := c.Users(ctx)
		if err != nil || len(users) != 1 || users[0].Email != "bob@example.com" || users[0].Teams == nil {
			t.Errorf("%+v, %v", users, err)
		}
		report, err := c.Check(ctx)
		if err != nil || !report.OK || len(report.Damage) != 0 || report.Counts[0] != (store.Count{Kind: "users", N: 1}) {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

func TestRefusalsKeepTheirWords(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		for _, step := range []struct {
			err  error
			code string
			says string
		}{
			{second(c.AddTeam(ctx, "makers", "")), "", ""},
			{second(c.AddTeam(ctx, "makers", "")), "taken", "makers"},
			{second(c.AddTeam(ctx, "../etc", "")), "invalid", ""},
			{second(c.AddUser(ctx, NewUser{Email: "ada", Password: password})), "invalid", "name@example.com"},
			{second(c.AddUser(ctx, NewUser{Email: "ada@example.com", Password: "short"})), "invalid", "too short"},
			{second(c.AddUser(ctx, NewUser{Email: "ada@example.com", Password: password, Teams: []string{"absent"}})), "not_found", `no team "absent"`},
			{second(c.AddUser(ctx, NewUser{Email: "ada@example.com", Password: password, Admin: true})), "", ""},
			{second(c.AddUser(ctx, NewUser{Email: "ADA@example.com", Password: password})), "taken", "ada@example.com"},
			{second(c.RemoveMember(ctx, "makers", "ada@example.com")), "not_found", "not a member"},
			{second(c.RemoveUser(ctx, "ada@example.com")), "last_admin", ""},
			{second(c.RemoveUser(ctx, "bob@example.com")), "not_found", "bob@example.com"},
			{second(c.SetupLink(ctx)), "set_up", "set up already"},
		} {
			var refusal *Error
			switch {
			case step.code == "":
				if step.err != nil {
					t.Error(step.err)
				}
			case !errors.As(step.err, &refusal) || refusal.Code != step.code || !strings.Contains(refusal.Message, step.says):
				t.Errorf("want %s %q, got %v", step.code, step.says, step.err)
			case strings.Contains(refusal.Message, "store:"), refusal.Status < 400:
				t.Errorf("%d %s", refusal.Status, refusal.Message)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestSetupLink(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		link, err := c.SetupLink(t.Context())
		if err != nil || !strings.HasPrefix(link.URL, "http://podgate.localhost:8080/setup?token=pgsetup_") || !link.Expires.Equal(t0.Add(30*time.Minute)) {
			t.Errorf("%+v, %v", link, err)
		}
	})
}

func TestOpenWithoutDatabase(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "absent")
	if _, err := Open(t.Context(), dir, false, localHandler); !errors.Is(err, ErrNoDatabase) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made for a command that only reads")
	}
}

// A server that holds the database and does not answer is waited for, but not
// for ever.
func TestOpenWaitsForAServerThatStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := storetest.Open(t, DatabasePath(dir))
	if _, err := (opener{dir, true, localHandler, time.Millisecond}).open(t.Context()); !errors.Is(err, store.ErrLocked) {
		t.Errorf("%v", err)
	}
	opened := make(chan error)
	go func() {
		c, err := opener{dir, true, localHandler, 30 * time.Second}.open(context.Background())
		if err == nil && !c.Running {
			err = errors.New("it opened the file under the server")
		}
		opened <- err
	}()
	s, err := serveIn(dir, handlerOver(db), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-opened, s.Close(context.Background()), db.Close()); err != nil {
		t.Error(err)
	}
}

// kill -9 leaves the socket behind; the next server takes its place, and
// commands see that nobody listens.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, socketName)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir)
	if c.Running {
		t.Error("a dead socket passes for a server")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	startServer(t, dir)
	if _, err := open(t, dir).Users(t.Context()); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSocketIsRemovedAtTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := serveIn(dir, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// post sends raw bytes to a command and returns the answer.
func post(t *testing.T, c *Client, path, body string) (int, Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://podgate"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.roundTrip.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e Error
	if resp.StatusCode != http.StatusOK {
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return resp.StatusCode, e
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		for body, want := range map[string]int{
			``:                         http.StatusBadRequest,
			`null x`:                   http.StatusBadRequest,
			`{"slug":"a"}{"slug":"b"}`: http.StatusBadRequest,
			`{"slug":"a","extra":1}`:   http.StatusBadRequest,
			`{"slug":1}`:               http.StatusBadRequest,
			`[]`:                       http.StatusBadRequest,
			`{"slug":"` + strings.Repeat("a", maxBody) + `"}`: http.StatusRequestEntityTooLarge,
			`{}`: http.StatusBadRequest,
		} {
			if status, e := post(t, c, pathTeamAdd, body); status != want || e.Message == "" {
				t.Errorf("%.40q: %d %q", body, status, e.Message)
			}
		}
		if status, e := post(t, c, "/v1/absent", "{}"); status != http.StatusNotFound || !strings.Contains(e.Message, "another version") {
			t.Errorf("%d %q", status, e.Message)
		}
		if teams, err := c.Teams(t.Context()); err != nil || len(teams) != 0 {
			t.Errorf("bad requests changed something: %v, %v", teams, err)
		}
	})
}

// An answer that is not ours is no success and no panic.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"page":       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"empty":      func(http.ResponseWriter, *http.Request) {},
		"bare error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"no message": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); fmt.Fprint(w, "{}") },
	} {
		c := &Client{roundTrip: inProcess{h}}
		if _, err := c.Users(t.Context()); err == nil {
			t.Errorf("%s passes for an answer", name)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(`{"slug":"makers","name":"x"}`)
	f.Add(`{"email":"a@b","password":"correct horse battery","teams":["x"]}`)
	f.Add(`{}{}`)
	f.Fuzz(func(t *testing.T, body string) {
		var n NewUser
		if err := readStrictly(strings.NewReader(body), &n); err != nil {
			return
		}
		raw, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		var again NewUser
		if err := readStrictly(strings.NewReader(string(raw)), &again); err != nil {
			t.Errorf("%s was accepted, and %s is not: %v", body, raw, err)
		}
	})
}

// What keeps the copy from being made, such as a full disk, is no damage.
func TestUncheckedIsNotDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(DatabasePath(dir)+".check", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if report, err := open(t, dir).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "was not checked") {
		t.Errorf("%+v, %v", report, err)
	}
}
