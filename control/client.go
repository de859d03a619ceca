package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"podgate/store"
)

const (
	socketName = "podgate.sock"

	// lockPatience is how long Open waits for a process that holds the
	// database and does not answer yet: a server that starts or stops.
	lockPatience = 3 * time.Second

	// maxAnswer bounds an answer in bytes: lists of everybody.
	maxAnswer = 64 << 20
)

// ErrNoDatabase means that there is nothing in the data folder yet.
var ErrNoDatabase = errors.New("control: no database")

// Error is the refusal of a command, in words for the person who gave it.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Client gives commands. Close it after use.
type Client struct {
	roundTrip http.RoundTripper
	close     func() error
	// Running says that a server answers, and not the file itself.
	Running bool
	// Migrated is what opening the file did to one of an older format, else nil.
	Migrated *store.Migrated
}

// Open returns a client for the data folder dir: of the server that runs
// there, else of the database itself, over the handler that local makes.
// Without create an absent database is ErrNoDatabase. Other errors are
// store.Open's, in particular store.ErrLocked when a process holds the
// database but does not answer.
func Open(ctx context.Context, dir string, create bool, local func(*store.DB) (http.Handler, error)) (*Client, error) {
	return opener{dir, create, local, lockPatience}.open(ctx)
}

// Running returns a client of the server that runs over the data folder dir; nil
// when there is none. It leaves the database alone.
func Running(ctx context.Context, dir string) (*Client, error) { return dial(ctx, dir) }

type opener struct {
	dir      string
	create   bool
	local    func(*store.DB) (http.Handler, error)
	patience time.Duration
}

func (o opener) open(ctx context.Context) (*Client, error) {
	for deadline := time.Now().Add(o.patience); ; {
		if c, err := dial(ctx, o.dir); c != nil || err != nil {
			return c, err
		}
		c, err := o.openDatabase()
		// store.Open has waited for the lock a while, so this does not spin.
		if !errors.Is(err, store.ErrLocked) || time.Now().After(deadline) || ctx.Err() != nil {
			return c, err
		}
	}
}

func (o opener) openDatabase() (*Client, error) {
	db, err := OpenDatabase(o.dir, o.create)
	if err != nil {
		return nil, err
	}
	handler, err := o.local(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Client{roundTrip: inProcess{handler}, close: db.Close, Migrated: db.Migrated()}, nil
}

// dial returns nil, nil when no server listens.
func dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dialSocket(ctx, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the data folder %s belongs to another user; give the command as that user or as root", dir)
	case err != nil:
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	_ = conn.Close() // it was only to see whether somebody is there
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, dir) },
		DisableKeepAlives: true,
	}
	return &Client{roundTrip: transport, close: func() error { return nil }, Running: true}, nil
}

// Close lets go of the database when the client holds it.
func (c *Client) Close() error { return c.close() }

func ask[Out any](ctx context.Context, c *Client, path string, in any) (Out, error) {
	var out Out
	err := c.call(ctx, path, in, &out)
	return out, err
}

func (c *Client) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://podgate"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.roundTrip.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the running server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
	}
	return refusal(resp)
}

// refusal is what an answer says that is none.
func refusal(resp *http.Response) error {
	refused := &Error{Status: resp.StatusCode}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(refused); err != nil || refused.Message == "" {
		return fmt.Errorf("the running server answered %s", resp.Status)
	}
	return refused
}

// SetupLink makes a fresh link that makes the first administrator; earlier
// ones no longer work.
func (c *Client) SetupLink(ctx context.Context) (SetupLink, error) {
	return ask[SetupLink](ctx, c, pathSetupLink, empty{})
}

// AddUser adds a person.
func (c *Client) AddUser(ctx context.Context, n NewUser) (User, error) {
	return ask[User](ctx, c, pathUserAdd, n)
}

// Users lists everybody, by address.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	return ask[[]User](ctx, c, pathUserList, empty{})
}

// User shows a person with what would end with the account.
func (c *Client) User(ctx context.Context, email string) (UserDetail, error) {
	return ask[UserDetail](ctx, c, pathUserShow, emailRequest{email})
}

// SetPassword gives somebody a new password and ends their sessions and
// connections.
func (c *Client) SetPassword(ctx context.Context, email, password string) (User, error) {
	return ask[User](ctx, c, pathUserPassword, passwordRequest{email, password})
}

// RemoveUser removes somebody with all their sessions and connections, and returns
// what there was.
func (c *Client) RemoveUser(ctx context.Context, email string) (UserDetail, error) {
	return ask[UserDetail](ctx, c, pathUserRemove, emailRequest{email})
}

// AddTeam makes a team without members. name may be empty.
func (c *Client) AddTeam(ctx context.Context, slug, name string) (Team, error) {
	return ask[Team](ctx, c, pathTeamAdd, teamRequest{slug, name})
}

// Teams lists every team, by slug.
func (c *Client) Teams(ctx context.Context) ([]Team, error) {
	return ask[[]Team](ctx, c, pathTeamList, empty{})
}

// AddMember puts somebody into a team or changes their role there.
func (c *Client) AddMember(ctx context.Context, slug, email string, owner bool) (Team, error) {
	return ask[Team](ctx, c, pathMemberAdd, memberRequest{slug, email, owner})
}

// RemoveMember takes somebody out of a team, and their connections to it end.
func (c *Client) RemoveMember(ctx context.Context, slug, email string) (ChangedTeam, error) {
	return ask[ChangedTeam](ctx, c, pathMemberRemove, memberRequest{Slug: slug, Email: email})
}

// Check verifies the whole database.
func (c *Client) Check(ctx context.Context) (Report, error) {
	return ask[Report](ctx, c, pathCheck, empty{})
}

// Repair makes the indexes of the database anew and then verifies it.
func (c *Client) Repair(ctx context.Context) (Report, error) {
	return ask[Report](ctx, c, pathRepair, empty{})
}

// inProcess answers requests with a handler, without a connection.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. The answer is complete when it
// returns.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &answer{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
