package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"podgate/control"
	"podgate/doctor/echo"
	"podgate/internal/authz"
	"podgate/internal/config"
	"podgate/internal/handover"
	"podgate/internal/web"
	"podgate/mcp"
	"podgate/oauth"
	"podgate/pods"
	"podgate/pods/ingress"
	"podgate/pods/sandbox"
	"podgate/pods/transfer"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/page"
	"podgate/ui/teampages"
)

// podURL returns the function that gives a pod's address from its name: names
// below localhost lead to this machine and so to the port that we listen on,
// all others come the way that the public URL comes.
func (srv *server) podURL() func(name string) string {
	domain, port := srv.settings.Pods.Domain, srv.issuer.Port()
	scheme := srv.issuer.Scheme
	if config.IsLocalDomain(domain) {
		scheme, port = "http", strconv.Itoa(portOf(srv.listeners[0]))
	}
	if port != "" && !(scheme == "http" && port == "80") {
		domain += ":" + port
	}
	return func(name string) string { return scheme + "://" + name + "." + domain }
}

// runtimes are the engines that a region can name, and how each is opened.
var runtimes = map[string]func(context.Context, *server, config.Region) (pods.Runtime, error){
	"sandbox": openSandbox,
}

// openPods makes the service that keeps pods, over the configured regions. One
// that cannot run pods here is tried again later: people can sign in and read
// why.
func (srv *server) openPods(ctx context.Context) error {
	service, err := pods.New(srv.podsConfig(srv.settings))
	if err != nil {
		return err
	}
	srv.pods = service
	srv.onStop(service.Close)
	service.Open(ctx)
	if err := srv.podsTaken(ctx); err != nil {
		return err
	}
	left := srv.leftImports()
	srv.background(func(ctx context.Context) {
		if srv.takeover == nil || srv.hasStarted(ctx) {
			srv.sweepImports(ctx, left)
			service.Run(ctx)
		}
	})
	return nil
}

func (srv *server) podsConfig(s *config.Settings) pods.Config {
	beyond := srv.beyond
	beyond.Leads = leads(srv.issuer.Hostname(), s.Pods.Domain)
	return pods.Config{
		DB: srv.db, Regions: regions(s, srv.openRuntime), Plans: plans(s.Plans), Quota: pods.Quota{Pods: s.Pods.QuotaPods, Memory: int64(s.Pods.QuotaMemory)},
		URL: srv.podURL(), NameLists: s.Lists(), Egress: beyond, Alarm: srv.alarm(), Evicted: srv.noteEvicted, Log: srv.log, Now: time.Now,
	}
}

