// Package notify tells people what nobody asked for: owners of a team that one of
// its pods failed, administrators that a backup did, and somebody that they are invited.
//
// Facts are told by mail, and posted to the webhook of the administrator's choice.
// Whoever has one hands it over and goes on: it waits here, in bounded memory, and
// what cannot be delivered is tried again for some hours. What fails together for
// one person is one mail, and there is a bound on how much anybody hears in an hour.
// That something was told before is for the caller to remember, which is why it
// hears of the outcome.
package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"podgate/internal/mail"
	"podgate/internal/ratelimit"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/store"
)

// The events there are, as settings and the webhook name them.
const (
	Failed    = "pod.failed"
	Recovered = "pod.recovered"

	BackupFailed = "backup.failed"
)

// Fact is one thing to be told, as the webhook gets it. Fields are added and never
// renamed.
type Fact struct {
	ID     string    `json:"id"` // the same in each try
	Event  string    `json:"event"`
	Pod    string    `json:"pod,omitempty"`
	Team   string    `json:"team,omitempty"` // its short name
	Reason string    `json:"reason,omitempty"`
	URL    string    `json:"url"` // of the page that says more
	Time   time.Time `json:"time"`
}

// Config is what a Notifier needs.
type Config struct {
	DB      *store.DB
	Issuer  string // where podgate's pages are
	Events  []string
	Mail    func(context.Context, mail.Message) error // nil: no mail is sent
	Webhook *Webhook                                  // nil: none
	// Gather is how long a mail waits for more that fails at the same time.
	Gather time.Duration
	Log    *slog.Logger
	Now    func() time.Time
}

// Notifier tells. Its methods are safe for concurrent use; Run delivers.
type Notifier struct {
	cfg         Config
	host        string
	mails       *lane
	posts       *lane
	pods        *ratelimit.Limiter // facts, by pod
	invitations *ratelimit.Limiter // by who invites, and by who is invited
}

// New returns a Notifier.
func New(cfg Config) *Notifier {
	n := &Notifier{
		cfg:         cfg,
		pods:        ratelimit.New(3, 20*time.Minute, 500, 10*time.Second),
		invitations: ratelimit.New(10, 6*time.Minute, 200, 15*time.Second),
	}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		n.host = u.Hostname()
	}
	n.mails = newLane("mail", cfg, ratelimit.New(10, 6*time.Minute, 500, 10*time.Second), n.send)
	n.posts = newLane("webhook", cfg, ratelimit.New(500, 10*time.Second, 500, 10*time.Second), func(ctx context.Context, all []*parcel) error { return cfg.Webhook.post(ctx, cfg.Now(), all[0].fact) })
	return n
}

// Run delivers until ctx ends. What waits then is lost; callers hand it over again
// after the next start.
func (n *Notifier) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { n.mails.run(ctx) })
	both.Go(func() { n.posts.run(ctx) })
	both.Wait()
}

// PodFailed has it told that a pod failed, and returns whether somebody can be told.
// done hears once whether somebody was. It does not wait for anybody.
func (n *Notifier) PodFailed(p pods.Pod, done func(told bool)) bool {
	return n.tell(Failed, p, done)
}

// PodRecovered has it told that a pod runs again.
func (n *Notifier) PodRecovered(p pods.Pod) {
	n.tell(Recovered, p, func(bool) {})
}

func (n *Notifier) tell(event string, p pods.Pod, done func(bool)) bool {
	if !slices.Contains(n.cfg.Events, event) {
		return false
	}
	now := n.cfg.Now()
	if _, ok := n.pods.Allow(string(p.ID)+event, now); !ok {
		return false
	}
	team, owners, err := n.owners(p.Team)
	if err != nil {
		n.cfg.Log.Error("nobody can be told of a pod", "pod", p.ID, "event", event, "error", err)
		return false
	}
	fact := Fact{ID: rand.Text(), Event: event, Pod: p.Name, Team: team.Slug, URL: n.cfg.Issuer + "/pod/" + url.PathEscape(p.Name), Time: now.UTC().Truncate(time.Second)}
	if event == Failed {
		fact.Reason = text.Line(p.Reason, 500)
	}
	o := &outcome{done: done}
	var posts, mails []*parcel
	if n.cfg.Webhook != nil {
		posts = append(posts, &parcel{fact: fact, team: team.Name, due: now, outcome: o})
	}
	if n.cfg.Mail != nil {
		for _, to := range owners {
			mails = append(mails, &parcel{fact: fact, team: team.Name, to: to, due: now.Add(n.cfg.Gather), outcome: o})
		}
	}
	o.open = len(posts) + len(mails)
	return n.posts.put(posts)+n.mails.put(mails) > 0
}

