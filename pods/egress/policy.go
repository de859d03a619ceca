package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"podgate/internal/netfilter"
)

// Mode is how much of the network one layer of a policy lets a pod reach.
type Mode string

// The modes there are. The zero Mode is no layer: it takes nothing away.
const (
	ModeNone     Mode = "none"     // nothing
	ModeNames    Mode = "names"    // the names that are listed
	ModeInternet Mode = "internet" // every public address, by name or as it is
)

// Modes lists them, narrowest first.
func Modes() []Mode { return []Mode{ModeNone, ModeNames, ModeInternet} }

// Layer is what one of those who decide allows: the administrator for a region,
// an owner for a team or for a pod.
type Layer struct {
	Who   string // for a person, such as "the team"
	Mode  Mode
	Names []Rule // of ModeNames
}

// Hosts are the names as ParseRule reads them.
func (l *Layer) Hosts() []string {
	var all []string
	for _, r := range l.Names {
		all = append(all, r.String())
	}
	return all
}

// Policy is all layers that hold for a pod. Each may only take away, so what is
// reached is what all of them allow.
type Policy struct {
	Layers []Layer
	// Local are addresses that are not public and are opened on purpose, and names
	// whose port for mail is: see [ParseLocal]. Only the administrator gives these.
	Local []Rule
	// Mail opens the ports of SMTP, which are closed otherwise: a pod that sends
	// spam takes the whole server's reputation with it.
	Mail bool
}

// target is where a pod wants to go, before any name is resolved.
type target struct {
	name string // lower case, without the last dot; empty for a raw address
	addr netip.Addr
	port uint16 // 0 while only the name is asked for
}

func (t target) host() string {
	if t.name != "" {
		return t.name
	}
	return t.addr.String()
}

// hostPort is the target as [ParseRule] reads it.
func (t target) hostPort() string {
	return net.JoinHostPort(t.host(), strconv.Itoa(int(t.port)))
}

func (t target) String() string {
	if t.port == 0 {
		return t.host()
	}
	return fmt.Sprintf("%s port %d", t.host(), t.port)
}

// Refusal is an answer to a pod, in words for a person.
type Refusal struct {
	Target string // name or address, and the port
	Reason string // why, and who can change it
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the pod may not reach %s: %s", r.Target, r.Reason)
}

// mailPorts are those that mail is handed to servers on.
var mailPorts = []uint16{25, 465, 587}

// allows reports whether every layer lets the target through, by what was asked
// for. The address that a name leads to is judged by [Policy.reaches].
func (p *Policy) allows(t target) error {
	for _, l := range p.Layers {
		if why := l.refuses(t); why != "" {
			return &Refusal{Target: t.String(), Reason: why}
		}
	}
	if t.name != "" && p.opensPort(t.port) {
		return nil // it may lead to an address that is opened
	}
	if err := p.mails(t, t.addr); err != nil {
		return &Refusal{Target: t.String(), Reason: err.Error()}
	}
	return nil
}

// mails judges a port for mail: it is open to all, for the name that was asked for, or
// for the address that is going to be dialled.
func (p *Policy) mails(t target, a netip.Addr) error {
	if p.Mail || !slices.Contains(mailPorts, t.port) || p.opened(a, t.port) || slices.ContainsFunc(p.Local, func(r Rule) bool { return r.name != "" && r.matches(t) }) {
		return nil
	}
	return fmt.Errorf("the ports for sending mail are closed; use a mail service's HTTPS interface, or ask the administrator to open it for the region: with allow_local = [%q], or with mail = true for all", t.hostPort())
}

// opensPort reports whether the administrator opened some address with this port.
func (p *Policy) opensPort(port uint16) bool {
	return slices.ContainsFunc(p.Local, func(r Rule) bool { return r.IsAddress() && (r.port == 0 || r.port == port) })
}

// refuses returns why, or nothing.
func (l *Layer) refuses(t target) string {
	switch l.Mode {
	case "", ModeInternet:
		return ""
	case ModeNames:
		if slices.ContainsFunc(l.Names, func(r Rule) bool { return r.matches(t) }) {
			return ""
		}
		if len(l.Names) == 0 {
			return l.Who + " allows no names; " + l.remedy()
		}
		return l.Who + " allows only names on its list; " + l.remedy()
	}
	return l.Who + " allows no network; " + l.remedy()
}

