package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Status is how the service is.
type Status struct {
	Installed bool      `json:"installed"`
	Unit      string    `json:"unit,omitempty"`   // the file
	Edited    bool      `json:"edited,omitempty"` // not as podgate wrote it
	Enabled   bool      `json:"enabled"`          // starts with the machine
	Active    string    `json:"active"`           // systemd's word: active, reloading, activating, failed, inactive
	Since     time.Time `json:"since,omitzero"`   // of Active
	Result    string    `json:"result,omitempty"` // why it ended, in systemd's word
	Restarts  int       `json:"restarts"`         // by itself, since it was started
	PID       int       `json:"pid,omitempty"`
	Says      string    `json:"says,omitempty"` // of itself
	User      string    `json:"user,omitempty"`
	Program   string    `json:"program,omitempty"`
	Version   string    `json:"version,omitempty"`  // of that file
	Replaced  bool      `json:"replaced,omitempty"` // what runs is another file than that
	Journal   []string  `json:"journal,omitempty"`  // the last lines, when it does not run
}

// properties are what systemd is asked of the unit.
var properties = []string{"LoadState", "ActiveState", "StateChangeTimestamp", "Result", "NRestarts", "MainPID", "StatusText", "User", "FragmentPath", "UnitFileState", "ExecStart"}

// Status says how the service is.
func (h Host) Status(ctx context.Context) (Status, error) {
	if _, err := h.systemdVersion(ctx); err != nil {
		return Status{}, err
	}
	said, err := h.Run(ctx, "systemctl", "show", "--timestamp=unix", "--property="+strings.Join(properties, ","), Name)
	if err != nil {
		return Status{}, err
	}
	value := map[string]string{}
	for line := range strings.Lines(said) {
		name, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		value[name] = v
	}
	s := Status{
		Installed: value["LoadState"] == "loaded", Unit: value["FragmentPath"], Active: value["ActiveState"], Says: value["StatusText"],
		Enabled: value["UnitFileState"] == "enabled", User: value["User"], Program: programOf(value["ExecStart"]),
	}
	if !s.Installed {
		return s, nil
	}
	if s.User == "" {
		s.User = "root"
	}
	if value["Result"] != "success" {
		s.Result = value["Result"]
	}
	s.Restarts, _ = strconv.Atoi(value["NRestarts"]) // systemd's own form
	s.PID, _ = strconv.Atoi(value["MainPID"])
	if seconds, err := strconv.ParseInt(strings.TrimPrefix(value["StateChangeTimestamp"], "@"), 10, 64); err == nil {
		s.Since = time.Unix(seconds, 0).UTC()
	}
	if s.Unit == unitPath {
		raw, err := h.read(unitPath)
		if err != nil {
			return s, err
		}
		s.Edited = !isSealed(raw)
	}
	s.Version, s.Replaced = h.version(ctx, s)
	if s.Active != "active" && s.Active != "reloading" {
		s.Journal, err = h.journal(ctx)
	}
	return s, err
}

// programOf is the file in systemd's form of ExecStart: { path=FILE ; argv[]=… }.
func programOf(execStart string) string {
	_, after, _ := strings.Cut(execStart, "path=")
	path, _, _ := strings.Cut(after, " ;")
	return path
}

// version is that of the program's file, and whether another file runs.
func (h Host) version(ctx context.Context, s Status) (version string, replaced bool) {
	said, err := h.Run(ctx, s.Program, "version", "--json")
	var v struct{ Version string }
	if err != nil || json.Unmarshal([]byte(said), &v) != nil {
		return "", false // no such file, or one that is none of ours: it has no version to show
	}
	runs, runsErr := os.Stat(h.path(fmt.Sprintf("/proc/%d/exe", s.PID)))
	file, fileErr := os.Stat(h.path(s.Program))
	return v.Version, s.PID > 0 && errors.Join(runsErr, fileErr) == nil && !os.SameFile(runs, file)
}

func (h Host) journal(ctx context.Context) ([]string, error) {
	said, err := h.Run(ctx, "journalctl", "--unit", Name, "--lines", "10", "--no-pager", "--output", "cat", "--quiet")
	if err != nil || strings.TrimSpace(said) == "" {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(said), "\n"), nil
}
