package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/store"
)

// Size is how much Big puts into a database.
type Size struct {
	Users       int // each owner of a team of its own
	Clients     int
	Connections int // each with a refresh token
	Tokens      int // access tokens, shared out among the connections
	// Dying is how many connections there are besides, each with one access
	// token, that expire an hour after the rest was made.
	Dying int
	// Idle clients without a connection, and Attempts of the timeline, expire then as well.
	Idle, Attempts int
}

// Big is a database that is too large to be made by the store's own methods,
// each of which waits for the disk.
type Big struct {
	Path string
	Now  time.Time
	Size Size
}

// NewBig writes a database at path: records and indexes as docs/format.md has
// them, in sorted order, without waiting for the disk. Check accepts it.
func NewBig(t testing.TB, path, resource string, now time.Time, size Size) Big {
	t.Helper()
	db := Open(t, path) // makes the buckets
	must(t, db.Close())
	b, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	must(t, err)
	w := &bigWriter{db: b, now: now, resource: resource, size: size}
	must(t, errors.Join(w.people(), w.clients(), w.grants(), w.attempts(), w.put("expiry", w.expiry), b.Sync(), b.Close()))
	// Once more with the freelist, as the server leaves the file.
	must(t, Open(t, path).Close())
	return Big{Path: path, Now: now, Size: size}
}

// Token returns access token number i in clear, in the form that podgate gives
// out. From Size.Tokens on they belong to the dying connections.
func (b Big) Token(i int) string { return "pgat_" + string(b.Size.grantOf(i)) + secret("access", i) }

// Access returns access token number i as the store knows it.
func (b Big) Access(i int) store.Credential {
	return store.Credential{Grant: b.Size.grantOf(i), Hash: store.HashSecret(b.Token(i))}
}

// Refresh returns the refresh token of connection i in clear.
func (b Big) Refresh(i int) string { return refresh(i) }

// Family returns what the refresh tokens of connection i share.
func (b Big) Family(i int) store.Credential {
	return store.Credential{Grant: grantID(i), Hash: store.HashSecret(family(i))}
}

// grantOf is the connection of an access token.
func (s Size) grantOf(token int) store.GrantID {
	if token >= s.Tokens {
		return grantID(token - s.Tokens + s.Connections)
	}
	return grantID(token % s.Connections)
}

// Client returns the client of connection i.
func (b Big) Client(i int) store.ClientID { return clientID(i % b.Size.Clients) }

func secret(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func family(i int) string  { return secret("family", i)[:22] }
func refresh(i int) string { return "pgrt_" + string(grantID(i)) + family(i) + secret("refresh", i) }

// id is like store.NewID: letters in no order.
func id(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26])
}

func userID(i int) store.UserID     { return store.UserID(id("user", i)) }
func teamID(i int) store.TeamID     { return store.TeamID(id("team", i)) }
func clientID(i int) store.ClientID { return store.ClientID(id("client", i)) }
func grantID(i int) store.GrantID   { return store.GrantID(id("grant", i)) }

type entry struct{ key, value []byte }

type bigWriter struct {
	db       *bolt.DB
	now      time.Time
	resource string
	size     Size
	expiry   []entry
}

func join(parts ...string) []byte {
	var raw [][]byte
	for _, p := range parts {
		raw = append(raw, []byte(p))
	}
	return bytes.Join(raw, []byte{0})
}

// put writes the entries of a bucket, a part in each transaction. Pages are
// left as full as random insertion leaves them.
func (w *bigWriter) put(bucket string, list []entry) error {
	slices.SortFunc(list, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	for part := range slices.Chunk(list, 50_000) {
		err := w.db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			b.FillPercent = 0.7
			for _, e := range part {
				if err := b.Put(e.key, e.value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", bucket, err)
		}
	}
	return nil
}

func (w *bigWriter) expire(kind byte, key []byte, at time.Time) {
	k := binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano()))
	w.expiry = append(w.expiry, entry{append(append(k, kind), key...), nil})
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own records
	}
	return raw
}

func (w *bigWriter) people() error {
	var users, byEmail, teams, bySlug, members, byTeam, byUser []entry
	for i := range w.size.Users {
		u := store.User{ID: userID(i), Email: fmt.Sprintf("user-%d@example.com", i), Created: w.now}
		t := store.Team{ID: teamID(i), Slug: fmt.Sprint("team-", i), Name: "Team", Created: w.now}
		m := store.Member{Team: t.ID, User: u.ID, Role: store.RoleOwner, Created: w.now}
		key := join(string(t.ID), string(u.ID))
		users, byEmail = append(users, entry{[]byte(u.ID), encode(u)}), append(byEmail, entry{[]byte(u.Email), []byte(u.ID)})
		teams, bySlug = append(teams, entry{[]byte(t.ID), encode(t)}), append(bySlug, entry{[]byte(t.Slug), []byte(t.ID)})
		members, byTeam = append(members, entry{key, encode(m)}), append(byTeam, entry{key, key})
		byUser = append(byUser, entry{join(string(u.ID), string(t.ID)), key})
	}
	return errors.Join(w.put("users", users), w.put("users_by_email", byEmail), w.put("teams", teams), w.put("teams_by_slug", bySlug),
		w.put("members", members), w.put("members_by_team", byTeam), w.put("members_by_user", byUser))
}

