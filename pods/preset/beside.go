package preset

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Beside is what runs beside the process that answers on $PORT.
type Beside struct {
	Workers []Worker
	Crons   []Cron
}

// Worker is a process that is kept running.
type Worker struct{ Name, Shell string }

// Cron is a command that runs at times.
type Cron struct {
	When     string // as it was written
	Schedule cron.Schedule
	Shell    string
}

// maxBeside is how many workers, and how many cron lines, an app has at most.
const maxBeside = 8

var processName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`) })

// Beside returns what the Procfile has beside its web and release lines: cron
// lines, and workers, which are all others. An error is one of the Procfile, in
// words for its writer.
func (p Preset) Beside(app App) (Beside, error) {
	if p.filesOnly {
		return Beside{}, nil
	}
	text, err := app.procfileText()
	if err != nil {
		return Beside{}, err
	}
	var b Beside
	for name, shell := range procfileEntries(text) {
		switch {
		case shell == "" || !processName().MatchString(name) || name == "web" || name == "release":
		case name == "cron":
			c, err := parseCron(shell)
			if err != nil {
				return Beside{}, err
			}
			b.Crons = append(b.Crons, c)
		case !slices.ContainsFunc(b.Workers, func(w Worker) bool { return w.Name == name }):
			b.Workers = append(b.Workers, Worker{name, shell})
		}
	}
	if max(len(b.Workers), len(b.Crons)) > maxBeside {
		return Beside{}, fmt.Errorf("the Procfile has %d workers and %d cron lines; at most %d of each are run", len(b.Workers), len(b.Crons), maxBeside)
	}
	return b, nil
}

// parseCron reads «@every 5m COMMAND», «@daily COMMAND» or five fields and a
// command. Times are UTC.
func parseCron(line string) (Cron, error) {
	fields := 5
	switch {
	case strings.HasPrefix(line, "@every"):
		fields = 2
	case strings.HasPrefix(line, "@"):
		fields = 1
	}
	words := strings.Fields(line)
	if len(words) <= fields {
		return Cron{}, fmt.Errorf("the Procfile's line «cron: %.80s» has no command; write «cron: @every 5m COMMAND» or «cron: 0 3 * * * COMMAND»", line)
	}
	shell := line
	for _, word := range words[:fields] {
		_, shell, _ = strings.Cut(shell, word)
	}
	c := Cron{When: strings.Join(words[:fields], " "), Shell: strings.TrimSpace(shell)}
	var err error
	if c.Schedule, err = cron.ParseStandard(c.When); err != nil {
		return Cron{}, fmt.Errorf("the Procfile's line «cron: %.80s» cannot be read: %.200v; write «cron: @every 5m COMMAND» or «cron: 0 3 * * * COMMAND»", line, err)
	}
	if c.Schedule.Next(time.Unix(0, 0).UTC()).IsZero() {
		return Cron{}, fmt.Errorf("the Procfile's line «cron: %.80s» names a day that never comes", line)
	}
	return c, nil
}

// procfileText returns the Procfile; empty when there is none.
func (a App) procfileText() (string, error) {
	b, err := a.read(procfile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("the Procfile cannot be read: %w", err)
	case bytes.IndexByte(b, 0) >= 0:
		return "", errors.New("the Procfile has a NUL byte; write it as text")
	}
	return string(b), nil
}
