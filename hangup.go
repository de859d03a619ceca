package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"podgate/internal/config"
)

// outlive keeps the server from ending with its terminal. A hangup, which
// service managers send for «read your configuration again», has it do so with
// load, and hand over to another program that has taken the place of this one's file. Nobody reads of a closed output: the signal is taken so that a write to
// it fails and ends nothing. It is not ignored, which pods would inherit.
func (srv *server) outlive(load func() (*config.Settings, error)) {
	hangups, closed := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(closed, syscall.SIGPIPE)
	srv.onStop(func() error {
		if srv.upgrades.baton == nil { // else they would end this process while another program takes over
			signal.Stop(hangups)
			signal.Stop(closed)
		}
		return nil
	})
	srv.background(func(ctx context.Context) {
		select {
		case <-ctx.Done():
			return
		case <-srv.started: // a hangup before waits
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				srv.tell("reloading", srv.manager.Reloading())
				srv.reload(load)
				if !srv.upgradeIfReplaced(ctx) {
					srv.tell("ready", srv.ready())
				}
			}
		}
	})
}

// reload reads the configuration again and does of it what can be done while the
// server runs. A faulty one changes nothing.
func (srv *server) reload(load func() (*config.Settings, error)) {
	s, err := load()
	if err != nil {
		srv.log.Error("the configuration was not read again, and all stays as it was", "error", err)
		return
	}
	if !srv.apply(s) {
		return
	}
	srv.log.Log(context.Background(), max(slog.LevelInfo, srv.level.Level()),
		"the configuration was read again; of it the log level, plans, quota and networks hold now, everything else with the next start", "level", s.Log.Level)
}

// apply has settings hold as far as they can while the server runs, and notes them for
// the case that this program comes back from an upgrade.
func (srv *server) apply(s *config.Settings) bool {
	if err := srv.pods.Reconfigure(srv.podsConfig(s)); err != nil {
		srv.log.Error("plans, quota and networks stay as they were", "error", err)
		return false
	}
	srv.level.Set(s.Log.SlogLevel())
	srv.upgrades.mu.Lock()
	srv.upgrades.reloaded = &s.Text
	srv.upgrades.mu.Unlock()
	return true
}
