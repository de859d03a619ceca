package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/account"
	"podgate/history"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
)

// Config is what a handler works on. All of it but History, Undelete, Tools, Mail, Status, Backup, Upgrade and PodFiles is needed.
type Config struct {
	DB       *store.DB
	Accounts *account.Service
	History  *history.Recorder // nil: what commands change is not recorded
	Issuer   string            // the public URL, for links
	Log      *slog.Logger
	Now      func() time.Time
	Networks Networks
	Undelete Undeleter                             // nil: no server runs
	Tools    http.Handler                          // answers calls of tools for the actor of their context; nil: no server runs
	Mail     Mailer                                // nil: no mail is sent
	Status   func(context.Context) (Status, error) // nil: no server runs
	Backup   BackupMaker                           // nil: no server runs
	Upgrade  Upgrader                              // nil: no server runs
	PodFiles PodFiles                              // nil: no server runs
}

// NewHandler returns the server's side of the protocol.
func NewHandler(c Config) http.Handler {
	h := &handler{c}
	router := httprouter.New()
	router.RedirectTrailingSlash, router.RedirectFixedPath = false, false
	stack := &web.Stack{Log: c.Log, Now: c.Now}
	router.NotFound = stack.Handle(unknown, writeError)
	routes := map[string]web.Handler{
		pathSetupLink:    audited(h, history.AuditSetupLink, ofNothing, h.setupLink),
		pathUserAdd:      audited(h, history.AuditUserAdd, ofUser, h.addUser),
		pathUserShow:     command(h.userDetail),
		pathUserList:     command(h.users),
		pathUserPassword: audited(h, history.AuditUserPassword, ofPassword, h.setPassword),
		pathUserRemove:   audited(h, history.AuditUserRemove, ofEmail, h.removeUser),
		pathTeamAdd:      audited(h, history.AuditTeamAdd, ofTeam, h.addTeam),
		pathTeamList:     command(h.teams),
		pathMemberAdd:    audited(h, history.AuditMemberAdd, ofMember, h.addMember),
		pathMemberRemove: audited(h, history.AuditMemberRemove, ofMember, h.removeMember),
		pathTeamNetwork:  command(h.teamNetwork),
		pathPodNetwork:   command(h.podNetwork),
		pathPodNames:     command(h.podNames),
		pathCheck:        command(h.check),
		pathRepair:       command(h.repair),
		pathAddress:      command(h.address),
		pathStatus:       command(h.status),
		pathUpgrade:      command(h.upgrade),
		pathProfile:      command(h.profile),
		pathConnections:  command(h.connections),
		pathRevoke:       command(h.revoke), // writes its own entry, as all do that end connections
		pathTimeline:     command(h.timeline),
		pathAudit:        command(h.auditList),

		pathBackup:   h.backup,
		pathExport:   h.exportPod,
		pathImport:   h.importPod,
		pathTools:    h.tools, // each tool that changes something writes its own entry
		pathDeleted:  command(h.deleted),
		pathUndelete: command(h.undelete),
		pathPurge:    command(h.purge),
		pathPodUse:   command(h.podUse),

		pathTeamNetworkSet: audited(h, history.AuditTeamNetwork, ofTeamNetwork, h.setTeamNetwork),
		pathPodNetworkSet:  audited(h, history.AuditPodNetwork, h.ofPodNetwork, h.setPodNetwork),
	}
	maps.Copy(routes, h.teamRoutes())
	maps.Copy(routes, h.clientRoutes())
	maps.Copy(routes, h.sessionRoutes())
	for path, serve := range routes {
		router.Handler(http.MethodPost, path, stack.Handle(serve, writeError))
	}
	return router
}

func unknown(http.ResponseWriter, *http.Request) error {
	return web.Fault(http.StatusNotFound, "unknown_command", "The running server does not know this command: it is of another version. Restart it with this one.", nil)
}

// command adapts a function from request to answer to HTTP.
func command[In, Out any](do func(context.Context, In) (Out, error)) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := readStrictly(http.MaxBytesReader(w, r.Body, maxBody), &in); err != nil {
			return err
		}
		out, err := do(r.Context(), in)
		if err != nil {
			return inWords(err)
		}
		web.WriteJSON(w, http.StatusOK, out)
		return nil
	}
}

