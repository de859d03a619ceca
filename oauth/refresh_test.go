package oauth

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// atOnce sends one refresh request from fifty programs.
func (f *fixture) atOnce(client store.ClientID, token string) []answer {
	f.Helper()
	answers := make([]answer, 50)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		wg.Go(func() {
			<-start
			answers[i] = f.refresh(client, token)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// Fifty processes that share a connection send the same refresh token at once
// and all go on with the same answer. When fifty send an older one, none does.
func TestRefreshInParallel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	first, old := f.connectBoth(client, "alice", "red")
	answers := f.atOnce(client, old)
	for _, a := range answers {
		if a.status != http.StatusOK || a.body != answers[0].body {
			t.Fatalf("%d %s beside %s", a.status, a.body, answers[0].body)
		}
	}
	access, refresh := f.tokens(answers[0])
	if refresh == old || access == first || f.call(access).status != http.StatusOK {
		t.Errorf("the answer is %s", answers[0].body)
	}
	newer, _ := f.tokens(f.refresh(client, refresh))
	for _, a := range f.atOnce(client, old) {
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, `"invalid_grant"`) {
			t.Fatalf("an older token: %d %s", a.status, a.body)
		}
	}
	for _, token := range []string{first, access, newer} {
		if a := f.call(token); a.status != http.StatusUnauthorized {
			t.Errorf("a token of a family in two hands still works: %d", a.status)
		}
	}
}

// A thief and the rightful client share a refresh token. However they take
// turns, once one comes more than a minute after the other, one of them has
// nothing, and the next try of that one leaves nothing to the other either.
func TestStolenRefreshToken(t *testing.T) {
	t.Parallel()
	const late = store.RefreshGrace + time.Second
	steal := func(t *testing.T) (f *fixture, client store.ClientID, stolen, thiefs, access string) {
		t.Parallel()
		f = newFixture(t)
		client = f.register()
		_, stolen = f.connectBoth(client, "alice", "red")
		access, thiefs = f.tokens(f.refresh(client, stolen))
		return f, client, stolen, thiefs, access
	}
	t.Run("the thief has used what it got", func(t *testing.T) {
		f, client, stolen, _, access := steal(t)
		f.call(access)
		f.clock.advance(late)
		f.wantNoConnection(f.refresh(client, stolen))
	})
	t.Run("the thief waits", func(t *testing.T) {
		f, client, stolen, thiefs, access := steal(t)
		f.clock.advance(late)
		f.tokens(f.refresh(client, stolen))
		if a := f.call(access); a.status != http.StatusUnauthorized {
			t.Errorf("both have an access token: %d", a.status)
		}
		f.wantNoConnection(f.refresh(client, thiefs))
	})
	t.Run("the thief waits and comes with the stolen one again", func(t *testing.T) {
		f, client, stolen, _, _ := steal(t)
		f.clock.advance(late)
		access, _ := f.tokens(f.refresh(client, stolen))
		f.call(access)
		f.clock.advance(late)
		f.wantNoConnection(f.refresh(client, stolen))
	})
	t.Run("both within the minute, once", func(t *testing.T) {
		f, client, stolen, thiefs, _ := steal(t)
		_, rightful := f.tokens(f.refresh(client, stolen))
		if rightful != thiefs {
			t.Fatal("two successors are alive")
		}
		_, next := f.tokens(f.refresh(client, rightful))
		f.clock.advance(late)
		f.tokens(f.refresh(client, thiefs)) // looks like a lost answer
		f.wantNoConnection(f.refresh(client, next))
	})
}

func (f *fixture) wantNoConnection(a answer) {
	f.Helper()
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, `"invalid_grant"`) {
		f.Errorf("%d %s", a.status, a.body)
	}
	if list, err := f.db.Grants("alice", f.now()); err != nil || len(list) != 0 {
		f.Errorf("connections left: %+v, %v", list, err)
	}
}

