package ui

import (
	"embed"
	"net/http"
	"slices"

	"podgate/internal/web"
	"podgate/oauth"
	"podgate/pods"
	"podgate/ui/page"
	"podgate/ui/podpages"
	"podgate/ui/serverpages"
	"podgate/ui/teampages"
)

// Config is what a Server needs. Issuer and Account are required.
type Config struct {
	page.Config
	Pods   *pods.Service    // nil: the front page says that there is none
	Mailer teampages.Mailer // nil: invitations are not sent

	Machine serverpages.Machine // for administrators
}

// Server serves the pages. It is an oauth.Pages and an oauth.Sessions.
type Server struct {
	*page.Shell
	area     *page.Area
	podPages *podpages.Pages
	teams    *teampages.Pages
	admins   *serverpages.Pages
}

var (
	_ oauth.Pages    = (*Server)(nil)
	_ oauth.Sessions = (*Server)(nil)
)

//go:embed templates
var files embed.FS

// New returns a server, or an error when the issuer is not an http or https
// origin.
func New(cfg Config) (*Server, error) {
	shell, err := page.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	s := &Server{Shell: shell}
	if s.area, err = shell.NewArea(files, notices); err != nil {
		return nil, err
	}
	if s.podPages, err = podpages.New(shell, cfg.Pods); err != nil {
		return nil, err
	}
	if s.teams, err = teampages.New(shell, teampages.Config{Pods: cfg.Pods, Mailer: cfg.Mailer, Browser: s.browser, Begin: s.begin}); err != nil {
		return nil, err
	}
	s.admins, err = serverpages.New(shell, serverpages.Config{Pods: cfg.Pods, Machine: cfg.Machine})
	return s, err
}

// notices are what these pages' forms say afterwards.
var notices = map[string]page.Notice{
	"welcome":         page.Says("", "", "This server is set up. Connect an assistant to give it its first pod."),
	"signed-out":      page.Says("", "", "You are signed out."),
	"revoked":         page.Says("", "", "The connection is revoked. The assistant can do nothing here any more."),
	"named":           page.Says("", "", "The connection has its name. Only people see it."),
	"limited":         page.Says("", "", "The limits are changed. They hold at once."),
	"session-ended":   page.Says("account", "sessions", "The session is ended. That browser has to sign in again."),
	"passkey-added":   page.Says("", "", "The passkey is added. You can sign in with it."),
	"passkey-named":   page.Says("", "", "The passkey has its name."),
	"passkey-removed": page.Says("", "", "The passkey is removed. Nobody can sign in with it any more."),
	"password":        {Page: "account", Section: "change-password", Text: passwordChanged},
	"password-passkeys": {Page: "account", Section: "change-password", Text: func(ended int) string {
		return passwordChanged(ended) + " Your passkeys still sign in: remove each that is not yours."
	}},
}

func passwordChanged(ended int) string {
	if ended == 0 {
		return "Your password is changed."
	}
	return "Your password is changed, and " + page.Plural(ended, "other session was", "other sessions were") + " ended."
}

// render writes one of these pages.
func (s *Server) render(w http.ResponseWriter, r *http.Request, kind page.Kind, status int, name string, f page.Frame) error {
	return s.area.Render(w, r, kind, status, name, f)
}

// Routes returns every route of the pages.
func (s *Server) Routes() []web.Route {
	get, post := s.Get, s.Post
	return slices.Concat(s.Shell.Routes(), s.podPages.Routes(), s.teams.Routes(), s.admins.Routes(), []web.Route{
		get("/setup", s.serveSetup),
		post("/setup", s.handleSetup),
		get("/sign-in", s.serveSignIn),
		post("/sign-in", s.handleSignIn),
		post("/sign-in/passkey", s.handlePasskeySignIn),
		post("/sign-out", s.handleSignOut),
		get("/account", s.SignedIn(s.serveAccount)),
		post("/account/password", s.SignedIn(s.handlePassword)),
		post("/account/end-session", s.SignedIn(s.handleEndSession)),
		get("/account/log-out-everywhere", s.SignedIn(s.serveLogOutEverywhere)),
		post("/account/log-out-everywhere", s.SignedIn(s.handleLogOutEverywhere)),
		get("/account/prove", s.SignedIn(s.serveProve)),
		post("/account/prove", s.SignedIn(s.handleProve)),
		get(passkeysPath, s.SignedIn(s.fresh(s.servePasskeys))),
		post(passkeysPath, s.SignedIn(s.fresh(s.handleAddPasskey))),
		post(passkeysPath+"/name", s.SignedIn(s.fresh(s.handleNamePasskey))),
		get(passkeysPath+"/remove", s.SignedIn(s.fresh(s.serveRemovePasskey))),
		post(passkeysPath+"/remove", s.SignedIn(s.fresh(s.handleRemovePasskey))),
		get("/activity", s.SignedIn(s.serveActivity)),
		get("/audit", s.SignedIn(s.serveAudit)),
		get("/connections", s.SignedIn(s.serveConnections)),
		get("/connection/:id", s.SignedIn(s.serveConnection)),
		post("/connection/:id/name", s.SignedIn(s.handleNickname)),
		get("/connection/:id/limits", s.SignedIn(s.serveLimits)),
		post("/connection/:id/limits", s.SignedIn(s.handleLimits)),
		get("/connection/:id/revoke", s.SignedIn(s.serveRevoke)),
		post("/connection/:id/revoke", s.SignedIn(s.handleRevoke)),
	})
}
