package control

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

const (
	pathInvite      = "/v1/team/invite"
	pathInvitations = "/v1/team/invitations"
	pathWithdraw    = "/v1/team/invitation/withdraw"
	pathTeamRename  = "/v1/team/rename"
	pathTeamUse     = "/v1/team/use"
	pathTeamRemove  = "/v1/team/remove"
	pathTeamRules   = "/v1/team/rules"
	pathTeamPolicy  = "/v1/team/policy/set"
	pathTeamQuota   = "/v1/team/quota/set"
	pathMemberRole  = "/v1/team/member/role"
	pathUserAdmin   = "/v1/user/admin"
)

// Mailer sends an invitation. sent is false where no mail server is configured.
type Mailer func(ctx context.Context, to, team, inviter, link string) (sent bool, err error)

// NewInvitation is an invitation to make.
type NewInvitation struct {
	Team  string     `json:"team"`
	Email string     `json:"email,omitempty"` // the only account that may accept; empty: any
	Role  store.Role `json:"role"`
	Mail  bool       `json:"mail,omitempty"` // send it, where mail is configured
}

// Invitation is one that waits to be accepted.
type Invitation struct {
	ID      string     `json:"id"`
	Team    string     `json:"team"` // slug
	Role    store.Role `json:"role"`
	Email   string     `json:"email,omitempty"`
	By      string     `json:"by,omitempty"` // address; empty: a command line
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"`
	Link    string     `json:"link,omitempty"` // only of a new one: nobody keeps it
	Mailed  bool       `json:"mailed,omitempty"`
	NoMail  string     `json:"mail_failed,omitempty"` // why it was not sent
}

// TeamRules are what a team's connections may do at most, and what it may have. Zero
// members leave what the connections, or the settings, say.
type TeamRules struct {
	Team   string        `json:"team"`
	Scopes []store.Scope `json:"scopes,omitempty"`
	Limits store.Limits  `json:"limits,omitzero"`
	Pods   int           `json:"quota_pods,omitempty"`
	Memory int64         `json:"quota_memory_bytes,omitempty"`
	Use    TeamUse       `json:"use"`
}

// TeamUse counts what a team has.
type TeamUse struct {
	Pods        int `json:"pods"`
	Deleting    int `json:"pods_being_deleted"`
	Members     int `json:"members"`
	Connections int `json:"connections"`
	Invitations int `json:"invitations"`
}

type invitationRequest struct {
	Team string `json:"team"`
	ID   string `json:"id"` // its beginning, or the address
}

type renameRequest struct {
	Team string `json:"team"`
	Slug string `json:"slug"` // the new one
	Name string `json:"name"`
}

type roleRequest struct {
	Slug  string     `json:"slug"`
	Email string     `json:"email"`
	Role  store.Role `json:"role"`
}

type adminRequest struct {
	Email string `json:"email"`
	Admin bool   `json:"admin"`
}

// teamRoutes are the commands about teams and people that came later.
func (h *handler) teamRoutes() map[string]web.Handler {
	return map[string]web.Handler{
		pathInvite:      audited(h, history.AuditInvite, ofInvite, h.invite),
		pathInvitations: command(h.invitations),
		pathWithdraw:    audited(h, history.AuditInviteWithdraw, func(r invitationRequest) about { return about{team: r.Team, more: r.ID} }, h.withdraw),
		pathTeamRename: audited(h, history.AuditTeamRename, func(r renameRequest) about {
			return about{team: r.Team, more: cmp.Or(r.Name, r.Slug)}
		}, h.renameTeam),
		pathTeamUse:    command(h.teamUse),
		pathTeamRemove: audited(h, history.AuditTeamRemove, ofTeam, h.removeTeam),
		pathTeamRules:  command(h.teamRules),
		pathTeamPolicy: audited(h, history.AuditTeamPolicy, func(r TeamRules) about { return about{team: r.Team, more: policyWords(r)} }, h.setTeamPolicy),
		pathTeamQuota: audited(h, history.AuditTeamQuota, func(r TeamRules) about {
			return about{team: r.Team, more: fmt.Sprintf("%d pods, %d bytes of memory", r.Pods, r.Memory)}
		}, h.setTeamQuota),
		pathMemberRole: audited(h, history.AuditRole, func(r roleRequest) about { return about{email: r.Email, team: r.Slug, more: string(r.Role)} }, h.setRole),
		pathUserAdmin: audited(h, history.AuditAdmin, func(r adminRequest) about {
			return about{email: r.Email, more: map[bool]string{true: "administrator", false: "no administrator"}[r.Admin]}
		}, h.setAdmin),
	}
}