// Those who decide, as the sentences name them.
const (
	WhoRegion = "the region"
	WhoTeam   = "the team"
	WhoPod    = "the pod's own setting"
)

func (l *Layer) remedy() string {
	if l.Who == WhoRegion {
		return "the administrator can allow it in the configuration"
	}
	return "a team owner can allow it"
}

// forwards reports whether questions other than for addresses leave as DNS:
// their answers carry what the one who answers likes, so they are for pods that
// may reach everything anyway.
func (p *Policy) forwards() bool {
	return !slices.ContainsFunc(p.Layers, func(l Layer) bool { return l.Mode != "" && l.Mode != ModeInternet })
}

// lists reports whether a name is written out on one of the lists, so that it is
// not of the pod's choice.
func (p *Policy) lists(name string) bool {
	return slices.ContainsFunc(p.Layers, func(l Layer) bool {
		return l.Mode == ModeNames && slices.ContainsFunc(l.Names, func(r Rule) bool { return r.name == name })
	})
}

// reaches judges the address that is going to be dialled for a target. own are this
// machine's addresses with the networks that they are on. Addresses that are set
// apart for examples stay open: they lead nowhere, or to what somebody has put
// there for this machine to use.
func (p *Policy) reaches(t target, a netip.Addr, own []netip.Prefix) error {
	a = a.Unmap()
	if a.Zone() == "" && p.opened(a, t.port) {
		return nil
	}
	if err := p.mails(t, a); err != nil {
		return err
	}
	const remedy = "; the administrator can open an address on purpose with allow_local"
	if err := netfilter.Public(a); err != nil && !netfilter.Documentation(a) {
		return fmt.Errorf("%w%s", err, remedy)
	}
	for _, n := range own {
		if n.Masked().Contains(a) {
			return fmt.Errorf("the address %s belongs to this server or to the network that it is on%s", a, remedy)
		}
	}
	return nil
}

// opened reports whether the administrator opened exactly this.
func (p *Policy) opened(a netip.Addr, port uint16) bool {
	return a.IsValid() && slices.ContainsFunc(p.Local, func(r Rule) bool { return r.matches(target{addr: a, port: port}) })
}

// Mode is the narrowest of all layers, for showing.
func (p *Policy) Mode() Mode {
	mode := ModeInternet
	for _, l := range p.Layers {
		if l.Mode != "" && slices.Index(Modes(), l.Mode) < slices.Index(Modes(), mode) {
			mode = l.Mode
		}
	}
	return mode
}

// Rule names hosts that may be reached: a name, all names below one
// ("*.example.net"), an address or a network, each with a port or with all.
type Rule struct {
	name   string // with the "*." of all below it; empty for addresses
	prefix netip.Prefix
	port   uint16 // 0: all
}

