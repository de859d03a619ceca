package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/ratelimit"
	"podgate/store"
	"podgate/store/storetest"
)

// The model is what tokens should be, in a page of code without a store:
// connections with their tokens, and what each request does to them. The test
// plays random sequences of requests, losses of rights, waits and crashes
// against server and model and compares, after each step, the answer and every
// token that was ever given out.

// modelSteps is how many steps a sequence has.
const modelSteps = 70

func TestModel(t *testing.T) {
	t.Parallel()
	var fresh [8]byte
	_, _ = rand.Read(fresh[:])
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, binary.BigEndian.Uint64(fresh[:])} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			playModel(t, modelScript(seed))
		})
	}
}

// modelScript makes three bytes a step out of a seed.
func modelScript(seed uint64) []byte {
	var script []byte
	for i := range uint64(3 * modelSteps / sha256.Size) {
		block := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seed), i))
		script = append(script, block[:]...)
	}
	return script
}

func FuzzModel(f *testing.F) {
	f.Add(modelScript(1)[:60])
	f.Add([]byte{0, 0, 0, 3, 0, 0, 3, 0, 0, 5, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) { playModel(t, script[:min(len(script), 3*modelSteps)]) })
}

type model struct {
	*fixture
	path    string
	clients []store.ClientID // the last one registered for codes alone
	conns   []*modelConn
	log     []string
}

// modelConn is one connection, also after its end.
type modelConn struct {
	exists     bool
	user, team string
	client     store.ClientID
	code       string
	codeUntil  time.Time
	access     []modelAccess // that the store keeps, expired or not
	given      []string      // every access token there ever was
	limits     store.Limits
	taken      bool // the user took pods:exec away

	refreshes       bool
	current         string
	previous        string
	older           []string
	last            tokenAnswer // of the last rotation
	seen            bool        // the answer of the last rotation arrived
	salted          bool
	rotated, expiry time.Time
}

type modelAccess struct {
	token   string
	scopes  string
	created time.Time
	expires time.Time
}

func playModel(t *testing.T, script []byte) {
	m := &model{path: filepath.Join(t.TempDir(), "podgate.db")}
	m.fixture = newFixtureOn(t, storetest.Open(t, m.path))
	t.Cleanup(func() { m.must(m.db.Close()) })
	unlimited := ratelimit.New(1<<20, time.Nanosecond, 1<<20, time.Nanosecond)
	m.limits = limits{register: newRegistrationLimit(), visit: unlimited, authorize: unlimited, fail: unlimited}
	for _, refresh := range []bool{true, true, false} {
		id := store.ClientID(store.NewID())
		m.must(m.db.CreateClient(store.Client{
			ID: id, RedirectURIs: []string{testRedirect}, GrantTypes: grantTypeNames(refresh), Created: m.now(), Expires: m.now().AddDate(100, 0, 0),
		}))
		m.clients = append(m.clients, id)
	}
	for len(script) >= 3 && !t.Failed() {
		m.step(script[0], script[1], script[2])
		script = script[3:]
		m.compare()
	}
	if t.Failed() {
		t.Logf("steps:\n%s", strings.Join(m.log, "\n"))
	}
}

// step does one thing to both. what chooses it, which and how its object.
func (m *model) step(what, which, how byte) {
	var c *modelConn
	if len(m.conns) > 0 {
		c = m.conns[int(which)%len(m.conns)]
	}
	switch what %= 26; {
	case what <= 2 || c == nil:
		m.connectSomebody(which, how)
	case what <= 6:
		m.refreshWith(c, c.client, c.current, how)
	case what <= 9:
		m.refreshWith(c, c.client, c.previous, how)
	case what == 10 && len(c.older) > 0:
		m.refreshWith(c, c.client, c.older[int(how)%len(c.older)], how)
	case what == 11:
		m.refreshWith(c, m.clients[int(how)%len(m.clients)], []string{c.current, c.previous}[how%2], 0)
	case what == 12:
		m.revokeAccess(c, m.clients[int(how)%len(m.clients)], c.given[int(how)%len(c.given)])
	case what == 13 && how%4 == 0:
		m.revokeRefresh(c, m.clients[int(how)%len(m.clients)], []string{c.current, c.previous}[how/4%2])
	case what == 14:
		m.useAccess(c, c.given[int(how)%len(c.given)])
	case what == 15:
		m.useAccess(c, c.last.AccessToken)
	case what == 16:
		m.takeRights(c, how)
	case what == 17 && how%4 == 0:
		m.replayCode(c)
	case what == 18:
		m.note("flush")
		m.must(m.db.Flush())
	case what == 19:
		m.sweep()
	case what == 20:
		m.reopen(how%2 == 0)
	case what <= 22:
		m.limit(c, how)
	default:
		m.wait([]time.Duration{time.Second, 30 * time.Second, 59 * time.Second, time.Minute, 2 * time.Minute, time.Hour, 20 * 24 * time.Hour, 31 * 24 * time.Hour}[how%8])
	}
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) index(c *modelConn) int { return slices.Index(m.conns, c) }

