package notify_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/mail"
	"podgate/internal/mailtest"
	"podgate/internal/notify"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// server is what of a server tells of pods: a service over the homes in a folder, and
// a notifier that hands mail over.
type server struct {
	*pods.Service
	stop func()
}

func serve(t *testing.T, db *store.DB, dir string, send func(context.Context, mail.Message) error, now func() time.Time) server {
	t.Helper()
	n := notify.New(notify.Config{
		DB: db, Issuer: "https://pods.example.com", Events: []string{notify.Failed, notify.Recovered}, Mail: send,
		Gather: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	s := podstest.ServiceOver(t, db, podstest.OpenFake(dir), func(c *pods.Config) { c.Alarm, c.Now = n, now })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	stop := sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return server{s, stop}
}

// An app that dies again and again, under the real agent and before a real mail
// server, is one mail to the owner, also when the server is started anew.
func TestCrashLoopIsOneMail(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), t.TempDir()
	w := storetest.Populate(t, db, "ada", time.Now())
	ada := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	post := mailtest.Start(t, mailtest.Options{})
	sender, err := mail.New(mail.Config{Host: "localhost", Port: post.Port, Security: mail.Clear, From: "podgate <podgate@example.com>", Own: "pods.example.com", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64 // of the clock
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	looks := func(s server) {
		t.Helper()
		if err := s.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		ahead.Add(int64(30 * time.Second))
	}
	looping := func(s server) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; {
			looks(s)
			p, err := s.Get(t.Context(), ada, "shop")
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%+v %v", p, err)
			}
			if p.Status == "failing" && p.Restarts >= 3 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		for range 10 {
			looks(s)
		}
	}
	s := serve(t, db, dir, sender.Send, now)
	if _, err := s.Create(t.Context(), ada, pods.CreateRequest{Name: "shop", Preset: "command"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteFile(t.Context(), ada, "shop", "Procfile", []byte("web: echo last words >&2; exit 7\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reload(t.Context(), ada, "shop", nil); err != nil {
		t.Fatal(err)
	}
	looping(s)
	m := post.Next(t)
	if m.To != "ada@example.com" || !strings.Contains(m.Raw, "Subject: shop of ada failed\r\n") || !strings.Contains(m.Raw, "exited with code 7") || !strings.Contains(m.Raw, "https://pods.example.com/pod/shop") {
		t.Errorf("%+v", m)
	}
	s.stop()
	s = serve(t, db, dir, sender.Send, now)
	looping(s)
	s.stop() // what is on its way arrives before
	if all, _ := post.All(); len(all) != 1 {
		t.Errorf("%d mails, the last %+v", len(all), all[len(all)-1])
	}
}
