package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What format 16 had in grants and tokens.
type (
	grant16 struct {
		ID           string     `json:"id"`
		User         string     `json:"user"`
		Client       string     `json:"client"`
		ClientName   string     `json:"client_name"`
		RedirectHost string     `json:"redirect_host"`
		Nickname     string     `json:"nickname"`
		Team         string     `json:"team"`
		Scopes       []string   `json:"scopes"`
		Declined     []string   `json:"declined"`
		Revoked      []string   `json:"revoked"`
		Limits       limits16   `json:"limits"`
		Resource     string     `json:"resource"`
		Created      time.Time  `json:"created"`
		LastUsed     time.Time  `json:"last_used"`
		Expires      time.Time  `json:"expires"`
		Refresh      *refresh16 `json:"refresh"`
		Attempt      string     `json:"attempt"`
		tokens       []*token16 // of its own bucket
	}
	limits16 struct {
		ReadOnly bool   `json:"read_only"`
		Prefix   string `json:"prefix"`
		MaxPods  int    `json:"max_pods"`
	}
	refresh16 struct {
		Family   hash16    `json:"family"`
		Current  hash16    `json:"current"`
		Previous hash16    `json:"previous"`
		Access   hash16    `json:"access"`
		Seen     bool      `json:"seen"`
		Salt     []byte    `json:"salt"`
		Rotated  time.Time `json:"rotated"`
		Expires  time.Time `json:"expires"`
	}
	token16 struct {
		Hash    hash16    `json:"hash"`
		Scopes  []string  `json:"scopes"`
		Created time.Time `json:"created"`
		Expires time.Time `json:"expires"`
	}
	// hash16 is 32 bytes, or none, and unpadded base64url in JSON.
	hash16 string
)

func (h *hash16) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(string(text))
	*h = hash16(raw)
	return err
}

// legacy17 is how long after its end a secret is known again in the timeline.
const legacy17 = 14 * 24 * time.Hour

// packer17 writes grants as format 17 has them.
type packer17 struct {
	tx    *bolt.Tx
	seals map[int64][]byte // by the beginning of their ten seconds
}

