package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// family is a connection with refresh tokens «0», «1» and so on, and a client
// that refreshes it.
type family struct {
	testing.TB
	db     *store.DB
	w      storetest.World
	grant  store.Grant
	access store.Credential // the first access token
}

func newFamily(t testing.TB) *family {
	t.Helper()
	f := &family{TB: t, db: storetest.New(t)}
	f.w = storetest.Populate(t, f.db, "ada", t0)
	f.grant, f.access = f.w.Offline(t, f.db, read, write)
	return f
}

func (f *family) token(name string) store.Hash { return store.HashSecret(string(f.grant.ID) + name) }
func (f *family) accessOf(name string) store.Credential {
	return store.Credential{Grant: f.grant.ID, Hash: store.HashSecret("access " + name)}
}

// rotation exchanges the token named old for one named next and an access token.
func (f *family) rotation(old, next string, now time.Time) store.Rotation {
	return store.Rotation{
		Family: storetest.Family(f.grant.ID), Token: f.token(old), Client: f.w.Client.ID,
		Salt: []byte("salt of " + next), Next: f.token(next), NextExpires: now.Add(90 * 24 * time.Hour),
		Access: f.accessOf(next).Hash, AccessExpires: now.Add(30 * 24 * time.Hour),
	}
}

func (f *family) rotate(old, next string, now time.Time) (store.Rotated, error) {
	return f.db.RotateRefresh(f.rotation(old, next, now), now)
}

func (f *family) mustRotate(old, next string, now time.Time) store.Rotated {
	f.Helper()
	out, err := f.rotate(old, next, now)
	if err != nil {
		f.Fatalf("%s for %s: %v", old, next, err)
	}
	return out
}

// use is what the bearer check does.
func (f *family) use(access store.Credential, now time.Time) {
	f.Helper()
	a, err := f.db.Access(access, now)
	if err != nil {
		f.Fatal(err)
	}
	if err := f.db.NoteGrantUse(a, now); err != nil {
		f.Fatal(err)
	}
}

func (f *family) wantAccess(access store.Credential, now time.Time, want error) {
	f.Helper()
	if _, err := f.db.Access(access, now); !errors.Is(err, want) {
		f.Errorf("the access token: %v, want %v", err, want)
	}
}

