package main

import (
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"testing"

	"podgate/internal/mailtest"
	"podgate/internal/webtest"
)

// An owner invites somebody by mail: the link arrives, works, and is shown all the
// same; where the mail server refuses, the page says why and shows it too.
func TestInvitationByMail(t *testing.T) {
	t.Parallel()
	post := mailtest.Start(t, mailtest.Options{})
	srv := startServer(t, "[mail]", `host = "127.0.0.1"`, fmt.Sprintf("port = %d", post.Port), `tls = "none"`, `from = "podgate <podgate@example.com>"`)
	ada := setUp(t, srv)
	invite := func(email string) *webtest.Page {
		t.Helper()
		page := ada.Open(srv.pages()+"/team/home").Press("Invite", webtest.Fields{"email": {email}, "role": {"member"}})
		if page.Status != http.StatusOK {
			t.Fatalf("%d %s", page.Status, page.Text())
		}
		return page
	}
	shown := linkIn(t, invite("bob@example.com").Text())
	m := post.Next(t)
	read, err := mail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(read.Body))
	if err != nil {
		t.Fatal(err)
	}
	if sent := linkIn(t, string(text)); sent != shown || m.To != "bob@example.com" || read.Header.Get("Subject") != "ada@example.com invites you to the team Home" {
		t.Errorf("to %s, %v: %s, shown is %s", m.To, read.Header, text, shown)
	}
	if page := newPerson(t, srv, "bob@example.com").Open(shown); page.Status != http.StatusOK || !strings.Contains(page.Text(), "Home") {
		t.Errorf("the link leads to %d %s", page.Status, page.Text())
	}
	post.Answer("RCPT", "550 5.1.1 nobody of that name")
	page := invite("eve@example.com")
	if linkIn(t, page.Text()) == "" || !strings.Contains(page.Text(), "550 5.1.1 nobody of that name. Give them the link yourself") {
		t.Errorf("%s", page.Text())
	}
	code, out, errs := runCommand("team", "invite", "home", "cy@example.com", "--data", srv.DataDir)
	if code != exitDone || linkIn(t, out) == "" {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

func linkIn(t *testing.T, text string) string {
	t.Helper()
	link := regexp.MustCompile(`https?://\S+/invitation\?token=[A-Za-z0-9_-]+`).FindString(text)
	if link == "" {
		t.Errorf("no link in %s", text)
	}
	return link
}