// An answer that is repeated says how long its access token has left, and what
// it may do, whatever the repetition asks for.
func TestRepeatedAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	_, refresh := f.connectBoth(client, "alice", "red")
	decode := func(a answer) (got tokenAnswer) {
		t.Helper()
		f.must(json.Unmarshal([]byte(a.body), &got))
		return got
	}
	first := decode(f.refresh(client, refresh, "scope=pods:exec"))
	f.clock.advance(40 * time.Second)
	again := decode(f.refresh(client, refresh))
	if again.AccessToken != first.AccessToken || again.RefreshToken != first.RefreshToken || again.Scope != "pods:exec" || again.ExpiresIn != first.ExpiresIn-40 {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if got := f.call(again.AccessToken); !strings.HasSuffix(got.body, "scopes pods:exec\n") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Milliseconds make no difference to how long a token is said to last.
func TestExpiresInIsRounded(t *testing.T) {
	t.Parallel()
	if got := newAnswer("", 30*24*time.Hour-2*time.Millisecond, "", nil).ExpiresIn; got != 30*24*3600 {
		t.Errorf("expires in %d", got)
	}
}

// The repetition survives a restart: nothing of it is kept in memory.
func TestRepeatedAfterRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	_, refresh := f.connectBoth(client, "alice", "red")
	before := f.refresh(client, refresh)
	copied := filepath.Join(t.TempDir(), "podgate.db")
	file, err := os.Create(copied)
	f.must(err)
	_, err = f.db.WriteTo(file)
	f.must(err)
	f.must(file.Close())
	again := storetest.Open(t, copied)
	defer func() { f.must(again.Close()) }()
	f.db = again
	if after := f.refresh(client, refresh); after.body != before.body {
		t.Errorf("before %s, after %s", before.body, after.body)
	}
}

// Neither the file nor what it hashes gives anybody a token: it holds no token
// in clear, and without one its salt derives nothing that works.
func TestStoreHoldsNoRefreshToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	_, first := f.connectBoth(client, "alice", "red")
	access, second := f.tokens(f.refresh(client, first))
	var file strings.Builder
	_, err := f.db.WriteTo(&file)
	f.must(err)
	family, _, _ := refreshFamily(first)
	own := len(refreshPrefix) + grantLen
	for name, secret := range map[string]string{
		"first token": first[own:], "second token": second[own:], "family": family,
		"own part": second[own+familyLen:], "access token": access[len(accessPrefix)+grantLen:],
	} {
		if strings.Contains(file.String(), secret) {
			t.Errorf("the file holds the %s", name)
		}
	}
	list, err := f.db.Grants("alice", f.now())
	f.must(err)
	r, id := list[0].Refresh, list[0].ID
	again, err := f.db.RotateRefresh(store.Rotation{Family: store.Credential{Grant: id, Hash: r.Family}, Token: r.Previous, Client: client}, f.now())
	f.must(err)
	if refresh, got := successors(id, first, family, again.Salt); refresh != second || got != access {
		t.Error("the salt is not what the tokens were derived with")
	}
	for _, salt := range [][]byte{r.Salt, again.Salt} {
		for _, key := range []string{r.Current.String(), r.Previous.String(), r.Family.String(), ""} {
			if refresh, got := successors(id, key, family, salt); refresh == second || got == access {
				t.Errorf("the file derives the tokens from %q", key)
			}
		}
	}
	if refresh, _ := successors(id, first, family, r.Salt); refresh == second {
		t.Error("the salt is not sealed")
	}
}

func TestRefreshFamily(t *testing.T) {
	t.Parallel()
	id := store.GrantID(store.NewID())
	token := newRefreshToken(id)
	family, shared, ok := refreshFamily(token)
	if !ok || len(family) != familyLen || shared != (store.Credential{Grant: id, Hash: store.HashSecret(family)}) || !strings.HasPrefix(token, refreshPrefix+string(id)+family) {
		t.Fatalf("%q has the family %q, %v, %v", token, family, shared, ok)
	}
	salt := newSalt()
	next, access := successors(id, token, family, salt)
	if got, of, ok := refreshFamily(next); !ok || got != family || of != shared || next == token || next[len(next)-secretLen:] == access[len(access)-secretLen:] {
		t.Errorf("successors %q and %q", next, access)
	}
	if of, ok := accessToken(access); !ok || of != (store.Credential{Grant: id, Hash: store.HashSecret(access)}) {
		t.Errorf("the access token is %v, %v", of, ok)
	}
	if again, same := successors(id, token, family, salt); again != next || same != access {
		t.Error("the same token and salt give other successors")
	}
	if other, _ := successors(id, token, family, newSalt()); other == next {
		t.Error("another salt gives the same successor")
	}
	if other, _ := successors(id, next, family, salt); other == next {
		t.Error("another token gives the same successor")
	}
}