func (f *family) wantDead(when string, now time.Time) {
	f.Helper()
	if list, err := f.db.Grants(f.w.User.ID, now); err != nil || len(list) != 0 {
		f.Errorf("%s: connections left: %+v, %v", when, list, err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	if want := t0.Add(90 * 24 * time.Hour); !f.grant.Expires.Equal(want) {
		t.Errorf("the connection expires %v, want with its refresh token %v", f.grant.Expires, want)
	}
	now := t0.Add(20 * 24 * time.Hour)
	r := f.rotation("0", "1", now)
	r.Scopes = []store.Scope{read}
	out, err := f.db.RotateRefresh(r, now)
	wantErr(t, err, nil)
	if out.Grant.ID != f.grant.ID || !bytes.Equal(out.Salt, r.Salt) || out.Access.Hash != r.Access || !out.Access.Expires.Equal(r.AccessExpires) || !out.Grant.Expires.Equal(r.NextExpires) {
		t.Errorf("Rotated = %+v", out)
	}
	a, err := f.db.Access(f.accessOf("1"), now)
	wantErr(t, err, nil)
	if !slices.Equal(a.Scopes(), []store.Scope{read}) || !slices.Equal(a.Grant.Scopes, []store.Scope{read, write}) {
		t.Errorf("narrowed to %v of %v", a.Scopes(), a.Grant.Scopes)
	}
	f.wantAccess(f.access, now, nil) // a parallel process still has it
	f.mustRotate("1", "2", now)
	a, err = f.db.Access(f.accessOf("2"), now)
	wantErr(t, err, nil)
	if !slices.Equal(a.Scopes(), []store.Scope{read, write}) {
		t.Errorf("without a scope it has %v", a.Scopes())
	}
}

// A client that refreshes for a long time outlives its connection as long as one
// that has just connected: it still sends its identifier and cannot tell that it
// is gone.
// When the sweeper has something to do with a connection it has not ended.
func TestConnectionLivesPastItsSalt(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	for after, want := range map[time.Duration]bool{0: true, 3 * time.Minute: true, 80 * 24 * time.Hour: true, 90 * 24 * time.Hour: false} {
		live, err := f.db.LiveGrants([]store.GrantID{f.grant.ID}, t0.Add(after))
		if err != nil || live[f.grant.ID] != want {
			t.Errorf("%v after a refresh: %v, %v", after, live, err)
		}
	}
}

func TestRotationKeepsTheClient(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	now, name := t0, "0"
	for i := range 10 {
		now = now.Add(20 * 24 * time.Hour)
		next := fmt.Sprint(i + 1)
		f.mustRotate(name, next, now)
		name = next
	}
	wantErr(t, f.db.RevokeGrant(f.grant.ID, f.w.User.ID), nil)
	for _, left := range []time.Duration{time.Hour, store.ClientIdleTTL} {
		_, err := f.db.Sweep(t.Context(), now.Add(left))
		wantErr(t, err, nil)
		_, err = f.db.Client(f.w.Client.ID)
		wantErr(t, err, nil)
	}
}

// A refresh token comes only with a code that wants one.
func TestNoRefreshUnasked(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	r := w.Code(t, db, read)
	r.Refresh = &store.NewRefresh{Family: store.HashSecret("f"), Token: store.HashSecret("t"), Expires: t0.Add(time.Hour)}
	g, err := db.RedeemCode(r, t0)
	if err != nil || g.Refresh != nil || !g.Expires.Equal(r.Expires) {
		t.Errorf("RedeemCode = %+v, %v", g, err)
	}
}

func TestRotationRefuses(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	commits := f.db.Transaction()
	for name, c := range map[string]struct {
		change func(*store.Rotation)
		now    time.Time
		want   error
		field  string
	}{
		"unknown family":                {func(r *store.Rotation) { r.Family.Hash = store.HashSecret("x") }, t0, store.ErrNotFound, ""},
		"another client":                {func(r *store.Rotation) { r.Client = "other" }, t0, store.ErrNotFound, ""},
		"another client, old token":     {func(r *store.Rotation) { r.Client, r.Token = "other", f.token("0") }, t0.Add(time.Hour), store.ErrNotFound, ""},
		"another client, never a token": {func(r *store.Rotation) { r.Client, r.Token = "other", f.token("x") }, t0, store.ErrNotFound, ""},
		"resource":                      {func(r *store.Rotation) { r.Resources = []string{"https://else.example/api/mcp"} }, t0, store.ErrMismatch, "resource"},
		"wider":                         {func(r *store.Rotation) { r.Scopes = []store.Scope{read, "pods:exec"} }, t0, store.ErrMismatch, "scope"},
		"too late":                      {func(*store.Rotation) {}, t0.Add(90 * 24 * time.Hour), store.ErrExpired, ""},
		"repeated, wider":               {func(r *store.Rotation) { r.Token, r.Scopes = f.token("0"), []store.Scope{"pods:exec"} }, t0, store.ErrMismatch, "scope"},
	} {
		r := f.rotation("1", "2", c.now)
		c.change(&r)
		_, err := f.db.RotateRefresh(r, c.now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if m := (*store.MismatchError)(nil); c.field != "" && (!errors.As(err, &m) || m.Field != c.field) {
			t.Errorf("%s: %v does not name %s", name, err, c.field)
		}
	}
	if n := f.db.Transaction() - commits; n != 0 {
		t.Errorf("refusals cost %d commits", n)
	}
	r := f.rotation("1", "2", t0) // none of it spent the token
	r.Resources = []string{"https://else.example/api/mcp", f.grant.Resource}
	_, err := f.db.RotateRefresh(r, t0)
	wantErr(t, err, nil)
}

// The connection that a token names is public. Who knows nothing else opens nothing,
// ends nothing and has nothing written.
func TestANameProvesNothing(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	commits := f.db.Transaction()
	named := func(secret string) store.Credential {
		return store.Credential{Grant: f.grant.ID, Hash: store.HashSecret(secret)}
	}
	secrets := []store.Credential{named(""), named("made up"), {Grant: f.grant.ID}, storetest.Family(f.grant.ID), {Grant: f.grant.ID, Hash: f.token("1")}, {Grant: f.grant.ID, Hash: f.grant.Refresh.Current}}
	for _, known := range []bool{false, true} {
		for _, c := range secrets {
			if a, err := f.db.Access(c, t0); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("remembered %v: %v opens %+v, %v", known, c, a, err)
			}
			wantErr(t, f.db.RevokeToken(c, f.w.Client.ID), nil)
		}
		f.use(f.access, t0) // from now on the connection is remembered
	}
	for _, c := range append(secrets[:3], f.access) { // the last is a secret, but not of this kind
		for _, token := range []string{"0", "1", "x"} {
			r := f.rotation(token, "2", t0)
			r.Family = c
			if _, err := f.db.RotateRefresh(r, t0); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%v renews: %v", c, err)
			}
		}
		wantErr(t, f.db.RevokeRefresh(c, f.w.Client.ID), nil)
		if g, err := f.db.FamilyGrant(c); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v leads to %+v, %v", c, g, err)
		}
	}
	if n := f.db.Transaction() - commits; n != 0 {
		t.Errorf("%d commits", n)
	}
	if list, err := f.db.Grants(f.w.User.ID, t0); err != nil || len(list) != 1 {
		t.Errorf("the connection ended: %v, %v", list, err)
	}
}

