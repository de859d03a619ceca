package history_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podgate/history"
	"podgate/store"
	"podgate/store/storetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a recorder over a fresh store with a clock that a test moves.
type bench struct {
	*history.Recorder
	t   *testing.T
	db  *store.DB
	mu  sync.Mutex
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, db: storetest.New(t), now: t0}
	b.Recorder = history.New(history.Config{
		DB: b.db, Now: b.clock, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) wait(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) from(addr, agent string) history.Visitor { return b.Visitor(request(addr, agent)) }

func request(addr, agent string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 99).String()
	r.Header.Set("User-Agent", agent)
	return r
}

// take records steps a second apart and returns the attempt of the last.
func (b *bench) take(notes ...history.Note) (id store.AttemptID) {
	for _, n := range notes {
		id = b.Step(n)
		b.wait(time.Second)
	}
	return id
}

// told returns all attempts, newest first, as one line each.
func (b *bench) told() []string {
	b.t.Helper()
	list, err := b.Attempts(store.AttemptQuery{Limit: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for _, s := range list.Attempts {
		lines = append(lines, line(s.Attempt))
	}
	return lines
}

func line(a store.Attempt) string {
	text := ""
	for _, s := range a.Steps {
		text += " " + s.Kind
		if s.Fault != "" {
			text += "!" + s.Fault
		}
		if s.Count > 1 {
			text += fmt.Sprint("×", s.Count)
		}
	}
	return fmt.Sprintf("client=%s user=%s:%s", a.Client, a.User, text)
}

func (b *bench) wantTold(want ...string) {
	b.t.Helper()
	if got := b.told(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		b.t.Errorf("the attempts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// approve takes a person from the consent page to the token, and returns the
// attempt.
func (b *bench) approve(browser, client history.Visitor, id store.ClientID, user store.UserID, grant store.GrantID) store.AttemptID {
	public := strings.HasPrefix(string(id), "https://")
	attempt := b.take(history.Note{Kind: history.StepConsent, From: browser, Client: id, Public: public, User: user})
	b.take(history.Note{Kind: history.StepApprove, From: browser, Client: id, Public: public, User: user, Attempt: attempt},
		history.Note{Kind: history.StepCode, From: client, Client: id, Public: public, User: user, Attempt: attempt, Grant: grant})
	return attempt
}

// A client that registers itself: its own steps and the browser's are one
// attempt, although they come from two addresses.
func TestRegisteredClientIsOneAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client, browser := b.from("203.0.113.9", "node"), b.from("198.51.100.7", "Firefox")
	b.take(history.Note{Kind: history.StepChallenge, From: client},
		history.Note{Kind: history.StepDiscovery, Detail: "resource document", From: client},
		history.Note{Kind: history.StepRegister, From: client, Client: "c1"},
		history.Note{Kind: history.StepAuthorize, From: browser, Client: "c1"},
		history.Note{Kind: history.StepSignIn, From: browser, Client: "c1"})
	b.SignedIn(browser, "c1", "", history.FaultCredentials)
	b.SignedIn(browser, "c1", "ada", "")
	b.take(history.Note{Kind: history.StepAuthorize, From: browser, Client: "c1", User: "ada"})
	b.approve(browser, client, "c1", "ada", "g1")
	b.take(history.Note{Kind: history.StepCall, From: client, Grant: "g1"})
	b.wantTold("client=c1 user=ada: challenge discovery register authorize×2 sign_in signed_in!credentials signed_in consent approve code call")
	// The next try of the same client is a new one.
	b.wait(time.Hour)
	b.take(history.Note{Kind: history.StepAuthorize, From: browser, Client: "c1", User: "ada"})
	if got := b.told(); len(got) != 2 || got[0] != "client=c1 user=ada: authorize" {
		t.Errorf("a second try is told as %q", got)
	}
}

// Some programs register twice a second apart and go on with one of the two.
func TestRegistersTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client, browser := b.from("203.0.113.9", "node"), b.from("203.0.113.9", "Firefox")
	b.take(history.Note{Kind: history.StepDiscovery, From: client},
		history.Note{Kind: history.StepRegister, From: client, Client: "c1"},
		history.Note{Kind: history.StepRegister, From: client, Client: "c1"},
		history.Note{Kind: history.StepRegister, From: client, Client: "c2"})
	b.take(history.Note{Kind: history.StepAuthorize, From: browser, Client: "c1", User: "ada"})
	b.wantTold("client=c1 user=ada: discovery register×2 authorize", "client=c2 user=: register")
}

// Everybody knows the id of a metadata document, so it ties nothing: two people
// who use the same one at once, from servers of the same maker, stay apart.
func TestPeopleWithOneDocumentStayApart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const doc = "https://claude.ai/client"
	cloud := b.from("203.0.113.9", "Claude-User")
	ada, bob := b.from("198.51.100.7", "Firefox"), b.from("192.0.2.8", "Chrome")
	note := func(kind string, from history.Visitor, user store.UserID) history.Note {
		return history.Note{Kind: kind, From: from, Client: doc, Public: true, User: user}
	}
	b.take(history.Note{Kind: history.StepDiscovery, From: cloud})
	b.take(note(history.StepAuthorize, ada, ""), note(history.StepAuthorize, bob, ""), note(history.StepSignIn, ada, ""), note(history.StepSignIn, bob, ""))
	b.SignedIn(ada, doc, "ada", "")
	b.SignedIn(bob, doc, "bob", "")
	b.approve(bob, cloud, doc, "bob", "gb")
	b.approve(ada, cloud, doc, "ada", "ga")
	// A stranger with a code that was never given out.
	b.take(note(history.StepCode, b.from("192.0.2.66", "evil"), ""))
	for user, want := range map[store.UserID]string{
		"ada": "client=https://claude.ai/client user=ada: authorize sign_in signed_in consent approve code",
		"bob": "client=https://claude.ai/client user=bob: discovery authorize sign_in signed_in consent approve code",
	} {
		list, err := b.OwnAttempts(user, "", "", 10)
		if err != nil || len(list.Attempts) != 1 || line(list.Attempts[0].Attempt) != want {
			t.Errorf("%s sees %+v, %v", user, list, err)
		}
	}
}

// Servers of one maker stand for many people: once an attempt is somebody's,
// what they read next is another's.
func TestNextPreludeIsAnotherAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cloud, browser := b.from("203.0.113.9", "Claude-User"), b.from("198.51.100.7", "Firefox")
	look := history.Note{Kind: history.StepDiscovery, From: cloud}
	b.take(look, history.Note{Kind: history.StepRegister, From: cloud, Client: "c1"}, history.Note{Kind: history.StepAuthorize, From: browser, Client: "c1", User: "ada"}, look)
	b.wantTold("client= user=: discovery", "client=c1 user=ada: discovery register authorize")
	const doc = "https://claude.ai/client"
	b.approve(browser, cloud, doc, "ada", "g") // adopts what was read
	b.take(look)
	b.wantTold("client= user=: discovery", "client=https://claude.ai/client user=ada: discovery consent approve code", "client=c1 user=ada: discovery register authorize")
}

// A client on the person's own computer looks around from the same address that
// the browser comes from a moment later.
func TestNearPreludeIsAdopted(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]int{time.Second: 1, 5 * time.Minute: 2} {
		b := newBench(t)
		b.take(history.Note{Kind: history.StepDiscovery, From: b.from("198.51.100.7", "codex")})
		b.wait(wait)
		b.take(history.Note{Kind: history.StepAuthorize, From: b.from("198.51.100.7", "Firefox"), Client: "https://chatgpt.com/x", Public: true})
		if got := b.told(); len(got) != want {
			t.Errorf("after %v: %q", wait, got)
		}
	}
}

