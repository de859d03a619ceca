package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// listen opens the configured address. The name localhost means 127.0.0.1 and
// ::1 on one port, because browsers try either; a machine without IPv6 has
// only the first. Port 0 chooses a free one.
func listen(ctx context.Context, addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		ln, err := listenOn(ctx, addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{ln}, nil
	}
	// With port 0 the port that is free on 127.0.0.1 may be taken on ::1.
	for range 10 {
		var both []net.Listener
		if both, err = listenLocalhost(ctx, port); err == nil || port != "0" {
			return both, err
		}
	}
	return nil, err
}

func listenLocalhost(ctx context.Context, port string) ([]net.Listener, error) {
	v4, err := listenOn(ctx, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	v6, err := listenOn(ctx, net.JoinHostPort("::1", strconv.Itoa(portOf(v4))))
	switch {
	case err == nil:
		return []net.Listener{v4, v6}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return []net.Listener{v4}, nil
	}
	// Somebody else answers on ::1: browsers would show their pages under our
	// address and hand them our forms.
	return nil, errors.Join(err, v4.Close())
}

func listenOn(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s already; stop it, or give another address with --listen: %w", addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("the system does not let this user listen on %s; use a port above 1023, or give the program the capability CAP_NET_BIND_SERVICE: %w", addr, err)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

// loopbackOrigins are the origins of loopback addresses at which the listeners
// answer: what people type in place of localhost.
func loopbackOrigins(listeners []net.Listener) []string {
	var list []string
	for _, name := range []string{"127.0.0.1", "::1"} {
		address := netip.MustParseAddr(name)
		answers := func(ln net.Listener) bool {
			a := addressOf(ln.Addr())
			return a == address || a.IsUnspecified()
		}
		if slices.ContainsFunc(listeners, answers) {
			list = append(list, "http://"+strings.TrimSuffix(net.JoinHostPort(name, strconv.Itoa(portOf(listeners[0]))), ":80"))
		}
	}
	return list
}

func isInUse(err error) bool  { return errors.Is(err, syscall.EADDRINUSE) }
func isDenied(err error) bool { return errors.Is(err, syscall.EACCES) }

// portOf returns the TCP port of a listener.
func portOf(ln net.Listener) int {
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}