// Within the grace the previous token gets the same answer, at no cost.
func TestGrace(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	f.use(f.accessOf("1"), t0) // the first process has its answer and works with it
	commits := f.db.Transaction()
	for _, after := range []time.Duration{0, 2 * time.Millisecond, store.RefreshGrace - 1} {
		out := f.mustRotate("0", "other", t0.Add(after))
		if string(out.Salt) != "salt of 1" || out.Access.Hash != f.accessOf("1").Hash || !out.Access.Expires.Equal(t0.Add(30*24*time.Hour)) {
			t.Errorf("after %v: %+v", after, out)
		}
	}
	if n := f.db.Transaction() - commits; n != 0 {
		t.Errorf("repetitions cost %d commits", n)
	}
	f.wantAccess(f.accessOf("other"), t0, store.ErrNotFound)
	f.mustRotate("1", "2", t0.Add(time.Second)) // the successor was not spent by it
	_, err := f.rotate("0", "x", t0.Add(2*time.Second))
	wantErr(t, err, store.ErrSpent) // two steps back there is no grace
	f.wantDead("after an older token", t0)
}

// A process that revoked its own access token leaves the refresh token to the
// process beside it.
func TestGraceAfterRevocation(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	wantErr(t, f.db.RevokeToken(f.accessOf("1"), f.w.Client.ID), nil)
	if out := f.mustRotate("0", "x", t0); string(out.Salt) != "salt of 1" || out.Access.Hash != f.accessOf("1").Hash {
		t.Errorf("repeated as %+v", out)
	}
	f.wantAccess(f.accessOf("1"), t0, store.ErrNotFound)
	f.mustRotate("1", "2", t0)
}

// After the grace, a client whose answer was lost gets another successor. What
// nobody received is dead, and who received it after all is found out.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	late := t0.Add(store.RefreshGrace)
	out := f.mustRotate("0", "2", late)
	if string(out.Salt) != "salt of 2" || out.Access.Hash != f.accessOf("2").Hash {
		t.Errorf("the answer is %+v", out)
	}
	f.wantAccess(f.accessOf("1"), late, store.ErrNotFound)
	f.wantAccess(f.accessOf("2"), late, nil)
	if out := f.mustRotate("0", "x", late.Add(time.Second)); string(out.Salt) != "salt of 2" {
		t.Errorf("the new answer has no grace: %+v", out)
	}
	late = late.Add(time.Hour)
	f.mustRotate("0", "3", late) // and lost again
	f.wantAccess(f.accessOf("2"), late, store.ErrNotFound)
	for _, dead := range []string{"1", "2"} {
		g := newFamily(t)
		g.mustRotate("0", "1", t0)
		g.mustRotate("0", "2", t0.Add(time.Hour))
		g.mustRotate("0", "3", t0.Add(2*time.Hour))
		_, err := g.rotate(dead, "x", t0.Add(2*time.Hour))
		wantErr(t, err, store.ErrSpent)
		g.wantDead("after the dead successor "+dead, t0)
	}
	f.mustRotate("3", "4", late)
}

