package pods

import (
	"strings"

	"podgate/internal/text"
	"podgate/pods/wire"
)

const (
	maxReason  = 1000 // characters of a sentence that an agent says
	maxTail    = 50   // log lines beside a reason
	maxSnippet = 80   // characters of the asker's own words in an error
)

// cleanState bounds every part of a state; an App that is none of the states
// there are becomes failed.
func cleanState(s wire.State) wire.State {
	switch s.App {
	case wire.AppStopped, wire.AppStarting, wire.AppRunning, wire.AppWaiting, wire.AppFailed:
	default:
		s.App, s.Reason = wire.AppFailed, "the pod's agent gave an answer that makes no sense; use manage_pod with action stop, then start"
	}
	s.Reason, s.Command = text.Line(s.Reason, maxReason), text.Line(s.Command, maxReason)
	s.Restarts = max(0, s.Restarts)
	if s.LastExit != nil {
		s.LastExit = &wire.LastExit{Time: s.LastExit.Time, Reason: text.Line(s.LastExit.Reason, maxReason)}
	}
	if len(s.Tail) > maxTail {
		s.Tail = s.Tail[len(s.Tail)-maxTail:]
	}
	s.Tail = cleanLines(s.Tail)
	s.Workers, s.Crons = cleanBeside(s.Workers, s.Crons)
	return s
}

const maxBeside = 8 // workers, and cron lines; an agent has no more of each

func cleanBeside(workers []wire.Worker, crons []wire.Cron) ([]wire.Worker, []wire.Cron) {
	workers, crons = workers[:min(len(workers), maxBeside)], crons[:min(len(crons), maxBeside)]
	for i := range workers {
		w := &workers[i]
		w.Name, w.State, w.Reason = text.Line(w.Name, maxSnippet), text.Line(w.State, 20), text.Line(w.Reason, maxReason)
		w.Restarts = max(0, w.Restarts)
	}
	for i := range crons {
		c := &crons[i]
		c.When, c.Command = text.Line(c.When, maxSnippet), text.Line(c.Command, maxReason)
		if c.Last != nil {
			c.Last.Result = text.Line(c.Last.Result, maxReason)
		}
	}
	return workers, crons
}

// cleanLines bounds each line. The text keeps its characters: it is the app's
// output and is shown as such.
func cleanLines(lines []wire.LogLine) []wire.LogLine {
	for i := range lines {
		l := &lines[i]
		l.Source, l.Stream = text.Line(l.Source, 20), text.Line(l.Stream, 20)
		l.Text = strings.ToValidUTF8(l.Text[:min(len(l.Text), wire.MaxLineBytes)], "\uFFFD")
	}
	return lines
}

// cleanDeployed bounds every part of a deploy that succeeded.
func cleanDeployed(d *wire.Deployed) *wire.Deployed {
	d.State = cleanState(d.State)
	d.Commit = text.Line(d.Commit, 80)
	d.Lines = cleanLines(d.Lines[max(0, len(d.Lines)-maxTail):])
	if a := d.Answer; a != nil {
		if a.Status < 100 || a.Status > 999 {
			d.Answer = nil
			return d
		}
		a.Type = text.Line(a.Type, 100)
		start, _ := text.Start(text.Valid(a.Start), 500)
		a.Start = start
	}
	return d
}
