package account_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"podgate/account"
	"podgate/store"
)

func TestAddUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, slug := range []string{"red", "blue"} {
		if _, err := w.AddTeam(ctx, slug, ""); err != nil {
			t.Fatal(err)
		}
	}
	u, err := w.AddUser(ctx, account.AddUser{Email: "Ada@Example.com", Password: password, Teams: []string{"red", "blue"}})
	if err != nil {
		t.Fatal(err)
	}
	if u.Email != "ada@example.com" || u.Name != "ada" || u.Admin {
		t.Errorf("added %+v", u)
	}
	if teams, err := w.TeamsOf(u.ID); err != nil || len(teams) != 2 || teams[0].Role != store.RoleMember || teams[0].Team.Slug != "blue" {
		t.Errorf("teams: %+v, %v", teams, err)
	}
	before := w.HashesDone()
	for name, c := range map[string]struct {
		in   account.AddUser
		want error
	}{
		"taken":    {account.AddUser{Email: "ADA@example.com", Password: password}, store.ErrTaken},
		"no team":  {account.AddUser{Email: "b@example.com", Password: password, Teams: []string{"red", "green"}}, store.ErrNotFound},
		"address":  {account.AddUser{Email: "b", Password: password}, account.ErrInvalid},
		"password": {account.AddUser{Email: "b@example.com", Password: "short"}, account.ErrInvalid},
		"name":     {account.AddUser{Email: "b@example.com", Password: password, Name: strings.Repeat("n", 81)}, account.ErrInvalid},
	} {
		if _, err := w.AddUser(ctx, c.in); !errors.Is(err, c.want) || message(t, err) == "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if w.HashesDone() != before {
		t.Error("a refused user cost a hash")
	}
	if users, err := w.Users(); err != nil || len(users) != 1 || users[0].Password != "" {
		t.Errorf("users afterwards: %+v, %v", users, err)
	}
}

func TestSetPasswordEndsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com", "red")
	secret := w.signIn(u.Email)
	_, token := w.connect(u, "red")
	if err := w.SetPassword(ctx, "ada@example.com", "short"); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("a short password: %v", err)
	}
	if err := w.SetPassword(ctx, "eve@example.com", password); !errors.Is(err, store.ErrNotFound) || !strings.Contains(message(t, err), "eve@example.com") {
		t.Errorf("an unknown account: %v", err)
	}
	if _, _, err := w.Authenticate(secret); err != nil {
		t.Fatalf("a refused command ended a session: %v", err)
	}
	if err := w.SetPassword(ctx, "ADA@example.com", "another long password"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Authenticate(secret); err == nil {
		t.Error("a session outlived the password")
	}
	if _, err := w.db.Access(token, w.now()); err == nil {
		t.Error("a token outlived the password")
	}
	if _, _, err := w.SignIn(ctx, u.Email, "another long password", account.Browser{Addr: here}); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

// In a browser that was left open nobody sets the password of another or makes
// administrators, nor guesses at the administrator's password without end.
func TestAdministratorsTypeTheirOwnPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com", "red")
	session := func(email string, admin bool) store.Session {
		root, err := w.AddUser(ctx, account.AddUser{Email: email, Password: password, Admin: admin})
		if err != nil {
			t.Fatal(err)
		}
		return store.Session{User: root.ID, Hash: store.HashSecret(email)}
	}
	admin, other := session("root@example.com", true), session("max@example.com", false)
	set := func(by store.Session, own string) error {
		return w.SetPasswordOf(ctx, by, own, u.Email, "another long password", here)
	}
	if err := set(other, password); !errors.Is(err, account.ErrForbidden) {
		t.Errorf("by somebody who is no administrator: %v", err)
	}
	promote := func(by store.Session, own string) error {
		return w.MakeAdmin(ctx, by, own, u.ID, here)
	}
	if err := promote(other, password); !errors.Is(err, account.ErrForbidden) {
		t.Errorf("an administrator made by somebody who is none: %v", err)
	}
	if err := promote(admin, "guessed wrongly"); !errors.Is(err, account.ErrCredentials) {
		t.Errorf("an administrator made without the password: %v", err)
	}
	if u, err := w.UserByEmail(u.Email); err != nil || u.Admin {
		t.Errorf("after refusals: %v, %v", u.Admin, err)
	}
	wrong := 0
	for ; wrong < 100; wrong++ {
		if err := set(admin, "guessed wrongly"); errors.Is(err, account.ErrTooMany) {
			break
		} else if !errors.Is(err, account.ErrCredentials) {
			t.Fatalf("a wrong password: %v", err)
		}
	}
	if wrong == 0 || wrong > 20 {
		t.Errorf("%d guesses", wrong)
	}
	if _, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: netip.MustParseAddr("198.51.100.7")}); err != nil {
		t.Errorf("what was refused changed the password: %v", err)
	}
	w.advance(time.Hour)
	if err := set(admin, password); err != nil {
		t.Error(err)
	}
	if err := promote(admin, password); err != nil {
		t.Error(err)
	}
}

func TestOnlyOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.addUser("ada@example.com", "alone", "shared", "member")
	w.addUser("bob@example.com", "alone", "shared")
	for slug, owners := range map[string][]string{"alone": {"ada"}, "shared": {"ada", "bob"}, "member": nil} {
		for _, name := range owners {
			if err := w.AddMember(ctx, slug, name+"@example.com", true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if list, err := w.OnlyOwnerOf(ada.ID); err != nil || len(list) != 1 || list[0].Slug != "alone" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := w.AddMember(ctx, "alone", "ada@example.com", false); !errors.Is(err, store.ErrLastOwner) || !strings.Contains(message(t, err), "needs an owner") {
		t.Errorf("added anew as less: %v", err)
	}
}

func TestRemoveUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com", "red")
	secret := w.signIn(u.Email)
	_, token := w.connect(u, "red")
	if _, err := w.AddUser(ctx, account.AddUser{Email: "root@example.com", Password: password, Admin: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveUser(ctx, "root@example.com"); !errors.Is(err, store.ErrLastAdmin) || !strings.Contains(message(t, err), "--admin") {
		t.Errorf("the last administrator: %v", err)
	}
	if err := w.RemoveUser(ctx, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Authenticate(secret); err == nil {
		t.Error("a session outlived the user")
	}
	if _, err := w.db.Access(token, w.now()); err == nil {
		t.Error("a token outlived the user")
	}
	if err := w.RemoveUser(ctx, "ada@example.com"); !errors.Is(err, store.ErrNotFound) || message(t, err) == "" {
		t.Errorf("a second time: %v", err)
	}
}

func TestTeams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com")
	team, err := w.AddTeam(ctx, "web-shop", "  The   Shop ")
	if err != nil || team.Name != "The Shop" || team.Slug != "web-shop" {
		t.Fatalf("added %+v, %v", team, err)
	}
	if team, err := w.AddTeam(ctx, "plain", ""); err != nil || team.Name != "plain" {
		t.Errorf("a team without a name: %+v, %v", team, err)
	}
	if _, err := w.AddTeam(ctx, "web-shop", "Other"); !errors.Is(err, store.ErrTaken) || message(t, err) == "" {
		t.Errorf("a slug that is taken: %v", err)
	}
	if err := w.AddMember(ctx, "web-shop", "ada@example.com", false); err != nil {
		t.Fatal(err)
	}
	if err := w.AddMember(ctx, "web-shop", "ADA@example.com", true); err != nil {
		t.Fatal(err)
	}
	list, err := w.Teams()
	if err != nil || len(list) != 2 || list[0].Slug != "plain" || list[1].Slug != "web-shop" {
		t.Fatalf("teams: %+v, %v", list, err)
	}
	if m := list[1].Members; len(m) != 1 || m[0].User.ID != u.ID || m[0].Role != store.RoleOwner || m[0].User.Password != "" {
		t.Errorf("members: %+v", m)
	}
	for _, err := range []error{
		w.AddMember(ctx, "nowhere", "ada@example.com", false),
		w.AddMember(ctx, "web-shop", "eve@example.com", false),
	} {
		if !errors.Is(err, store.ErrNotFound) || message(t, err) == "" {
			t.Errorf("AddMember of what is not there: %v", err)
		}
	}
	_, token := w.connect(u, "web-shop")
	if revoked, err := w.RemoveMember(ctx, "web-shop", "ada@example.com"); err != nil || revoked != 1 {
		t.Errorf("RemoveMember: %d connections ended, %v; want 1", revoked, err)
	}
	if _, err := w.db.Access(token, w.now()); err == nil {
		t.Error("a token outlived the membership")
	}
	if _, err := w.RemoveMember(ctx, "web-shop", "ada@example.com"); !errors.Is(err, store.ErrNotMember) || message(t, err) == "" {
		t.Errorf("a second time: %v", err)
	}
}

func TestNormalizeEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ada@example.com": "ada@example.com", " Ada.L+x@Sub.Example.COM\n": "ada.l+x@sub.example.com",
		"root@localhost": "root@localhost", "grüße@münchen.example": "grüße@münchen.example", "a@b": "a@b",
		"o'neil@example.com": "o'neil@example.com",
	} {
		if got, err := account.NormalizeEmail(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "ada", "@example.com", "ada@", "a b@example.com", "a@b@c", "a@ex ample.com", "a\x00@example.com", "a\u200b@example.com",
		"a\u202e@example.com", "\"a\"@example.com", ".a@example.com", "a..b@example.com", "a@.example.com", "a@example..com", "a@-x.com",
		"a@x-.com", "a@" + strings.Repeat("x", 64) + ".com", strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("x.", 130) + "com",
		"a@exa\xffmple.com", "a<b@example.com", "a@[127.0.0.1]", "a\n@example.com",
	} {
		if got, err := account.NormalizeEmail(in); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("%q was taken as %q (%v)", in, got, err)
		}
	}
}

func FuzzNormalizeEmail(f *testing.F) {
	f.Add("Ada@Example.com")
	f.Add("a..b@-")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := account.NormalizeEmail(in)
		if err != nil {
			return
		}
		if again, err := account.NormalizeEmail(got); err != nil || again != got {
			t.Errorf("%q becomes %q, which becomes %q (%v)", in, got, again, err)
		}
		if !utf8.ValidString(got) || strings.ContainsAny(got, " \t\r\n\x00<>\"") || len(got) > 254 {
			t.Errorf("%q was taken as %q", in, got)
		}
	})
}