func ofInvite(n NewInvitation) about {
	a := about{team: n.Team, more: string(n.Role)}
	if n.Email != "" {
		a.more = join(n.Email, a.more)
	}
	return a
}

func policyWords(r TeamRules) string {
	var words []string
	for _, scope := range r.Scopes {
		words = append(words, string(scope))
	}
	return cmp.Or(strings.Join(append(words, authz.LimitWords(r.Limits)...), ", "), "no rule")
}

// actor is the command line in a team.
func (h *handler) actor(slug string) (authz.Actor, error) {
	t, err := h.Accounts.TeamBySlug(slug)
	return authz.CommandLine(t), err
}

func (h *handler) invite(ctx context.Context, n NewInvitation) (Invitation, error) {
	a, err := h.actor(n.Team)
	if err != nil {
		return Invitation{}, err
	}
	secret, i, err := h.Accounts.Invite(ctx, a, account.NewInvitation{Email: n.Email, Role: n.Role})
	if err != nil {
		return Invitation{}, err
	}
	shown := showInvitation(store.Invited{Invitation: i, Team: a.Team})
	shown.Link = web.NewPageHost(h.Issuer).Address() + "/invitation?token=" + secret
	if n.Mail && i.Email != "" && h.Mail != nil {
		shown.Mailed, err = h.Mail(ctx, i.Email, a.Team.Name, "The administrator of this server", shown.Link)
		if err != nil {
			shown.NoMail = err.Error() // the invitation is there all the same
		}
	}
	return shown, nil
}

func showInvitation(i store.Invited) Invitation {
	return Invitation{
		ID: i.Hash.String(), Team: i.Team.Slug, Role: i.Role, Email: i.Email, By: i.By.Email, Created: i.Created.UTC(), Expires: i.Expires.UTC(),
	}
}

func (h *handler) invitations(_ context.Context, r teamRequest) ([]Invitation, error) {
	a, err := h.actor(r.Slug)
	if err != nil {
		return nil, err
	}
	found, err := h.Accounts.Invitations(a)
	list := make([]Invitation, 0, len(found))
	for _, i := range found {
		list = append(list, showInvitation(i))
	}
	return list, err
}

func (h *handler) withdraw(ctx context.Context, r invitationRequest) (Invitation, error) {
	list, err := h.invitations(ctx, teamRequest{Slug: r.Team})
	if err != nil {
		return Invitation{}, err
	}
	const least = 6
	var found []Invitation
	for _, i := range list {
		if i.Email != "" && strings.EqualFold(i.Email, r.ID) || len(r.ID) >= least && strings.HasPrefix(i.ID, r.ID) {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return Invitation{}, wordsFor{store.ErrNotFound, fmt.Sprintf("%d invitations of the team are called that: write the address, or at least %d characters of the id. «podgate team invitation list %s» shows them.", len(found), least, r.Team)}
	}
	a, err := h.actor(r.Team)
	if err == nil {
		_, err = h.Accounts.WithdrawInvitation(a, found[0].ID)
	}
	return found[0], err
}

func (h *handler) renameTeam(ctx context.Context, r renameRequest) (Team, error) {
	a, err := h.actor(r.Team)
	if err != nil {
		return Team{}, err
	}
	if err := h.Accounts.RenameTeam(ctx, a, cmp.Or(r.Slug, a.Team.Slug), cmp.Or(r.Name, a.Team.Name)); err != nil {
		return Team{}, err
	}
	return h.team(cmp.Or(r.Slug, a.Team.Slug))
}

func (h *handler) teamUse(_ context.Context, r teamRequest) (TeamUse, error) {
	a, err := h.actor(r.Slug)
	if err != nil {
		return TeamUse{}, err
	}
	use, err := h.Accounts.TeamUse(a)
	return TeamUse(use), err
}

// removeTeam returns what there was.
func (h *handler) removeTeam(ctx context.Context, r teamRequest) (ChangedTeam, error) {
	was, err := h.team(r.Slug)
	if err != nil {
		return ChangedTeam{}, err
	}
	a, err := h.actor(r.Slug)
	if err != nil {
		return ChangedTeam{}, err
	}
	use, err := h.Accounts.RemoveTeam(ctx, a)
	return ChangedTeam{was, use.Connections}, err
}

func (h *handler) teamRules(_ context.Context, r teamRequest) (TeamRules, error) {
	a, err := h.actor(r.Slug)
	if err != nil {
		return TeamRules{}, err
	}
	use, err := h.Accounts.TeamUse(a)
	t := a.Team
	return TeamRules{Team: t.Slug, Scopes: t.Policy.Scopes, Limits: t.Policy.Limits, Pods: t.Quota.Pods, Memory: t.Quota.Memory, Use: TeamUse(use)}, err
}

func (h *handler) setTeamPolicy(ctx context.Context, r TeamRules) (TeamRules, error) {
	a, err := h.actor(r.Team)
	if err == nil {
		err = h.Accounts.SetTeamPolicy(ctx, a, store.Policy{Scopes: r.Scopes, Limits: r.Limits})
	}
	if err != nil {
		return TeamRules{}, err
	}
	return h.teamRules(ctx, teamRequest{Slug: r.Team})
}

func (h *handler) setTeamQuota(ctx context.Context, r TeamRules) (TeamRules, error) {
	a, err := h.actor(r.Team)
	if err == nil {
		err = h.Accounts.SetTeamQuota(ctx, a, store.Quota{Pods: r.Pods, Memory: r.Memory})
	}
	if err != nil {
		return TeamRules{}, err
	}
	return h.teamRules(ctx, teamRequest{Slug: r.Team})
}

func (h *handler) setRole(ctx context.Context, r roleRequest) (Team, error) {
	a, err := h.actor(r.Slug)
	if err != nil {
		return Team{}, err
	}
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return Team{}, err
	}
	if err := h.Accounts.SetRole(ctx, a, u.ID, r.Role); err != nil {
		return Team{}, err
	}
	return h.team(r.Slug)
}

