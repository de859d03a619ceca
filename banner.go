package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"podgate/account"
	"podgate/internal/config"
	"podgate/internal/web"
)

// announce tells the person at the terminal what to do next. The setup link is
// a secret, so it goes here and never to the log.
func (srv *server) announce(ctx context.Context, p process) error {
	var b strings.Builder
	fmt.Fprintf(&b, "podgate is ready at %s\n", srv.issuer)
	for i, line := range srv.listenerLines() {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  %s\n", line)
	}
	b.WriteString(srv.waitsFor())
	pages := web.NewPageHost(srv.issuer.String())
	needed, err := srv.accounts.NeedsSetup()
	if err != nil {
		return err
	}
	next := "Sign in there, or give your assistant this address:"
	if needed {
		token, err := srv.accounts.SetupLink(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\nMake the first account: open this link within %d minutes. It works once.\n\n  %s/setup?token=%s\n",
			int(account.SetupTTL.Minutes()), pages.Address(), token)
		if pages.Own() {
			fmt.Fprintf(&b, "\nA browser that does not find %s, such as Safari, finds it at localhost in its place.\n", web.LocalPages)
		}
		next = "Then give your assistant this address:"
	}
	if line := tunnel(p.Env, srv.issuer, srv.listeners[0].Addr()); line != "" {
		fmt.Fprintf(&b, "\nThat is the address on this machine. To use it from your own, keep this running there:\n\n  %s\n", line)
	}
	fmt.Fprintf(&b, "\n%s\n\n  %s/api/mcp\n\n", next, srv.issuer)
	for _, r := range srv.pods.RegionStates() {
		if r.Err != nil {
			fmt.Fprintf(&b, "Pods cannot run in the region %s yet. %s\n\n", r.Name, r.Err)
		}
	}
	if _, err := io.WriteString(p.Stdout, b.String()); err != nil {
		srv.log.Warn("there is no terminal to print the address to, nor a first link; «podgate setup-link» prints one", "error", err)
	}
	return nil
}

// listenerLines says where each listener answers, unless that is the public URL and
// nothing else.
func (srv *server) listenerLines() []string {
	here := srv.listeners[0].Addr()
	_, port, _ := net.SplitHostPort(here.String()) // every TCP address has one
	switch {
	case len(srv.secure) > 0:
		list := []string{fmt.Sprintf("%s  for visitors, on %s", srv.issuer, srv.secure[0].Addr())}
		if len(srv.plain) > 0 {
			list = append(list, fmt.Sprintf("%s  sends them there, on %s", srv.plainURL(), srv.plain[0].Addr()))
		}
		return append(list, localAddress(here)+"  for this machine, unencrypted")
	case !config.IsLoopback(srv.issuer.Hostname()), cmp.Or(srv.issuer.Port(), "80") != port:
		return []string{fmt.Sprintf("%s  for the proxy that answers %s", localAddress(here), srv.issuer)}
	case addressOf(here).IsUnspecified():
		return []string{localAddress(here) + "  for this machine; others are refused until public_url says under which name they come"}
	}
	return nil
}

// plainURL is where people come who type no https://. Ports that a router
// forwards are seen from outside as if there was none.
func (srv *server) plainURL() string {
	host := srv.issuer.Hostname()
	if srv.issuer.Port() != "" {
		host = net.JoinHostPort(host, strconv.Itoa(portOf(srv.plain[0])))
	}
	return "http://" + strings.TrimSuffix(host, ":80")
}

// localAddress is what leads to a listener on this machine. A listener that is
// for other machines only is no web address: they come by the public URL.
func localAddress(listener net.Addr) string {
	ip, port := addressOf(listener), strconv.Itoa(listener.(*net.TCPAddr).Port)
	switch {
	case ip.IsUnspecified(), ip.String() == "127.0.0.1", ip == netip.IPv6Loopback():
		return "http://" + strings.TrimSuffix("localhost:"+port, ":80")
	case ip.IsLoopback():
		return "http://" + net.JoinHostPort(ip.String(), port)
	}
	return net.JoinHostPort(ip.String(), port)
}

func addressOf(listener net.Addr) netip.Addr {
	return listener.(*net.TCPAddr).AddrPort().Addr().Unmap()
}

// waitsFor says what is still to come before visitors can be answered, or
// nothing.
func (srv *server) waitsFor() string {
	if srv.certs == nil || srv.certs.Status().Ready(time.Now()) {
		return ""
	}
	here := localAddress(srv.listeners[0].Addr())
	return fmt.Sprintf("\nIt waits for its certificate from %s, mostly some seconds. Until then only\n%s answers, on this machine; %s/readyz and the log say how it goes.\n",
		srv.settings.TLS.CA, here, here)
}

var userName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`) })

// tunnel is the command that brings the address of this machine to that of the
// person, when there is no browser here: they came by ssh and there is no
// display. Empty when it is of no use.
func tunnel(env config.Environ, issuer *url.URL, listener net.Addr) string {
	value := func(name string) string { v, _ := env.Lookup(name); return v }
	way := strings.Fields(value("SSH_CONNECTION")) // client, its port, server, its port: ssh(1)
	if len(way) != 4 || value("DISPLAY") != "" || value("WAYLAND_DISPLAY") != "" || !config.IsLoopback(issuer.Hostname()) {
		return ""
	}
	user := cmp.Or(value("SUDO_USER"), value("USER"))
	if !userName().MatchString(user) {
		user = "USER"
	}
	client, _ := netip.ParseAddr(way[0])
	server, err := netip.ParseAddr(way[2])
	host := server.String()
	if err != nil || server.IsPrivate() && !client.IsPrivate() { // an address of the inside, behind a router
		host = "HOST"
	}
	line := "ssh "
	if port, err := strconv.ParseUint(way[3], 10, 16); err == nil && port != 22 {
		line += fmt.Sprintf("-p %d ", port)
	}
	target := strings.TrimPrefix(localAddress(listener), "http://")
	if !strings.Contains(target, ":") {
		target += ":80"
	}
	return line + fmt.Sprintf("-L %s:%s %s@%s", cmp.Or(issuer.Port(), "80"), target, user, host)
}