// Once the answer has arrived, the token before it is a stolen one. That it
// arrived is known from its access token, through a restart too.
func TestLateReplayOfAnAnswerThatArrived(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(*family){
		"noted":   func(*family) {},
		"flushed": func(f *family) { wantErr(f.TB.(*testing.T), f.db.Flush(), nil) },
		"used on, flushed": func(f *family) {
			f.use(f.access, t0.Add(time.Second)) // another process with the older access token
			wantErr(f.TB.(*testing.T), f.db.Flush(), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			f.mustRotate("0", "1", t0)
			f.use(f.accessOf("1"), t0)
			restart(f)
			late := t0.Add(store.RefreshGrace)
			out, err := f.rotate("0", "x", late)
			wantErr(t, err, store.ErrSpent)
			if out.Grant.ID != f.grant.ID || out.Grant.User != f.w.User.ID {
				t.Errorf("the connection that ended is %+v", out.Grant)
			}
			f.wantDead("after the theft", late)
			for _, a := range []store.Credential{f.access, f.accessOf("1"), f.accessOf("x")} {
				f.wantAccess(a, late, store.ErrNotFound)
			}
		})
	}
}

// Who gives an access token up has received it.
func TestRevokingAnAnswerIsASign(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	wantErr(t, f.db.RevokeToken(f.accessOf("1"), f.w.Client.ID), nil)
	_, err := f.rotate("0", "x", t0.Add(store.RefreshGrace))
	wantErr(t, err, store.ErrSpent)
	f.wantDead("after the theft", t0)
}

// The use of an access token from before the last refresh says nothing about
// the answer of that refresh.
func TestUseOfAnOlderTokenIsNoSign(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.mustRotate("0", "1", t0)
	f.use(f.access, t0)
	f.mustRotate("0", "2", t0.Add(store.RefreshGrace))
}

// A token of the family, however old, ends it: one commit for the first
// try, none for those after it.
func TestReuseCostsOneCommit(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	const generations = 30
	for i := range generations {
		f.mustRotate(fmt.Sprint(i), fmt.Sprint(i+1), t0.Add(time.Duration(i)*time.Hour))
	}
	commits := f.db.Transaction()
	_, err := f.rotate("0", "x", t0)
	wantErr(t, err, store.ErrSpent)
	for range 4 {
		_, err := f.rotate("0", "x", t0)
		wantErr(t, err, store.ErrNotFound)
	}
	if n := f.db.Transaction() - commits; n != 1 {
		t.Errorf("five replays cost %d commits, want 1", n)
	}
	f.wantDead("after reuse", t0)
}

// An expired family can still be found in two hands.
func TestReuseAfterExpiry(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	r := f.rotation("0", "1", t0)
	r.NextExpires = t0.Add(time.Hour) // before the access token
	_, err := f.db.RotateRefresh(r, t0)
	wantErr(t, err, nil)
	_, err = f.rotate("1", "2", r.NextExpires)
	wantErr(t, err, store.ErrExpired)
	f.wantAccess(f.accessOf("1"), r.NextExpires, nil)
	_, err = f.rotate("x", "2", r.NextExpires)
	wantErr(t, err, store.ErrSpent)
	f.wantAccess(f.accessOf("1"), r.NextExpires, store.ErrNotFound)
}

func TestFiftyRefreshAtOnce(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	const tries = 50
	outs, errs := make([]store.Rotated, tries), make([]error, tries)
	atOnce := func(old string) {
		var wg sync.WaitGroup
		for i := range tries {
			wg.Go(func() {
				outs[i], errs[i] = f.rotate(old, fmt.Sprint("try ", old, i), t0.Add(time.Duration(i)*time.Millisecond))
			})
		}
		wg.Wait()
	}
	atOnce("0")
	lives := 0
	for i := range tries {
		if errs[i] != nil || !bytes.Equal(outs[i].Salt, outs[0].Salt) || outs[i].Access.Hash != outs[0].Access.Hash || !outs[i].Access.Expires.Equal(outs[0].Access.Expires) {
			t.Errorf("try %d: %+v, %v", i, outs[i], errs[i])
		}
		if _, err := f.db.Access(f.accessOf(fmt.Sprint("try 0", i)), t0); err == nil {
			lives++
		}
	}
	if lives != 1 {
		t.Errorf("%d access tokens live, want 1", lives)
	}
	won := string(outs[0].Salt)[len("salt of "):]
	f.mustRotate(won, "2", t0.Add(time.Second))
	atOnce("0")
	spent := 0
	for i, err := range errs {
		switch {
		case errors.Is(err, store.ErrSpent):
			spent++
		case !errors.Is(err, store.ErrNotFound):
			t.Errorf("try %d: %v", i, err)
		}
	}
	if spent != 1 {
		t.Errorf("%d tries ended the connection, want 1", spent)
	}
	f.wantDead("after reuse", t0)
}

