package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podgate/backup"
	"podgate/internal/config"
)

// With max_age the server is not well when its newest backup is older than that, and
// without any when it has run for so long.
func TestBackupTooOld(t *testing.T) {
	t.Parallel()
	folder, data := backup.Folder{Dir: t.TempDir()}, t.TempDir()
	repository := &backup.Repository{Storage: folder, Dir: data}
	k := backup.NewKeeper(backup.KeeperConfig{
		Repository: repository, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Write: func(context.Context, io.Writer, *backup.Packs) (*backup.Manifest, error) {
			return nil, errors.New("no disk")
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	defer func() { cancel(); <-done }()
	eventually(t, func() bool { return k.State().Fault != "" })

	s := &config.Settings{}
	srv := &server{settings: s, keeper: k, began: time.Now()}
	for _, c := range []struct {
		maxAge, runs time.Duration
		want         bool
	}{{0, 1000 * time.Hour, false}, {48 * time.Hour, time.Hour, false}, {48 * time.Hour, 49 * time.Hour, true}} {
		s.Backup.MaxAge, srv.began = config.Duration(c.maxAge), time.Now().Add(-c.runs)
		if got := srv.backupTooOld(); got != c.want {
			t.Errorf("without a backup, at most %v, running for %v: %v", c.maxAge, c.runs, got)
		}
	}
	if b := srv.backupState(); b.State != "failed" || b.Problem == "" || !b.Last.IsZero() {
		t.Errorf("%+v", b)
	}
	if (&server{settings: s}).backupTooOld() || (&server{settings: s}).backupState() != nil {
		t.Error("where no backups are wanted one is missed")
	}

	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := folder.Put(t.Context(), "podgate-20200101T000000Z/20200101T000000Z.backup", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	late := backup.NewKeeper(backup.KeeperConfig{Repository: repository, Log: slog.New(slog.DiscardHandler), Now: time.Now, Write: k.Write})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); late.Run(ctx) }()
	defer func() { stop(); <-ended }()
	eventually(t, func() bool { return late.State().Fault != "" })
	srv.keeper, srv.began = late, time.Now()
	if b := srv.backupState(); !srv.backupTooOld() || !b.Last.Equal(old) {
		t.Errorf("one of 2020 is not too old: %+v", b)
	}
}

// Who makes the daily backups waits in a program that takes over until that serves: the one
// before could still take over again, and what it leaves must not be cleaned away meanwhile.
func TestKeeperWaitsForTakeOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := &config.Settings{}
		s.DataDir, s.Backup.To = t.TempDir(), dir
		srv := &server{settings: s, takeover: &takeover{}, started: make(chan struct{}), backingUp: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)}
		srv.backingUp <- struct{}{} // so that none begins
		write(t, dir, map[string]string{".podgate-backup-before.part": "unfinished"})
		left := func() int {
			t.Helper()
			list, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if err := srv.openBackup(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if left() != 1 {
			t.Error("it did not wait")
		}
		close(srv.started)
		synctest.Wait()
		if left() != 0 {
			t.Error("it does not begin")
		}
		if err := srv.stop(); err != nil {
			t.Error(err)
		}
	})

	// One whose take-over ends before it serves ends as well.
	srv := &server{settings: &config.Settings{}, takeover: &takeover{}, started: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	srv.settings.Backup.To = t.TempDir()
	if err := errors.Join(srv.openBackup(t.Context()), srv.stop()); err != nil {
		t.Error(err)
	}
}
