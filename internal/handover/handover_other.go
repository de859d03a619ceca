//go:build !linux

package handover

import (
	"errors"
	"os"
	"syscall"
)

// ErrUnavailable is the error of everything here but on Linux.
var errUnavailable = errors.New("only on Linux can another program take over from a server that runs; stop it and start the other one")

// Available says that it cannot be.
func Available() error { return errUnavailable }

// New says that it cannot be.
func New() (*Baton, error) { return nil, errUnavailable }

// Keep says that it cannot be.
func (b *Baton) Keep(syscall.Conn) (int, error) { return -1, errUnavailable }

// Forget does nothing.
func (b *Baton) Forget(int) {}

// File says that it cannot be.
func (b *Baton) File(int, string) (*os.File, error) { return nil, errUnavailable }

// FD says that it cannot be.
func (b *Baton) FD(int) (int, error) { return -1, errUnavailable }

// Drop does nothing.
func (b *Baton) Drop() {}

// Pass says that it cannot be.
func (b *Baton) Pass(*Program, []string, []string) error { return errUnavailable }

// Back says that it cannot be.
func (b *Baton) Back(string, []string, []string) error { return errUnavailable }

// Received returns no baton.
func Received([]string) (*Baton, error) { return nil, nil }

// Open says that it cannot be.
func Open(string) (*Program, error) { return nil, errUnavailable }

// Argument is nothing.
func (p *Program) Argument() string { return "" }

// Running is false.
func (p *Program) Running() bool { return false }
