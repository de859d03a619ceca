package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// endpointPath is where podgate's MCP endpoint is.
const endpointPath = "/api/mcp"

// Target is an address as somebody typed it, and the podgate that it means.
type Target struct {
	Scheme  string // https or http
	Host    string // name or address, lower case, without brackets
	Port    string // never empty
	Origin  string // as browsers write it: what podgate's issuer must be
	remarks []string
}

// Endpoint is the URL to type into a client.
func (t Target) Endpoint() string { return t.Origin + endpointPath }

func (t Target) hostPort() string { return net.JoinHostPort(t.Host, t.Port) }

// loopback reports whether the target is on this machine by its very name.
func (t Target) loopback() bool {
	a, err := netip.ParseAddr(t.Host)
	return t.Host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// ParseTarget reads an address as people type it: with or without scheme, with
// or without /api/mcp, with a slash too many. The error says what cannot be
// made sense of.
func ParseTarget(typed string) (Target, error) {
	s := strings.TrimSpace(typed)
	if s == "" || len(s) > 2048 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Target{}, errors.New("that is not a web address; write for example https://pods.example.com/api/mcp")
	}
	if !strings.Contains(s, "://") {
		s = guessScheme(s) + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil || !validHost(u.Hostname()) || !validPort(u.Port()) || u.Opaque != "" {
		return Target{}, fmt.Errorf("%q is not a web address; write for example https://pods.example.com/api/mcp", typed)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return Target{}, fmt.Errorf("%q begins with neither https:// nor http://", typed)
	case u.User != nil:
		return Target{}, errors.New("the address holds a name or password; leave out what is before the @")
	}
	return targetOf(u)
}

// validHost accepts an address without zone and what can be a name in DNS.
func validHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == ""
	}
	return host != "" && len(host) <= 253 && strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// validPort accepts none, and one without zeros in front.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// guessScheme: a bare name means https, as tokens cross no network in clear;
// this machine itself means http, as podgate starts that way.
func guessScheme(s string) string {
	host, _, _ := strings.Cut(s, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if (Target{Host: strings.Trim(host, "[]")}).loopback() {
		return "http"
	}
	return "https"
}

var defaultPorts = map[string]string{"https": "443", "http": "80"}

func targetOf(u *url.URL) (Target, error) {
	t := Target{Scheme: u.Scheme, Host: strings.ToLower(u.Hostname()), Port: u.Port()}
	t.Origin = t.Scheme + "://" + t.Host
	if strings.Contains(t.Host, ":") {
		t.Origin = t.Scheme + "://[" + t.Host + "]"
	}
	switch {
	case t.Port == "":
		t.Port = defaultPorts[t.Scheme]
	case t.Port == defaultPorts[t.Scheme]:
		t.remark("the port %s is the usual one and must be left out", t.Port)
	default:
		t.Origin += ":" + t.Port
	}
	if u.Hostname() != t.Host {
		t.remark("the name has capitals")
	}
	return t, t.readRest(u)
}

// readRest looks at what follows the host.
func (t *Target) readRest(u *url.URL) error {
	switch path := strings.TrimSuffix(u.Path, "/"); {
	case path != "" && path != endpointPath:
		return fmt.Errorf("podgate is at the root of a name, and its endpoint at %s; %q is somewhere else", t.Endpoint(), u.Path)
	case u.Path == endpointPath+"/":
		t.remark("there is a slash at the end")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		t.remark("something follows the path")
	}
	return nil
}

func (t *Target) remark(format string, args ...any) {
	t.remarks = append(t.remarks, fmt.Sprintf(format, args...))
}
