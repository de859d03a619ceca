package ui_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"podgate/account"
	"podgate/history"
	"podgate/internal/passkeytest"
	"podgate/store"
	"podgate/ui/pagetest"
)

const passkeys = "/account/passkeys"

// asked is what a page's form says to its script.
func asked(t *testing.T, a pagetest.Answer, name string) string {
	t.Helper()
	for _, n := range a.All("form") {
		if pagetest.HasAttr(n, "data-passkey") {
			return pagetest.Attr(n, "data-"+name)
		}
	}
	t.Fatalf("no form of %s asks for a passkey:\n%s", a.Request.URL, a.Text())
	return ""
}

// withPasskey has somebody who has just signed in make a passkey, and returns the device.
func withPasskey(s *pagetest.Site, b *pagetest.Browser, name string) *passkeytest.Device {
	s.T.Helper()
	d := passkeytest.New(s.T, "podgate.localhost", s.PageOrigin())
	show := b.Get(passkeys)
	handle := asked(s.T.(*testing.T), show, "handle")
	answer := d.Make(asked(s.T.(*testing.T), show, "challenge"), handle)
	if a := b.Post(passkeys, url.Values{"name": {name}, "handle": {handle}, "answer": {string(answer)}}); !strings.Contains(a.Text(), "The passkey is added.") {
		s.T.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	return d
}

// Somebody adds a passkey, signs in with it on the way to a client, has to prove who they
// are once time has passed, and removes it. All of it is in the audit list.
func TestPasskeyForms(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", false, "red")
	b := s.Browser()
	b.SignIn("ada@example.com")
	d := withPasskey(s, b, "my phone")
	if got := asked(t, b.Get(passkeys), "ids"); got == "" {
		t.Error("the device may make a second one")
	}
	changed := b.Post("/account/password", url.Values{"old": {pagetest.Password}, "password": {"a long and new sentence"}, "again": {"a long and new sentence"}})
	if !strings.Contains(changed.Text(), "Your passkeys still sign in") {
		t.Errorf("after a change of the password: %d %s", changed.StatusCode, changed.Text())
	}
	b.Post("/account/password", url.Values{"old": {"a long and new sentence"}, "password": {pagetest.Password}, "again": {pagetest.Password}})
	b.Post("/sign-out", nil)

	s.Clock.Advance(time.Hour)
	next := "/oauth/authorize?client_id=x"
	in := func(b *pagetest.Browser, d *passkeytest.Device) pagetest.Answer {
		t.Helper()
		return b.Post("/sign-in/passkey", url.Values{"next": {next}, "answer": {string(d.Answer(asked(t, b.Get("/sign-in?next="+url.QueryEscape(next)), "challenge")))}})
	}
	eve := passkeytest.New(t, "podgate.localhost", s.PageOrigin())
	eve.ID, eve.Handle = d.ID, d.Handle
	if a := in(s.Browser(), eve); a.StatusCode != http.StatusForbidden || !strings.Contains(a.Text(), "Try once more") {
		t.Errorf("with another key: %d %s", a.StatusCode, a.Text())
	}
	if a := in(b, d); a.Request.URL.Path != "/oauth/authorize" {
		t.Errorf("signed in to %s: %s", a.Request.URL, a.Text())
	}
	for _, path := range []string{"/sign-in/passkey", "/account/prove"} {
		out := s.Browser()
		if path == "/account/prove" {
			out.SignIn("ada@example.com")
		}
		form := url.Values{"next": {"//evil.example/"}, "password": {pagetest.Password}}
		if path == "/sign-in/passkey" {
			s.Clock.Advance(time.Second)
			form.Set("answer", string(d.Answer(asked(t, out.Get("/sign-in"), "challenge"))))
		}
		if a := out.Post(path, form); a.Request.URL.Host != strings.TrimPrefix(s.PageOrigin(), "http://") || a.Request.URL.Path != "/" {
			t.Errorf("%s leads to %s", path, a.Request.URL)
		}
	}

	s.Clock.Advance(account.FreshFor)
	key := store.PasskeyKey(d.ID).String()
	for _, path := range []string{passkeys, passkeys + "/name", passkeys + "/remove?passkey=" + key} {
		if a := b.Post(path, url.Values{"passkey": {key}, "name": {"stolen"}}); a.Request.URL.Path != "/account/prove" {
			t.Errorf("POST %s without a fresh proof leads to %s", path, a.Request.URL)
		}
	}
	remove := passkeys + "/remove?passkey=" + key
	prove := b.Get(remove)
	if prove.H1() != "Is it you?" || asked(t, prove, "ids") == "" {
		t.Fatalf("%s", prove.Text())
	}
	if a := b.Post("/account/prove", url.Values{"next": {remove}, "password": {"guessed wrongly"}}); a.StatusCode != http.StatusForbidden || hidden(a, "next") != remove {
		t.Errorf("with a wrong password: %d, next %q", a.StatusCode, hidden(a, "next"))
	}
	answer := d.Answer(asked(t, prove, "challenge"))
	if a := b.Post("/account/prove", url.Values{"next": {remove}, "answer": {string(answer)}}); a.H1() != "Remove «my phone»?" {
		t.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	if a := b.Post(passkeys+"/name", url.Values{"passkey": {key}, "name": {"the old phone"}}); !strings.Contains(a.Text(), "the old phone") {
		t.Errorf("renamed: %s", a.Text())
	}
	if a := b.Post(passkeys+"/name", url.Values{"passkey": {key}, "name": {""}}); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.Text(), "A name is missing.") {
		t.Errorf("without a name: %d %s", a.StatusCode, a.Text())
	}
	if a := b.Post(remove, nil); !strings.Contains(a.Text(), "The passkey is removed.") {
		t.Errorf("removed: %s", a.Text())
	}
	if a := b.Post(remove, nil); a.StatusCode != http.StatusNotFound {
		t.Errorf("removed twice: %d", a.StatusCode)
	}
	if a := in(s.Browser(), d); a.StatusCode != http.StatusForbidden || !strings.Contains(a.Text(), "is not known here") {
		t.Errorf("signed in with what was removed: %d %s", a.StatusCode, a.Text())
	}

	list, err := s.History.AuditList(store.AuditQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []store.AuditEntry{
		{Action: history.AuditPasskeyAdd, ActorName: "ada@example.com", Object: "my phone", Outcome: store.AuditOK},
		{Action: history.AuditSignIn, ActorName: "ada@example.com", Object: "passkey my phone", Outcome: store.AuditOK},
		{Action: history.AuditSignIn, Object: "passkey", Outcome: "wrong passkey"},
		{Action: history.AuditProve, ActorName: "ada@example.com", Object: "with the password", Outcome: "wrong password"},
		{Action: history.AuditProve, ActorName: "ada@example.com", Object: "with a passkey", Outcome: store.AuditOK},
		{Action: history.AuditPasskeyName, ActorName: "ada@example.com", Object: "the old phone", Outcome: store.AuditOK},
		{Action: history.AuditPasskeyRemove, ActorName: "ada@example.com", Object: "the old phone", Outcome: store.AuditOK},
	} {
		found := false
		for _, e := range list.Entries {
			found = found || e.Action == want.Action && e.ActorName == want.ActorName && e.Object == want.Object && e.Outcome == want.Outcome
		}
		if !found {
			t.Errorf("the audit list has no %+v", want)
		}
	}
}

// A real browser with a device of its own makes a passkey, offers it in the field for
// the address, signs in with the button, and proves anew who it is.
func passkeyWalk(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	s.AddUser("ada@example.com", false, "red")
	if _, err := chromedp.Call(c.Ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	device, err := chromedp.Call(c.Ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	presence := func(on bool) {
		t.Helper()
		if _, err := chromedp.Call(c.Ctx, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{AuthenticatorID: device.AuthenticatorID, Enabled: on}); err != nil {
			t.Fatal(err)
		}
	}
	presence(false) // or it would answer at once what the page only offers
	c.SignIn("ada@example.com")
	c.Open("/account")
	c.Inspect("account")
	c.Open(passkeys)
	c.WantH1("Passkeys")
	c.Inspect("passkeys-none")
	presence(true)
	c.Submit("form[data-passkey] button")
	if text := c.Text("main"); !strings.Contains(text, "The passkey is added.") {
		t.Fatal(text)
	}
	c.Inspect("passkeys")
	// The same device makes no second one, and the page says why.
	c.Settle()
	c.Do(chromedp.Click(chromedp.CSS("form[data-passkey] button")))
	c.Wait(`document.querySelector("form[data-passkey] [role=alert]").innerText.includes("already")`)

	presence(false)
	c.Submit("nav form button")
	c.WantH1("Sign in")
	c.Inspect("sign-in-passkey")
	presence(true)
	c.Submit("form[data-passkey] button")
	c.WantH1("Pods")

	s.Clock.Advance(account.FreshFor)
	presence(false)
	c.Open(passkeys)
	c.WantH1("Is it you?")
	c.Inspect("prove")
	presence(true)
	c.Submit("form[data-passkey] button")
	c.WantH1("Passkeys")
	c.Submit("a.danger")
	c.WantH1("Remove")
	c.Submit(".danger")
	if text := c.Text("main"); !strings.Contains(text, "The passkey is removed.") {
		t.Fatal(text)
	}
}