// dropDeadlines deletes those of grants, which are made anew, and of tokens.
func (m *packer17) dropDeadlines() error {
	expiry := m.tx.Bucket([]byte("expiry"))
	var gone [][]byte // a bucket must not change while it is walked
	err := expiry.ForEach(func(key, _ []byte) error {
		if len(key) > 8 && (key[8] == 6 || key[8] == 7) {
			gone = append(gone, bytes.Clone(key))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range gone {
		if err := expiry.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// pack writes every grant with its tokens. What is no record stays: Check names it
// afterwards as before.
func (m *packer17) pack() error {
	b := m.tx.Bucket([]byte("grants"))
	type entry struct{ key, raw []byte }
	var changed []entry
	err := b.ForEach(func(key, raw []byte) error {
		var g grant16
		if json.Unmarshal(raw, &g) != nil {
			return nil
		}
		g.tokens = m.tokensOf(key)
		if err := m.legacy(&g, key); err != nil {
			return err
		}
		packed, err := m.grant(&g)
		if err != nil {
			return err
		}
		changed = append(changed, entry{bytes.Clone(key), packed})
		return m.due(g.Expires, 6, key)
	})
	if err != nil {
		return err
	}
	for _, e := range changed {
		if err := b.Put(e.key, e.raw); err != nil {
			return err
		}
	}
	return nil
}

// tokensOf returns the newest ten access tokens of a connection, the oldest first.
func (m *packer17) tokensOf(grant []byte) (list []*token16) {
	prefix := append(bytes.Clone(grant), 0)
	c := m.tx.Bucket([]byte("tokens_by_grant")).Cursor()
	for k, hash := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, hash = c.Next() {
		var t token16
		if json.Unmarshal(m.tx.Bucket([]byte("tokens")).Get(hash), &t) == nil && len(t.Hash) == 32 {
			list = append(list, &t)
		}
	}
	slices.SortStableFunc(list, func(a, b *token16) int { return a.Created.Compare(b.Created) })
	return list[max(0, len(list)-10):]
}

// legacy notes which secrets lead to the connection without naming it, and puts the
// deadline of the connection where its tokens have theirs.
func (m *packer17) legacy(g *grant16, key []byte) error {
	last := time.Time{}
	for _, t := range g.tokens {
		last = latest(last, t.Expires)
		if err := m.lead(string(t.Hash), t.Expires, key); err != nil {
			return err
		}
	}
	if g.Refresh != nil {
		last = latest(last, g.Refresh.Expires)
	}
	if !last.IsZero() {
		g.Expires = last
	}
	if g.Refresh == nil {
		return nil
	}
	return m.lead(string(g.Refresh.Family), g.Expires, key)
}

func (m *packer17) lead(hash string, end time.Time, grant []byte) error {
	end = end.Add(legacy17)
	raw, err := json.Marshal(map[string]any{"hash": base64.RawURLEncoding.EncodeToString([]byte(hash)), "grant": string(grant), "expires": end})
	if err != nil || len(hash) != 32 {
		return err
	}
	if err := m.tx.Bucket([]byte("legacy_tokens")).Put([]byte(hash), raw); err != nil {
		return err
	}
	return m.due(end, 10, []byte(hash))
}

func (m *packer17) due(at time.Time, kind byte, key []byte) error {
	entry := append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), kind)
	return m.tx.Bucket([]byte("expiry")).Put(append(entry, key...), nil)
}

// sealed seals the salt of a refresh that may be repeated.
func (m *packer17) sealed(f *refresh16) ([]byte, error) {
	if len(f.Salt) == 0 || len(f.Salt) > 32 {
		return nil, nil
	}
	from := f.Rotated.UTC().Truncate(10 * time.Second)
	key := m.seals[from.UnixNano()]
	if key == nil {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails; it would end the program
		m.seals[from.UnixNano()] = key
		raw, err := json.Marshal(map[string]any{"from": from, "key": key})
		if err != nil {
			return nil, err
		}
		at := binary.BigEndian.AppendUint64(nil, uint64(from.UnixNano()))
		if err := m.tx.Bucket([]byte("seals")).Put(at, raw); err != nil {
			return nil, err
		}
		if err := m.due(from.Add(130*time.Second), 11, at); err != nil {
			return nil, err
		}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(f.Current))
	out := make([]byte, len(f.Salt))
	subtle.XORBytes(out, f.Salt, mac.Sum(nil))
	return out, nil
}

// grant is the record as format 17 has it: texts and lists with their length before
// them, times in 8 bytes.
func (m *packer17) grant(g *grant16) (raw []byte, err error) {
	text := func(list ...string) {
		for _, s := range list {
			raw = append(binary.AppendUvarint(raw, uint64(len(s))), s...)
		}
	}
	texts := func(list []string) {
		raw = binary.AppendUvarint(raw, uint64(len(list)))
		text(list...)
	}
	yes := func(is bool) {
		if raw = append(raw, 0); is {
			raw[len(raw)-1] = 1
		}
	}
	times := func(list ...time.Time) {
		for _, t := range list {
			at := uint64(0)
			if !t.IsZero() {
				at = uint64(t.UnixNano())
			}
			raw = binary.BigEndian.AppendUint64(raw, at)
		}
	}
	text(g.ID, g.User, g.Client, g.ClientName, g.RedirectHost, g.Nickname, g.Team)
	texts(g.Scopes)
	texts(g.Declined)
	texts(g.Revoked)
	yes(g.Limits.ReadOnly)
	text(g.Limits.Prefix)
	raw = binary.AppendVarint(raw, int64(g.Limits.MaxPods))
	text(g.Resource)
	times(g.Created, g.LastUsed, g.Expires, g.Expires)
	text(g.Attempt)
	yes(g.Refresh != nil)
	if f := g.Refresh; f != nil {
		salt, err := m.sealed(f)
		if err != nil {
			return nil, err
		}
		text(string(f.Family), string(f.Current), string(f.Previous), string(f.Access))
		yes(f.Seen)
		text(string(salt))
		times(f.Rotated, f.Expires)
	}
	raw = binary.AppendUvarint(raw, uint64(len(g.tokens)))
	for _, t := range g.tokens {
		text(string(t.Hash))
		texts(t.Scopes)
		times(t.Expires)
	}
	return raw, nil
}
