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
	"syscall"
	"time"
)

// Server answers commands on the socket of a data folder.
type Server struct {
	http *http.Server
	path string
	done chan struct{}
}

// Socket is the socket of a data folder, on which commands come.
type Socket struct {
	net.Listener
	path string
}

// SyscallConn implements syscall.Conn.
func (s *Socket) SyscallConn() (syscall.RawConn, error) {
	return s.Listener.(*net.UnixListener).SyscallConn()
}

// Adopt makes the socket of dir of one that another program has left in f, which stays
// the caller's.
func Adopt(dir string, f *os.File) (*Socket, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket for commands: %w", err)
	}
	u, ok := ln.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("the socket for commands is another"), ln.Close())
	}
	u.SetUnlinkOnClose(false)
	return &Socket{u, filepath.Join(dir, socketName)}, nil
}

// Listen opens the socket in dir. The caller must hold the
// database of dir, which proves that a socket that is there already was left
// behind by a process that has died.
func Listen(dir string) (*Socket, error) {
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
	return &Socket{ln, path}, nil
}

// Serve answers what comes on the socket until Close or Leave. ln accepts for it, and state
// hears of connections; it may be nil.
func Serve(socket *Socket, ln net.Listener, h http.Handler, state func(net.Conn, http.ConnState), log *slog.Logger) *Server {
	s := &Server{path: socket.path, done: make(chan struct{}), http: &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Second, MaxHeaderBytes: 16 << 10, ConnState: state,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(&ownListener{ln, log}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("commands can no longer reach the server", "error", err)
		}
	}()
	return s
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

// Leave waits for commands that are being answered until ctx ends, and leaves the socket
// to the next program, to which it was kept open.
func (s *Server) Leave(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

// Close waits for commands that are being answered until ctx ends, and removes
// the socket.
func (s *Server) Close(ctx context.Context) error {
	err := s.Leave(ctx)
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
