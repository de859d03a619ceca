package agent

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"

	"podgate/pods/wire"
)

// How the cron lines ran last lies beside the logs, so that the morning shows what the
// night did, whatever was restarted in between.
const (
	runsFile = "runs.json"
	maxRuns  = 1 << 20 // bytes; a line of the Procfile is its key
)

// LastRuns implements launcher. Where an app can reach the file it may hold anything.
func (a *agent) LastRuns() map[string]*wire.CronRun {
	runs := map[string]*wire.CronRun{}
	f, err := a.logs.root.OpenFile(runsFile, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	if err != nil {
		return runs // nothing ran yet
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return runs
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRuns))
	if err != nil || json.Unmarshal(b, &runs) != nil {
		return map[string]*wire.CronRun{}
	}
	for key, run := range runs {
		if run == nil || len(run.Result) > wire.MaxLineBytes {
			delete(runs, key)
		}
	}
	return runs
}

// KeepRuns implements launcher.
func (a *agent) KeepRuns(runs map[string]*wire.CronRun) {
	if err := a.keepRuns(runs); err != nil {
		a.log.Printf("keep how cron lines ran: %v", err)
	}
}

// keepRuns writes beside the old file, then in its place.
func (a *agent) keepRuns(runs map[string]*wire.CronRun) error {
	b, err := json.Marshal(runs)
	if err != nil {
		return err
	}
	const next = runsFile + ".new"
	if err := a.logs.root.RemoveAll(next); err != nil {
		return err
	}
	f, err := a.logs.root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return a.logs.root.Rename(next, runsFile)
}
