//go:build !linux

package control

import (
	"fmt"
	"net"
	"path/filepath"
)

// checkPeer relies on the modes of socket and folder here.
func checkPeer(net.Conn) error { return nil }

// withShortPath calls do with the path to the socket in dir, or says that it
// is too long for this system.
func withShortPath(dir string, do func(path string) error) error {
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path %s is too long for a socket; choose a data folder with a shorter path", path)
	}
	return do(path)
}
