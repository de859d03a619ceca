package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"podgate/control"
	"podgate/doctor"
	"podgate/history"
	"podgate/internal/config"
	"podgate/oauth"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/serverpages"
)

// machine is what the pages for administrators are told of the server.
func (srv *server) machine() serverpages.Machine {
	m := serverpages.Machine{
		Version: version(), Started: time.Now(), Settings: func() []serverpages.Setting { return shownSettings(srv.settings) },
		Problems: func() []string { return srv.problemWords() }, Doctor: srv.lookFromOutside,
	}
	if srv.certs != nil {
		m.Certificates = srv.shownCertificates
	}
	if srv.keeper != nil {
		m.Backup = func() serverpages.Backup {
			b := srv.backupState()
			return serverpages.Backup{State: b.State, Last: b.Last, Next: b.Next, Problem: b.Problem, At: b.At}
		}
	}
	return m
}

// status is the same for a command, as soon as the server has come up.
func (srv *server) status(ctx context.Context) (control.Status, error) {
	select {
	case <-srv.started:
	case <-ctx.Done():
		return control.Status{}, ctx.Err()
	}
	m := srv.facts
	s := control.Status{
		Address: srv.issuer.String(), Version: m.Version, Started: m.Started.UTC(), Problems: append([]string{}, m.Problems()...),
		Regions: []control.Region{}, Certificates: []control.Certificate{}, Backup: srv.backupState(), Upgrade: srv.upgrades.last(), Undoable: srv.undoable(ctx),
	}
	for _, r := range srv.pods.RegionStates() {
		shown := control.Region{Name: r.Name, Runtime: r.Kind, Works: r.Err == nil}
		if r.Err != nil {
			shown.Fault = r.Err.Error()
		}
		s.Regions = append(s.Regions, shown)
	}
	if m.Certificates == nil {
		return s, nil
	}
	for _, c := range m.Certificates() {
		s.Certificates = append(s.Certificates, control.Certificate{
			Name: c.Name, State: serverpages.StateOf(c, time.Now()), Expires: c.Expires.UTC(), Problem: c.Problem, At: c.At.UTC(),
		})
	}
	return s, nil
}

// noteEvicted has the audit list say what went for good.
func (srv *server) noteEvicted(e pods.Evicted) {
	entry := store.AuditEntry{Action: history.AuditPodEvict, ActorName: history.Itself, Concerns: e.Pod.CreatedBy, Team: e.Pod.Team, Pod: e.Pod.ID, Object: e.Pod.Name + ": " + e.Why}
	if e.Snapshot != "" {
		entry.Action, entry.Object = history.AuditSnapshotEvict, fmt.Sprintf("%s of %s: %s", e.Snapshot, e.Pod.Name, e.Why)
	}
	srv.history.Audit(history.Visitor{}, entry)
}

// undoable is what can be undone; nil when that cannot be told.
func (srv *server) undoable(ctx context.Context) *control.Undoable {
	u, err := srv.pods.Undoable(ctx)
	if err != nil {
		srv.log.Error("what can be undone could not be measured", "error", err)
		return nil
	}
	return &control.Undoable{Snapshots: u.Snapshots, SnapshotBytes: u.SnapshotBytes, DeletedPods: u.DeletedPods, DeletedPodBytes: u.DeletedPodBytes}
}

func (srv *server) problemWords() []string {
	var words []string
	for _, p := range srv.problems(srv.certs == nil || srv.certs.Status().Ready(time.Now())) {
		words = append(words, p.Words)
	}
	return words
}

func (srv *server) shownCertificates() []serverpages.Certificate {
	var list []serverpages.Certificate
	for _, n := range srv.certs.Status().Names {
		list = append(list, serverpages.Certificate{Name: n.Name, Expires: n.Expires, Problem: n.Problem, At: n.At})
	}
	return list
}

// shownSettings are the settings in force for a page. Secrets are in files of
// their own; an address that somebody else gave may hold one, so of it only the
// host is shown.
func shownSettings(s *config.Settings) []serverpages.Setting {
	var list []serverpages.Setting
	for _, setting := range s.List() {
		value, err := json.Marshal(setting.Value)
		if err != nil {
			value = []byte("?")
		}
		shown := serverpages.Setting{Key: setting.Key, Value: string(value), Source: setting.Source}
		if u, err := url.Parse(s.Notify.WebhookURL); setting.Key == "notify.webhook_url" && s.Notify.WebhookURL != "" {
			shown.Value = "(not shown)"
			if err == nil {
				shown.Value = u.Scheme + "://" + u.Hostname() + "/…"
			}
		}
		list = append(list, shown)
	}
	return list
}

// lookFromOutside takes the first steps of a client, as podgate doctor does.
func (srv *server) lookFromOutside(ctx context.Context) (serverpages.Report, error) {
	target, err := doctor.ParseTarget(srv.issuer.String())
	if err != nil {
		return serverpages.Report{}, err
	}
	options := doctor.Options{Target: target, Now: time.Now, Documents: oauth.KnownDocuments(), PodsDomain: srv.settings.Pods.Domain}
	if !srv.settings.OAuth.ClientMetadataDocuments {
		options.Documents = nil
	}
	found := doctor.Run(ctx, options)
	report := serverpages.Report{URL: found.URL}
	for _, f := range found.Findings {
		report.Findings = append(report.Findings, serverpages.Finding{Check: f.Check, Level: string(f.Level), Text: f.Text, Advice: f.Advice})
	}
	return report, nil
}
