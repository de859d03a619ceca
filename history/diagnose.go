package history

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"podgate/store"
)

// State is how an attempt stands.
type State string

// The states.
const (
	Works   State = "works"
	Waiting State = "waiting" // for the client's or the person's next step
	Stuck   State = "stuck"   // nothing was refused, and nothing came
	Refused State = "refused"
	Ended   State = "ended"
)

// Diagnosis says in plain words how an attempt stands.
type Diagnosis struct {
	State   State  `json:"state"`
	What    string `json:"what"`              // happened
	Next    string `json:"next,omitempty"`    // was expected, or is to be done
	Usually string `json:"usually,omitempty"` // stops it there
}

// Text returns all of it as one line.
func (d Diagnosis) Text() string {
	return strings.TrimSpace(strings.Join([]string{d.What, d.Next, d.Usually}, " "))
}

const (
	// clientTime is how long a client may take for its next step.
	clientTime = 2 * time.Minute
	// personTime is how long a person may take with a page.
	personTime = 30 * time.Minute
)

// Diagnose says how an attempt stands at now. alive says that the connection it
// led to, if it led to one, is live. It reads nothing else.
func Diagnose(a store.Attempt, alive bool, now time.Time) Diagnosis {
	c := newCase(a, now)
	if c.examined() {
		return Diagnosis{State: Ended, What: "«podgate doctor» looked at this server. It takes the first steps of a client, some of them wrong, and connects nobody."}
	}
	if c.last.Fault != "" {
		return c.refused()
	}
	if a.Grant != "" && !alive && c.last.Kind != StepRevoke {
		return over("The connection has ended: its access ran out, or it was taken away.")
	}
	return c.unrefused()
}

// diagnosed is an attempt while it is looked at.
type diagnosed struct {
	store.Attempt
	last  store.Step // the most recent one
	quiet time.Duration
	seen  map[string]bool // kinds that were not refused
}

func newCase(a store.Attempt, now time.Time) diagnosed {
	c := diagnosed{Attempt: a, seen: map[string]bool{}}
	for _, s := range a.Steps {
		if !s.Last.Before(c.last.Last) {
			c.last = s
		}
		if s.Fault == "" {
			c.seen[s.Kind] = true
		}
	}
	c.quiet = now.Sub(c.last.Last)
	return c
}

func over(what string) Diagnosis {
	return Diagnosis{State: Ended, What: what, Next: "To use it again, connect again."}
}

// pending is an attempt that goes on if the next step comes in time.
func (c diagnosed) pending(patience time.Duration, what, next, usually string) Diagnosis {
	if c.quiet < patience {
		return Diagnosis{State: Waiting, What: what, Next: next}
	}
	return Diagnosis{Stuck, what, next, usually}
}

// unrefused reads the most recent step when nothing was wrong with it.
func (c diagnosed) unrefused() Diagnosis {
	switch c.last.Kind {
	case StepChallenge, StepDiscovery:
		return c.looking()
	case StepRegister:
		return c.pending(clientTime, "The client registered itself.", "Then it should have opened a browser for you to sign in.",
			"Usually the browser did not open: the client runs where there is none (over ssh, in a container), or a pop-up was blocked. Look for a link that it printed, and open it.")
	case StepMetadata, StepAuthorize, StepSignIn, StepSignedIn, StepConsent:
		return c.atBrowser()
	case StepDeny:
		return Diagnosis{State: Ended, What: "Access was denied on the consent page.", Next: "If that was a mistake, connect again and approve."}
	case StepApprove:
		return c.approved()
	case StepCode:
		return c.pending(clientTime, "The client got a token but never called.", "It should have called /api/mcp with it at once.",
			"Usually a proxy in front of this server blocks its address or User-Agent, or drops the Authorization header.")
	case StepRevoke:
		if c.last.Detail == DetailReplaced {
			return Diagnosis{State: Ended, What: "The connection ended " + DetailReplaced + "."}
		}
		return over("The connection was revoked" + space(c.last.Detail) + ".")
	}
	return Diagnosis{State: Works, What: "It works."}
}

