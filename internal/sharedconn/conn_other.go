//go:build !linux

package sharedconn

import (
	"errors"
	"net"
	"os"
)

// Conn is a connection.
type Conn struct{ *net.TCPConn }

// New says that there is none on this system.
func New(*os.File) (*Conn, error) { return nil, errors.ErrUnsupported }
