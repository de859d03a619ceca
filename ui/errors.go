package ui

import (
	"net/http"

	"podgate/internal/text"
	"podgate/oauth"
	"podgate/ui/page"
)

// AuthorizeError implements oauth.Pages.
func (s *Server) AuthorizeError(w http.ResponseWriter, r *http.Request, e oauth.AuthorizeError) error {
	e.Title, e.Message, e.ReturnHost = text.Line(e.Title, 120), text.Line(e.Message, 1000), text.Line(e.ReturnHost, 255)
	f := page.Frame{Title: e.Title, Page: authorizeErrorPage{e, returnURL(e.Return)}}
	if _, user, ok := s.Current(r); ok {
		f.User = &user
	}
	return s.render(w, r, page.Consent, e.Status, "authorize_error", f)
}
