package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"podgate/backup"
	"podgate/control"
	"podgate/internal/config"
	"podgate/store"
)

// localBackup writes a backup of a data folder from which no server runs.
func localBackup(ctx context.Context, s *config.Settings, w io.Writer) (m *backup.Manifest, err error) {
	db, err := control.OpenDatabase(s.DataDir, false)
	if err != nil {
		return nil, dataDirWords(err, s)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return backup.Write(ctx, w, backupSource(s, db))
}

// backupSource is what a backup is of.
func backupSource(s *config.Settings, db *store.DB) backup.Source {
	return backup.Source{Dir: s.DataDir, DB: db, Settings: s.File, Version: version(), Now: time.Now}
}

// writeBackup answers a command.
func (srv *server) writeBackup(ctx context.Context, w io.Writer) ([]byte, error) {
	select {
	case srv.backingUp <- struct{}{}:
		defer func() { <-srv.backingUp }()
	default:
		return nil, errors.New("another backup is being made; wait until it is done")
	}
	m, err := srv.backUp(ctx, w, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// backupTurn waits for a backup that somebody else has asked for.
func (srv *server) backupTurn(ctx context.Context) (release func(), err error) {
	select {
	case srv.backingUp <- struct{}{}:
		return func() { <-srv.backingUp }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// backUp writes a backup of the server. Who calls it holds srv.backingUp.
func (srv *server) backUp(ctx context.Context, w io.Writer, packs *backup.Packs) (*backup.Manifest, error) {
	source := backupSource(srv.settings, srv.db)
	source.Hold = srv.pods.Hold
	return backup.WriteTo(ctx, w, source, packs)
}

// openBackup makes what makes a backup every day, where the settings want one.
func (srv *server) openBackup(context.Context) error {
	b := srv.settings.Backup
	if !b.On() {
		return nil
	}
	repository, err := backupRepository(srv.settings)
	if err != nil {
		return err
	}
	srv.keeper = backup.NewKeeper(backup.KeeperConfig{
		Repository: repository, Hour: b.Schedule.Hour(), Minute: b.Schedule.Minute(),
		Turn: srv.backupTurn, Write: srv.backUp, Failed: srv.notify.BackupFailed, Log: srv.log, Now: time.Now,
	})
	if folder, ok := repository.Storage.(backup.Folder); ok {
		if err := folder.Try(); err != nil {
			srv.log.Warn("backups cannot be written; with systemd the folder has to be in ReadWritePaths=, see docs/operations.md", "folder", b.To, "error", err)
		}
	}
	srv.background(func(ctx context.Context) {
		if srv.takeover == nil || srv.hasStarted(ctx) { // the program before may be making one
			srv.keeper.Run(ctx)
		}
	})
	return nil
}

// backupRepository is where the settings want backups to be.
func backupRepository(s *config.Settings) (*backup.Repository, error) {
	b := s.Backup
	recipients, err := backup.Recipients(b.Recipients, nil)
	if err != nil {
		return nil, fmt.Errorf("backup.recipients: %w", err)
	}
	storage, err := backupStorage(s, b.To)
	return &backup.Repository{
		Storage: storage, Recipients: recipients, Keys: b.Recipients,
		Daily: b.KeepDaily, Weekly: b.KeepWeekly, Monthly: b.KeepMonthly, Dir: s.DataDir,
	}, err
}

// backupStorage is the folder or the bucket of that name.
func backupStorage(s *config.Settings, place string) (backup.Storage, error) {
	if !config.IsBucket(place) {
		return backup.Folder{Dir: place}, nil
	}
	b := s.Backup
	name, prefix, err := config.Bucket(place)
	if err = cmp.Or(err, b.BucketReady()); err != nil {
		return nil, err
	}
	secret, err := config.SecretFile(b.S3SecretKeyFile)
	if err != nil {
		return nil, fmt.Errorf("backup.s3_secret_key_file: %w", err)
	}
	return backup.NewBucket(backup.BucketConfig{Endpoint: b.S3Endpoint, Region: b.S3Region, Name: name, Prefix: prefix, AccessKey: b.S3AccessKey, SecretKey: secret, Now: time.Now})
}

// lateBackup is the age from which a daily backup is late.
const lateBackup = 26 * time.Hour

// backupState is how the backups of the settings are; nil when there are to be none.
func (srv *server) backupState() *control.Backup {
	if srv.keeper == nil {
		return nil
	}
	s := srv.keeper.State()
	b := &control.Backup{State: "ok", Last: s.Last, Next: s.Next, Problem: s.Fault, At: s.FailedAt}
	switch {
	case s.Fault != "":
		b.State = "failed"
	case s.Last.IsZero():
		b.State = "none"
	case time.Since(s.Last) > lateBackup:
		b.State = "late"
	}
	return b
}

// backupTooOld reports whether the newest backup is older than the settings allow.
// Before the first there is as long as that from the start on.
func (srv *server) backupTooOld() bool {
	most := time.Duration(srv.settings.Backup.MaxAge)
	if srv.keeper == nil || most == 0 {
		return false
	}
	last := srv.keeper.State().Last
	if last.IsZero() {
		last = srv.began
	}
	return time.Since(last) > most
}
