package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// A migration takes a file from one format to the next. All that are needed run
// in one transaction, so a crash or an error leaves the file as it was.
//
// A step knows the file as it was in its time. It reads and writes buckets and
// JSON itself and never the types of this package, which are of the present
// format, and it makes the buckets that its format adds.
type migration func(*bolt.Tx) error

// migrations has the step from format 1 at 0, from format 2 at 1, and so on.
var migrations = []migration{toRevoked, toReloadFault, toSessionOfCodes, toReplaces, toAuditGroups, toNumbers, toDeclined, toClaimed, toNetwork, toUsedClients, toCopied, toFamilies, toDeploys, toManagement, toSnapshots, toTokensInside, toPasskeys}

func migrate(tx *bolt.Tx, from, to int, steps []migration) error {
	for _, step := range steps[from-1 : to-1] {
		if err := step(tx); err != nil {
			return err
		}
	}
	if err := haveBuckets(tx); err != nil {
		return err
	}
	return writeFormat(tx, to)
}

// toRevoked, from 1 to 2, has one word for one thing.
func toRevoked(tx *bolt.Tx) error {
	return errors.Join(renameMember(tx, "codes", "void", "revoked"), renameMember(tx, "grants", "taken", "revoked"))
}

// toReloadFault, from 2 to 3, has a member more in pods. Without it no reload
// has failed.
func toReloadFault(*bolt.Tx) error { return nil }

// toSessionOfCodes, from 3 to 4, has the session in codes. Of those that wait
// nobody knows it; a change of password ends them all.
func toSessionOfCodes(*bolt.Tx) error { return nil }

// toReplaces, from 4 to 5, has a member more in codes. Without it a connection
// takes no other's place.
func toReplaces(*bolt.Tx) error { return nil }

// toAuditGroups, from 5 to 6, parts the numbers of strangers' entries by whom
// they concern. Those that there are keep theirs, and leave with what concerns
// nobody.
func toAuditGroups(*bolt.Tx) error { return nil }

// toNumbers, from 6 to 7, numbers the pods of each region, by their ids. They
// have all run as far as anybody knows, so no empty home takes the place of one
// that is gone.
func toNumbers(tx *bolt.Tx) error {
	index, err := tx.CreateBucketIfNotExists([]byte("pods_by_number"))
	if err != nil {
		return err
	}
	last := map[string]uint64{}
	return changeRecords(tx, "pods", func(key []byte, record map[string]json.RawMessage) (bool, error) {
		var region string
		if json.Unmarshal(record["region"], &region) != nil {
			return false, nil
		}
		last[region]++
		record["number"], record["made"] = strconv.AppendUint(nil, last[region], 10), json.RawMessage("true")
		return true, index.Put(append([]byte(region+"\x00"), binary.BigEndian.AppendUint64(nil, last[region])...), key)
	})
}

// toDeclined, from 7 to 8, has the scopes that a person unticked in codes and
// grants. Without it nobody knows who kept a scope from a connection.
func toDeclined(*bolt.Tx) error { return nil }

// toClaimed, from 8 to 9, has the names of clients in the entries of decisions.
// Of earlier ones only the host is known.
func toClaimed(*bolt.Tx) error { return nil }

// toNetwork, from 9 to 10, has a member more in teams and pods. Without it
// nothing is taken away from what the region lets pods reach.
func toNetwork(*bolt.Tx) error { return nil }

// toUsedClients, from 10 to 11, notes which clients have had a connection: those that
// have one, and those that live longer than one that never had any. The others that
// registered themselves are ordered by age.
func toUsedClients(tx *bolt.Tx) error {
	index, err := tx.CreateBucketIfNotExists([]byte("clients_by_unused"))
	grants := tx.Bucket([]byte("grants_by_client"))
	if err != nil || grants == nil {
		return err // migrate says what is missing
	}
	return changeRecords(tx, "clients", func(key []byte, record map[string]json.RawMessage) (bool, error) {
		var created, expires time.Time
		if err := errors.Join(json.Unmarshal(record["created"], &created), json.Unmarshal(record["expires"], &expires)); err != nil {
			return false, nil
		}
		prefix := append(bytes.Clone(key), 0)
		grant, _ := grants.Cursor().Seek(prefix)
		switch {
		case bytes.HasPrefix(grant, prefix) || expires.Sub(created) > 48*time.Hour && record["document"] == nil:
			record["used"] = json.RawMessage("true")
			return true, nil
		case record["document"] != nil:
			return false, nil
		}
		return false, index.Put(append(binary.BigEndian.AppendUint64(nil, uint64(created.UnixNano())), key...), key)
	})
}

// toCopied, from 11 to 12, has in requests why a copy of a document is used.
// Those that wait say nothing of it.
func toCopied(*bolt.Tx) error { return nil }