// One browser, two people one after the other: two attempts.
func TestTwoPeopleAtOneBrowser(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	browser := b.from("198.51.100.7", "Firefox")
	note := history.Note{Kind: history.StepConsent, From: browser, Client: "c1", User: "ada"}
	b.take(note)
	note.User = "bob"
	b.take(note)
	b.wantTold("client=c1 user=bob: consent", "client=c1 user=ada: consent")
	b.SignedIn(browser, "c1", "eve", "")
	b.SignedIn(browser, "c1", "", history.FaultCredentials)
	b.wantTold("client=c1 user=bob: consent", "client=c1 user=ada: consent")
	// Whoever comes next without a session need not be the one before.
	note.Kind, note.User = history.StepAuthorize, ""
	b.take(note)
	b.SignedIn(browser, "c1", "", history.FaultCredentials)
	b.SignedIn(browser, "c1", "eve", "")
	b.wantTold("client=c1 user=eve: authorize signed_in!credentials signed_in", "client=c1 user=bob: consent", "client=c1 user=ada: consent")
}

// A sign-in that no authorization request led to leaves no trace here.
func TestSignInWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SignedIn(b.from("198.51.100.7", "Firefox"), "made up", "ada", "")
	b.wantTold()
}

// A stranger's steps are one attempt until a long silence.
func TestPauseBeginsAnAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.from("2001:db8::1", "scan")
	b.take(history.Note{Kind: history.StepChallenge, From: v})
	b.wait(9 * time.Minute)
	b.take(history.Note{Kind: history.StepChallenge, From: b.from("2001:db8::2", "scan")}) // the same /64
	b.take(history.Note{Kind: history.StepChallenge, From: b.from("2001:db8::2", "other")})
	b.wait(11 * time.Minute)
	b.take(history.Note{Kind: history.StepChallenge, From: v})
	b.wantTold("client= user=: challenge", "client= user=: challenge", "client= user=: challenge challenge")
}

