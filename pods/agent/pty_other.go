//go:build !linux

package agent

import (
	"errors"
	"os"

	"podgate/pods/wire"
)

func openPTY(wire.Size) (pty, tty *os.File, err error) {
	return nil, nil, errors.New("terminals need Linux")
}

func setSize(*os.File, wire.Size) error { return errors.ErrUnsupported }
