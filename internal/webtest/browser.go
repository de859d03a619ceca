// Package webtest is a small browser for tests: cookies, redirects and forms
// as Chromium treats them, without script. It fills in what a page really
// offers and refuses what a browser would refuse, so a page that a person
// could not use fails a test too.
package webtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxHops is how many redirects a browser follows.
const maxHops = 20

// Browser is one person's browser. It is not safe for concurrent use.
type Browser struct {
	// Stop decides that a redirect is not followed but returned as the page's
	// Location: such as an application's callback, where nothing listens. nil
	// follows all.
	Stop func(*url.URL) bool
	// Agent is the User-Agent.
	Agent string
	// Header is sent with every request beside what the browser says itself, as a
	// proxy on the way would add it.
	Header http.Header

	t   testing.TB
	jar *cookiejar.Jar
	rt  http.RoundTripper
}

// New returns a browser with no cookies. Over https it trusts roots, if given.
func New(t testing.TB, roots ...*x509.CertPool) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	rt := Transport(roots...)
	t.Cleanup(rt.CloseIdleConnections)
	return &Browser{Agent: "Mozilla/5.0 webtest", t: t, jar: jar, rt: rt}
}

// Jar holds the browser's cookies, for what it opens beside pages.
func (b *Browser) Jar() http.CookieJar { return b.jar }

// Transport returns a transport for which localhost and all names below it are
// 127.0.0.1, as they are for browsers whatever the resolver says; so are names
// below test (RFC 6761). Over https it trusts the last of roots that is not nil,
// or else the system's list.
func Transport(roots ...*x509.CertPool) *http.Transport {
	dial := (&net.Dialer{}).DialContext
	config := &tls.Config{}
	for _, pool := range roots {
		if pool != nil {
			config.RootCAs = pool
		}
	}
	return &http.Transport{
		Proxy: nil, TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".test")) {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			return dial(ctx, network, addr)
		},
	}
}

// Page is what the browser shows.
type Page struct {
	URL      *url.URL
	Status   int
	Header   http.Header
	Body     string
	Location *url.URL // where Stop ended the way; the rest is empty then

	b    *Browser
	root *html.Node
}

// Open goes to an address as if a person had typed it.
func (b *Browser) Open(address string) *Page {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.navigate(http.MethodGet, u, "", http.Header{"Sec-Fetch-Site": {"none"}})
}

// Cookies returns what would be sent to an address.
func (b *Browser) Cookies(address string) []*http.Cookie {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.jar.Cookies(u)
}

// navigate sends a request and follows redirects: 303 with GET, and 301 and
// 302 after POST too, as browsers do.
func (b *Browser) navigate(method string, u *url.URL, form string, header http.Header) *Page {
	b.t.Helper()
	for range maxHops {
		if b.Stop != nil && b.Stop(u) {
			return &Page{Location: u, b: b}
		}
		p := b.fetch(method, u, form, header)
		if p.Status < 300 || p.Status > 399 || p.Header.Get("Location") == "" {
			return p
		}
		next, err := u.Parse(p.Header.Get("Location"))
		if err != nil {
			b.t.Fatalf("%s %s: Location: %v", method, u, err)
		}
		if p.Status == http.StatusTemporaryRedirect || p.Status == http.StatusPermanentRedirect {
			b.t.Fatalf("%s %s: status %d repeats the form at %s", method, u, p.Status, next)
		}
		if origin(next) != origin(u) {
			header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
		}
		header = header.Clone()
		header.Del("Origin") // a GET that navigates has none
		method, u, form = http.MethodGet, next, ""
	}
	b.t.Fatalf("more than %d redirects, the last to %s", maxHops, u)
	return nil
}

func (b *Browser) fetch(method string, u *url.URL, form string, header http.Header) *Page {
	b.t.Helper()
	req, err := http.NewRequest(method, u.String(), strings.NewReader(form))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header = header.Clone()
	maps.Copy(req.Header, b.Header)
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("User-Agent", b.Agent)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range b.jar.Cookies(u) {
		req.AddCookie(c)
	}
	resp, err := b.rt.RoundTrip(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, u, err)
	}
	defer resp.Body.Close()
	b.jar.SetCookies(u, resp.Cookies())
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, u, err)
	}
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, u, err)
	}
	return &Page{URL: u, Status: resp.StatusCode, Header: resp.Header, Body: string(body), b: b, root: root}
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// Title returns the page's title.
func (p *Page) Title() string {
	for n := range p.root.Descendants() {
		if n.DataAtom == atom.Title {
			return text(n)
		}
	}
	return ""
}

// Text returns all text of the page, with white space folded.
func (p *Page) Text() string {
	if p.root == nil {
		return ""
	}
	return text(p.root)
}