// Clients that try without a token at each start are not taken for failures.
func TestCameBackWithAToken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, g := request("203.0.113.9", "codex"), store.Grant{ID: "g", User: "ada", Client: "c", Attempt: "attempt"}
	b.take(history.Note{Kind: history.StepChallenge, From: b.Visitor(v)})
	b.Called(&g, v)
	b.Called(&g, v) // ends it once
	list, err := b.Attempts(store.AttemptQuery{Limit: 10})
	if err != nil || len(list.Attempts) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, s := range list.Attempts {
		if s.User == "" && (s.Diagnosis.State != history.Works || len(s.Steps) != 2 || s.Steps[1].Count != 1) {
			t.Errorf("%+v", s)
		}
	}
}

// So are those that read the documents at each start. But such a one may be a
// neighbour on the way to a sign-in, and then it goes on with the sign-in.
func TestCameBackAfterReading(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, g := request("203.0.113.9", "codex"), store.Grant{ID: "g", User: "ada", Client: "c", Attempt: "attempt"}
	look := []history.Note{{Kind: history.StepChallenge, From: b.Visitor(v)}, {Kind: history.StepDiscovery, From: b.Visitor(v)}}
	for range 2 { // the second start belongs to the same prelude, and is closed as well
		b.take(look...)
		b.Called(&g, v)
		b.wait(time.Minute)
		b.Called(&g, v)
	}
	b.wantTold("client= user=: challenge×2 discovery×2 challenge×2", "client=c user=ada: call")
	list, err := b.Attempts(store.AttemptQuery{Limit: 10})
	if err != nil || list.Attempts[0].Diagnosis.State != history.Works {
		t.Errorf("%+v, %v", list, err)
	}
	b.take(look[1])
	attempt := b.approve(b.from("203.0.113.9", "Firefox"), b.Visitor(v), "https://app.example/client", "bob", "gb")
	b.wantTold("client=https://app.example/client user=bob: challenge×2 discovery×3 challenge×2 consent approve code", "client=c user=ada: call")
	b.take(history.Note{Kind: history.StepRegister, From: b.Visitor(v), Client: "c2"})
	b.Called(&g, v)
	if got := b.told(); got[0] != "client=c2 user=: register" || attempt == "" {
		t.Errorf("a registration is told as %q", got)
	}
}

