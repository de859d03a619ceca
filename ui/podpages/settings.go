package podpages

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// maxEnvForm bounds a form with the value of a variable, encoded.
const maxEnvForm = 4 * pods.MaxEnvValue

func (s *Pages) settingRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/settings", s.onPod(s.serveSettings)),
		s.postLarge("/pod/:name/env", maxEnvForm, s.onPod(s.handleEnv)),
		s.Post("/pod/:name/network", s.onPod(s.handleNetwork)),
		s.Get("/pod/:name/audit", s.onPod(s.servePodAudit)),
	}
}

// settingsPage is the content of pod_settings.html.
type settingsPage struct {
	Head      podHead
	Env       []string // names; values never leave the store
	Manage    bool     // the reader may change the environment
	Network   bool     // and what the pod may reach
	Delete    bool     // and may delete it
	Net       netView
	Name      string // what was typed
	Wrong     string // which form was refused
	Fault     string
	MayWhat   []mayRow
	AuditPath string
}

// netView is what a pod may reach and has reached.
type netView struct {
	Words  string
	Layers []layerView
	Mode   string // of the pod's own setting; empty: what stands above it
	Names  string // as they were written, one a line
	Ledger []ledgerRow
	Part   page.Part
}

type layerView struct{ Who, Words string }

// ledgerRow is one target that the pod has reached, or tried to.
type ledgerRow struct {
	Target            string
	Port              uint16
	Network           string
	Connections, Open int
	Sent, Received    string
	Refused, Failed   int
	Reason            string
	Last              time.Time
}

// mayRow is what one may do with the pod, and who.
type mayRow struct{ What, Who string }

// serveSettings is GET /pod/:name/settings. Query: page, of the ledger.
func (s *Pages) serveSettings(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showSettings(w, r, o, http.StatusOK, func(*settingsPage) {})
}

// showSettings shows the settings, after a form that was refused with what change says.
func (s *Pages) showSettings(w http.ResponseWriter, r *http.Request, o opened, status int, change func(*settingsPage)) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	n, err := s.pods.Network(o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := settingsPage{
		Head: s.head(o, pod, "Settings"), Env: pod.Env, Manage: o.may(authz.ManagePod), Network: o.may(authz.ChangeNetwork), Delete: o.may(authz.DeletePod),
		Net: viewNetwork(r, n), MayWhat: whoMay(), AuditPath: "/pod/" + o.Name + "/audit",
	}
	change(&view)
	return s.area.Render(w, r, page.Plain, status, "pod_settings", page.Frame{Title: "Settings · " + o.Name, Here: "pods", Wide: true, Page: view})
}

func viewNetwork(r *http.Request, n pods.PodNetwork) netView {
	v := netView{Words: reachWords(string(n.Mode), n.Names), Mode: n.Own.Mode, Names: strings.Join(n.Own.Names, "\n")}
	for _, l := range n.Layers {
		words := "takes nothing away"
		if l.Mode != "" {
			words = "allows " + reachWords(string(l.Mode), l.Hosts())
		}
		v.Layers = append(v.Layers, layerView{text.Line(l.Who, 40), words})
	}
	list, part := page.Cut(r, n.Ledger)
	v.Part = part
	for _, e := range list {
		v.Ledger = append(v.Ledger, ledgerRow{
			Target: text.Line(e.Target, 255), Port: e.Port, Network: e.Network, Connections: e.Connections, Open: e.Open,
			Sent: sizeWords(e.Sent), Received: sizeWords(e.Received), Refused: e.Refused, Failed: e.Failed, Reason: text.Line(e.Reason, 200), Last: e.Last,
		})
	}
	return v
}

// shownReach bounds how many names a line lists.
const shownReach = 12

func reachWords(mode string, names []string) string {
	switch mode {
	case "none":
		return "nothing"
	case "internet":
		return "the public internet"
	case "names":
		shown := slices.Compact(slices.Sorted(slices.Values(names)))
		if len(shown) == 0 {
			return "nothing: its list is empty"
		}
		if more := len(shown) - shownReach; more > 0 {
			return strings.Join(shown[:shownReach], ", ") + " and " + page.Plural(more, "other name", "other names")
		}
		return strings.Join(shown, ", ")
	}
	return text.Line(mode, 40)
}

// whoMay reads the one table of who may do what, for people.
func whoMay() []mayRow {
	var rows []mayRow
	for _, what := range []struct {
		words  string
		action authz.Action
	}{
		{"See the pod, its files and its log", authz.ReadFiles},
		{"Start, stop, restart, change the environment", authz.ManagePod},
		{"Change files, deploy", authz.WriteFiles},
		{"Run commands", authz.Exec},
		{"Delete the pod", authz.DeletePod},
		{"Change what it may reach", authz.ChangeNetwork},
	} {
		var who []string
		for _, role := range []store.Role{store.RoleOwner, store.RoleMember, store.RoleViewer} {
			if authz.Person("x", store.Membership{Team: store.Team{ID: "x"}, Role: role}).Allow(what.action, "x") == nil {
				who = append(who, string(role)+"s")
			}
		}
		rows = append(rows, mayRow{what.words, strings.Join(who, ", ")})
	}
	return rows
}