// What has not the form of a token is none, and the form of before is one that names no
// connection.
func TestTokenForms(t *testing.T) {
	t.Parallel()
	id := store.GrantID(store.NewID())
	access, refresh := newAccessToken(id), newRefreshToken(id)
	oldAccess, oldRefresh := accessPrefix+access[len(access)-secretLen:], refreshPrefix+refresh[len(refreshPrefix)+grantLen:]
	if c, ok := accessToken(oldAccess); !ok || c != (store.Credential{Hash: store.HashSecret(oldAccess)}) {
		t.Errorf("%q is %v, %v", oldAccess, c, ok)
	}
	if family, c, ok := refreshFamily(oldRefresh); !ok || c != (store.Credential{Hash: store.HashSecret(family)}) || oldRefresh[len(refreshPrefix):][:familyLen] != family {
		t.Errorf("%q is %v, %v", oldRefresh, c, ok)
	}
	for _, token := range []string{access, refresh, oldAccess, oldRefresh} {
		for _, bad := range []string{
			"", token[:5], token[1:], token[:len(token)-1], token + "A", strings.ToUpper(token[:5]) + token[5:], token[:20] + "!" + token[21:],
			token[:20] + "\x00" + token[21:], token[:len(token)-1] + "=", token[:5] + strings.Repeat("0", grantLen) + token[len(token)-secretLen:],
			token[:5] + strings.ToUpper(string(id)) + token[len(token)-secretLen:], token[:5] + " " + token[6:], token + token,
		} {
			if _, ok := accessToken(bad); ok {
				t.Errorf("%q is taken for an access token", bad)
			}
			if _, _, ok := refreshFamily(bad); ok {
				t.Errorf("%q is taken for a refresh token", bad)
			}
		}
		_, isAccess := accessToken(token)
		if _, _, isRefresh := refreshFamily(token); isAccess == isRefresh {
			t.Errorf("%q is both, or neither", token)
		}
	}
}

// Whatever is sent for a token, what is read of it is what stands in it.
func FuzzTokenForms(f *testing.F) {
	id := store.GrantID(store.NewID())
	for _, token := range []string{newAccessToken(id), newRefreshToken(id), accessPrefix + newSecret(), "pgat_", "", strings.Repeat("a", 74), "pgrt_" + strings.Repeat("7", 91)} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, ok := accessToken(token)
		if ok && (c.Hash != store.HashSecret(token) || !strings.HasPrefix(token, accessPrefix+string(c.Grant)) || len(token) != len(accessPrefix)+len(c.Grant)+secretLen) {
			t.Errorf("%q is %v", token, c)
		}
		family, r, isRefresh := refreshFamily(token)
		if isRefresh && (ok || r.Hash != store.HashSecret(family) || !strings.HasPrefix(token, refreshPrefix+string(r.Grant)+family) || len(token) != len(refreshPrefix)+len(r.Grant)+familyLen+secretLen) {
			t.Errorf("%q is %v of %q", token, r, family)
		}
		for _, grant := range []store.GrantID{c.Grant, r.Grant} {
			if len(grant) != 0 && len(grant) != grantLen {
				t.Errorf("%q names %q", token, grant)
			}
		}
	})
}

// What cannot be a refresh token is refused without asking the store.
func TestRefreshWithoutStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, token := range []string{"x", "pgat_" + testChallenge, strings.Repeat("x", 1<<15)} {
		_, err := f.redeemRefresh(t.Context(), tokenRequest{refresh: token}, store.Client{})
		checkFault(t, err, token)
	}
	broken := storetest.Open(t, t.TempDir()+"/podgate.db")
	f.must(broken.Close())
	f.db = broken
	_, err := f.redeemRefresh(t.Context(), tokenRequest{refresh: newRefreshToken(store.GrantID(store.NewID()))}, store.Client{})
	if err == nil || strings.Contains(err.Error(), "pgrt_") {
		t.Errorf("a broken store: %v", err)
	}
}