func (w *bigWriter) clients() error {
	var clients []entry
	for i := range w.size.Clients + w.size.Idle {
		at := w.now.Add(180*24*time.Hour + time.Duration(i)*time.Second)
		if i >= w.size.Clients {
			at = w.dying(i)
		}
		c := store.Client{
			ID: clientID(i), Name: "Assistant", RedirectURIs: []string{"http://localhost:4711/callback"}, GrantTypes: []string{"authorization_code", "refresh_token"},
			Created: w.now, Used: true, Expires: at,
		}
		clients = append(clients, entry{[]byte(c.ID), encode(c)})
		w.expire(3, []byte(c.ID), c.Expires)
	}
	return w.put("clients", clients)
}

// dying spreads deadlines over the last minutes of the hour, so that what is swept next
// lies anywhere, as it does where connections were made one by one.
func (w *bigWriter) dying(i int) time.Time {
	return w.now.Add(time.Hour - time.Duration(i%100_000)*time.Millisecond)
}

// grantDeadline spreads deadlines: connections are made all the time.
func (w *bigWriter) grantDeadline(i int) time.Time {
	if i >= w.size.Connections {
		return w.dying(i)
	}
	return w.now.Add(60*24*time.Hour + time.Duration(i)*time.Second)
}

func (w *bigWriter) grants() error {
	var grants, byUser, byClient, byTeam, byCreated []entry
	for i := range w.size.Connections + w.size.Dying {
		person, at := i%w.size.Users, w.grantDeadline(i)
		g := store.Grant{
			ID: grantID(i), User: userID(person), Client: clientID(i % w.size.Clients), ClientName: "Assistant", RedirectHost: "localhost", Team: teamID(person),
			Scopes: []store.Scope{"pods:read", "pods:write", "pods:exec"}, Resource: w.resource, Created: w.now, LastUsed: w.now, Expires: at, Due: at,
			Refresh: &store.Refresh{Family: store.HashSecret(family(i)), Current: store.HashSecret(refresh(i)), Expires: at},
			Tokens:  w.tokens(i),
		}
		raw, err := g.MarshalBinary()
		if err != nil {
			return err
		}
		key := []byte(g.ID)
		grants = append(grants, entry{key, raw})
		byUser = append(byUser, entry{join(string(g.User), string(g.ID)), key})
		byClient = append(byClient, entry{join(string(g.Client), string(g.ID)), key})
		aged := string(binary.BigEndian.AppendUint64(nil, uint64(g.Created.UnixNano()))) + string(g.ID)
		byTeam, byCreated = append(byTeam, entry{join(string(g.Team), aged), key}), append(byCreated, entry{[]byte(aged), key})
		w.expire(6, key, at)
	}
	return errors.Join(w.put("grants", grants), w.put("grants_by_user", byUser), w.put("grants_by_client", byClient),
		w.put("grants_by_team", byTeam), w.put("grants_by_created", byCreated))
}

// tokens returns the access tokens of connection i.
func (w *bigWriter) tokens(i int) (list []store.Token) {
	big := Big{Size: w.size}
	if i >= w.size.Connections {
		n := i - w.size.Connections + w.size.Tokens
		return []store.Token{{Hash: big.Access(n).Hash, Expires: w.grantDeadline(i)}}
	}
	for n := i; n < w.size.Tokens; n += w.size.Connections {
		list = append(list, store.Token{Hash: big.Access(n).Hash, Expires: w.now.Add(30*24*time.Hour + time.Duration(n)*time.Second)})
	}
	return list
}

// attempts are those of the dying connections, with the steps that lead to one.
func (w *bigWriter) attempts() error {
	indexes := map[string][]entry{}
	for i := range w.size.Attempts {
		grant := w.size.Connections + i
		person, at := i%w.size.Users, w.dying(i).Add(-store.AttemptTTL)
		a := store.Attempt{
			ID: store.AttemptID(id("attempt", i)), Client: clientID(grant % w.size.Clients), ClientName: "Assistant", Host: "localhost",
			User: userID(person), Team: teamID(person), Grant: grantID(grant), Token: Big{Size: w.size}.Access(w.size.Tokens + i).Hash, Family: store.HashSecret(family(grant)),
		}
		for _, kind := range []string{"challenge", "registration", "authorize", "consent", "redemption", "first use"} {
			a.Steps = append(a.Steps, store.Step{Kind: kind, At: at, Last: at, Count: 1, Addr: "192.0.2.1", Agent: "Assistant/1.0"})
		}
		key, aged := []byte(a.ID), string(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())))+string(a.ID)
		for bucket, k := range map[string][]byte{
			"attempts_by_last": []byte(aged), "attempts_by_class": append([]byte{2}, aged...), "attempts_by_owner": join("person", string(a.User), string(a.Client), aged),
			"attempts_by_user": join(string(a.User), aged), "attempts_by_client": join(string(a.Client), aged), "attempts_by_grant": join(string(a.Grant), aged),
		} {
			indexes[bucket] = append(indexes[bucket], entry{k, key})
		}
		indexes["attempts"] = append(indexes["attempts"], entry{key, encode(a)})
		w.expire(20, key, at.Add(store.AttemptTTL))
	}
	var all error
	for bucket, list := range indexes {
		all = errors.Join(all, w.put(bucket, list))
	}
	return all
}