func (m *model) connectSomebody(which, how byte) {
	place := [][2]string{{"alice", "red"}, {"alice", "blue"}, {"bob", "blue"}}[which%3]
	user, team := place[0], place[1]
	now := m.now()
	m.must(m.db.DeleteSession(store.HashSecret(user)))
	m.must(m.db.CreateSession(store.Session{Hash: store.HashSecret(user), User: store.UserID(user), Created: now, LastUsed: now, Expires: now.Add(store.SessionTTL)}))
	c := &modelConn{exists: true, user: user, team: team, client: m.clients[int(how)%len(m.clients)], codeUntil: now.Add(defaultCodeTTL)}
	m.note("connection %d: %s for %s", len(m.conns), user, team)
	handle := m.handle(m.authorize(request(c.client), user))
	v := approval(handle, team)
	if replace := how/3%2 == 0; replace {
		m.note("in place of those that there are")
		v.Set("replace", "yes")
		defer m.replaced(c, now)
	}
	c.code = m.location(m.decide(v, user)).Get("code")
	got := m.decode(m.post("/api/oauth/token", exchange(c.client, c.code)))
	c.access = []modelAccess{{got.AccessToken, "pods:read pods:exec", now, now.Add(m.accessTTL)}}
	c.given = []string{got.AccessToken}
	c.current, c.refreshes, c.expiry = got.RefreshToken, got.RefreshToken != "", now.Add(m.refreshTTL)
	if want := c.client != m.clients[2]; c.refreshes != want {
		m.Errorf("refresh token given: %v, want %v", c.refreshes, want)
	}
	m.conns = append(m.conns, c)
}

// replaced ends what c took the place of: what the same client has for the same
// person and team, all of which lead to one redirect host.
func (m *model) replaced(c *modelConn, now time.Time) {
	for _, o := range m.conns {
		same := o != c && o.user == c.user && o.team == c.team && o.client == c.client
		o.exists = o.exists && !(same && o.alive(now))
	}
}

// alive reports whether a token of the connection has not expired.
func (c *modelConn) alive(now time.Time) bool {
	return c.refreshes && now.Before(c.expiry) || slices.ContainsFunc(c.access, func(a modelAccess) bool { return now.Before(a.expires) })
}

func (m *model) decode(a answer) (got tokenAnswer) {
	m.Helper()
	if a.status != http.StatusOK {
		m.Fatalf("%d %s\n%s", a.status, a.body, strings.Join(m.log, "\n"))
	}
	m.must(json.Unmarshal([]byte(a.body), &got))
	return got
}

func (m *model) refreshWith(c *modelConn, client store.ClientID, token string, how byte) {
	if token == "" {
		return
	}
	scope := []string{"", "pods:read", "", "pods:exec pods:read offline_access", "", "pods:write"}[how%6]
	m.note("connection %d: refresh current %v previous %v own client %v scope %q", m.index(c), token == c.current, token == c.previous, client == c.client, scope)
	a := m.refresh(client, token, "scope="+scope)
	refuse := func(code string) {
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, `"`+code+`"`) {
			m.Errorf("%d %s, want %s", a.status, a.body, code)
		}
	}
	now := m.now()
	inGrace := c.salted && now.Before(c.rotated.Add(time.Minute))
	reused := token != c.current && (token != c.previous || !inGrace && c.seen)
	switch {
	case !c.exists || client != c.client:
		refuse(codeInvalidGrant)
	case reused:
		refuse(codeInvalidGrant)
		c.exists = false
	case !now.Before(c.expiry):
		refuse(codeInvalidGrant)
	case scope == "pods:write":
		refuse(codeInvalidScope)
	case token == c.previous && inGrace:
		want := c.last
		want.ExpiresIn = int64(c.rotated.Add(m.accessTTL).Sub(now).Seconds())
		if !c.keeps(want.AccessToken) { // revoked since
			want.ExpiresIn, want.Scope = int64(m.accessTTL.Seconds()), "pods:read pods:exec"
		}
		want.Scope = c.left(want.Scope)
		if got := m.decode(a); got != want {
			m.Errorf("repeated as %+v, want %+v", got, want)
		}
	default:
		if token == c.previous {
			c.drop(c.last.AccessToken)
		}
		c.rotate(m.decode(a), token, now, m.accessTTL, m.refreshTTL)
		if want := map[string]string{"": "pods:read pods:exec", "pods:read": "pods:read"}[scope]; want != "" && c.last.Scope != c.left(want) {
			m.Errorf("the scope is %q, want %q", c.last.Scope, want)
		}
	}
}

