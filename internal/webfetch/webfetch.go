// Package webfetch gets one small JSON document from an https address that a
// stranger chose, in a way that gives the stranger nothing else:
//
//   - the name is resolved once, each address is judged by package netfilter,
//     and the judged address is the one that is dialled;
//   - port 443 only, the certificate is verified for the name, no proxy of the
//     environment, no redirect, no cookie, no connection that is kept;
//   - 200 and JSON only, without a content coding, so that no small answer can
//     become a large one;
//   - a few seconds, some kilobytes and a few fetches at once, and no more.
//
// What a failure means is told by [Error.Kind], because callers treat a server
// that is away otherwise than one that answers nonsense.
package webfetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"podgate/internal/netfilter"
)

const (
	// MaxBody bounds a document in bytes.
	MaxBody = 64 << 10
	// Timeout bounds a fetch from the wait for its turn to the last byte.
	Timeout = 5 * time.Second
	// AtOnce bounds the fetches that are under way.
	AtOnce = 10

	maxHeader    = 16 << 10
	maxAddresses = 4               // of one name that are tried
	dialTimeout  = 2 * time.Second // one address that does not answer leaves time for the next
)

// Config replaces parts for tests. Its zero value is the one to use: whoever
// sets a field takes a defence away.
type Config struct {
	// Resolve returns the addresses of a name; nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to an address that was judged public; nil: TCP, which
	// judges the address once more.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	// Roots are the certificate authorities; nil: the system's.
	Roots *x509.CertPool
	// Timeout replaces the constant; 0: the constant.
	Timeout time.Duration
}

// Fetcher fetches documents. It is safe for concurrent use.
type Fetcher struct {
	resolve func(context.Context, string) ([]netip.Addr, error)
	dial    func(context.Context, netip.AddrPort) (net.Conn, error)
	client  *http.Client
	timeout time.Duration
	turns   chan struct{}
}

// New returns a Fetcher.
func New(c Config) *Fetcher {
	f := &Fetcher{resolve: c.Resolve, dial: c.Dial, timeout: c.Timeout, turns: make(chan struct{}, AtOnce)}
	if f.resolve == nil {
		f.resolve = resolve
	}
	if f.dial == nil {
		f.dial = dialPublic
	}
	if f.timeout == 0 {
		f.timeout = Timeout
	}
	f.client = &http.Client{
		Transport: &http.Transport{
			Proxy: nil, // a proxy would resolve the name again, and connect from inside the network
			DialContext: func(ctx context.Context, _, hostport string) (net.Conn, error) {
				return f.connect(ctx, hostport)
			},
			TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    f.timeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true,
			DisableKeepAlives:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f
}

// Document is what was fetched.
type Document struct {
	Body   []byte // at most MaxBody bytes, which need not be JSON
	Header http.Header
}

// JSON fetches the document at an https URL without a port. The error is an
// *Error.
func (f *Fetcher) JSON(ctx context.Context, url string) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	case <-ctx.Done():
		return Document{}, &Error{Kind: Busy, Err: ctx.Err()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil || req.URL.Scheme != "https" || req.URL.Port() != "" || req.URL.User != nil {
		return Document{}, &Error{Kind: BadAddress, Err: err}
	}
	req.Header = http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"podgate"}}
	resp, err := f.client.Do(req)
	if err != nil {
		return Document{}, asError(err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing is reused
	d, err := read(resp)
	if err == nil && ctx.Err() != nil {
		// A body that was cut off by the end of the time can look complete.
		return Document{}, &Error{Kind: Unreachable, TimedOut: true, Err: ctx.Err()}
	}
	return d, err
}

// read judges an answer and takes its body.
func read(resp *http.Response) (Document, error) {
	if resp.StatusCode != http.StatusOK {
		return Document{}, &Error{Kind: BadStatus, Status: resp.StatusCode}
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return Document{}, &Error{Kind: Encoded}
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return Document{}, &Error{Kind: NotJSON, Err: err}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	if err != nil {
		return Document{}, asError(err)
	}
	if len(body) > MaxBody {
		return Document{}, &Error{Kind: TooLarge}
	}
	return Document{Body: body, Header: resp.Header}, nil
}

// connect resolves and dials in one step, so that nothing can change between
// the judgement of an address and its use.
func (f *Fetcher) connect(ctx context.Context, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || port != "443" {
		return nil, &Error{Kind: BadAddress, Err: err}
	}
	addrs, err := f.resolve(ctx, host)
	if err != nil {
		return nil, &Error{Kind: Unreachable, Err: err}
	}
	if len(addrs) == 0 {
		return nil, &Error{Kind: Unreachable, Err: errors.New("the name has no address")}
	}
	public, refusal := publicOnly(addrs)
	if len(public) == 0 {
		return nil, &Error{Kind: NotPublic, Err: refusal}
	}
	var failures error
	for _, addr := range public[:min(len(public), maxAddresses)] {
		conn, err := f.dial(ctx, netip.AddrPortFrom(addr, 443))
		if err == nil {
			return conn, nil
		}
		failures = errors.Join(failures, err)
	}
	return nil, &Error{Kind: Unreachable, Err: failures}
}

// publicOnly judges each address by itself: a name with one public and one
// private address is dialled at the public one.
func publicOnly(addrs []netip.Addr) (public []netip.Addr, refusals error) {
	for _, a := range addrs {
		if err := netfilter.Public(a); err != nil {
			refusals = errors.Join(refusals, err)
		} else {
			public = append(public, a)
		}
	}
	return public, refusals
}

// resolve asks for the name as it stands: the dot at its end keeps the search
// list of this machine's network out of it.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".")
}

// dialPublic connects by TCP and judges the address again at the last moment,
// as the system was asked for it.
func dialPublic(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return netfilter.Public(a.Addr())
	}}
	return d.DialContext(ctx, "tcp", addr.String())
}

// Kind is why there is no document.
type Kind int

// The kinds of failure.
const (
	Unreachable Kind = iota // no address, no connection, no certificate, or no answer in time
	Busy                    // too many fetches are under way here
	NotPublic               // the name leads to addresses that are not public
	BadAddress              // not an https URL that this package fetches
	BadStatus               // an answer other than 200
	NotJSON                 // another type of content
	Encoded                 // a content coding that was not asked for
	TooLarge                // more than MaxBody
)

// Error is why there is no document. Its text is for the log: it can hold
// addresses of this network.
type Error struct {
	Kind     Kind
	Status   int   // of BadStatus
	TimedOut bool  // of Unreachable: there was no answer in time
	Err      error // the cause; may be nil
}

func (e *Error) Error() string {
	text := [...]string{
		"cannot be reached", "too many fetches at once", "is not on the public internet", "is not an address to fetch",
		fmt.Sprintf("answers status %d", e.Status), "is not JSON", "has a content coding", "is too large",
	}[e.Kind]
	if e.Err == nil {
		return text
	}
	return text + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// asError keeps an error of connect and calls everything else unreachable.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var timeout net.Error
	return &Error{Kind: Unreachable, TimedOut: errors.As(err, &timeout) && timeout.Timeout(), Err: err}
}