// BackupFailed has administrators told that no backup could be made.
func (n *Notifier) BackupFailed(reason string) {
	if !slices.Contains(n.cfg.Events, BackupFailed) {
		return
	}
	users, err := n.cfg.DB.Users()
	if err != nil {
		n.cfg.Log.Error("nobody can be told of a backup that failed", "error", err)
		return
	}
	now := n.cfg.Now()
	fact := Fact{ID: rand.Text(), Event: BackupFailed, Reason: text.Line(reason, 500), URL: n.cfg.Issuer + "/server", Time: now.UTC().Truncate(time.Second)}
	o := &outcome{done: func(bool) {}}
	var posts, mails []*parcel
	if n.cfg.Webhook != nil {
		posts = append(posts, &parcel{fact: fact, due: now, outcome: o})
	}
	for _, u := range users {
		if u.Admin && n.cfg.Mail != nil {
			mails = append(mails, &parcel{fact: fact, to: u.Email, due: now.Add(n.cfg.Gather), outcome: o})
		}
	}
	o.open = len(posts) + len(mails)
	n.posts.put(posts)
	n.mails.put(mails)
}

// owners returns a team and the addresses of its owners.
func (n *Notifier) owners(id store.TeamID) (store.Team, []string, error) {
	team, err := n.cfg.DB.Team(id)
	if err != nil {
		return team, nil, err
	}
	members, err := n.cfg.DB.Members(id)
	var list []string
	for _, m := range members {
		if m.Role != store.RoleOwner {
			continue
		}
		if u, err := n.cfg.DB.User(m.User); err == nil {
			list = append(list, u.Email)
		}
	}
	return team, list, err
}

// send tells one person everything that waits for them in one mail.
func (n *Notifier) send(ctx context.Context, all []*parcel) error {
	return n.cfg.Mail(ctx, n.letter(all))
}

// Errors of Invitation beside those of the mail server.
var (
	ErrNoMail  = errors.New("this server sends no mail")
	ErrTooMany = errors.New("too many invitations were sent by mail within the last hour")
)

// Tells reports whether there is anything to tell, and a way to tell it.
func (n *Notifier) Tells() bool {
	return len(n.cfg.Events) > 0 && (n.cfg.Mail != nil || n.cfg.Webhook != nil)
}

// invitationTime is how long somebody waits before they hand the link over themselves.
const invitationTime = 15 * time.Second

// SendsMail reports whether a mail server is configured.
func (n *Notifier) SendsMail() bool { return n.cfg.Mail != nil }

// Invitation sends somebody the link of an invitation, at once: its error is for the
// person who invites, and says why the link has to come another way.
func (n *Notifier) Invitation(ctx context.Context, to, team, inviter, link string) error {
	if n.cfg.Mail == nil {
		return ErrNoMail
	}
	for _, key := range []string{"by " + inviter, "to " + to} {
		if _, ok := n.invitations.Allow(key, n.cfg.Now()); !ok {
			return ErrTooMany
		}
	}
	ctx, cancel := context.WithTimeout(ctx, invitationTime)
	defer cancel()
	return n.cfg.Mail(ctx, n.invitation(to, team, inviter, link))
}

// outcome is shared by all parcels of one fact.
type outcome struct {
	mu   sync.Mutex
	open int // parcels that are still on their way
	said bool
	done func(bool)
}

// end notes how one parcel ended: the first that arrives counts, or the last that
// does not.
func (o *outcome) end(arrived bool) {
	o.mu.Lock()
	o.open--
	say := !o.said && (arrived || o.open <= 0)
	o.said = o.said || say
	o.mu.Unlock()
	if say {
		o.done(arrived)
	}
}

// reasonOf is why something was not delivered, for the log.
func reasonOf(err error) string { return text.Line(fmt.Sprint(err), 400) }