// readStrictly decodes exactly one JSON value without unknown members.
func readStrictly(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = cmpOr(err, errors.New("something follows the request"))
	}
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return err
	}
	return web.Fault(http.StatusBadRequest, "bad_request", "The request is not understood: "+err.Error()+".", err)
}

func cmpOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// inWords gives every error the words that the owner of the server should
// read. Nothing is kept back: see the package comment.
func inWords(err error) error {
	status, code := http.StatusInternalServerError, "failed"
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{account.ErrInvalid, http.StatusBadRequest, "invalid"},
		{store.ErrDiskFull, http.StatusInsufficientStorage, "disk_full"},
		{store.ErrDiskFailed, http.StatusServiceUnavailable, "disk_failed"},
		{pods.ErrBadInput, http.StatusBadRequest, "invalid"},
		{store.ErrTaken, http.StatusConflict, "taken"},
		{pods.ErrNameTaken, http.StatusConflict, "taken"},
		{pods.ErrNotFound, http.StatusNotFound, "not_found"},
		{store.ErrSetUp, http.StatusConflict, "set_up"},
		{account.ErrForbidden, http.StatusForbidden, "forbidden"},
		{store.ErrLastOwner, http.StatusConflict, "last_owner"},
		{store.ErrHasPods, http.StatusConflict, "has_pods"},
		{store.ErrFull, http.StatusConflict, "full"},
		{store.ErrExpired, http.StatusNotFound, "not_found"},
		{store.ErrMismatch, http.StatusBadRequest, "invalid"},
		{store.ErrLastAdmin, http.StatusConflict, "last_admin"},
		{store.ErrNotFound, http.StatusNotFound, "not_found"},
		{store.ErrNotMember, http.StatusNotFound, "not_found"},
		{errNotUpgraded, http.StatusConflict, "not_upgraded"},
		{account.ErrBusy, http.StatusServiceUnavailable, "busy"},
	} {
		if errors.Is(err, c.err) {
			status, code = c.status, c.code
			break
		}
	}
	return web.Fault(status, code, err.Error(), err)
}

func writeError(w http.ResponseWriter, _ *http.Request, e *web.Error) {
	web.WriteJSON(w, e.Status, Error{Status: e.Status, Code: e.Code, Message: e.Message})
}

type handler struct{ Config }

func (h *handler) setupLink(ctx context.Context, _ empty) (SetupLink, error) {
	token, err := h.Accounts.SetupLink(ctx)
	if err != nil {
		return SetupLink{}, err
	}
	return SetupLink{URL: web.NewPageHost(h.Issuer).Address() + "/setup?token=" + token, Expires: h.Now().Add(account.SetupTTL).UTC()}, nil
}

func (h *handler) addUser(ctx context.Context, u NewUser) (User, error) {
	added, err := h.Accounts.AddUser(ctx, account.AddUser{Email: u.Email, Name: u.Name, Password: u.Password, Admin: u.Admin, Teams: u.Teams})
	if err != nil {
		return User{}, err
	}
	return h.user(added)
}

func (h *handler) user(u store.User) (User, error) {
	teams, err := h.Accounts.TeamsOf(u.ID)
	if err != nil {
		return User{}, err
	}
	shown := User{ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, Created: u.Created.UTC(), Teams: []UserTeam{}}
	for _, m := range teams {
		shown.Teams = append(shown.Teams, UserTeam{m.Team.Slug, m.Role})
	}
	return shown, nil
}

func (h *handler) userDetail(_ context.Context, r emailRequest) (UserDetail, error) {
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return UserDetail{}, err
	}
	sessions, err := h.Accounts.Sessions(u.ID)
	if err != nil {
		return UserDetail{}, err
	}
	connections, err := h.Accounts.Connections(u.ID)
	if err != nil {
		return UserDetail{}, err
	}
	owned, err := h.Accounts.OnlyOwnerOf(u.ID)
	if err != nil {
		return UserDetail{}, err
	}
	shown, err := h.user(u)
	detail := UserDetail{User: shown, Sessions: len(sessions), Connections: len(connections), OnlyOwnerOf: []string{}}
	for _, t := range owned {
		detail.OnlyOwnerOf = append(detail.OnlyOwnerOf, t.Slug)
	}
	return detail, err
}