// leads are the names that lead here: podgate's, the pods' domain and, for a wildcard
// below it, one that no pod can have.
func leads(host, domain string) (names []string) {
	for _, name := range []string{host, domain, "podgate." + domain} {
		if name = strings.TrimSuffix(name, "."); !config.IsLocalDomain(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (srv *server) openRuntime(ctx context.Context, c config.Region) (pods.Runtime, error) {
	return runtimes[c.Runtime](ctx, srv, c)
}

// localNetworks says what pods may reach while no server runs.
func localNetworks(s *config.Settings, db *store.DB) (control.Networks, error) {
	never := func(context.Context, config.Region) (pods.Runtime, error) { return nil, errors.ErrUnsupported }
	return pods.New(pods.Config{DB: db, Regions: regions(s, never), NameLists: s.Lists()})
}

// regions are the configured ones, the default first.
func regions(s *config.Settings, open func(context.Context, config.Region) (pods.Runtime, error)) []pods.Region {
	var all []pods.Region
	for _, c := range s.Regions {
		r := pods.Region{Name: c.Name, Kind: c.Runtime, Network: c.Policy(s.Lists()), Open: func(ctx context.Context) (pods.Runtime, error) {
			return open(ctx, c)
		}}
		if c.Name == s.Pods.DefaultRegion {
			all = slices.Insert(all, 0, r)
		} else {
			all = append(all, r)
		}
	}
	return all
}

// openSandbox opens the runtime of this machine, of which the configuration
// allows one.
func openSandbox(ctx context.Context, srv *server, c config.Region) (pods.Runtime, error) {
	dir, err := filepath.Abs(filepath.Join(srv.settings.DataDir, "pods"))
	if err != nil {
		return nil, err
	}
	return sandbox.Open(ctx, sandbox.Config{
		Dir: dir, Log: srv.log, Binds: c.Binds, LimitsMode: c.Limits,
		Before: srv.before(), Next: func() *handover.Baton { return srv.upgrades.baton },
	})
}

func plans(list []config.Plan) []pods.Plan {
	var all []pods.Plan
	for _, p := range list {
		all = append(all, pods.Plan{Name: p.Name, Limits: pods.Limits{Memory: int64(p.Memory), CPUs: p.CPUs, Disk: int64(p.Disk), Processes: p.Processes, Network: int64(p.Network)}})
	}
	return all
}

// handler wires the packages together.
func (srv *server) handler() (http.Handler, error) {
	stack := srv.stacks
	pages, auth, err := srv.openPages()
	if err != nil {
		return nil, err
	}
	endpoint, err := mcp.New(mcp.Config{
		Pods: srv.pods, Issuer: srv.issuer.String(), Version: version(), History: srv.history, Log: srv.log, InsufficientScope: auth.InsufficientScope, Watch: watch(auth), Called: srv.numbers.called,
	})
	if err != nil {
		return nil, err
	}
	srv.tools = endpoint
	srv.onStop(endpoint.Close)
	trusted := srv.settings.TrustedProxies
	front := ingress.New(ingress.Config{
		Pods: srv.pods, Scheme: srv.issuer.Scheme, Log: srv.log,
		ClientAddr: func(r *http.Request) netip.Addr { return web.ClientAddr(r, trusted) }, Lasts: lasts,
	})
	srv.front = front
	srv.onStop(func() error { front.Close(); return nil })
	examined, err := echo.Routes(echo.Config{Issuers: append([]string{srv.issuer.String()}, srv.aliases()...), Proxies: trusted, Now: time.Now})
	if err != nil {
		return nil, err
	}
	numbers, err := srv.metricsRoutes()
	if err != nil {
		return nil, err
	}
	routes := slices.Concat(numbers, auth.Routes(), pages.Routes(), mcpRoutes(auth.Bearer(endpoint)), transfer.Routes(srv.pods), examined, srv.healthRoutes())
	pageHost := web.NewPageHost(srv.issuer.String())
	return boundHeaders(stack("refused"), srv.issuer.Hostname(), &hostRouter{
		publicHost: srv.issuer.Hostname(), localPages: pageHost.Own(), podsDomain: srv.settings.Pods.Domain,
		site:   srv.strictTransport(newSite(stack, pageHost, routes, pages.WriteError)),
		pods:   withoutProofs(stack("pods"), front.Serve),
		refuse: stack("refused").Handle(refuseHost(srv.issuer.String()), writeUnrouted),
	}), nil
}

// watch is the bearer check while a call runs. Of a command on this machine nothing
// can be taken away meanwhile.
func watch(auth *oauth.Server) func(*http.Request, func(authz.Actor) error) (*http.Request, func()) {
	return func(r *http.Request, mayGoOn func(authz.Actor) error) (*http.Request, func()) {
		if authz.FromContext(r.Context()).IsCommandLine() {
			return r, func() {}
		}
		return auth.Watch(r, mayGoOn)
	}
}

// aliases are further origins at which clients find this server, from a list
// that is closed: on loopback, where nothing else says what it is called.
func (srv *server) aliases() []string {
	if srv.settings.PublicURL != "" {
		return nil
	}
	return loopbackOrigins(srv.listeners)
}

// inviter sends invitations; nil when no mail is configured.
func (srv *server) inviter() teampages.Mailer {
	if srv.notify == nil || !srv.notify.SendsMail() {
		return nil
	}
	return srv.notify
}

// openPages makes the pages and the authorization server that needs them.
func (srv *server) openPages() (*ui.Server, *oauth.Server, error) {
	issuer, conf := srv.issuer.String(), srv.settings
	shared := page.Config{Issuer: issuer, Account: srv.accounts, History: srv.history, Log: srv.log, Now: time.Now, TrustedProxies: conf.TrustedProxies}
	srv.facts = srv.machine()
	pages, err := ui.New(ui.Config{Config: shared, Pods: srv.pods, Mailer: srv.inviter(), Machine: srv.facts})
	if err != nil {
		return nil, nil, err
	}
	auth, err := oauth.New(oauth.Config{
		Issuer: issuer, Aliases: srv.aliases(), DB: srv.db, Pages: pages, Sessions: pages,
		AccessTTL: time.Duration(conf.OAuth.AccessTokenTTL), RefreshTTL: time.Duration(conf.OAuth.RefreshTokenTTL), CodeTTL: time.Duration(conf.OAuth.CodeTTL),
		Registration: conf.OAuth.Registration, ClientDocuments: conf.OAuth.ClientMetadataDocuments, RedirectSchemes: conf.OAuth.RedirectSchemes,
		TrustedProxies: conf.TrustedProxies, Docs: issuer + "/", History: srv.history, Log: srv.log, Now: time.Now,
	})
	return pages, auth, err
}