func (h *handler) setAdmin(ctx context.Context, r adminRequest) (User, error) {
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return User{}, err
	}
	if err := h.Accounts.SetAdmin(ctx, authz.CommandLine(store.Team{}), u.ID, r.Admin); err != nil {
		return User{}, err
	}
	return h.userNamed(r.Email)
}

// Invite makes an invitation to a team. Its link is told only now.
func (c *Client) Invite(ctx context.Context, n NewInvitation) (Invitation, error) {
	return ask[Invitation](ctx, c, pathInvite, n)
}

// Invitations lists those of a team that wait, the newest first.
func (c *Client) Invitations(ctx context.Context, slug string) ([]Invitation, error) {
	return ask[[]Invitation](ctx, c, pathInvitations, teamRequest{Slug: slug})
}

// WithdrawInvitation ends an invitation, named by its address or the beginning of
// its id, and returns it.
func (c *Client) WithdrawInvitation(ctx context.Context, slug, id string) (Invitation, error) {
	return ask[Invitation](ctx, c, pathWithdraw, invitationRequest{slug, id})
}

// RenameTeam changes the slug and the name of a team; an empty one stays.
func (c *Client) RenameTeam(ctx context.Context, team, slug, name string) (Team, error) {
	return ask[Team](ctx, c, pathTeamRename, renameRequest{team, slug, name})
}

// TeamUse counts what a team has.
func (c *Client) TeamUse(ctx context.Context, slug string) (TeamUse, error) {
	return ask[TeamUse](ctx, c, pathTeamUse, teamRequest{Slug: slug})
}

// RemoveTeam removes a team without pods, and returns what it had.
func (c *Client) RemoveTeam(ctx context.Context, slug string) (ChangedTeam, error) {
	return ask[ChangedTeam](ctx, c, pathTeamRemove, teamRequest{Slug: slug})
}

// TeamRules shows what holds for a team.
func (c *Client) TeamRules(ctx context.Context, slug string) (TeamRules, error) {
	return ask[TeamRules](ctx, c, pathTeamRules, teamRequest{Slug: slug})
}

// SetTeamPolicy changes what a team's connections may do at most, at once.
func (c *Client) SetTeamPolicy(ctx context.Context, r TeamRules) (TeamRules, error) {
	return ask[TeamRules](ctx, c, pathTeamPolicy, r)
}

// SetTeamQuota changes what a team may have.
func (c *Client) SetTeamQuota(ctx context.Context, r TeamRules) (TeamRules, error) {
	return ask[TeamRules](ctx, c, pathTeamQuota, r)
}

// SetRole gives a member of a team another role.
func (c *Client) SetRole(ctx context.Context, slug, email string, role store.Role) (Team, error) {
	return ask[Team](ctx, c, pathMemberRole, roleRequest{slug, email, role})
}

// SetAdmin makes somebody an administrator or takes that away.
func (c *Client) SetAdmin(ctx context.Context, email string, admin bool) (User, error) {
	return ask[User](ctx, c, pathUserAdmin, adminRequest{email, admin})
}