func TestTokensOfAConnectionAreBounded(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	const many, kept = 25, 10
	for i := range many {
		f.mustRotate(fmt.Sprint(i), fmt.Sprint(i+1), t0.Add(time.Duration(i)*time.Second))
	}
	for i := range many {
		want := error(nil)
		if i < many-kept {
			want = store.ErrNotFound
		}
		f.wantAccess(f.accessOf(fmt.Sprint(i+1)), t0, want)
	}
	f.wantAccess(f.access, t0, store.ErrNotFound)
}

// The salt can be read no longer than it is of use; the connection stays.
func TestSaltIsTakenAway(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	out := f.mustRotate("0", "1", t0)
	salt := func() []byte {
		salt, err := f.db.Salt(f.grant.ID)
		wantErr(t, err, nil)
		return salt
	}
	sweep := func(now time.Time) {
		t.Helper()
		_, err := f.db.Sweep(t.Context(), now)
		wantErr(t, err, nil)
	}
	sweep(t0.Add(store.RefreshGrace))
	if !bytes.Equal(salt(), out.Salt) {
		t.Error("the salt is gone while requests that began in the grace may be on their way")
	}
	sweep(t0.Add(2*store.RefreshGrace + 10*time.Second))
	if s := salt(); len(s) > 0 {
		t.Errorf("the salt is still there: %q", s)
	}
	var file bytes.Buffer
	_, err := f.db.WriteTo(&file)
	wantErr(t, err, nil)
	if bytes.Contains(file.Bytes(), out.Salt) {
		t.Error("the salt is in the file")
	}
	f.wantAccess(f.accessOf("1"), t0, nil)
	wantErr(t, f.db.Check(), nil)
	f.mustRotate("1", "2", t0.Add(time.Hour))
	sweep(t0.Add(time.Hour + 90*24*time.Hour))
	f.wantDead("after the last deadline", t0)
}

// Refreshes of ten seconds have one seal, and each its own mask: what is in the file
// for two equal salts differs.
func TestSeals(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	other, _ := f.w.Offline(t, f.db, read)
	same := []byte("the same salt of 32 bytes, twice")
	sealed := func(id store.GrantID, at time.Time) []byte {
		r := f.rotation("0", "1 of "+string(id), at)
		r.Family, r.Token, r.Salt = storetest.Family(id), store.HashSecret(string(id)+"0"), same
		out, err := f.db.RotateRefresh(r, at)
		wantErr(t, err, nil)
		return out.Grant.Refresh.Salt
	}
	a, b := sealed(f.grant.ID, t0.Add(time.Second)), sealed(other.ID, t0.Add(2*time.Second))
	if bytes.Equal(a, b) || bytes.Equal(a, same) || bytes.Equal(b, same) {
		t.Errorf("sealed as %x and %x", a, b)
	}
	counts, err := f.db.Counts()
	wantErr(t, err, nil)
	if !slices.Contains(counts, store.Count{Kind: "seals", N: 1}) {
		t.Errorf("%v", counts)
	}
	r := f.rotation("1 of "+string(f.grant.ID), "2", t0)
	r.Salt = append(same, 'x')
	if _, err := f.db.RotateRefresh(r, t0); err == nil {
		t.Error("a salt that is longer than its mask")
	}
}

func TestRevokeRefresh(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	other := storetest.Populate(t, f.db, "bob", t0)
	f.mustRotate("0", "1", t0)
	commits := f.db.Transaction()
	fam := storetest.Family(f.grant.ID)
	wantErr(t, f.db.RevokeRefresh(fam, other.Client.ID), nil)
	wantErr(t, f.db.RevokeRefresh(store.Credential{Grant: f.grant.ID, Hash: store.HashSecret("unknown")}, f.w.Client.ID), nil)
	if n := f.db.Transaction() - commits; n != 0 {
		t.Errorf("revoking nothing cost %d commits", n)
	}
	f.wantAccess(f.access, t0, nil)
	wantErr(t, f.db.RevokeRefresh(fam, f.w.Client.ID), nil)
	f.wantAccess(f.access, t0, store.ErrNotFound)
	f.wantAccess(f.accessOf("1"), t0, store.ErrNotFound)
	_, err := f.rotate("1", "2", t0)
	wantErr(t, err, store.ErrNotFound)
	wantErr(t, f.db.RevokeRefresh(fam, f.w.Client.ID), nil)
}

