package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"podgate/history"
)

// pathBackup answers with a backup, and behind it says what is in it. Only then is
// it complete.
const pathBackup = "/v1/backup"

// The trailers of a backup: what its manifest says as JSON, or why there is none.
const (
	trailerMade  = "Podgate-Made"
	trailerFault = "Podgate-Fault"
)

// BackupMaker writes a backup of the server, and returns its manifest as JSON.
type BackupMaker func(ctx context.Context, w io.Writer) (manifest []byte, err error)

func (h *handler) backup(w http.ResponseWriter, r *http.Request) error {
	if h.Backup == nil {
		return errNotRunning
	}
	w.Header().Set("Content-Type", "application/zstd")
	w.Header().Set("Trailer", trailerMade+", "+trailerFault)
	out := &began{w: w}
	made, err := h.Backup(r.Context(), out)
	if err != nil && !out.any {
		w.Header().Del("Trailer")
		return inWords(err)
	}
	if err != nil {
		fault, _ := json.Marshal(err.Error()) // of a string it cannot fail
		w.Header().Set(trailerFault, string(fault))
		return nil
	}
	h.audit(history.AuditBackup, about{}, "")
	var line bytes.Buffer
	if err := json.Compact(&line, made); err != nil {
		return err
	}
	w.Header().Set(trailerMade, line.String())
	return nil
}

// began notes whether anything was written.
type began struct {
	w   io.Writer
	any bool
}

// Write implements io.Writer.
func (b *began) Write(p []byte) (int, error) { b.any = true; return b.w.Write(p) }

// Backup has the running server write a backup of itself to w, and returns its
// manifest as JSON. After an error, what was written is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://podgate"+pathBackup, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.roundTrip.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return nil, fmt.Errorf("the backup broke off: %w", err)
	}
	var fault string
	if made := resp.Trailer.Get(trailerMade); made != "" {
		return json.RawMessage(made), nil
	} else if json.Unmarshal([]byte(resp.Trailer.Get(trailerFault)), &fault) == nil {
		return nil, errors.New(fault)
	}
	return nil, errors.New("the backup broke off: the server ended")
}