// ParseRules reads rules, and in place of "@name" all of the list of that name.
// It reports all faults at once.
func ParseRules(written []string, lists map[string][]Rule) (rules []Rule, err error) {
	var faults []error
	for _, s := range written {
		if name, ok := strings.CutPrefix(s, "@"); ok {
			list, known := lists[name]
			if !known {
				faults = append(faults, fmt.Errorf("%q is no list of this server's configuration", s))
			}
			rules = append(rules, list...)
			continue
		}
		r, err := ParseRule(s)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, errors.Join(faults...)
}

// ParseLocal reads a rule that opens what is closed to all pods otherwise: an address or
// network that is not public, or a port for mail of one name.
func ParseLocal(s string) (Rule, error) {
	r, err := ParseRule(s)
	switch {
	case err != nil || r.IsAddress():
		return r, err
	case strings.HasPrefix(r.name, "*."):
		return Rule{}, fmt.Errorf("%q opens a port for mail of more than one name; write each name with its port, such as smtp.example.com:587", s)
	case !slices.Contains(mailPorts, r.port):
		return Rule{}, fmt.Errorf("%q is a name; a name opens a port for mail, 25, 465 or 587, such as smtp.example.com:587, and anything else is opened by its address, such as 192.168.1.10:5432, since a name can lead elsewhere later", s)
	}
	return r, nil
}

// ParseRule reads "api.example.com", "*.example.net", "192.168.1.10:5432",
// "10.1.0.0/16" or "[2001:db8::1]:443".
func ParseRule(s string) (Rule, error) {
	fault := func(why string) (Rule, error) {
		return Rule{}, fmt.Errorf("%q %s; write a name such as api.example.com or *.example.net, or an address or network such as 192.168.1.10 or 10.1.0.0/16, each with or without a :port", s, why)
	}
	if strings.Contains(s, "://") {
		return fault("is a URL")
	}
	host, port, why := splitPort(s)
	if why != "" {
		return fault(why)
	}
	if prefix, ok := parsePrefix(host); ok {
		return Rule{prefix: prefix, port: port}, nil
	}
	if strings.ContainsAny(host, "/[]:") || endsInNumber(host) {
		return fault("is not an address")
	}
	below, star := strings.CutPrefix(host, "*.")
	name, err := cleanName(below)
	if err != nil {
		return fault(err.Error())
	}
	if star {
		if !strings.Contains(name, ".") {
			return fault("opens all names below one ending")
		}
		name = "*." + name
	}
	return Rule{name: name, port: port}, nil
}

func splitPort(s string) (host string, port uint16, why string) {
	host, rest := s, ""
	if inner, after, ok := strings.Cut(s, "]"); ok && strings.HasPrefix(s, "[") {
		host, rest = inner[1:], after
	} else if strings.Count(s, ":") == 1 {
		host, rest, _ = strings.Cut(s, ":")
		rest = ":" + rest
	}
	if rest == "" {
		return host, 0, ""
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(rest, ":"), 10, 16)
	if err != nil || n == 0 || rest[0] != ':' {
		return "", 0, "has no port from 1 to 65535 after the colon"
	}
	return host, uint16(n), ""
}

func parsePrefix(host string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(host)
	return p.Masked(), err == nil
}

// endsInNumber reports whether resolvers could take the name for an address
// (WHATWG URL, "ends in a number"), such as 127.1 or 0x7f.1.
func endsInNumber(name string) bool {
	name = strings.TrimSuffix(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	last = strings.TrimPrefix(strings.ToLower(last), "0x")
	return last == "" || strings.Trim(last, "0123456789") == ""
}

// IsAddress reports whether the rule is an address or a network.
func (r Rule) IsAddress() bool { return r.name == "" }

func (r Rule) matches(t target) bool {
	if r.port != 0 && t.port != 0 && r.port != t.port {
		return false
	}
	if r.name == "" {
		return t.name == "" && t.addr.IsValid() && r.prefix.Contains(t.addr.Unmap())
	}
	if below, ok := strings.CutPrefix(r.name, "*"); ok {
		return strings.HasSuffix(t.name, below) && len(t.name) > len(below)
	}
	return t.name != "" && t.name == r.name
}

// String is the rule as ParseRule reads it.
func (r Rule) String() string {
	host := r.name
	if host == "" {
		host = r.prefix.String()
		if r.prefix.IsSingleIP() {
			host = r.prefix.Addr().String()
		}
		if r.port != 0 && r.prefix.Addr().Is6() {
			host = "[" + host + "]"
		}
	}
	if r.port == 0 {
		return host
	}
	return fmt.Sprintf("%s:%d", host, r.port)
}

const maxName = 253 // RFC 1035 section 2.3.4, without the last dot

// cleanName returns the name in lower case without its last dot, or why it is
// none. Letters, digits, hyphens and underscores are what host names and the
// records of services have; anything else is there to be read differently by
// somebody else.
func cleanName(s string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" || len(s) > maxName {
		return "", fmt.Errorf("is not a name of 1 to %d characters", maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("has a part that is not 1 to 63 characters long")
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("has characters that names do not have")
		}
	}
	return s, nil
}
