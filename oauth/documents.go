package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"podgate/history"
	"podgate/internal/ratelimit"
	"podgate/internal/text"
	"podgate/internal/webfetch"
	"podgate/store"
)

const (
	// failureTTL is how long a failed fetch is not tried again. It is short,
	// because the maker of an app who mends a document tries at once.
	failureTTL  = time.Minute
	maxFailures = 1000
	// maxLogged bounds what an error can make the log hold of a host's answer.
	maxLogged = 300
)

// documents finds clients whose identifier is the URL of a Client ID Metadata
// Document (draft-ietf-oauth-client-id-metadata-document). It serves only
// people who are signed in: strangers cannot make this server ask anybody.
//
// A copy in the store is used while it is fresh, and beyond that whenever the
// document cannot be had: no connection, no answer in time, an answer that
// concerns the asker (401, 403, 408, 429) or the server's own trouble (5xx).
// The copies that come with the program (known.go) are used in the same way.
// Every other answer is the word of the document's host, so no copy stands
// against it. With 404 and 410 it says that the client is gone: it gets no new
// authorizations, but connections that people have approved go on, because the
// approval was theirs, and so is the way to end it.
type documents struct {
	db       *store.DB
	fetch    *webfetch.Fetcher
	off      bool                  // switched off: documents are not read
	admits   func(known bool) bool // may a client come that the store does not have?
	own      string                // our own host, which describes no clients
	schemes  []string
	limit    *ratelimit.Limiter // fetches, by the address of whoever causes them
	flights  singleflight.Group // fetches under way, by identifier
	failures *memory[store.ClientID, failure]
	log      *slog.Logger
	now      func() time.Time
}

// failure is a fetch without a usable document.
type failure struct {
	err       error  // a *refusal, or 429
	transient bool   // the document may be as it was, so a copy of it will do
	why       string // when it is transient, as part of a sentence
}

// found is the client of an authorization request.
type found struct {
	store.Client
	// copied says that a copy stands in for its document, and why, for the
	// person who decides; empty when none does.
	copied string
}

// errSignInFirst asks for a signed-in person before a document is looked for.
var errSignInFirst = errors.New("oauth: sign in before the client's document is looked for")

func newDocuments(c Config, own string) *documents {
	fetch := c.fetch
	if fetch == nil {
		fetch = webfetch.New(webfetch.Config{})
	}
	return &documents{
		db: c.DB, fetch: fetch, off: !c.ClientDocuments, admits: admits(c.Registration), own: own, schemes: lowered(c.RedirectSchemes),
		// Far above what people do by hand; the total also keeps this server
		// from being used to press another.
		limit:    ratelimit.New(20, 30*time.Second, 60, 5*time.Second),
		failures: newMemory[store.ClientID, failure](failureTTL, maxFailures), log: c.Log, now: c.Now,
	}
}

// hostOf returns the host of a checked origin, without its port.
func hostOf(origin string) string {
	_, authority, _ := strings.Cut(origin, "://")
	host, _, _ := splitPort(authority)
	return strings.ToLower(host)
}

// admits is the rule of the setting registration for documents.
func admits(registration string) func(known bool) bool {
	return func(known bool) bool {
		return registration != "off" && (registration != "known" || known)
	}
}

// client returns the client with that URL. who is the key of the address that
// asks; signedIn tells whether a person does. The error is a *refusal, which
// says in plain words what is wrong, errSignInFirst, a 429, or a fault here.
func (d *documents) client(ctx context.Context, id store.ClientID, who string, signedIn bool) (found, error) {
	host, err := d.admissible(id)
	if err != nil {
		return found{}, err
	}
	if !signedIn {
		return found{}, errSignInFirst
	}
	stored, err := d.db.Client(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return found{}, fmt.Errorf("find client: %w", err)
	}
	now := d.now()
	_, known := knownDocumentAt(id)
	switch {
	case usable(stored) && now.Before(stored.Document.Fresh):
		return found{Client: stored}, nil
	case stored.Document == nil && !d.admits(known):
		return found{}, notAdmitted(host)
	}
	if f, ok := d.failures.get(id, now); ok {
		return d.fallback(f, id, stored)
	}
	if wait, ok := d.limit.Allow(who, now); !ok {
		return d.fallback(failure{err: tooMany(wait, "descriptions of apps to fetch"), transient: true, why: "too many descriptions were asked for at once"}, id, stored)
	}
	// The fetch is everybody's who waits for it, so no single one ends it.
	v, err, _ := d.flights.Do(string(id), func() (any, error) { return d.refresh(context.WithoutCancel(ctx), id, host, stored) })
	if err != nil {
		return found{}, err
	}
	return v.(found), nil
}

