package teampages_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// In a real browser, with script and without: an owner invites somebody, who makes
// an account from the link; a policy is set and the team left.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, script := range map[string]bool{"with script": true, "without script": false} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t)
			owner, guest := pagetest.NewTab(t, browser, c.PageOrigin()), pagetest.NewTab(t, browser, c.PageOrigin())
			for _, tab := range []*pagetest.Tab{owner, guest} {
				if _, err := chromedp.Call(tab.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}); err != nil {
					t.Fatal(err)
				}
			}
			invited(t, c, owner, guest)
		})
	}
}

func invited(t *testing.T, c *crew, owner, guest *pagetest.Tab) {
	c.invite("somebody.with.a.long.name@a-company-of-many-words.example", store.RoleViewer)
	owner.SignIn("olga@example.com")
	owner.Open("/team/red")
	owner.Inspect("team")
	owner.Do(chromedp.SetValue(chromedp.CSS("#role"), "viewer"))
	owner.Submit("#invite button")
	owner.WantH1("Here is the link")
	owner.Inspect("team-invited")
	link := owner.Text("#link")

	guest.Open(link[len(c.Issuer()):])
	guest.WantH1("Join red")
	guest.Inspect("invitation")
	guest.Fill(map[string]string{"email": "nina@example.com", "name": "Nina", "password": pagetest.Password})
	guest.Submit("form.fields button")
	guest.WantH1("red")
	guest.Inspect("team-viewer")
	guest.Open("/team/red/settings")
	guest.Inspect("team-settings-viewer")

	owner.Open("/team/red/settings")
	owner.Inspect("team-settings")
	owner.Fill(map[string]string{"prefix": "Ä"})
	owner.Submit("#policy .actions button")
	owner.WantInView("#fault")
	owner.Inspect("team-settings-fault")
	owner.Open("/team/red")
	owner.Submit(`a[href$="/remove"]`)
	owner.WantH1("Remove")
	owner.Inspect("team-remove-member")
	owner.Submit("button.danger")
	owner.WantInView(".notice")
	guest.Open("/team/red/leave")
	guest.Submit("button.danger")
	guest.WantH1("Teams")
	guest.Inspect("teams-none")
}
