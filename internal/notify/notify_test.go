package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podgate/internal/mail"
	"podgate/internal/mailtest"
	"podgate/pods"
	"podgate/store"
	"podgate/store/storetest"
)

// post is a mailbox that refuses while err is set.
type post struct {
	mu   sync.Mutex
	err  error
	hang bool
	got  []mail.Message
	asks int
}

func (p *post) send(ctx context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks++
	if p.hang {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return ctx.Err()
	}
	if p.err == nil {
		p.got = append(p.got, m)
	}
	return p.err
}

func (p *post) set(err error) { p.mu.Lock(); defer p.mu.Unlock(); p.err = err }

func (p *post) clear() { p.mu.Lock(); defer p.mu.Unlock(); p.got = nil }

func (p *post) counts() (got, asks int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got), p.asks
}

// house is a team with an owner ada, a second owner bob and a member cy.
func house(t *testing.T) (*store.DB, store.Team) {
	t.Helper()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", time.Unix(1e9, 0))
	for name, role := range map[string]store.Role{"bob": store.RoleOwner, "cy": store.RoleMember} {
		u := store.User{ID: store.UserID(name), Email: name + "@example.com", Name: name}
		if err := db.CreateUser(u, store.Member{Team: w.Team.ID, User: u.ID, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	return db, w.Team
}

func config(db *store.DB) Config {
	return Config{DB: db, Issuer: "https://pods.example.com", Events: []string{Failed, Recovered}, Gather: 5 * time.Second, Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

// begin runs a Notifier until the end of a bubble's test.
func begin(t *testing.T, cfg Config) *Notifier {
	t.Helper()
	n := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return n
}

func pod(team store.Team, name, reason string) pods.Pod {
	return pods.Pod{ID: store.PodID(name), Name: name, Team: team.ID, Reason: reason, URL: "https://" + name + ".apps.example.com"}
}

// told counts how a fact ended.
type told struct {
	mu      sync.Mutex
	yes, no int
}

func (d *told) done(ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ok {
		d.yes++
	} else {
		d.no++
	}
}

// said is how many ended so.
func (d *told) said(arrived bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if arrived {
		return d.yes
	}
	return d.no
}

// Each owner gets one mail about all that fails at once, nobody else gets any.
func TestOwnersAreTold(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	synctest.Test(t, func(t *testing.T) {
		box, d := &post{}, &told{}
		cfg := config(db)
		cfg.Mail = box.send
		n := begin(t, cfg)
		for _, name := range []string{"shop", "api"} {
			if !n.PodFailed(pod(team, name, "the app exited\r\nBcc: eve@example.com"), d.done) {
				t.Error("nobody is told of " + name)
			}
		}
		time.Sleep(time.Minute)
		if got, _ := box.counts(); got != 2 || d.said(true) != 2 || d.said(false) != 0 {
			t.Fatalf("%d mails, %+v", got, d)
		}
		if box.got[0].To == box.got[1].To {
			t.Error("one owner got both mails")
		}
		m := box.got[0]
		if m.Subject != "2 pods failed" || strings.Index(m.Text, "api of the team") > strings.Index(m.Text, "shop of the team") ||
			!strings.Contains(m.Text, "\n  https://pods.example.com/pod/shop\n") || strings.Contains(m.Text, "\nBcc") || strings.Contains(m.Text, "\r") {
			t.Errorf("%+v", m)
		}
		n.PodRecovered(pod(team, "shop", "never said"))
		time.Sleep(time.Minute)
		if got, _ := box.counts(); got != 4 || !strings.HasPrefix(box.got[3].Subject, "shop of ") || !strings.HasSuffix(box.got[3].Subject, "runs again") || strings.Contains(box.got[3].Text, "never said") {
			t.Errorf("%+v", box.got)
		}
		cancelled := n.mails.waiting
		if len(cancelled) != 0 {
			t.Errorf("%d wait still", len(cancelled))
		}
	})
}

// What the mail server does not take is tried again for some hours, with growing
// pauses; what it never will is given up at once.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	synctest.Test(t, func(t *testing.T) {
		box, d := &post{err: errors.New("mailbox busy")}, &told{}
		cfg := config(db)
		cfg.Mail = box.send
		n := begin(t, cfg)
		n.PodFailed(pod(team, "shop", "x"), d.done)
		time.Sleep(24 * time.Hour)
		if _, asks := box.counts(); asks < 2*8 || asks > 2*16 || d.said(false) != 1 || d.said(true) != 0 {
			t.Errorf("%d tries, %+v", asks, d)
		}
		n.PodFailed(pod(team, "shop", "x"), d.done)
		time.Sleep(10 * time.Minute)
		box.set(nil)
		time.Sleep(time.Hour)
		if got, _ := box.counts(); got != 2 || d.said(true) != 1 {
			t.Errorf("%d mails, %+v", got, d)
		}
		box.set(&mail.Error{Step: mail.Recipient, Words: "nobody of that name", Final: true})
		_, before := box.counts()
		n.PodFailed(pod(team, "api", "x"), d.done)
		time.Sleep(time.Hour)
		if _, asks := box.counts(); asks != before+2 || d.said(false) != 2 {
			t.Errorf("%d tries of what is final, %+v", asks-before, d)
		}
	})
}

// A thousand failures are few mails, and never more than so many an hour.
func TestBounds(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	synctest.Test(t, func(t *testing.T) {
		box := &post{}
		cfg := config(db)
		cfg.Mail = box.send
		n := begin(t, cfg)
		taken := 0
		for range 1000 { // for a thousand minutes
			if n.PodFailed(pod(team, "shop", "x"), func(bool) {}) {
				taken++
			}
			time.Sleep(time.Minute)
		}
		if taken < 40 || taken > 60 {
			t.Errorf("one pod was told %d times in 17 hours", taken)
		}
		box.clear()
		for i := range 600 { // many pods, in an hour
			n.PodFailed(pod(team, fmt.Sprint("p", i), "x"), func(bool) {})
			time.Sleep(6 * time.Second)
		}
		if got, _ := box.counts(); got > 2*22 {
			t.Errorf("%d mails to two people in an hour", got)
		}
	})
}

// What waits is bounded, and whoever hands it over waits for nobody, though the mail
// server says nothing.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	db, _ := house(t)
	synctest.Test(t, func(t *testing.T) {
		box, d := &post{hang: true}, &told{}
		cfg := config(db)
		cfg.Mail = box.send
		n, began, taken := begin(t, cfg), time.Now(), 0
		for range 5000 {
			taken += n.mails.put([]*parcel{{to: "ada@example.com", due: time.Now(), outcome: &outcome{open: 1, done: d.done}}})
		}
		synctest.Wait()
		if time.Since(began) > 0 || taken > 2*maxWaiting || d.said(false) != 5000-taken {
			t.Errorf("%d were taken in %v, %d came back", taken, time.Since(began), d.said(false))
		}
	})
}

// Without owners, without a way or without the event nobody is told, and says so.
func TestNobodyToTell(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	cfg := config(db)
	if n := New(cfg); n.Tells() || n.PodFailed(pod(team, "shop", "x"), func(bool) {}) {
		t.Error("told without a way")
	}
	cfg.Mail, cfg.Events = (&post{}).send, nil
	if n := New(cfg); n.Tells() || n.PodFailed(pod(team, "shop", "x"), func(bool) {}) {
		t.Error("told what is not to be told")
	}
	cfg.Events = []string{Failed}
	if New(cfg).PodFailed(pods.Pod{ID: "x", Name: "x", Team: "gone"}, func(bool) {}) {
		t.Error("told the owners of no team")
	}
}

// hook is a webhook that answers what a test wants.
func hook(t *testing.T, serve http.HandlerFunc) (*Webhook, *[]*http.Request, *[]string) {
	t.Helper()
	var mu sync.Mutex
	var heads []*http.Request
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		mu.Lock()
		heads, bodies = append(heads, r), append(bodies, string(raw))
		mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	return NewWebhook(server.URL+"/hook?key=secret", "signing secret"), &heads, &bodies
}

var fact = Fact{ID: "abc", Event: Failed, Pod: "shop", Team: "lab", Reason: "it ended", URL: "https://pods.example.com/pod/shop", Time: time.Unix(1e9, 0).UTC()}

// The fields have these names for good, and the signature proves them.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w, heads, bodies := hook(t, func(http.ResponseWriter, *http.Request) {})
	if err := w.post(t.Context(), time.Unix(1e9, 0), fact); err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"abc","event":"pod.failed","pod":"shop","team":"lab","reason":"it ended","url":"https://pods.example.com/pod/shop","time":"2001-09-09T01:46:40Z"}`
	if (*bodies)[0] != want || !json.Valid([]byte((*bodies)[0])) {
		t.Errorf("%s", (*bodies)[0])
	}
	r := (*heads)[0]
	mac := hmac.New(sha256.New, []byte("signing secret"))
	mac.Write([]byte("1000000000." + want))
	if got := r.Header.Get("Podgate-Signature"); got != "t=1000000000,v1="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("signature %s", got)
	}
	if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "key=secret" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for status, want := range map[int]struct {
		final bool
		words string
	}{
		204: {}, 302: {true, "does not follow"}, 307: {true, "does not follow"}, 400: {true, "400"}, 410: {true, "410"}, 408: {false, "408"}, 429: {false, "429"}, 500: {false, "500"}, 503: {false, "503"},
	} {
		w, _, _ := hook(t, func(w http.ResponseWriter, r *http.Request) {
			if status/100 == 3 {
				w.Header().Set("Location", elsewhere.URL)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<16)))
		})
		err := w.post(t.Context(), time.Now(), fact)
		switch {
		case want.words == "":
			if err != nil {
				t.Errorf("%d: %v", status, err)
			}
		case err == nil || !strings.Contains(err.Error(), want.words) || final(err) != want.final || strings.Contains(err.Error(), "secret"):
			t.Errorf("%d: %v, final %v", status, err, final(err))
		}
	}
}

// A webhook that hangs is left, and neither mails nor the address it has are harmed.
func TestWebhookHangs(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	release := make(chan struct{})
	w, _, _ := hook(t, func(_ http.ResponseWriter, r *http.Request) { <-release })
	w.client.Timeout = 100 * time.Millisecond
	err := w.post(t.Context(), time.Now(), fact)
	if err == nil || final(err) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	w.client.Timeout = time.Hour
	server := mailtest.Start(t, mailtest.Options{})
	sender, err := mail.New(mail.Config{Host: "localhost", Port: server.Port, Security: mail.Clear, From: "podgate@example.com", Own: "pods.example.com", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(db)
	cfg.Webhook, cfg.Mail, cfg.Gather = w, sender.Send, 0
	n := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	if !n.PodFailed(pod(team, "shop", "it ended"), func(bool) {}) {
		t.Fatal("nobody is told")
	}
	if got := server.Next(t).To + server.Next(t).To; !strings.Contains(got, "bob@example.com") {
		t.Errorf("told %s", got)
	}
	close(release)
	cancel()
	running.Wait()
}

// Invitations say who invites where, and are few.
func TestInvitation(t *testing.T) {
	t.Parallel()
	db, _ := house(t)
	box := &post{}
	cfg := config(db)
	n := New(cfg)
	if err := n.Invitation(t.Context(), "eve@example.com", "Lab", "Ada", "https://x"); !errors.Is(err, ErrNoMail) || n.SendsMail() {
		t.Error(err)
	}
	cfg.Mail = box.send
	n = New(cfg)
	const link = "https://pods.example.com/invitation?token=abc"
	if err := n.Invitation(t.Context(), "eve@example.com", "L\u202eab\r\nX: y", "Ada\n(ada@example.com)", link); err != nil {
		t.Fatal(err)
	}
	m := box.got[0]
	if m.To != "eve@example.com" || m.Subject != "Ada (ada@example.com) invites you to the team Lab X: y" || !strings.Contains(m.Text, "\n\n"+link+"\n\n") || !strings.Contains(m.Text, "on pods.example.com") {
		t.Errorf("%+v", m)
	}
	sent := 0
	for i := range 100 {
		if n.Invitation(t.Context(), fmt.Sprintf("p%d@example.com", i), "Lab", "Ada", link) == nil {
			sent++
		}
	}
	if sent != 10 {
		t.Errorf("one person sent %d invitations at once", sent)
	}
	box.set(&mail.Error{Step: mail.Recipient, Words: "550 nobody", Final: true})
	if err := n.Invitation(t.Context(), "eve@example.com", "Lab", "Bob", link); err == nil || !strings.Contains(err.Error(), "550 nobody") {
		t.Error(err)
	}
}

// Administrators hear by mail and webhook that a backup failed, nobody else does, and
// pods of theirs that failed at the same time stand in the same mail.
func TestBackupFailed(t *testing.T) {
	t.Parallel()
	db, team := house(t)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.SetAdmin("bob", true))
	u, err := db.UserByEmail("ada@example.com")
	must(err)
	must(db.SetAdmin(u.ID, false))
	synctest.Test(t, func(t *testing.T) {
		box, d := &post{}, &told{}
		cfg := config(db)
		cfg.Mail = box.send
		begin(t, cfg).BackupFailed("not one of the events")
		cfg.Events = append(cfg.Events, BackupFailed)
		n := begin(t, cfg)
		n.BackupFailed("no disk\r\nBcc: eve@example.com")
		time.Sleep(time.Minute)
		if got, _ := box.counts(); got != 1 {
			t.Fatalf("%d mails", got)
		}
		m := box.got[0]
		if m.To != "bob@example.com" || m.Subject != "no backup of pods.example.com could be made" || !strings.Contains(m.Text, "  no disk") || strings.Contains(m.Text, "\nBcc") ||
			!strings.Contains(m.Text, "https://pods.example.com/server\n") || !strings.Contains(m.Text, "as an administrator") || strings.Contains(m.Text, "owner") {
			t.Errorf("%+v", m)
		}
		n.BackupFailed("no disk")
		n.PodFailed(pod(team, "shop", "x"), d.done)
		time.Sleep(time.Minute)
		if got, _ := box.counts(); got != 3 {
			t.Fatalf("%d mails", got)
		}
		for _, m := range box.got[1:] {
			if bob := m.To == "bob@example.com"; strings.Contains(m.Text, "no disk") != bob || !strings.Contains(m.Text, "shop") || !strings.Contains(m.Text, "as an owner") {
				t.Errorf("%+v", m)
			}
		}
	})
}
