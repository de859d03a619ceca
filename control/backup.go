package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"podgate/history"
)

// pathBackup answers with frames: a letter, the length as 4 bytes big-endian, and so
// many bytes. The last says what is in the backup, or why there is none; only then is it
// complete.
const pathBackup = "/v1/backup"

// The letters of frames.
const (
	frameData  = 'd' // a part of the backup
	frameMade  = 'm' // its manifest, as JSON
	frameFault = 'e' // in words
)

// maxFrame bounds what stands behind the backup, in bytes.
const maxFrame = 16 << 20

// BackupMaker writes a backup of the server, and returns its manifest as JSON.
type BackupMaker func(ctx context.Context, w io.Writer) (manifest []byte, err error)

func (h *handler) backup(w http.ResponseWriter, r *http.Request) error {
	if h.Backup == nil {
		return errNotRunning
	}
	h.audit(history.AuditBackup, about{}, "") // what was sent is known, even if it breaks off
	return h.stream(w, func(out io.Writer) ([]byte, error) { return h.Backup(r.Context(), out) })
}

// stream answers with frames of what write writes.
func (h *handler) stream(w http.ResponseWriter, write func(io.Writer) ([]byte, error)) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &frames{w: w}
	made, err := write(out)
	switch {
	case err != nil && !out.any:
		return inWords(err)
	case err != nil:
		h.Log.Warn("a copy for a command broke off", "error", err)
		return out.put(frameFault, []byte(err.Error()))
	}
	return out.put(frameMade, made)
}

// frames is a writer of frameData.
type frames struct {
	w   io.Writer
	any bool
}

// Write implements io.Writer.
func (f *frames) Write(p []byte) (int, error) {
	for part := range slices.Chunk(p, 1<<20) {
		if err := f.put(frameData, part); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (f *frames) put(letter byte, p []byte) error {
	f.any = true
	head := binary.BigEndian.AppendUint32([]byte{letter}, uint32(len(p)))
	if _, err := f.w.Write(head); err != nil {
		return err
	}
	_, err := f.w.Write(p)
	return err
}

// Backup has the running server write a backup of itself to w, and returns its
// manifest as JSON. After an error, what was written is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer) (json.RawMessage, error) {
	return c.receive(ctx, pathBackup, w)
}

// receive writes what the server answers in frames to w, and returns the last.
func (c *Client) receive(ctx context.Context, path string, w io.Writer) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://podgate"+path, nil)
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
	body := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		var head [5]byte
		if _, err := io.ReadFull(body, head[:]); err != nil {
			return nil, fmt.Errorf("the copy broke off: %w", err)
		}
		n := int64(binary.BigEndian.Uint32(head[1:]))
		if head[0] == frameData {
			if _, err := io.CopyN(w, body, n); err != nil {
				return nil, fmt.Errorf("the copy broke off: %w", err)
			}
			continue
		}
		if n > maxFrame {
			return nil, fmt.Errorf("the running server says %d bytes about the backup", n)
		}
		said := make([]byte, n)
		if _, err := io.ReadFull(body, said); err != nil {
			return nil, fmt.Errorf("the copy broke off: %w", err)
		}
		if head[0] == frameMade {
			return said, nil
		}
		return nil, errors.New(string(said))
	}
}
