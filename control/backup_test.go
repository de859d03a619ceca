package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"podgate/store/storetest"
)

// A backup comes with what is said of it, however long, and one that breaks off comes
// with the reason.
func TestBackupFrames(t *testing.T) {
	t.Parallel()
	long := []byte(`{"x":"` + strings.Repeat("y", 1<<20) + `"}`)
	for name, c := range map[string]struct {
		make BackupMaker
		want string
	}{
		"whole": {func(_ context.Context, w io.Writer) ([]byte, error) {
			_, err := w.Write(bytes.Repeat([]byte("data"), 1<<20))
			return long, err
		}, ""},
		"empty":   {func(context.Context, io.Writer) ([]byte, error) { return []byte("{}"), nil }, ""},
		"refused": {func(context.Context, io.Writer) ([]byte, error) { return nil, errors.New("no room") }, "no room"},
		"in the middle": {func(_ context.Context, w io.Writer) ([]byte, error) {
			_, _ = w.Write([]byte("half"))
			return nil, errors.New("no room")
		}, "no room"},
		"without an end": {func(_ context.Context, w io.Writer) ([]byte, error) { _, _ = w.Write([]byte("half")); panic("gone") }, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
			db := storetest.Open(t, DatabasePath(dir))
			s, err := serveIn(dir, NewHandler(Config{DB: db, Log: log, Now: time.Now, Networks: networksOver(db), Backup: c.make}), log)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(context.Background())
			client, err := Running(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			said, err := client.Backup(t.Context(), &got)
			if c.want == "" && (err != nil || !json.Valid(said) || name == "whole" && (got.Len() != 4<<20 || len(said) != len(long))) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d bytes, %d said, %v; want %q", got.Len(), len(said), err, c.want)
			}
		})
	}
}
