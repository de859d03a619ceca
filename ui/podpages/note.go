package podpages

import (
	"net/http"

	"podgate/pods"
	"podgate/store"
)

// note puts what somebody did to a pod into the audit list. failed is why it was
// refused; nil: it was done. Nothing of what files or variables hold is noted.
func (s *Pages) note(r *http.Request, o opened, action store.AuditAction, object string, failed error) {
	e := store.AuditEntry{Action: action, Object: object, Team: o.Actor.Team.ID, TeamName: o.Actor.Team.Slug, Outcome: store.AuditOK}
	if failed != nil {
		e.Outcome = "failed"
		if pods.IsPublic(failed) {
			e.Outcome = "refused"
		}
	}
	e.Pod = s.pods.IDIn(e.Team, o.Name)
	s.Audit(r, o.Person, e)
}
