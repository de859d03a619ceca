package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func configCommands() []command {
	return []command{
		{name: "config show", summary: "print every setting in force and where it came from", setup: setupConfigShow,
			details: "What it prints is a configuration file with the same effect."},
		{name: "config check", summary: "say what is wrong with the configuration", setup: setupConfigCheck,
			details: "It looks at the values, at the files they name, and where the names lead. It changes nothing."},
	}
}

func setupConfigShow(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(context.Context) error {
		s, err := inv.load()
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.Stdout, s.list())
		}
		text, err := s.render()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(inv.Stdout, text)
		return err
	}
}

func setupConfigCheck(inv *invocation) func(context.Context) error {
	asJSON := inv.jsonFlag()
	return func(ctx context.Context) error {
		s, err := inv.load()
		if err == nil {
			err = s.checkSurroundings(ctx, inv.Machine)
		}
		var faults *configError
		if *asJSON && (err == nil || errors.As(err, &faults)) {
			return inv.printConfigReport(s, faults)
		}
		if err != nil {
			return err
		}
		for _, w := range s.warnings {
			if err := inv.say("note: %s", w); err != nil {
				return err
			}
		}
		return inv.say("ok")
	}
}

// checkSurroundings looks at what only the machine can tell: files that cannot
// be used are faults, the rest are remarks.
func (s *settings) checkSurroundings(ctx context.Context, m *machine) error {
	if m == nil {
		m = thisMachine()
	}
	var faults []fault
	for _, err := range s.openable(time.Now()) {
		faults = append(faults, fault{Key: "tls", Source: s.source("tls.mode"), Message: err.Error()})
	}
	if len(faults) > 0 {
		return &configError{faults}
	}
	s.warnings = append(s.warnings, s.advise(ctx, m)...)
	return nil
}

type configReport struct {
	OK       bool     `json:"ok"`
	Faults   []fault  `json:"faults"`
	Warnings []string `json:"warnings"`
}

func (inv *invocation) printConfigReport(s *settings, faults *configError) error {
	report := configReport{OK: faults == nil, Faults: []fault{}, Warnings: []string{}}
	if faults != nil {
		report.Faults = faults.Faults
	} else {
		report.Warnings = append(report.Warnings, s.warnings...)
	}
	if err := printJSON(inv.Stdout, report); err != nil {
		return err
	}
	if !report.OK {
		return errSilent
	}
	return nil
}