func TestCheckSlug(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "web-shop", "team-2", "0", strings.Repeat("a", 40)} {
		if err := account.CheckSlug(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "a--b", "A", "a b", "a/b", "a.b", "ä", "a\x00", strings.Repeat("a", 41), "../x"} {
		if err := account.CheckSlug(bad); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" Ada \t Lovelace\n": "Ada Lovelace", "李 小龙": "李 小龙", "a\u202eb\u200bc\x00d": "abcd",
	} {
		if got, err := account.CleanName("name", in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "  ", "\x00\u200b", strings.Repeat("x", 81), "a\xff"} {
		if _, err := account.CleanName("name", bad); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, bad := range []string{
		"", "123456789", "ääääääääßß"[:18], "someone.long@example.com", "SOMEONE.LONG@example.com", "someone.long", " someone.long ", "Some One Long",
		"aaaaaaaaaaaaaaa", strings.Repeat("x y", 400), "invalid \xff utf-8",
	} {
		_, err := w.AddUser(ctx, account.AddUser{Email: "someone.long@example.com", Name: "Some One Long", Password: bad})
		if !errors.Is(err, account.ErrInvalid) {
			t.Errorf("password %.30q: %v", bad, err)
		}
	}
	for i, good := range []string{"1234567890", "ten char é", strings.Repeat("xy", account.MaxPassword/2)} {
		email := string(rune('a'+i)) + "@example.com"
		if _, err := w.AddUser(ctx, account.AddUser{Email: email, Password: good}); err != nil {
			t.Errorf("password %.30q: %v", good, err)
		}
		if _, _, err := w.SignIn(ctx, email, good, account.Browser{Addr: here}); err != nil {
			t.Errorf("sign in with %.30q: %v", good, err)
		}
	}
}
