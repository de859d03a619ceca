package pods

import (
	"sync"

	"podgate/store"
)

// maxRecords bounds the records that are kept in memory.
const maxRecords = 10_000

// records are the pods of teams as they were read last. They count until the next
// commit, whatever it changes: to read and decode them costs more than all else of a list.
type records struct {
	mu      sync.Mutex
	version int
	kept    int
	teams   map[store.TeamID][]store.PodDeployed
}

// podsOf returns the pods of teams, those that are being deleted left out, with their
// last deploys. Nobody may change what is returned.
func (s *Service) podsOf(teams ...store.TeamID) (list []store.PodDeployed, err error) {
	r := &s.records
	r.mu.Lock()
	defer r.mu.Unlock()
	// What is read after this may be newer, and is then read once more than needed.
	version, err := s.cfg.DB.Version()
	if err != nil {
		return nil, err
	}
	if version != r.version || r.kept > maxRecords {
		r.version, r.kept, r.teams = version, 0, map[store.TeamID][]store.PodDeployed{}
	}
	for _, team := range teams {
		mine, there := r.teams[team]
		if !there {
			if mine, err = s.cfg.DB.PodsOfTeams([]store.TeamID{team}); err != nil {
				return nil, err
			}
			r.teams[team] = mine
			r.kept += len(mine)
		}
		if len(teams) == 1 {
			return mine, nil
		}
		list = append(list, mine...)
	}
	return list, nil
}