// looking reads the steps before anything of a client is known.
func (c diagnosed) looking() Diagnosis {
	if c.last.Detail == DetailCameBack {
		return Diagnosis{State: Works, What: "It came without a token first and then called with one, as some clients do at each start. It works."}
	}
	host, address := c.elsewhere()
	switch resource, server := c.read("resource"), c.read("authorization server"); {
	case host != "":
		return c.pending(clientTime, "It asked for "+host+" and read that this server is "+address+".", "It should have been given "+address+": type that in the client.",
			"Clients stop when the two differ. A proxy in front that does not pass the header Host on looks the same; podgate doctor sees that.")
	case !resource && !server:
		return c.pending(clientTime, "It called without a token, was told where to sign in, and did nothing more.",
			"It should have read the document that the answer's WWW-Authenticate header names.",
			"Usually a proxy in front of this server strips that header, or the client cannot do OAuth. What only scans for servers looks the same.")
	case !server:
		return c.pending(clientTime, "It read the resource document and stopped.", "It should have read the authorization server document next.",
			"Usually the URL that was typed differs from the one in the document, or a proxy in front of this server answers /.well-known/ itself.")
	}
	if c.mayNotRegister() {
		return c.pending(clientTime, "It read where to sign in and stopped.", "Clients cannot register themselves here, so it should have opened a browser with an id that this server lets in.",
			"Usually it has none and needs to register: an administrator can allow that with oauth.registration = \"open\". What only scans for servers looks the same.")
	}
	return c.pending(clientTime, "It read where to sign in and stopped.", "It should have registered itself or opened a browser.",
		"Usually it waits for a person to press Connect or Authenticate. What only scans for servers looks the same.")
}

// read reports whether a discovery document was read.
func (c diagnosed) read(document string) bool {
	for _, s := range c.Steps {
		if s.Kind == StepDiscovery && s.Fault == "" && strings.HasPrefix(s.Detail, document) {
			return true
		}
	}
	return false
}

// mayNotRegister reports whether what the client read last offers no registration.
func (c diagnosed) mayNotRegister() bool {
	offers := true
	for _, s := range c.Steps {
		if s.Kind == StepDiscovery && strings.HasPrefix(s.Detail, "authorization server") {
			offers = !strings.Contains(s.Detail, DetailNoRegistration)
		}
	}
	return !offers
}

// elsewhere returns the name under which the client came and the address that it
// should have had, when these differ.
func (c diagnosed) elsewhere() (host, address string) {
	_, asked, _ := strings.Cut(c.last.Detail, detailAsked)
	host, address, _ = strings.Cut(asked, detailNotAs)
	return host, address
}

// atBrowser reads the steps of a person before the decision.
func (c diagnosed) atBrowser() Diagnosis {
	switch {
	case c.last.Kind == StepConsent || c.seen[StepConsent]:
		return c.pending(personTime, "The consent page was shown, and nobody decided.", "A team has to be chosen and Approve pressed.",
			"Usually the window was closed, or the person is in no team yet.")
	case c.last.Kind == StepSignedIn || c.seen[StepSignedIn]:
		return c.pending(clientTime, "Somebody signed in, but the consent page was not reached.", "The browser should have come back to the request.",
			"Usually the browser refuses cookies, or the window was closed.")
	case c.last.Kind == StepMetadata:
		return c.pending(clientTime, "The client's metadata document was read.", "The browser should have gone on to the sign-in.",
			"Usually the window was closed.")
	}
	return c.pending(personTime, "The sign-in page was shown, and nobody signed in.", "The person has to sign in.",
		"Usually the window was closed, or the person has no account here: podgate user add makes one.")
}

// approved is a code that waits for its client.
func (c diagnosed) approved() Diagnosis {
	usually := "Usually the client's servers cannot reach this one at /api/oauth/token: a firewall, the DNS name or a proxy stands between."
	if isLoopback(c.Host) {
		usually = "Usually the program that waited on this computer was closed, or it runs on another machine (over ssh, in a container), where the browser's answer did not arrive."
	}
	return c.pending(clientTime, "Access was approved, but the client never came for its token.", "It should have redeemed the code within ten minutes.", usually)
}

// isLoopback reports whether a host, with or without port, is the person's own
// computer.
func isLoopback(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && ip.IsLoopback()
}

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// ended reports whether the connection was ended before its time.
func ended(a store.Attempt) bool {
	return slices.ContainsFunc(a.Steps, func(s store.Step) bool {
		return s.Kind == StepRevoke || s.Fault == FaultSpentCode || s.Fault == FaultReusedRefresh
	})
}

// DeadToken says why the access token of an attempt opens nothing any more, as
// the word of the timeline.
func DeadToken(a store.Attempt) string {
	if ended(a) {
		return FaultRevokedToken
	}
	return FaultExpiredToken
}
