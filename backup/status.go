package backup

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// nameStatus is a file in the data folder with what is to be known after a restart. It
// is in no backup.
const nameStatus = "backup.json"

// status is its content.
type status struct {
	Server   string    `json:"server,omitempty"` // see serverID
	Fault    string    `json:"fault,omitempty"`  // why the last backup failed, which was told
	FailedAt time.Time `json:"failed_at,omitzero"`
}

func readStatus(dir string) (status, error) {
	var s status
	raw, err := os.ReadFile(filepath.Join(dir, nameStatus))
	if isAbsent(err) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		err = fmt.Errorf("%s in the data folder: %w; remove it", nameStatus, err)
	}
	return s, err
}

func (s status) write(dir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return Create(filepath.Join(dir, nameStatus), true, func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
}