// Some read the documents and never call without a token.
func TestCameBackAfterReadingOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, g := request("203.0.113.9", "copilot"), store.Grant{ID: "g", User: "ada", Client: "c", Attempt: "attempt"}
	b.take(history.Note{Kind: history.StepDiscovery, From: b.Visitor(v)})
	b.Called(&g, v)
	b.wait(time.Hour)
	list, err := b.Attempts(store.AttemptQuery{Limit: 10})
	works := func(a history.Attempt) bool { return a.User == "" && a.Diagnosis.State == history.Works }
	if err != nil || len(list.Attempts) != 2 || !slices.ContainsFunc(list.Attempts, works) {
		t.Errorf("%+v, %v", list, err)
	}
}

// What a visitor did without a token is looked for now and then: that stands on
// the path of every call.
func TestCallsAreLookedAtNowAndThen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, g := request("203.0.113.9", "codex"), store.Grant{ID: "g", User: "ada", Client: "c", Attempt: "attempt"}
	b.Called(&g, v)
	b.wait(time.Second)
	b.take(history.Note{Kind: history.StepChallenge, From: b.Visitor(v)})
	b.Called(&g, v)
	b.wantTold("client= user=: challenge", "client=c user=ada: call")
	b.wait(9 * time.Second)
	b.Called(&g, v)
	b.wantTold("client= user=: challenge challenge", "client=c user=ada: call")
}

// Calls are told once an hour and counted.
func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, g := request("203.0.113.9", "codex"), store.Grant{ID: "g", User: "ada", Client: "c", Attempt: "attempt"}
	for range 180 {
		b.Called(&g, r)
		b.wait(time.Minute)
	}
	b.wantTold("client=c user=ada: call×3")
}

// People see their own attempts, and of steps that may be another's client's
// neither address nor User-Agent. Nobody sees a connection of somebody else.
func TestOwnAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client, browser := b.from("203.0.113.9", "node"), b.from("198.51.100.7", "Firefox")
	b.take(history.Note{Kind: history.StepDiscovery, From: client}, history.Note{Kind: history.StepRegister, From: client, Client: "c1"})
	b.approve(browser, client, "c1", "ada", "g1")
	for _, c := range []struct {
		user       store.UserID
		connection store.GrantID
		want       int
	}{{"ada", "", 1}, {"ada", "g1", 1}, {"ada", "g2", 0}, {"bob", "", 0}, {"bob", "g1", 0}, {"", "", 0}, {"", "g1", 0}} {
		list, err := b.OwnAttempts(c.user, c.connection, "", 10)
		if err != nil || len(list.Attempts) != c.want {
			t.Errorf("%+v: %+v, %v", c, list, err)
			continue
		}
		for _, s := range list.Attempts {
			if s.Steps[0].Addr+s.Steps[0].Agent != "" || s.Steps[1].Addr != "203.0.113.9" || s.Steps[1].Agent != "node" {
				t.Errorf("%+v: steps %+v", c, s.Steps)
			}
		}
	}
}

