package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"podgate/internal/text"
)

const (
	// requestTime is how long an answer may take: clients give up after about
	// ten seconds.
	requestTime = 10 * time.Second
	// uploadTime is how long the large bodies may take.
	uploadTime = time.Minute
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
	// userAgent names us to whoever reads the server's log. podgate's own
	// timeline knows it.
	userAgent = "podgate-doctor/1"
)

// probe is what the checks share: how to ask, and what was learned so far.
type probe struct {
	Options
	client *http.Client
	addrs  []netip.Addr // of the target, set by checkNames; those that answer after checkConnection

	resource, server document
	challenged       *answer   // the first answer to a POST without a token
	passed           *passage  // what arrived at the server
	seen             []*answer // every answer of the target
}

func newProbe(o Options) *probe {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	p := &probe{Options: o}
	p.client = &http.Client{
		Transport: &http.Transport{
			// No proxy from the environment: the clients that matter do not come
			// through it.
			DialContext: p.dialHost, TLSClientConfig: p.tlsConfig(), ForceAttemptHTTP2: true,
			DisableCompression:  true, // what arrives is looked at as it is
			TLSHandshakeTimeout: requestTime, ExpectContinueTimeout: 2 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

// tlsConfig accepts versions that are too old, to be able to say so. Nothing
// secret is ever sent.
func (p *probe) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: p.Roots, MinVersion: tls.VersionTLS10, Time: p.Now}
}

// dialHost connects to a name by way of the probe's own resolver.
func (p *probe) dialHost(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs := p.addrs
	if host != p.Target.Host || len(addrs) == 0 {
		if addrs, err = p.addresses(ctx, host); err != nil {
			return nil, err
		}
	}
	err = fmt.Errorf("%s has no address", host)
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		var conn net.Conn
		if conn, err = p.Dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// addresses returns those of a name, IPv4 first; an address is its own.
func (p *probe) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	found, err := p.Lookup(ctx, host)
	if err != nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		// As browsers do, whatever the resolver says (RFC 6761 section 6.3).
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	if err != nil {
		return nil, err
	}
	var v4, v6 []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return append(v4, v6...), nil
}

// answer is what came back, read to its bound.
type answer struct {
	request string // method and path
	status  int
	proto   string
	header  http.Header
	body    []byte
	arrived time.Time // of the head
}

// ask is one request. The zero value of a field leaves it out.
type ask struct {
	method string
	url    string // whole, or a path of the target
	header http.Header
	body   io.Reader
	length int64 // of the body
	within time.Duration
}

// send asks and reads the answer. Redirects are not followed.
func (p *probe) send(ctx context.Context, a ask) (*answer, error) {
	if a.within == 0 {
		a.within = requestTime
	}
	ctx, cancel := context.WithTimeout(ctx, a.within)
	defer cancel()
	resp, err := p.begin(ctx, a)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got := answerOf(a, resp)
	got.arrived = p.Now()
	if got.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return nil, err
	}
	if strings.HasPrefix(a.url, "/") {
		p.seen = append(p.seen, got)
	}
	return got, nil
}

// begin sends the request and returns when the head of the answer is there.
func (p *probe) begin(ctx context.Context, a ask) (*http.Response, error) {
	target := a.url
	if strings.HasPrefix(target, "/") {
		target = p.Target.Origin + target
	}
	req, err := http.NewRequestWithContext(ctx, a.method, target, a.body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	for name, values := range a.header {
		req.Header[name] = values
	}
	if a.length > 0 {
		req.ContentLength = a.length
	}
	return p.client.Do(req)
}

func answerOf(a ask, resp *http.Response) *answer {
	return &answer{request: a.method + " " + a.url, status: resp.StatusCode, proto: resp.Proto, header: resp.Header}
}

// post sends a JSON body to a path of the target.
func (p *probe) post(ctx context.Context, path, body string, header http.Header) (*answer, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	for name, values := range header {
		h[name] = values
	}
	return p.send(ctx, ask{method: http.MethodPost, url: path, header: h, body: strings.NewReader(body)})
}

func (p *probe) get(ctx context.Context, path string) (*answer, error) {
	return p.send(ctx, ask{method: http.MethodGet, url: path, header: http.Header{"Accept": {"application/json"}}})
}

// isJSON reports whether the answer says to be and is JSON.
func (a *answer) isJSON() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "application/json")
}

func (a *answer) isPage() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<"))
}

// is reports whether the answer is podgate's error of that code.
func (a *answer) is(code string) bool {
	return a.isJSON() && bytes.Contains(a.body, []byte(`"error":"`+code+`"`))
}

// words says what an error of the network means.
func words(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name does not exist"
	case errors.As(err, &dns):
		return "the name could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was cut"
	case isTimeout(err):
		return "there was no answer in time"
	case unreachable(err):
		return "there is no way to it from this machine"
	}
	return clean(err.Error())
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}

// unreachable reports whether this machine has no route, such as one without
// IPv6.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// maxText bounds what is shown of a text, in characters.
const maxText = 300

// clean takes out of a text, which may be a stranger's, what would steer a
// terminal, and bounds it.
func clean(s string) string {
	start, _ := text.Start(s, maxText)
	return text.Visible(start)
}
