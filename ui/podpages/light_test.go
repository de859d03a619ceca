package podpages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

// many is the front page of somebody with 300 pods and 300 connections.
func many(tb *testing.T, s *pagetest.Site) (serve func() *httptest.ResponseRecorder) {
	tb.Helper()
	ada := s.AddUser("ada@example.com", false, "red")
	team := s.Actor(ada, "red").Team.ID
	for i := range 300 {
		s.Connect(ada, "red", fmt.Sprintf("Client %d", i), "claude.ai", authz.ScopeRead)
	}
	records(tb, s, team, 300, store.WantStopped)
	secret, _, err := s.Account.SignIn(tb.Context(), "ada@example.com", pagetest.Password, account.Browser{Addr: pagetest.Here})
	if err != nil {
		tb.Fatal(err)
	}
	server, err := ui.New(ui.Config{Pods: s.Pods, Config: page.Config{Issuer: s.Issuer(), Account: s.Account, Now: s.Clock.Now}})
	if err != nil {
		tb.Fatal(err)
	}
	for _, route := range server.Routes() {
		if route.Method == http.MethodGet && route.Path == "/" {
			return func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.AddCookie(&http.Cookie{Name: "podgate", Value: secret})
				w := httptest.NewRecorder()
				if err := route.Handler(w, r); err != nil {
					tb.Fatal(err)
				}
				return w
			}
		}
	}
	tb.Fatal("no front page")
	return nil
}

// The front page stays small, whatever there is.
func TestFrontIsLight(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	serve := many(t, s)
	w := serve()
	if n := w.Body.Len(); w.Code != http.StatusOK || n > 200<<10 {
		t.Errorf("%d with %d KiB", w.Code, n>>10)
	}
	began := time.Now()
	serve()
	t.Logf("%d KiB in %s", w.Body.Len()>>10, time.Since(began))
}
