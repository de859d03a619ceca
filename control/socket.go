package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Server answers commands on the socket of a data folder.
type Server struct {
	http *http.Server
	path string
	done chan struct{}
}

// Serve listens on the socket in dir until Close. The caller must hold the
// database of dir, which proves that a socket that is there already was left
// behind by a process that has died.
func Serve(dir string, h http.Handler, log *slog.Logger) (*Server, error) {
	path := filepath.Join(dir, socketName)
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := listenSocket(dir)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Between bind and chmod the folder's own mode keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	s := &Server{path: path, done: make(chan struct{}), http: &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(&ownListener{ln, log}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("commands can no longer reach the server", "error", err)
		}
	}()
	return s, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is in the way and not a socket; move it elsewhere", path)
	}
	return os.Remove(path)
}

// Close waits for commands that are being answered until ctx ends, and removes
// the socket.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	if removed := os.Remove(s.path); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

// ownListener hangs up on everybody but root and the user that runs the
// server.
type ownListener struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn); err == nil {
			return conn, nil
		} else {
			l.log.Warn("somebody else tried to give commands", "error", err)
			_ = conn.Close() // nothing was said on it
		}
	}
}

// maxSocketPath is what fits into a sockaddr_un on every system that we run on.
const maxSocketPath = 100

func listenSocket(dir string) (net.Listener, error) {
	var ln *net.UnixListener
	err := withShortPath(dir, func(path string) (err error) {
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // the short path is gone by then; Close removes the file
	return ln, nil
}

func dialSocket(ctx context.Context, dir string) (conn net.Conn, err error) {
	err = withShortPath(dir, func(path string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}
