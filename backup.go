package main

import (
	"context"
	"encoding/json"
	"errors"
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
	source := backupSource(srv.settings, srv.db)
	source.Hold = srv.pods.Hold
	m, err := backup.Write(ctx, w, source)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
