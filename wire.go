package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"podgate/internal/web"
	"podgate/oauth"
	"podgate/ui"
)

// podURL returns the function that gives a pod's address from its name: names
// below localhost lead to this machine and so to the port that we listen on,
// all others come the way that the public URL comes.
func (srv *server) podURL() func(name string) string {
	domain, port := srv.settings.Pods.Domain, srv.issuer.Port()
	scheme := srv.issuer.Scheme
	if domain == "localhost" || strings.HasSuffix(domain, ".localhost") {
		scheme, port = "http", strconv.Itoa(portOf(srv.listeners[0]))
	}
	if port != "" && !(scheme == "http" && port == "80") {
		domain += ":" + port
	}
	return func(name string) string { return scheme + "://" + name + "." + domain }
}

// handler wires the rooms together.
func (srv *server) handler() (http.Handler, error) {
	stack := &web.Stack{Log: srv.log, Now: time.Now}
	pages, auth, err := srv.openPages()
	if err != nil {
		return nil, err
	}
	routes := slices.Concat(auth.Routes(), pages.Routes())
	return &frontDoor{
		publicHost: srv.issuer.Hostname(), podsDomain: srv.settings.Pods.Domain,
		site:   newSite(stack, srv.issuer, routes, pages.WriteError),
		pods:   func(http.ResponseWriter, *http.Request, string) {},
		refuse: stack.Handle(refuseHost(srv.issuer.String()), writePlainError),
	}, nil
}

// openPages makes the pages and the authorization server that needs them.
func (srv *server) openPages() (*ui.Server, *oauth.Server, error) {
	issuer, conf := srv.issuer.String(), srv.settings
	pages, err := ui.New(ui.Config{
		Issuer: issuer, Account: srv.accounts, Log: srv.log, Now: time.Now, TrustedProxies: conf.TrustedProxies,
	})
	if err != nil {
		return nil, nil, err
	}
	auth, err := oauth.New(oauth.Config{
		Issuer: issuer, DB: srv.db, Pages: pages, Sessions: pages,
		AccessTTL: time.Duration(conf.OAuth.AccessTokenTTL), CodeTTL: time.Duration(conf.OAuth.CodeTTL),
		Registration: conf.OAuth.Registration, RedirectSchemes: conf.OAuth.RedirectSchemes,
		TrustedProxies: conf.TrustedProxies, Docs: issuer + "/", Log: srv.log, Now: time.Now,
	})
	return pages, auth, err
}
