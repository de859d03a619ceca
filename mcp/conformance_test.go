package mcp_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/conformance"
	"podgate/internal/web"
	"podgate/mcp"
	"podgate/oauth"
	"podgate/store"
	"podgate/store/storetest"
)

const (
	elsewhere = "package main refuses foreign hosts; the whole program is judged there"
	noSession = "it wants a request from the server, which needs a session; podgate keeps none, and asks nothing"
	noStream  = "it wants messages before the answer of a call without a progress token; podgate then answers with one JSON object, and logs nothing"
)

// What the suite requires of a server at each revision and podgate's transport
// cannot have.
var known = map[string]conformance.Baseline{
	conformance.Stateless: {
		"dns-rebinding-protection:localhost-host-rebinding-rejected": elsewhere,

		"tasks-dispatch-and-envelope:tasks-result-type-complete-on-non-task-responses": "one of its calls takes a task that asks its client for something; no tool of podgate's does",
	},
	conformance.Handshake: {
		"dns-rebinding-protection:localhost-host-rebinding-rejected": elsewhere,

		"tools-call-sampling:tools-call-sampling":                         noSession,
		"tools-call-elicitation:tools-call-elicitation":                   noSession,
		"elicitation-sep1034-defaults:elicitation-sep1034-general":        noSession,
		"elicitation-sep1330-enums:elicitation-sep1330-general":           noSession,
		"server-sse-multiple-streams:server-sse-multiple-streams-session": noSession,
		"tools-call-with-logging:tools-call-with-logging":                 noStream,
	},
}

// Scenarios beyond what the suite froze as required. Not among them is
// server-session-lifecycle and server-sse-polling, which judge nothing where
// there are no sessions.
var alsoRun = map[string][]string{
	conformance.Stateless: {
		"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation",
		// Of the Tasks extension, whose others are about tasks that ask their
		// client for something, tools that are nothing but tasks, and pushed states.
		"tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal", "tasks-request-headers", "tasks-dispatch-and-envelope",
	},
	conformance.Handshake: {"json-schema-2020-12"},
}

// The suite's whole list against the reference behind podgate's own transport,
// its look into bodies and its bearer check: none of them breaks what the
// protocol requires.
func TestConformance(t *testing.T) {
	t.Parallel()
	suite := conformance.Installed(t)
	for revision, baseline := range known {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			scenarios := append(suite.Required(t, revision), alsoRun[revision]...)
			suite.Server(t, serveReference(t), revision, scenarios, baseline)
		})
	}
}

// serveReference serves the reference as package main serves podgate's tools,
// to somebody who has a token. The suite cannot bring one, so it is added.
func serveReference(t *testing.T) string {
	t.Helper()
	db := storetest.New(t)
	log := slog.New(slog.DiscardHandler)
	auth, err := oauth.New(oauth.Config{Issuer: "https://podgate.example", DB: db, Pages: noPages{}, Sessions: noPages{}, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	over := mcp.Over(mcp.Config{Log: log, InsufficientScope: auth.InsufficientScope, Watch: auth.Watch}, newReference())
	stack := &web.Stack{Log: log, Now: time.Now}
	guarded := auth.Bearer(over)
	served := stack.Handle(func(w http.ResponseWriter, r *http.Request) error { guarded.ServeHTTP(w, r); return nil }, web.WriteJSONError)
	token := issueToken(t, db)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+token)
		served.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// issueToken makes a connection of which the token is known.
func issueToken(t *testing.T, db *store.DB) string {
	t.Helper()
	w := storetest.Populate(t, db, "ann", time.Now())
	r := w.Code(t, db, authz.Scopes()...)
	token := "pgat_" + string(r.Grant) + strings.Repeat("t", 43)
	r.Access = store.HashSecret(token)
	if _, err := db.RedeemCode(r, w.Now); err != nil {
		t.Fatal(err)
	}
	return token
}

// noPages stands for what package oauth shows in a browser, where there is none.
type noPages struct{}

func (noPages) SignIn(http.ResponseWriter, *http.Request) error { return errNoPages }

func (noPages) Consent(http.ResponseWriter, *http.Request, oauth.Consent) error { return errNoPages }

func (noPages) AuthorizeError(http.ResponseWriter, *http.Request, oauth.AuthorizeError) error {
	return errNoPages
}

func (noPages) Current(*http.Request) (store.Session, store.User, bool) {
	return store.Session{}, store.User{}, false
}

var errNoPages = errors.New("there is no browser here")
