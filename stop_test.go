package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// To be asked to stop while starting is no failure: a service manager would
// take it for one, and start the server again.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	args := []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")}
	code := run(ctx, process{Args: args, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: onWrite{&log, func(p []byte) {
		if bytes.Contains(p, []byte("msg=listening")) {
			cancel()
		}
	}}})
	if code != exitDone || !strings.Contains(log.String(), "msg=stopping") {
		t.Errorf("code %d\n%s", code, &log)
	}
}

// onWrite calls f after each write to the writer.
type onWrite struct {
	io.Writer
	f func([]byte)
}

func (w onWrite) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.f(p)
	return n, err
}
