package oauth

import (
	"net/http"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// Pages are the pages that authorization needs. Package ui satisfies it; this
// package writes no HTML. Each method writes the whole answer.
type Pages interface {
	// SignIn sends the browser to sign in and then back to the request's own
	// path and query.
	SignIn(w http.ResponseWriter, r *http.Request) error
	// Consent shows what a client asks for. The form posts back to
	// POST /oauth/authorize the fields request (the handle), filled, team (an
	// id), scope (repeated), read_only (any value), prefix, max_pods, replace
	// (any value) and decision (approve or deny).
	Consent(w http.ResponseWriter, r *http.Request, c Consent) error
	// AuthorizeError shows why a request cannot go on.
	AuthorizeError(w http.ResponseWriter, r *http.Request, e AuthorizeError) error
}

// Sessions tells who is signed in. Package ui satisfies it with the session
// cookie and package account.
type Sessions interface {
	// Current returns the live browser session of the request and its user;
	// false when there is none.
	Current(r *http.Request) (store.Session, store.User, bool)
}

// Consent is everything the consent page shows.
type Consent struct {
	Handle         string // goes back as the field request
	User           store.User
	ClientName     string             // the client's own claim: cleaned, at most 60 characters; may be empty
	DocumentHost   string             // describes the client in a metadata document; empty: it registered itself
	DocumentCopied string             // that a copy stands in for the document, and why; empty when none does
	RedirectHost   string             // will receive the code; the page's largest words
	Loopback       bool               // RedirectHost is a program on the person's own computer
	Teams          []store.Membership // none: the page says how to get one
	Scopes         []ConsentScope
	AccessTTL      time.Duration
	RefreshTTL     time.Duration // how long access lasts after its last use; 0: it ends after AccessTTL
	Fault          string        // shown above the form when the decision could not be taken; may be empty
	Team           store.TeamID  // chosen already, when the form is shown again

	// Filled is the team for which the client has a connection with this person
	// already, from which the form is filled in; empty when there is none. It
	// goes back as the field filled.
	Filled     store.TeamID
	Earlier    Earlier // what the new connection can take the place of there
	Limits     authz.LimitFields
	LimitFault string // the field of the limits that Fault is about: prefix or max_pods

	Withheld   []Withheld // what the client asks for and nobody may give it there
	TeamLimits []string   // what the team gives every connection besides, in short phrases
}

// Withheld is a scope that is not offered, in words, and why.
type Withheld struct{ Text, Why string }

// Earlier is what a client is connected with already, in the place of which a
// new connection may come.
type Earlier struct {
	Count   int       // of connections; 0: there is nothing to replace
	Since   time.Time // when the first of them was made
	Replace bool      // chosen
}

// ConsentScope is one scope in words.
type ConsentScope struct {
	Scope   store.Scope
	Text    string // what it allows, for a person
	Checked bool
	New     bool // the client does not have it for the team Filled yet
	Unasked bool // the client has it there, and does not ask for it now
}

// AuthorizeError is a request that cannot go on.
type AuthorizeError struct {
	Status  int
	Title   string // such as «Missing required OAuth parameters»
	Message string // what is wrong and what to do
	// Return is where «Return to HOST» leads with the RFC 6749 error response,
	// and ReturnHost its host. Both are empty until client and redirect URI are
	// proved.
	Return     string
	ReturnHost string
}