func (c *modelConn) keeps(token string) bool {
	return slices.ContainsFunc(c.access, func(a modelAccess) bool { return a.token == token })
}

func (c *modelConn) drop(token string) {
	c.access = slices.DeleteFunc(c.access, func(a modelAccess) bool { return a.token == token })
}

func (c *modelConn) rotate(got tokenAnswer, presented string, now time.Time, accessTTL, refreshTTL time.Duration) {
	c.access = slices.DeleteFunc(c.access, func(a modelAccess) bool { return !now.Before(a.expires) })
	for len(c.access) >= 10 {
		c.access = c.access[1:]
	}
	for _, gone := range []string{c.current, c.previous} {
		if gone != "" && gone != presented {
			c.older = append(c.older, gone)
		}
	}
	c.access = append(c.access, modelAccess{got.AccessToken, got.Scope, now, now.Add(accessTTL)})
	c.given = append(c.given, got.AccessToken)
	c.previous, c.current, c.last = presented, got.RefreshToken, got
	c.seen, c.salted, c.rotated, c.expiry = false, true, now, now.Add(refreshTTL)
}

func (m *model) revoke(client store.ClientID, token string) {
	if a := m.post("/api/oauth/revoke", values("client_id="+string(client), "token="+token)); a.status != http.StatusOK {
		m.Errorf("revoke: %d %s", a.status, a.body)
	}
}

func (m *model) revokeAccess(c *modelConn, client store.ClientID, token string) {
	m.note("connection %d: revoke an access token, own client %v", m.index(c), client == c.client)
	m.revoke(client, token)
	if client != c.client {
		return
	}
	if c.exists && token == c.last.AccessToken && c.keeps(token) {
		c.seen = true
	}
	c.drop(token)
	c.exists = c.exists && (c.refreshes || len(c.access) > 0)
}

func (m *model) revokeRefresh(c *modelConn, client store.ClientID, token string) {
	if token == "" {
		return
	}
	m.note("connection %d: revoke a refresh token, own client %v", m.index(c), client == c.client)
	m.revoke(client, token)
	c.exists = c.exists && client != c.client
}

func (m *model) useAccess(c *modelConn, token string) {
	if token == "" {
		return
	}
	m.note("connection %d: use an access token, of the last refresh %v", m.index(c), token == c.last.AccessToken)
	if m.call(token).status == http.StatusOK && token == c.last.AccessToken {
		c.seen = true
	}
}

func (m *model) takeRights(c *modelConn, how byte) {
	user, team := store.UserID(c.user), store.TeamID(c.team)
	end := func(which func(*modelConn) bool) {
		for _, other := range m.conns {
			other.exists = other.exists && !which(other)
		}
	}
	switch how % 4 {
	case 0:
		m.note("log out everywhere: %s", c.user)
		_, _, err := m.db.EndEverything(user)
		m.must(err)
		end(func(o *modelConn) bool { return o.user == c.user })
	case 1:
		m.note("remove %s from %s and add again", c.user, c.team)
		_, err := m.db.RemoveMember(team, user)
		m.must(err)
		m.must(m.db.PutMember(store.Member{Team: team, User: user, Role: store.RoleMember}))
		end(func(o *modelConn) bool { return o.user == c.user && o.team == c.team })
	default:
		m.note("connection %d: revoked by its user", m.index(c))
		list, err := m.db.Grants(user, time.Time{})
		m.must(err)
		for _, g := range list {
			if c.isGrant(g) {
				m.must(m.db.RevokeGrant(g.ID, user))
				c.exists = false
			}
		}
	}
}

