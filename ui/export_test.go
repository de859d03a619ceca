package ui

import (
	"net/http"

	"podgate/account"
	"podgate/ui/page"
)

// For tests from outside: the rules that have no route of their own.
var (
	NextPath    = page.NextPath
	BrowserName = browserName
	ReturnURL   = returnURL
)

// Browser is what a sign-in is told of the browser.
func (s *Server) Browser(r *http.Request) account.Browser { return s.browser(r) }

// Template names, so that no page goes without a test.
func (s *Server) PageNames() []string {
	return s.area.Names()
}
