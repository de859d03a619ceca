package serverpages

import (
	"context"
	"net/http"
	"time"

	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/ui/page"
)

// overviewPage is the content of server.html.
type overviewPage struct {
	Tabs         []tab
	Version      string
	Started      time.Time
	Problems     []string
	Regions      []regionView
	Certificates []certificateView
	Backup       *Backup        // nil: none are made
	Undoable     *pods.Undoable // nil: it cannot be told
	Doctor       bool
	Looked       *Report // nil: nobody asked
}

type regionView struct{ Name, Kind, Fault string }

type certificateView struct {
	Certificate
	State string // running: in force; failing: soon over or refused; failed: none in force
}

// soon is how long before its end a certificate should have been renewed.
const soon = 14 * 24 * time.Hour

// serveOverview is GET /server.
func (s *Pages) serveOverview(w http.ResponseWriter, r *http.Request, _ opened) error {
	return s.render(w, r, http.StatusOK, "server", "Server", s.overview(r.Context()))
}

func (s *Pages) overview(ctx context.Context) overviewPage {
	m := s.cfg.Machine
	view := overviewPage{Tabs: tabs("Overview"), Version: m.Version, Started: m.Started, Doctor: m.Doctor != nil}
	if m.Problems != nil {
		view.Problems = m.Problems()
	}
	if s.cfg.Pods != nil {
		for _, region := range s.cfg.Pods.RegionStates() {
			v := regionView{Name: text.Line(region.Name, 40), Kind: text.Line(region.Kind, 40)}
			if region.Err != nil {
				v.Fault = text.Line(region.Err.Error(), 600)
			}
			view.Regions = append(view.Regions, v)
		}
		if u, err := s.cfg.Pods.Undoable(ctx); err == nil { // the page has more to say
			view.Undoable = &u
		}
	}
	if m.Certificates != nil {
		for _, c := range m.Certificates() {
			view.Certificates = append(view.Certificates, certificateView{c, StateOf(c, s.Now())})
		}
	}
	if m.Backup != nil {
		b := m.Backup()
		b.Problem = text.Line(b.Problem, 600)
		view.Backup = &b
	}
	return view
}

// StateOf says how a certificate is: running when it is in force, failing when it is soon
// over or was refused, failed when none is in force.
func StateOf(c Certificate, now time.Time) string {
	switch {
	case !now.Before(c.Expires):
		return "failed"
	case c.Problem != "" || c.Expires.Sub(now) < soon:
		return "failing"
	}
	return "running"
}

// lookTime bounds a look from outside.
const lookTime = 45 * time.Second

// handleDoctor is POST /server/doctor. It takes some seconds and asks the server
// itself, so there is one at a time.
func (s *Pages) handleDoctor(w http.ResponseWriter, r *http.Request, _ opened) error {
	if s.cfg.Machine.Doctor == nil {
		return page.Absent()
	}
	if !s.looking.TryLock() {
		return web.Fault(http.StatusTooManyRequests, "busy", "Somebody has the server looked at right now. Try again in a minute.", nil)
	}
	defer s.looking.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	report, err := s.cfg.Machine.Doctor(ctx)
	if err != nil {
		return err
	}
	for i, f := range report.Findings { // other servers had a say in the words
		report.Findings[i] = Finding{text.Line(f.Check, 80), text.Line(f.Level, 20), text.Line(f.Text, 800), text.Line(f.Advice, 800)}
	}
	view := s.overview(r.Context())
	view.Looked = &report
	return s.render(w, r, http.StatusOK, "server", "Server", view)
}

// settingsPage is the content of server_settings.html.
type settingsPage struct {
	Tabs     []tab
	Settings []Setting
}

// serveSettings is GET /server/settings.
func (s *Pages) serveSettings(w http.ResponseWriter, r *http.Request, _ opened) error {
	view := settingsPage{Tabs: tabs("Settings")}
	if s.cfg.Machine.Settings != nil {
		view.Settings = s.cfg.Machine.Settings()
	}
	return s.render(w, r, http.StatusOK, "server_settings", "Settings of the server", view)
}