// limit changes what the connection may do, and on some days takes a scope away.
func (m *model) limit(c *modelConn, how byte) {
	m.note("connection %d: limited by its user", m.index(c))
	list, err := m.db.Grants(store.UserID(c.user), m.now())
	m.must(err)
	for _, g := range list {
		if c.isGrant(g) {
			c.taken = c.taken || how%2 == 0
			c.limits = store.Limits{ReadOnly: how%4 == 0, MaxPods: int(how % 7)}
			_, err := m.db.LimitGrant(g.ID, g.User, knownScopes(c.left("pods:read pods:exec")), c.limits, m.now())
			m.must(err)
		}
	}
}

// left is what is left of scopes that were granted.
func (c *modelConn) left(scopes string) string {
	if c.taken {
		scopes = strings.TrimSuffix(strings.TrimSuffix(scopes, "pods:exec"), " ")
	}
	return scopes
}

// isGrant reports whether g is the record of c, by its tokens.
func (c *modelConn) isGrant(g store.Grant) bool {
	return c.refreshes && g.Refresh != nil && g.Refresh.Current == store.HashSecret(c.current)
}

func (m *model) replayCode(c *modelConn) {
	m.note("connection %d: its code once more", m.index(c))
	a := m.post("/api/oauth/token", exchange(c.client, c.code))
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, codeInvalidGrant) {
		m.Errorf("a spent code: %d %s", a.status, a.body)
	}
	c.exists = c.exists && !m.now().Before(c.codeUntil)
}

func (m *model) sweep() {
	m.note("sweep")
	now := m.now()
	_, err := m.db.Sweep(m.Context(), now)
	m.must(err)
	for _, c := range m.conns {
		c.access = slices.DeleteFunc(c.access, func(a modelAccess) bool { return !now.Before(a.expires) })
		c.exists = c.exists && (c.refreshes && now.Before(c.expiry) || len(c.access) > 0)
		c.salted = c.salted && now.Before(c.rotated.Add(2*time.Minute))
	}
}

// reopen goes on with a copy of the file as kill -9 would leave it, or with the
// file as a clean stop does.
func (m *model) reopen(killed bool) {
	m.note("reopen, killed %v", killed)
	old := m.db
	if killed {
		raw, err := os.ReadFile(m.path)
		m.must(err)
		m.must(old.Close())
		m.path += "+"
		m.must(os.WriteFile(m.path, raw, 0o600))
	} else {
		m.must(old.Close())
	}
	m.db = storetest.Open(m, m.path)
	m.sessions.(*fakeSessions).db = m.db
}

func (m *model) wait(d time.Duration) {
	m.note("wait %v", d)
	m.clock.advance(d)
}

// compare holds the store against the model: exactly the tokens that live
// there live here.
func (m *model) compare() {
	m.Helper()
	now := m.now()
	want := map[store.Hash]store.Hash{} // current to previous
	for i, c := range m.conns {
		for _, token := range c.given {
			at := slices.IndexFunc(c.access, func(a modelAccess) bool { return a.token == token })
			alive := c.exists && at >= 0 && now.Before(c.access[at].expires)
			a, err := m.db.Access(credential(token), now)
			if alive != (err == nil) || alive && (joinScopes(a.Scopes()) != c.left(c.access[at].scopes) || a.Grant.Limits != c.limits) {
				m.Errorf("connection %d, an access token: alive %v, found %+v, %v", i, alive, a, err)
			}
		}
		if c.exists && c.refreshes && now.Before(c.expiry) {
			previous := store.Hash{}
			if c.previous != "" {
				previous = store.HashSecret(c.previous)
			}
			want[store.HashSecret(c.current)] = previous
		}
	}
	got := map[store.Hash]store.Hash{}
	for _, user := range []store.UserID{"alice", "bob"} {
		list, err := m.db.Grants(user, now)
		m.must(err)
		for _, g := range list {
			if g.Refresh != nil {
				got[g.Refresh.Current] = g.Refresh.Previous
			}
		}
	}
	if len(got) != len(want) {
		m.Errorf("%d refresh tokens are alive, want %d", len(got), len(want))
	}
	for current, previous := range want {
		if p, ok := got[current]; !ok || p != previous {
			m.Errorf("a refresh token is dead or follows another one: %v", ok)
		}
	}
	m.must(m.db.Check())
}