// handleEnv is POST /pod/:name/env: name with value, or unset with a name.
func (s *Pages) handleEnv(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.ManagePod) {
		return s.mayNot()
	}
	name, object := strings.TrimSpace(r.PostFormValue("name")), "set "
	var set map[string]string
	var unset []string
	if gone := r.PostFormValue("unset"); gone != "" {
		name, object, unset = gone, "took away ", []string{gone}
	} else {
		set = map[string]string{name: strings.ReplaceAll(r.PostFormValue("value"), "\r\n", "\n")}
	}
	out, err := s.pods.SetEnv(r.Context(), o.Actor, o.Name, set, unset, nil)
	s.note(r, o, history.AuditPodEnv, object+name, err)
	if err == nil && out.Failed != nil {
		err = out.Failed
	}
	switch {
	case err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)):
		return s.podError(err)
	case err != nil:
		fault := sentence(err)
		if out.Restarted {
			fault = "The environment is changed, but the app did not start with it. " + fault
		}
		return s.showSettings(w, r, o, http.StatusUnprocessableEntity, func(v *settingsPage) { v.Wrong, v.Fault, v.Name = "env", fault, name })
	case out.Restarted:
		s.SetNotice(w, "env-set", 0)
	default:
		s.SetNotice(w, "env-later", 0)
	}
	return s.Redirect(w, "/pod/"+o.Name+"/settings#env")
}

// handleNetwork is POST /pod/:name/network with mode, which is empty for what stands
// above the pod, and names.
func (s *Pages) handleNetwork(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.ChangeNetwork) {
		return s.mayNot()
	}
	n := store.Network{Mode: text.Cut(r.PostFormValue("mode"), 20)}
	if n.Mode == "names" {
		n.Names = strings.Fields(strings.ReplaceAll(r.PostFormValue("names"), ",", " "))
	}
	fault := ""
	if n.Mode == "names" && len(n.Names) == 0 {
		fault = "Write the names that may be reached, one a line, or choose “Nothing”."
	} else {
		err := s.pods.SetNetwork(o.Actor, o.Name, n)
		s.note(r, o, history.AuditPodNetwork, o.Name+": "+reachWords(n.Mode, n.Names), err)
		if err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)) {
			return s.podError(err)
		}
		if err != nil {
			fault = sentence(err)
		}
	}
	if fault != "" {
		return s.showSettings(w, r, o, http.StatusUnprocessableEntity, func(v *settingsPage) {
			v.Wrong, v.Fault, v.Net.Mode, v.Net.Names = "network", fault, n.Mode, strings.Join(n.Names, "\n")
		})
	}
	s.SetNotice(w, "net-set", 0)
	return s.Redirect(w, "/pod/"+o.Name+"/settings#network")
}

// auditPage is the content of pod_audit.html.
type podAuditPage struct {
	Head         podHead
	Entries      []podEntry
	Newer, Older string
}

// podEntry is what somebody did to the pod. Where from is for the list of the person
// alone.
type podEntry struct {
	Who, What, Object, Through, Failed string
	At                                 time.Time
	Count                              int
}

// servePodAudit is GET /pod/:name/audit: who did what to this pod. Query: before.
func (s *Pages) servePodAudit(w http.ResponseWriter, r *http.Request, o opened) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	before := r.URL.Query().Get("before")
	list, err := s.History.AuditList(store.AuditQuery{Pod: pod.ID, Before: before, Limit: page.Rows})
	if errors.Is(err, store.ErrCursor) {
		return web.Fault(http.StatusBadRequest, "invalid_request", "There is no such page of this list. Begin at its first page.", err)
	}
	if err != nil {
		return err
	}
	view := podAuditPage{Head: s.head(o, pod, "Settings")}
	for _, e := range list.Entries {
		v := podEntry{
			Who: text.Line(e.ActorName, 254), What: history.AuditWords(e), Object: text.Line(e.Object, 254), At: e.Last, Count: e.Count,
			Through: text.Line(list.Claimed(e), 60),
		}
		if v.Who == "" {
			v.Who = "podgate"
		}
		if e.Actor == o.User.ID {
			v.Who = "You"
		}
		if e.Outcome != store.AuditOK {
			v.Failed = text.Line(e.Outcome, 200)
		}
		view.Entries = append(view.Entries, v)
	}
	path := "/pod/" + o.Name + "/audit"
	if before != "" {
		view.Newer = path
	}
	if list.Next != "" {
		view.Older = path + "?before=" + list.Next
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "pod_audit", page.Frame{Title: "Audit list · " + o.Name, Here: "pods", Wide: true, Page: view})
}