func text(n *html.Node) string {
	var parts []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.DataAtom != atom.Script && d.Parent.DataAtom != atom.Style {
			parts = append(parts, d.Data)
		}
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// Follow clicks the link with that text (or aria-label).
func (p *Page) Follow(label string) *Page {
	p.b.t.Helper()
	for n := range p.root.Descendants() {
		if n.DataAtom == atom.A && (text(n) == label || attr(n, "aria-label") == label) {
			u, err := p.URL.Parse(attr(n, "href"))
			if err != nil {
				p.b.t.Fatal(err)
			}
			return p.b.navigate(http.MethodGet, u, "", http.Header{"Sec-Fetch-Site": {p.site(u)}})
		}
	}
	p.b.t.Fatalf("no link %q on the page %q:\n%s", label, p.Title(), p.Text())
	return nil
}

// Fields are what a person enters: values by field name. A choice is made by
// its value, or for radio buttons and checkboxes also by the text beside them.
type Fields map[string][]string

// Press fills in the form that has the button with that text (or aria-label),
// and presses the button. Fields that are not named keep what the page has in
// them. A field that the form does not have, and an empty required one, fail
// the test.
func (p *Page) Press(button string, fields Fields) *Page {
	p.b.t.Helper()
	form, pressed := p.button(button)
	if form == nil {
		p.b.t.Fatalf("no button %q in a form on the page %q (status %d):\n%s", button, p.Title(), p.Status, p.Text())
	}
	values, err := fill(form, pressed, fields)
	if err != nil {
		p.b.t.Fatalf("page %q, button %q: %v", p.Title(), button, err)
	}
	action, err := p.URL.Parse(attr(form, "action"))
	if err != nil {
		p.b.t.Fatal(err)
	}
	if !strings.EqualFold(attr(form, "method"), "post") {
		action.RawQuery = values.Encode()
		return p.b.navigate(http.MethodGet, action, "", http.Header{"Sec-Fetch-Site": {p.site(action)}})
	}
	from := origin(p.URL)
	if p.Header.Get("Referrer-Policy") == "no-referrer" {
		from = "null" // as the Fetch standard has it for such pages
	}
	return p.b.navigate(http.MethodPost, action, values.Encode(), http.Header{"Origin": {from}, "Sec-Fetch-Site": {p.site(action)}})
}

// site is the Sec-Fetch-Site of a request from this page. That neighbours are
// of the same site matters to nobody here, so they count as foreign.
func (p *Page) site(to *url.URL) string {
	if origin(to) == origin(p.URL) {
		return "same-origin"
	}
	return "cross-site"
}

// HasButton reports whether a form has a button with that text.
func (p *Page) HasButton(label string) bool {
	form, _ := p.button(label)
	return form != nil
}

func (p *Page) button(label string) (form, button *html.Node) {
	if p.root == nil {
		return nil, nil
	}
	for n := range p.root.Descendants() {
		if n.DataAtom != atom.Button || attr(n, "type") == "button" {
			continue
		}
		if text(n) != label && attr(n, "aria-label") != label {
			continue
		}
		for a := range n.Ancestors() {
			if a.DataAtom == atom.Form {
				return a, n
			}
		}
	}
	return nil, nil
}

// fill returns what the form sends.
func fill(form, button *html.Node, fields Fields) (url.Values, error) {
	values, seen := url.Values{}, map[string]bool{}
	for n := range form.Descendants() {
		name := attr(n, "name")
		if n.DataAtom != atom.Input && n.DataAtom != atom.Select || name == "" || has(n, "disabled") {
			continue
		}
		want, given := fields[name]
		seen[name] = true
		if n.DataAtom == atom.Select {
			if chosen, ok := choose(n, want); ok {
				values.Add(name, chosen)
			}
			continue
		}
		switch attr(n, "type") {
		case "radio", "checkbox":
			on := has(n, "checked")
			if given {
				on = slices.Contains(want, attr(n, "value")) || slices.Contains(want, besides(n))
			}
			if on {
				values.Add(name, attr(n, "value"))
			}
		case "hidden":
			if given {
				return nil, fmt.Errorf("nobody can type into the hidden field %s", name)
			}
			values.Add(name, attr(n, "value"))
		default:
			value := attr(n, "value")
			if given {
				value = strings.Join(want, "")
			}
			if value == "" && has(n, "required") && !has(button, "formnovalidate") {
				return nil, fmt.Errorf("the required field %s is empty", name)
			}
			values.Add(name, value)
		}
	}
	for name, want := range fields {
		if !seen[name] {
			return nil, fmt.Errorf("the form has no field %s", name)
		}
		if len(want) > 0 && len(values[name]) == 0 {
			return nil, fmt.Errorf("the field %s does not offer %q", name, want)
		}
	}
	if err := requiredRadios(form, button, values); err != nil {
		return nil, err
	}
	if name := attr(button, "name"); name != "" {
		values.Add(name, attr(button, "value"))
	}
	return values, nil
}

// choose returns the value of the option that is wanted, or else of the one that a
// browser would send.
func choose(list *html.Node, want []string) (value string, ok bool) {
	for n := range list.Descendants() {
		if n.DataAtom != atom.Option {
			continue
		}
		switch {
		case len(want) > 0:
			if v := attr(n, "value"); slices.Contains(want, v) || slices.Contains(want, text(n)) {
				return v, true
			}
		case !ok, has(n, "selected"):
			value, ok = attr(n, "value"), true
		}
	}
	return value, ok
}

// requiredRadios refuses a form of which a browser would say «choose one».
func requiredRadios(form, button *html.Node, values url.Values) error {
	for n := range form.Descendants() {
		if attr(n, "type") == "radio" && has(n, "required") && !has(button, "formnovalidate") && len(values[attr(n, "name")]) == 0 {
			return fmt.Errorf("nothing is chosen for the required field %s", attr(n, "name"))
		}
	}
	return nil
}

// besides returns the first words of a choice's label.
func besides(n *html.Node) string {
	for a := range n.Ancestors() {
		if a.DataAtom != atom.Label {
			continue
		}
		for d := range a.Descendants() {
			if d.Type == html.TextNode && strings.TrimSpace(d.Data) != "" {
				return strings.TrimSpace(d.Data)
			}
		}
	}
	return ""
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}
