package podpages

import (
	"net/http"
	"slices"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

func (s *Pages) eventRoutes() []web.Route {
	return []web.Route{s.Get("/events", s.SignedIn(s.serveEvents))}
}

// teamsAgain is how often somebody who follows is looked up in teams that they may
// have come into. What is taken from them counts at once.
const teamsAgain = 15 * time.Second

// podEvent is how a pod is, for the script of the pages.
type podEvent struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Word   string `json:"word"`
	Reason string `json:"reason,omitempty"`
	Wrong  bool   `json:"wrong,omitempty"`
	Since  int64  `json:"since,omitempty"` // when the app was started, in Unix seconds
}

// serveEvents is GET /events: how the pods of one's teams are, at first all of them
// and then each that changes, how many failed, and which there are.
func (s *Pages) serveEvents(w http.ResponseWriter, r *http.Request, p page.Person) error {
	if s.pods == nil {
		return web.Fault(http.StatusNotFound, "not_found", "There are no pods here.", nil)
	}
	out, end, err := s.openStream(w, r, p)
	if err != nil {
		return err
	}
	defer end()
	lost := make(chan struct{}, 1)
	defer s.Account.OnLossOf(p.User.ID, func() {
		select {
		case lost <- struct{}{}:
		default:
		}
	})()
	for out.ctx.Err() == nil {
		teams, err := s.teamsSeen(p)
		if err != nil {
			return nil // the browser comes again
		}
		if !s.followTeams(out, p, teams, lost) {
			return nil
		}
	}
	return nil
}

// teamsSeen are the teams whose pods a person may see.
func (s *Pages) teamsSeen(p page.Person) (ids []store.TeamID, err error) {
	memberships, err := s.Account.TeamsOf(p.User.ID)
	for _, m := range memberships {
		if authz.Person(p.User.ID, m).Allow(authz.ListPods, m.Team.ID) == nil {
			ids = append(ids, m.Team.ID)
		}
	}
	slices.Sort(ids)
	return ids, err
}

// followTeams sends what happens in teams until the person is in others. It returns
// false when there is nobody to send to.
func (s *Pages) followTeams(out *stream, p page.Person, teams []store.TeamID, lost <-chan struct{}) bool {
	watch := s.pods.WatchPods(teams)
	defer watch.Close()
	tick := time.NewTicker(teamsAgain)
	defer tick.Stop()
	for {
		select {
		case <-out.ctx.Done():
			return false
		case <-lost:
		case <-tick.C:
		case <-watch.More():
			if len(lost) == 0 { // what was taken counts before what is told
				if s.sendChanges(out, watch) != nil {
					return false
				}
				continue
			}
		}
		now, err := s.teamsSeen(p)
		if err != nil || !slices.Equal(now, teams) {
			return err == nil
		}
	}
}

func (s *Pages) sendChanges(out *stream, watch *pods.Watch) error {
	changes, list := watch.Take()
	events := make([]podEvent, 0, len(changes))
	for _, c := range changes {
		status := text.Line(c.Status, 20)
		e := podEvent{Name: text.Line(c.Name, 63), Status: status, Word: statusWord(status), Reason: text.Line(inPages(c.Reason), 300), Wrong: wrong(status)}
		if !c.Started.IsZero() {
			e.Since = c.Started.Unix()
		}
		events = append(events, e)
	}
	if len(events) > 0 {
		if err := out.send("pods", "", events); err != nil {
			return err
		}
	}
	if failed, changed := watch.Failed(); changed {
		if err := out.send("failed", "", failed); err != nil {
			return err
		}
	}
	if list == "" {
		return nil
	}
	return out.send("list", "", list)
}