// admissible judges an identifier before anything is looked up.
func (d *documents) admissible(id store.ClientID) (host string, err error) {
	if d.off {
		return "", &refusal{title: "Unknown app", message: "The app names an address as its client_id, and reading descriptions of apps is switched off on this server. " + startOver, fault: history.FaultUnknownClient}
	}
	host, err = parseClientURL(string(id))
	if err != nil {
		return "", &refusal{title: "Unknown app", message: "The app names an address as its client_id that cannot be used: " + err.Error() + ". " + tellMaker, fault: history.FaultMetadata}
	}
	if host == d.own {
		return "", &refusal{title: "Unknown app", message: "The app says that this server itself describes it, and it does not. " + tellMaker, fault: history.FaultMetadata}
	}
	return host, nil
}

// usable reports whether a copy may begin new authorizations.
func usable(c store.Client) bool { return c.Document != nil && !c.Document.Gone }

// refresh fetches the document and keeps what it says.
func (d *documents) refresh(ctx context.Context, id store.ClientID, host string, stored store.Client) (found, error) {
	fetched, err := d.fetch.JSON(ctx, string(id))
	var doc clientDocument
	if err == nil {
		doc, err = parseDocument(fetched.Body, string(id), d.schemes)
	}
	if err != nil {
		return d.failed(err, id, host, stored)
	}
	now := d.now()
	c, err := d.keep(id, doc, store.Document{Fetched: now, Fresh: now.Add(freshFor(fetched.Header, now))})
	if err == nil {
		d.failures.forget(id)
		d.log.Info("client document read", "client", c.ID, "name", c.Name, "redirect_uris", len(c.RedirectURIs), "until", c.Document.Fresh)
	}
	return found{Client: c}, err
}

// keep stores what a document says. The token endpoint finds the client there.
func (d *documents) keep(id store.ClientID, doc clientDocument, about store.Document) (store.Client, error) {
	now := d.now()
	_, about.Known = knownDocumentAt(id)
	c, err := d.db.PutDocument(store.Client{
		ID: id, Name: doc.name, RedirectURIs: doc.redirectURIs, GrantTypes: grantTypeNames(doc.refresh), Scopes: doc.scopes,
		Created: now, Expires: now.Add(store.ClientUnusedTTL), Document: &about,
	}, now)
	if errors.Is(err, store.ErrFull) {
		return store.Client{}, &refusal{title: "Too many apps", message: "This server keeps the descriptions of as many apps as it can. Its administrator has to remove connections first.", fault: history.FaultServer}
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("keep client document: %w", err)
	}
	return c, nil
}

// failed remembers why there is no document and does without it. That this
// server was busy is not remembered: it says nothing of the document, and whoever
// keeps the fetches busy should not keep an app away for longer.
func (d *documents) failed(err error, id store.ClientID, host string, stored store.Client) (found, error) {
	f := describeFailure(err, host)
	var e *webfetch.Error
	asked := errors.As(err, &e)
	if !asked || e.Kind != webfetch.Busy {
		d.failures.put(id, f, d.now())
	}
	d.log.Warn("client document cannot be used", "client", id, "error", text.Line(err.Error(), maxLogged), "temporary", f.transient)
	if asked && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) && usable(stored) {
		if err := d.db.MarkDocumentGone(id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return found{}, fmt.Errorf("mark client document as gone: %w", err)
		}
	}
	return d.fallback(f, id, stored)
}