// Revoking access tokens leaves the refresh token, and the deadline follows
// what is left.
func TestRevokeAccessKeepsRefresh(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	r := f.rotation("0", "1", t0)
	r.NextExpires, r.AccessExpires = t0.Add(time.Hour), t0.Add(10*time.Hour)
	_, err := f.db.RotateRefresh(r, t0)
	wantErr(t, err, nil)
	wantErr(t, f.db.RevokeToken(f.access, f.w.Client.ID), nil)
	deadline := func() time.Time {
		list, err := f.db.Grants(f.w.User.ID, t0)
		if err != nil || len(list) != 1 {
			t.Fatalf("Grants = %+v, %v", list, err)
		}
		return list[0].Expires
	}
	if got := deadline(); !got.Equal(r.AccessExpires) {
		t.Errorf("expires %v with its access token %v", got, r.AccessExpires)
	}
	wantErr(t, f.db.RevokeToken(f.accessOf("1"), f.w.Client.ID), nil)
	if got := deadline(); !got.Equal(r.NextExpires) {
		t.Errorf("expires %v with its refresh token %v", got, r.NextExpires)
	}
	f.mustRotate("1", "2", t0)
}

// Whatever ends a connection ends its refresh token in the same commit.
func TestEndedConnectionsDoNotRefresh(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*family) error{
		"revoke":             func(f *family) error { return f.db.RevokeGrant(f.grant.ID, f.w.User.ID) },
		"remove member":      func(f *family) error { _, err := f.db.RemoveMember(f.w.Team.ID, f.w.User.ID); return err },
		"log out everywhere": func(f *family) error { _, _, err := f.db.EndEverything(f.w.User.ID); return err },
		"reset password":     func(f *family) error { _, _, err := f.db.ResetPassword(f.w.User.ID, "$new"); return err },
		"delete user":        func(f *family) error { return f.db.DeleteUser(f.w.User.ID) },
		"expiry":             func(f *family) error { _, err := f.db.Sweep(t.Context(), f.grant.Expires.Add(time.Hour)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			f.mustRotate("0", "1", t0)
			commits := f.db.Transaction()
			wantErr(t, end(f), nil)
			if n := f.db.Transaction() - commits; n != 1 && name != "expiry" {
				t.Errorf("%d commits", n)
			}
			for _, token := range []string{"1", "0", "x"} {
				_, err := f.rotate(token, "2", t0)
				wantErr(t, err, store.ErrNotFound)
			}
		})
	}
}

// What the connection no longer has, no token of it has.
func TestScopesFollowTheConnection(t *testing.T) {
	t.Parallel()
	a := store.Access{Token: store.Token{Scopes: []store.Scope{read, write}}, Grant: store.Grant{Scopes: []store.Scope{read}}}
	if got := a.Scopes(); !slices.Equal(got, []store.Scope{read}) {
		t.Errorf("a narrowed token opens %v", got)
	}
	a.Grant.Scopes = nil
	if got := a.Scopes(); len(got) != 0 {
		t.Errorf("a connection without scopes opens %v", got)
	}
	if !slices.Equal(a.Token.Scopes, []store.Scope{read, write}) {
		t.Error("the shared record was changed")
	}
}

// The first use of a rotated access token is on disk when it returns, for one
// commit; the uses after it cost none.
func TestFirstUseIsWritten(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.use(f.access, t0)
	f.mustRotate("0", "1", t0)
	before := f.db.Transaction()
	for range 3 {
		f.use(f.accessOf("1"), t0)
		f.use(f.access, t0) // an older token is no sign
	}
	if n := f.db.Transaction() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	var file bytes.Buffer
	_, err := f.db.WriteTo(&file)
	wantErr(t, err, nil)
	path := filepath.Join(t.TempDir(), "podgate.db")
	wantErr(t, os.WriteFile(path, file.Bytes(), 0o600), nil)
	after := storetest.Open(t, path) // as after kill -9
	defer after.Close()
	now := t0.Add(store.RefreshGrace)
	if _, err := after.RotateRefresh(f.rotation("0", "2", now), now); !errors.Is(err, store.ErrSpent) {
		t.Errorf("the token before it, after a crash: %v", err)
	}
}
