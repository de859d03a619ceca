package store

import bolt "go.etcd.io/bbolt"

// SetPlan changes a pod's plan and returns the pod after it. allow sees the other
// pods of its team, those being deleted included, inside the same transaction and may
// refuse with an error of its own (a quota). ErrNotFound when there is no such pod, and
// when it is being deleted.
func (db *DB) SetPlan(id PodID, plan string, allow func(others []Pod) error) (p Pod, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		found, err := pods.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if found.Want == WantGone {
			return ErrNotFound
		}
		mine, err := pods.by(tx, "team", []byte(found.Team))
		if err != nil {
			return err
		}
		var others []Pod
		for _, o := range mine {
			if o.ID != id {
				others = append(others, o)
			}
		}
		if err := allow(others); err != nil {
			return err
		}
		found.Plan = plan
		p = *found
		return pods.put(tx, found)
	})
	return p, err
}
