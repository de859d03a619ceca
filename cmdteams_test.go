package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"podgate/internal/mailtest"
	"podgate/internal/webtest"
)

// An invitation made by a command goes out by mail when that is asked for, and its link
// is shown in any case and leads to the page on which it is accepted.
func TestInviteByCommand(t *testing.T) {
	t.Parallel()
	mails := mailtest.Start(t, mailtest.Options{})
	srv := startServer(t, "[mail]", `host = "127.0.0.1"`, fmt.Sprintf("port = %d", mails.Port), `tls = "none"`, `from = "podgate <podgate@example.com>"`)
	setUp(t, srv)
	code, out, errs := srv.command("team", "invite", "home", "eve@example.com", "--mail")
	link := strings.TrimSpace(out)
	if code != exitDone || !strings.Contains(errs, "It was sent to eve@example.com") || !strings.HasPrefix(link, srv.pages()+"/invitation?token=") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if m := mails.Next(t); m.To != "eve@example.com" || !strings.Contains(m.Raw, "Home") {
		t.Errorf("%+v", m)
	}
	if page := webtest.New(t).Open(link); page.Status != http.StatusOK || !strings.Contains(page.Text(), "Home") {
		t.Errorf("the link leads to %d %s", page.Status, page.Text())
	}
	mails.Answer("RCPT", "550 nobody of that name\x1b[2J")
	code, out, errs = srv.command("team", "invite", "home", "mal@example.com", "--mail")
	if code != exitDone || !strings.Contains(errs, "It could not be sent") || strings.Contains(errs, "\x1b") || !strings.HasPrefix(out, srv.pages()+"/invitation?token=") {
		t.Errorf("a mail that is refused: %d %s%q", code, out, errs)
	}
}