// What comes from outside is bounded, and free of what could steer a terminal
// or turn text around.
func TestTextIsCleaned(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.from("203.0.113.9", "a\x1b[31m\u202eb\x00"+strings.Repeat("é", 5000))
	b.take(history.Note{Kind: history.StepRegister, From: v, Client: "c", ClientName: strings.Repeat("\u202e", 3) + strings.Repeat("n", 5000), Host: strings.Repeat("h", 5000), Detail: "\r\n" + strings.Repeat("d", 5000)})
	b.Audit(v, store.AuditEntry{Action: "x", Object: "\x1b" + strings.Repeat("o", 5000), Outcome: strings.Repeat("o", 5000)})
	list, err := b.Attempts(store.AttemptQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	a := list.Attempts[0]
	for name, text := range map[string]string{"agent": a.Steps[0].Agent, "name": a.ClientName, "host": a.Host, "detail": a.Steps[0].Detail} {
		if len(text) > 240 || strings.ContainsAny(text, "\x00\x1b\r\n\u202e") {
			t.Errorf("%s: %d bytes, %q", name, len(text), text)
		}
	}
	page, err := b.AuditList(store.AuditQuery{Limit: 1})
	if err != nil || len(page.Entries[0].Object) != 200 || len(page.Entries[0].Outcome) != 200 || !page.Entries[0].Stranger {
		t.Errorf("%+v, %v", page, err)
	}
}

// What is remembered to tie steps together stays bounded in a flood, and the
// flood does not make it forget a client that is on its way.
func TestCorrelatorIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client := b.from("203.0.113.9", "node")
	b.take(history.Note{Kind: history.StepRegister, From: client, Client: "c1"})
	for i := range 20_000 {
		b.Step(history.Note{Kind: history.StepDiscovery, From: b.from("192.0.2.1", fmt.Sprint(i))})
	}
	if n := b.Remembered(); n > 9000 {
		t.Errorf("%d visitors are remembered", n)
	}
	b.take(history.Note{Kind: history.StepAuthorize, From: b.from("198.51.100.7", "Firefox"), Client: "c1", User: "ada"})
	list, err := b.OwnAttempts("ada", "", "", 10)
	if err != nil || len(list.Attempts) != 1 || line(list.Attempts[0].Attempt) != "client=c1 user=ada: register authorize" {
		t.Errorf("%+v, %v", list, err)
	}
}

// A nil Recorder takes everything and has nothing.
func TestNilRecorder(t *testing.T) {
	t.Parallel()
	var r *history.Recorder
	r.Step(history.Note{Kind: history.StepCall})
	r.Audit(r.Visitor(request("203.0.113.9", "x")), store.AuditEntry{})
	r.Called(&store.Grant{}, request("203.0.113.9", "x"))
	r.SignedIn(history.Visitor{}, "c", "u", "")
	if list, err := r.Attempts(store.AttemptQuery{Limit: 1}); err != nil || list.Attempts != nil {
		t.Error(list, err)
	}
	if page, err := r.AuditList(store.AuditQuery{Limit: 1}); err != nil || page.Entries != nil {
		t.Error(page, err)
	}
}

// Run writes about once a second, however many steps there are as long as they
// fit one commit, and ends cleanly with everything written.
func TestRunWritesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.New(t)
		r := history.New(history.Config{DB: db, Now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		before := storetest.Commits(t, db)
		for i := range 250 { // 5 seconds
			r.Step(history.Note{Kind: history.StepDiscovery, Detail: fmt.Sprint(i % 10), From: r.Visitor(request("203.0.113.9", fmt.Sprint(i%50)))})
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		if n := storetest.Commits(t, db) - before; n < 4 || n > 6 {
			t.Errorf("%d commits in five seconds", n)
		}
		before = storetest.Commits(t, db)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := storetest.Commits(t, db) - before; n > 1 {
			t.Errorf("%d commits in a minute of silence", n)
		}
		r.Audit(history.Visitor{}, store.AuditEntry{Action: "last", ActorName: history.CommandLine})
		cancel()
		<-done
		before = storetest.Commits(t, db)
		page, err := db.Audit(store.AuditQuery{Limit: 1}, time.Now())
		if err != nil || len(page.Entries) != 1 || storetest.Commits(t, db) != before {
			t.Errorf("after the end: %+v, %v, %d commits", page, err, storetest.Commits(t, db)-before)
		}
	})
}