// fallback returns a copy if one will do, and otherwise the reason that there
// is no document. A copy that came with an earlier podgate gives way to the one
// that comes with this.
func (d *documents) fallback(f failure, id store.ClientID, stored store.Client) (found, error) {
	known, builtIn := knownDocumentAt(id)
	never := stored.Document == nil || usable(stored) && stored.Document.Fetched.IsZero()
	switch {
	case f.transient && builtIn && never && !known.is(stored):
		doc := clientDocument{name: known.name, redirectURIs: known.redirectURIs, refresh: true, scopes: knownScopes("")}
		// Fresh is the zero time: the document is asked for again soon.
		c, err := d.keep(id, doc, store.Document{})
		return found{c, copyWords(c, f.why)}, err
	case f.transient && usable(stored):
		return found{stored, copyWords(stored, f.why)}, nil
	}
	return found{}, f.err
}

// copyWords says which copy of a document is used, and why.
func copyWords(c store.Client, why string) string {
	which := "the copy that comes with podgate"
	if c.Document != nil && !c.Document.Fetched.IsZero() {
		which = "the copy of " + c.Document.Fetched.UTC().Format("2 January 2006, 15:04 UTC")
	}
	return "The app's document could not be fetched (" + why + "); " + which + " was used."
}

const (
	tellMaker = "Only the maker of the app can mend this."
	// unreadable and unfit are the titles of the page.
	unreadable = "The description of the app cannot be read"
	unfit      = "The description of the app cannot be used"
	retry      = " Wait a minute and try again. If it stays like this, the log of this server says more."
)

func notAdmitted(host string) *refusal {
	return &refusal{title: "Unknown app", message: "This server takes only the apps that its administrator allows, and the app described by " + host + " is not among them. Ask the administrator.", fault: history.FaultRegistrationOff}
}

// describeFailure puts a failure in words for the person in front of the
// browser. Of what the app sent only the host is repeated, which is a checked
// name; the addresses that it leads to are for the log alone.
func describeFailure(err error, host string) failure {
	var e *webfetch.Error
	if !errors.As(err, &e) {
		return failure{err: &refusal{title: unfit, message: "What " + host + " says about the app cannot be used: " + err.Error() + ". " + tellMaker, fault: history.FaultMetadata}}
	}
	says := func(title, what, advice string) *refusal {
		return &refusal{title: title, message: "The app says that " + host + " describes it, but " + what + "." + advice, fault: history.FaultMetadata}
	}
	passing := func(what, advice string) failure {
		return failure{transient: true, why: what, err: says(unreadable, what, advice)}
	}
	switch e.Kind {
	case webfetch.Unreachable:
		what := host + " cannot be reached from this server"
		if e.TimedOut {
			what = host + " does not answer in time"
		}
		return passing(what, retry)
	case webfetch.Busy:
		return passing("this server is fetching too many descriptions at once", retry)
	case webfetch.NotPublic:
		return passing(host+" leads to an address that is not on the public internet, where this server does not ask", " A description has to be where everybody can read it.")
	case webfetch.BadStatus:
		return describeStatus(e.Status, host, says, passing)
	}
	return failure{err: says(unfit, map[webfetch.Kind]string{
		webfetch.BadAddress: "its address cannot be fetched", webfetch.NotJSON: "what is there is not JSON",
		webfetch.Encoded: "it is sent compressed, which was not asked for", webfetch.TooLarge: fmt.Sprintf("it is larger than %d KiB", webfetch.MaxBody>>10),
	}[e.Kind], " "+tellMaker)}
}

func describeStatus(status int, host string, says func(title, what, advice string) *refusal, passing func(what, advice string) failure) failure {
	switch {
	case status == http.StatusNotFound, status == http.StatusGone:
		return failure{err: says(unreadable, fmt.Sprintf("%s has no such description (status %d)", host, status), " The app may have moved: update it, remove the connector and add it again.")}
	case status >= 500, slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests}, status):
		return passing(fmt.Sprintf("%s answers with an error (status %d)", host, status), retry)
	case status >= 300 && status < 400:
		return failure{err: says(unfit, fmt.Sprintf("%s answers with a redirect (status %d), and redirects are not followed", host, status), " "+tellMaker)}
	}
	return failure{err: says(unfit, fmt.Sprintf("%s answers with status %d in place of 200", host, status), " "+tellMaker)}
}

// DocumentHost returns the host that describes the client with that identifier,
// or "" for a client that registered itself.
func DocumentHost(id store.ClientID) string {
	host, err := parseClientURL(string(id))
	if err != nil {
		return ""
	}
	return host
}