// toFamilies, from 12 to 13, has in attempts the family of their connections' refresh
// tokens, as far as these connections are there.
func toFamilies(tx *bolt.Tx) error {
	index, err := tx.CreateBucketIfNotExists([]byte("attempts_by_family"))
	if err != nil {
		return err
	}
	families := map[string]string{} // by attempt
	err = changeRecords(tx, "grants", func(_ []byte, record map[string]json.RawMessage) (bool, error) {
		var attempt string
		var refresh struct{ Family string }
		if json.Unmarshal(record["attempt"], &attempt) == nil && json.Unmarshal(record["refresh"], &refresh) == nil {
			families[attempt] = refresh.Family
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	return changeRecords(tx, "attempts", func(key []byte, record map[string]json.RawMessage) (bool, error) {
		family, err := base64.RawURLEncoding.DecodeString(families[string(key)])
		if err != nil || len(family) == 0 {
			return false, nil
		}
		record["family"] = json.RawMessage(strconv.Quote(families[string(key)]))
		return true, index.Put(append(append(family, 0), key...), key)
	})
}

// toDeploys, from 13 to 14, has a list of deploys in place of why the last reload
// failed, which becomes the first of them.
func toDeploys(tx *bolt.Tx) error {
	deploys, err := tx.CreateBucketIfNotExists([]byte("deploys"))
	if err != nil {
		return err
	}
	return changeRecords(tx, "pods", func(key []byte, record map[string]json.RawMessage) (bool, error) {
		reason := record["reload_fault"]
		if reason == nil {
			return false, nil
		}
		delete(record, "reload_fault")
		record["deploys"] = json.RawMessage("1")
		raw, err := json.Marshal(map[string]any{
			"pod": string(key), "number": 1, "action": "reload", "source": "", "release": 0, "state": "failed", "reason": reason,
		})
		if err != nil {
			return false, err
		}
		return true, deploys.Put(binary.BigEndian.AppendUint64(append(bytes.Clone(key), 0), 1), raw)
	})
}

// toManagement, from 14 to 15, has invitations, blocked clients and what pods used;
// audit entries may name a pod, and connections are ordered by age, in all and of each team. What is new in teams,
// grants and pods is absent where nobody set it.
func toManagement(tx *bolt.Tx) error {
	for _, name := range []string{"audit_by_pod", "usage", "invitations", "invitations_by_team", "blocked", "blocked_by_since", "grants_by_team", "grants_by_created"} {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	byTeam, byCreated := tx.Bucket([]byte("grants_by_team")), tx.Bucket([]byte("grants_by_created"))
	return changeRecords(tx, "grants", func(key []byte, record map[string]json.RawMessage) (bool, error) {
		var team string
		var created time.Time
		if err := errors.Join(json.Unmarshal(record["team"], &team), json.Unmarshal(record["created"], &created)); err != nil {
			return false, nil
		}
		aged := append(binary.BigEndian.AppendUint64(nil, uint64(created.UnixNano())), key...)
		return false, errors.Join(byCreated.Put(aged, key), byTeam.Put(append([]byte(team+"\x00"), aged...), key))
	})
}

// toSnapshots, from 15 to 16, has snapshots, and pods that were deleted and can be
// brought back. Of pods deleted earlier nothing is left.
func toSnapshots(tx *bolt.Tx) error {
	for _, name := range []string{"pods_by_deleted", "snapshots", "snapshots_by_pod"} {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// toTokensInside, from 16 to 17, has access tokens in the records of their connections,
// which are packed; see migrate_tokens.go.
func toTokensInside(tx *bolt.Tx) error {
	for _, name := range []string{"legacy_tokens", "seals"} {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"grants", "tokens", "tokens_by_grant", "expiry"} {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrDamaged, name)
		}
	}
	m := packer17{tx: tx, seals: map[int64][]byte{}}
	if err := errors.Join(m.dropDeadlines(), m.pack()); err != nil {
		return err
	}
	for _, name := range []string{"tokens", "tokens_by_grant", "grants_by_family", "attempts_by_token", "attempts_by_family"} {
		if err := tx.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
	}
	return nil
}

// renameMember gives a member of a bucket's records another name.
func renameMember(tx *bolt.Tx, bucket, from, to string) error {
	return changeRecords(tx, bucket, func(_ []byte, record map[string]json.RawMessage) (bool, error) {
		if record[from] == nil {
			return false, nil
		}
		record[to] = record[from]
		delete(record, from)
		return true, nil
	})
}

// toPasskeys, from 17 to 18, has passkeys, and in sessions when their person last proved
// who they are. Of those that there are that is when they began.
func toPasskeys(tx *bolt.Tx) error {
	for _, name := range []string{"passkeys", "passkeys_by_user"} {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// changeRecords writes those records of a bucket that change says it changed.
// What is no record stays: Check names it afterwards as before.
func changeRecords(tx *bolt.Tx, bucket string, change func(key []byte, record map[string]json.RawMessage) (bool, error)) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil // migrate says that it is missing
	}
	type entry struct{ key, raw []byte }
	var changed []entry // a bucket must not change while it is walked
	err := b.ForEach(func(key, raw []byte) error {
		var record map[string]json.RawMessage
		if json.Unmarshal(raw, &record) != nil || record == nil {
			return nil
		}
		key = bytes.Clone(key)
		if is, err := change(key, record); err != nil || !is {
			return err
		}
		raw, err := json.Marshal(record)
		changed = append(changed, entry{key, raw})
		return err
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
