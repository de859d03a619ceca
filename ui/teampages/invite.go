package teampages

import (
	"net/http"
	"net/url"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/text"
	"podgate/store"
	"podgate/ui/page"
)

// invitedPage is the content of invited.html.
type invitedPage struct {
	Team    store.Team
	Link    string
	Email   string
	Role    store.Role
	Sent    bool
	Unsent  string // why it was not sent, although it should have been
	Expires time.Time
}

// maxReason bounds what is shown of a mail server's words.
const maxReason = 300

// handleInvite is POST /team/:slug/invite with email, which may be empty, and role.
// The answer is the page itself: the link is shown this once and kept nowhere.
func (s *Pages) handleInvite(w http.ResponseWriter, r *http.Request, o opened) error {
	form := inviteForm{Email: text.Cut(r.PostForm.Get("email"), 254), Role: store.Role(text.Cut(r.PostForm.Get("role"), 20))}
	secret, i, err := s.Account.Invite(r.Context(), o.Actor, account.NewInvitation{Email: form.Email, Role: form.Role})
	s.record(r, o, history.AuditInvite, i.Email+" "+string(i.Role), err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showTeam(w, r, o, status, form, fault)
	}
	view := invitedPage{Team: o.Team, Link: s.Issuer + "/invitation?token=" + url.QueryEscape(secret), Email: i.Email, Role: i.Role, Expires: i.Expires}
	if i.Email != "" && s.cfg.Mailer != nil {
		err := s.cfg.Mailer.Invitation(r.Context(), i.Email, o.Team.Name, o.User.Email, view.Link)
		if view.Sent = err == nil; err != nil {
			view.Unsent = text.Line(err.Error(), maxReason)
		}
	}
	return s.render(w, r, http.StatusOK, "invited", "Invitation to "+o.Team.Name, view)
}

// handleWithdraw is POST /team/:slug/withdraw with invitation.
func (s *Pages) handleWithdraw(w http.ResponseWriter, r *http.Request, o opened) error {
	i, err := s.Account.WithdrawInvitation(o.Actor, r.PostForm.Get("invitation"))
	s.record(r, o, history.AuditInviteWithdraw, i.Email, err)
	if err != nil {
		return s.again(w, r, o, err)
	}
	s.SetNotice(w, "invitation-withdrawn", 0)
	return s.Redirect(w, o.path("#invitations"))
}
