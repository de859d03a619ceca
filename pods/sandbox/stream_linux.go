//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"podgate/internal/sharedconn"
)

// stream is one to a pod's agent. It implements pods.Giver.
type stream struct {
	*net.UnixConn
	in *instance
}

// Receive implements pods.Giver. What came along is not believed to be what it should be.
func (s *stream) Receive(p []byte) (n int, given net.Conn, err error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := s.ReadMsgUnix(p, oob)
	if oobn == 0 {
		return n, nil, err
	}
	fd, refused := oneRight(oob[:oobn])
	if refused != nil {
		return n, nil, errors.Join(err, refused)
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	if refused := s.in.owns(fd); refused != nil {
		return n, nil, errors.Join(err, refused)
	}
	conn, refused := sharedconn.New(f)
	if refused != nil {
		return n, nil, errors.Join(err, refused)
	}
	return n, conn, err
}

// owns says whether a socket is in the pod's network, and nowhere else.
func (in *instance) owns(fd int) error {
	theirs, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("in which network a socket is: %w", err)
	}
	defer unix.Close(theirs)
	var got, want unix.Stat_t
	if err := errors.Join(unix.Fstat(theirs, &got), unix.Stat(fmt.Sprintf("/proc/%d/ns/net", in.process.Pid), &want)); err != nil {
		return fmt.Errorf("in which network a socket is: %w", err)
	}
	if got.Dev != want.Dev || got.Ino != want.Ino {
		return errors.New("a socket of another network was given")
	}
	return nil
}
