package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// inviting is a team of ann, an owner, who invited somebody, and bob, who is in no
// team.
type inviting struct {
	testing.TB
	*store.DB
	World  storetest.World
	secret store.Hash
}

func newInviting(t testing.TB, email string) inviting {
	t.Helper()
	i := inviting{TB: t, DB: storetest.New(t), secret: store.HashSecret("invitation")}
	i.World = storetest.Populate(t, i.DB, "ann", time.Now().UTC())
	i.must(i.CreateUser(store.User{ID: "bob", Email: "bob@example.com"}))
	i.must(i.CreateInvitation(store.Invitation{
		Hash: i.secret, Team: i.World.Team.ID, Role: store.RoleViewer, Email: email, By: i.World.User.ID, Created: i.World.Now, Expires: i.World.Now.Add(store.InvitationTTL),
	}))
	return i
}

func (i inviting) must(err error) {
	i.Helper()
	if err != nil {
		i.Fatal(err)
	}
}

func (i inviting) accept(user store.UserID) error {
	_, err := i.AcceptInvitation(i.secret, user, i.World.Now)
	return err
}

// An invitation gives its role once, however many try with it at the same time.
func TestInvitationIsForOne(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	if shown, err := i.Invitation(i.secret, i.World.Now); err != nil || shown.Team.ID != i.World.Team.ID || shown.By.ID != i.World.User.ID || shown.Role != store.RoleViewer {
		t.Errorf("%+v, %v", shown, err)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for n := range 20 {
		user := store.UserID(fmt.Sprint("user", n))
		i.must(i.CreateUser(store.User{ID: user, Email: string(user) + "@example.com"}))
		all.Go(func() {
			if err := i.accept(user); err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := i.Members(i.World.Team.ID)
	if err != nil || won.Load() != 1 || len(list) != 2 || !slices.ContainsFunc(list, func(m store.Member) bool { return m.Role == store.RoleViewer }) {
		t.Errorf("%d won; the team has %+v, %v", won.Load(), list, err)
	}
	i.must(i.Check())
}

// What makes an invitation void does so at the moment in which it is accepted, and
// leaves no account behind.
func TestVoidInvitations(t *testing.T) {
	t.Parallel()
	owner := func(i inviting) error {
		return i.PutMember(store.Member{Team: i.World.Team.ID, User: "bob", Role: store.RoleOwner})
	}
	for name, c := range map[string]struct {
		email string
		void  func(inviting) error
		want  error
	}{
		"withdrawn":    {"", func(i inviting) error { _, err := i.WithdrawInvitation(i.World.Team.ID, i.secret); return err }, store.ErrNotFound},
		"team removed": {"", func(i inviting) error { _, err := i.RemoveTeam(i.World.Team.ID); return err }, store.ErrNotFound},
		"inviter demoted": {"", func(i inviting) error {
			return errors.Join(owner(i), i.SetRole(i.World.Team.ID, i.World.User.ID, store.RoleMember))
		}, store.ErrNotFound},
		"inviter left": {"", func(i inviting) error {
			_, err := i.Leave(i.World.Team.ID, i.World.User.ID)
			return errors.Join(owner(i), err)
		}, store.ErrNotFound},
		"inviter deleted": {"", func(i inviting) error { return i.DeleteUser(i.World.User.ID) }, store.ErrNotFound},
		"swept": {"", func(i inviting) error {
			_, err := i.Sweep(t.Context(), i.World.Now.Add(store.InvitationTTL))
			return err
		}, store.ErrNotFound},
		"for somebody else": {"eve@example.com", func(inviting) error { return nil }, store.ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newInviting(t, c.email)
			if name == "inviter left" {
				i.must(owner(i))
			}
			i.must(c.void(i))
			i.must(i.CreateUser(store.User{ID: "guest", Email: "guest@example.com"}))
			if err := i.accept("guest"); !errors.Is(err, c.want) {
				t.Errorf("accepted: %v, want %v", err, c.want)
			}
			_, err := i.AcceptInvitationWith(i.secret, store.User{ID: "new", Email: "new@example.com"}, store.Session{Hash: i.secret, User: "new"}, i.World.Now)
			if _, gone := i.User("new"); !errors.Is(err, c.want) || !errors.Is(gone, store.ErrNotFound) {
				t.Errorf("accepted with a new account: %v, which is there: %v", err, gone)
			}
			i.must(i.Check())
		})
	}
	i := newInviting(t, "")
	if _, err := i.AcceptInvitation(i.secret, "bob", i.World.Now.Add(store.InvitationTTL)); !errors.Is(err, store.ErrExpired) {
		t.Errorf("after its time: %v", err)
	}
	if _, err := i.WithdrawInvitation("other", i.secret); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("withdrawn for another team: %v", err)
	}
	if err := i.accept(i.World.User.ID); !errors.Is(err, store.ErrTaken) {
		t.Errorf("by a member: %v", err)
	}
	i.must(i.accept("bob"))
}

// Who may not invite leaves no invitation, and there is an end to those that wait.
func TestWhoInvites(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	i.must(i.PutMember(store.Member{Team: i.World.Team.ID, User: "bob", Role: store.RoleMember}))
	i.must(i.CreateUser(store.User{ID: "eve", Email: "eve@example.com"}))
	invite := func(name string, by store.UserID) error {
		return i.CreateInvitation(store.Invitation{Hash: store.HashSecret(name), Team: i.World.Team.ID, Role: store.RoleMember, By: by, Expires: i.World.Now.Add(time.Hour)})
	}
	for _, by := range []store.UserID{"bob", "eve", "nobody"} {
		if err := invite("x", by); !errors.Is(err, store.ErrNotMember) {
			t.Errorf("%s invites: %v", by, err)
		}
	}
	i.must(i.CreateUser(store.User{ID: "root", Email: "root@example.com", Admin: true}))
	i.must(invite("of an administrator", "root"))
	i.must(invite("of a command", ""))
	for n := range store.MaxInvitations - 3 {
		i.must(invite(fmt.Sprint(n), ""))
	}
	if err := invite("one more", ""); !errors.Is(err, store.ErrFull) {
		t.Errorf("one more: %v", err)
	}
	list, err := i.InvitationsOf(i.World.Team.ID, i.World.Now)
	if err != nil || len(list) != store.MaxInvitations || list[0].Created.Before(list[len(list)-1].Created) {
		t.Errorf("%d invitations, %v", len(list), err)
	}
}

// A team goes with all that hangs on it, and not while it has pods.
func TestRemoveTeam(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	g, access := i.World.Connect(t, i.DB, "pods:read")
	i.World.Code(t, i.DB, "pods:read")
	pod := store.Pod{ID: "pod", Name: "shop", Team: i.World.Team.ID, Want: store.WantRunning}
	i.must(i.CreatePod(pod, i.World.Now, func([]store.Pod) error { return nil }))
	ended := 0
	defer i.OnLoss(g.ID, func() { ended++ })()
	for _, want := range []store.Want{store.WantRunning, store.WantGone} {
		i.must(i.SetWant("pod", want))
		if use, err := i.RemoveTeam(i.World.Team.ID); !errors.Is(err, store.ErrHasPods) || use.Pods+use.Deleting != 1 || use.Connections != 1 || use.Members != 1 || use.Invitations != 1 {
			t.Errorf("with a pod that is to be %s: %+v, %v", want, use, err)
		}
	}
	i.must(i.ForgetPod("pod", i.World.Now.Add(time.Hour)))
	use, err := i.RemoveTeam(i.World.Team.ID)
	if err != nil || use != (store.TeamUse{Members: 1, Connections: 1, Invitations: 1}) || ended != 1 {
		t.Errorf("%+v, %v; told %d", use, err, ended)
	}
	if _, err := i.Access(access, i.World.Now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its connection: %v", err)
	}
	i.must(i.Check())
}

// A client that is blocked has nothing left and gets nothing more.
func TestBlockedClient(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	g, access := i.World.Connect(t, i.DB, "pods:read")
	code, session := i.World.Code(t, i.DB, "pods:read"), i.World.SignIn(t, i.DB)
	waiting := store.AuthRequest{Handle: i.secret, Session: session.Hash, Client: g.Client, Created: i.World.Now, Expires: i.World.Now.Add(time.Hour)}
	i.must(i.CreateAuthRequest(waiting))
	told := 0
	defer i.OnLoss(g.ID, func() { told++ })()
	ended, err := i.BlockClient(store.Block{Client: g.Client, Since: i.World.Now})
	if err != nil || len(ended) != 1 || told != 1 {
		t.Fatalf("%+v, %v; told %d", ended, err, told)
	}
	if _, err := i.Access(access, i.World.Now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its token: %v", err)
	}
	if _, err := i.RedeemCode(code, i.World.Now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its code: %v", err)
	}
	if _, err := i.AuthRequest(waiting.Handle, waiting.Session, i.World.Now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its request: %v", err)
	}
	if err := i.CreateAuthRequest(waiting); !errors.Is(err, store.ErrBlocked) {
		t.Errorf("another request: %v", err)
	}
	u, err := i.ClientUse(g.Client)
	if err != nil || u.Blocked == nil || u.Connections != 0 || u.Forgotten {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = i.ForgetClient(g.Client)
	i.must(err)
	if page, err := i.BlockedPage(store.PageQuery{Limit: 5}); err != nil || len(page.List) != 1 || !page.List[0].Forgotten || page.List[0].ID != g.Client {
		t.Errorf("%+v, %v", page, err)
	}
	i.must(i.UnblockClient(g.Client))
	if err := i.UnblockClient(g.Client); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unblocked twice: %v", err)
	}
	if _, err := i.ForgetClient(g.Client); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("forgotten twice: %v", err)
	}
	i.must(i.Check())
}

// Every page of a list goes on where the one before ended, and nothing is left out.
func TestPages(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	var made []store.GrantID
	for range 7 {
		g, _ := i.World.Connect(t, i.DB, "pods:read")
		made = append(made, g.ID)
	}
	other := storetest.Populate(t, i.DB, "carl", i.World.Now.Add(time.Hour))
	newest, _ := other.Connect(t, i.DB, "pods:read")
	for _, team := range []store.TeamID{"", i.World.Team.ID} {
		var got []store.GrantID
		for q := (store.PageQuery{Limit: 3}); ; {
			page, err := i.GrantsPage(team, q, i.World.Now)
			i.must(err)
			for _, d := range page.List {
				if d.Owner.ID != d.User || d.For.ID != d.Grant.Team {
					t.Errorf("%+v", d)
				}
				got = append(got, d.ID)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if team == "" {
			if len(got) != 8 || got[0] != newest.ID {
				t.Errorf("all: %v", got)
			}
			got = got[1:]
		}
		slices.Sort(got)
		slices.Sort(made)
		if !slices.Equal(got, made) {
			t.Errorf("of %q: %v, want %v", team, got, made)
		}
	}
	emails := func(limit int) (all []string) {
		for q := (store.PageQuery{Limit: limit}); ; {
			page, err := i.UsersPage(q)
			i.must(err)
			for _, u := range page.List {
				all = append(all, u.Email)
			}
			if q.After = page.Next; q.After == "" {
				return all
			}
		}
	}
	if one, all := emails(1), emails(50); !slices.Equal(one, all) || len(all) != 3 || !slices.IsSorted(all) {
		t.Errorf("people: %v and %v", one, all)
	}
	teams, err := i.TeamsPage(store.PageQuery{Limit: 1})
	if err != nil || len(teams.List) != 1 || teams.Next == "" || teams.List[0].Use.Connections != 7 {
		t.Errorf("%+v, %v", teams, err)
	}
	clients, err := i.ClientsPage(store.PageQuery{Limit: 50})
	if err != nil || len(clients.List) == 0 || clients.Next != "" {
		t.Errorf("%+v, %v", clients, err)
	}
	search := func(words string) (found string) {
		q := store.PageQuery{Limit: 2, Search: words}
		teams, err := i.TeamsPage(q)
		i.must(err)
		clients, err := i.ClientsPage(q)
		i.must(err)
		grants, err := i.GrantsPage("", q, i.World.Now)
		i.must(err)
		for n := 1; grants.Next != ""; n++ { // every page but the last is full
			if len(grants.List) != 2*n {
				t.Fatalf("%q: %d connections on %d pages", words, len(grants.List), n)
			}
			q.After = grants.Next
			more, err := i.GrantsPage("", q, i.World.Now)
			i.must(err)
			grants.List, grants.Next = append(grants.List, more.List...), more.Next
		}
		return fmt.Sprint(len(teams.List), len(clients.List), len(grants.List))
	}
	for words, want := range map[string]string{
		other.User.Email: "0 0 1", strings.ToUpper(other.Team.Slug): "1 1 1", i.World.Team.Slug + " " + i.World.User.Email: "0 0 7", string(other.Client.ID): "0 1 0", "nothing-of-that": "0 0 0",
	} {
		if found := search(words); found != want {
			t.Errorf("search for %q: %s teams, clients and connections, want %s", words, found, want)
		}
	}
	for _, after := range []string{"%", "AA=="} {
		_, errUsers := i.UsersPage(store.PageQuery{After: after, Limit: 1})
		_, errGrants := i.GrantsPage("", store.PageQuery{After: after, Limit: 1}, i.World.Now)
		if !errors.Is(errUsers, store.ErrCursor) || !errors.Is(errGrants, store.ErrCursor) {
			t.Errorf("after %q: %v, %v", after, errUsers, errGrants)
		}
	}
}

// A change of a team's policy is told to those who watch its connections.
func TestPolicyIsTold(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	g, access := i.World.Connect(t, i.DB, "pods:read")
	told := 0
	defer i.OnLoss(g.ID, func() {
		told++
		if a, err := i.Access(access, i.World.Now); err != nil || !a.Team.Policy.Limits.ReadOnly {
			t.Errorf("told before it was so: %+v, %v", a, err)
		}
	})()
	i.must(i.SetTeamPolicy(i.World.Team.ID, store.Policy{Limits: store.Limits{ReadOnly: true}}))
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if err := i.SetTeamPolicy("other", store.Policy{}); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// The owners of a pod are told once, until it ran well again.
func TestToldOnce(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	i.must(i.CreatePod(store.Pod{ID: "pod", Name: "shop", Team: i.World.Team.ID, Want: store.WantRunning}, i.World.Now, func([]store.Pod) error { return nil }))
	for _, want := range []bool{true, false, false} {
		if first, err := i.MarkTold("pod", i.World.Now); err != nil || first != want {
			t.Errorf("first: %v, %v", first, err)
		}
	}
	i.must(i.ClearTold("pod"))
	before := i.Transaction()
	i.must(i.ClearTold("pod"))
	i.must(i.ClearTold("gone"))
	if i.Transaction() != before {
		t.Error("nothing was written twice")
	}
	if first, err := i.MarkTold("pod", i.World.Now); err != nil || !first {
		t.Errorf("its next failure: %v, %v", first, err)
	}
	i.must(i.SetWant("pod", store.WantGone))
	for _, id := range []store.PodID{"pod", "gone"} {
		if _, err := i.MarkTold(id, i.World.Now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// What was done to a pod is found by it, page by page, also under a name used anew.
func TestAuditOfAPod(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	for n := range 5 {
		for _, pod := range []store.PodID{"pod", "pod2", ""} {
			i.NoteAudit(store.AuditEntry{At: i.World.Now.Add(time.Duration(n) * time.Minute), Actor: "bob", Pod: pod, Action: "tool", Object: fmt.Sprint(pod, n), Outcome: store.AuditOK})
		}
	}
	var got []string
	for q := (store.AuditQuery{Pod: "pod", Limit: 2}); ; {
		page, err := i.Audit(q, i.World.Now)
		i.must(err)
		for _, e := range page.Entries {
			got = append(got, e.Object)
		}
		if q.Before = page.Next; q.Before == "" {
			break
		}
	}
	if want := []string{"pod4", "pod3", "pod2", "pod1", "pod0"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	i.must(i.Check())
}

// What a pod used is a ring of a day that knows its gaps, whatever comes in whichever
// order.
func TestUsage(t *testing.T) {
	t.Parallel()
	i := newInviting(t, "")
	i.must(i.CreatePod(store.Pod{ID: "pod", Name: "shop", Team: i.World.Team.ID, Want: store.WantRunning}, i.World.Now, func([]store.Pod) error { return nil }))
	start := time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)
	put := func(after time.Duration, memory int64) {
		t.Helper()
		p := store.UsagePoint{Memory: memory, CPU: memory + 1, In: memory + 2, Out: memory + 3}
		i.must(i.PutUsage([]store.UsageSample{{Pod: "gone", At: start, UsagePoint: p}, {Pod: "pod", At: start.Add(after), UsagePoint: p}}))
	}
	usage := func() store.Usage {
		t.Helper()
		u, err := i.Usage("pod")
		i.must(err)
		return u
	}
	if u := usage(); len(u.Points) > 0 || !u.Newest.IsZero() {
		t.Errorf("before: %+v", u)
	}
	put(time.Minute, 1)
	put(2*time.Minute, 2)      // the same step
	put(16*time.Minute, 1<<40) // two steps are missing
	put(6*time.Minute, 9)      // too late
	want := []store.UsagePoint{{true, 2, 3, 4, 5}, {}, {}, {true, 1 << 40, 1<<40 + 1, 1<<40 + 2, 1<<40 + 3}}
	if u := usage(); !slices.Equal(u.Points, want) || !u.Newest.Equal(start.Add(15*time.Minute)) {
		t.Errorf("%+v", u)
	}
	for n := range store.UsagePoints + 3 {
		put(20*time.Minute+time.Duration(n)*store.UsageStep, int64(n))
	}
	if u := usage(); len(u.Points) != store.UsagePoints || u.Points[0].Memory != 3 || u.Points[store.UsagePoints-1].Memory != int64(store.UsagePoints+2) {
		t.Errorf("%d points, from %+v", len(u.Points), u.Points[0])
	}
	put(100*24*time.Hour, 5)
	if u := usage(); len(u.Points) != 1 {
		t.Errorf("after a long time %d points", len(u.Points))
	}
	i.must(i.SetWant("pod", store.WantGone))
	i.must(i.ForgetPod("pod", i.World.Now))
	if u := usage(); len(u.Points) > 0 {
		t.Errorf("of a pod that is gone: %+v", u)
	}
	i.must(i.Check())
}