func (h *handler) users(context.Context, empty) ([]User, error) {
	found, err := h.Accounts.Users()
	if err != nil {
		return nil, err
	}
	list := make([]User, 0, len(found))
	for _, u := range found {
		shown, err := h.user(u)
		if err != nil {
			return nil, err
		}
		list = append(list, shown)
	}
	return list, nil
}

func (h *handler) setPassword(ctx context.Context, r passwordRequest) (User, error) {
	if err := h.Accounts.SetPassword(ctx, r.Email, r.Password); err != nil {
		return User{}, err
	}
	return h.userNamed(r.Email)
}

// userNamed is the account with an address as it is now.
func (h *handler) userNamed(email string) (User, error) {
	u, err := h.Accounts.UserByEmail(email)
	if err != nil {
		return User{}, err
	}
	return h.user(u)
}

// removeUser returns what there was.
func (h *handler) removeUser(ctx context.Context, r emailRequest) (UserDetail, error) {
	was, err := h.userDetail(ctx, r)
	if err != nil {
		return UserDetail{}, err
	}
	return was, h.Accounts.RemoveUser(ctx, r.Email)
}

func (h *handler) addTeam(ctx context.Context, r teamRequest) (Team, error) {
	t, err := h.Accounts.AddTeam(ctx, r.Slug, r.Name)
	return showTeam(account.Team{Team: t}), err
}

func showTeam(t account.Team) Team {
	shown := Team{ID: t.ID, Slug: t.Slug, Name: t.Name, Created: t.Created.UTC(), Members: []TeamMember{}}
	for _, m := range t.Members {
		shown.Members = append(shown.Members, TeamMember{m.User.Email, m.Role})
	}
	return shown
}

func (h *handler) teams(context.Context, empty) ([]Team, error) {
	found, err := h.Accounts.Teams()
	if err != nil {
		return nil, err
	}
	list := make([]Team, 0, len(found))
	for _, t := range found {
		list = append(list, showTeam(t))
	}
	return list, nil
}

// team is one as it is now, with its members.
func (h *handler) team(slug string) (Team, error) {
	a, err := h.actor(slug)
	if err != nil {
		return Team{}, err
	}
	members, err := h.Accounts.MembersOf(a)
	return showTeam(account.Team{Team: a.Team, Members: members}), err
}

func (h *handler) addMember(ctx context.Context, r memberRequest) (Team, error) {
	if err := h.Accounts.AddMember(ctx, r.Slug, r.Email, r.Owner); err != nil {
		return Team{}, err
	}
	return h.team(r.Slug)
}

func (h *handler) removeMember(ctx context.Context, r memberRequest) (ChangedTeam, error) {
	ended, err := h.Accounts.RemoveMember(ctx, r.Slug, r.Email)
	if err != nil {
		return ChangedTeam{}, err
	}
	t, err := h.team(r.Slug)
	return ChangedTeam{t, ended}, err
}

func (h *handler) check(context.Context, empty) (Report, error) {
	err := h.DB.Check()
	if errors.Is(err, store.ErrNotChecked) {
		return Report{}, err
	}
	if err != nil {
		return Report{Counts: []store.Count{}, Damage: strings.Split(err.Error(), "\n")}, nil
	}
	counts, err := h.DB.Counts()
	if err != nil {
		return Report{}, fmt.Errorf("count the records: %w", err)
	}
	return Report{OK: true, Counts: counts, Damage: []string{}}, nil
}

func (h *handler) repair(ctx context.Context, _ empty) (Report, error) {
	if err := h.DB.Repair(); err != nil {
		return Report{}, fmt.Errorf("make the indexes anew: %w", err)
	}
	return h.check(ctx, empty{})
}
