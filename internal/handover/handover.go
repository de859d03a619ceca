// Package handover lets one program take the place of another in the same process: the
// number of the process, its children and the descriptors that are to stay go over, and
// what the parts of the program have to say of them. See docs/design.md.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
)

// Format is the number of the form in which a [Baton] is written. It rises with every
// change that an earlier or a later program would misread, also of what parts say.
const Format = 2

// Variable is the environment variable that names the descriptor of a baton.
const Variable = "PODGATE_HANDOVER"

const (
	maxState = 64 << 20 // bytes; far more than a server with all its pods writes
	maxFiles = 1 << 16
	lowest   = 500 // descriptors of a baton are above those that starting a process moves around
)

// ErrNone is the error of what a baton does not have.
var ErrNone = errors.New("the program before has left no such thing")

// Baton is what one program leaves to the next. It is safe for concurrent use.
type Baton struct {
	mu      sync.Mutex
	state   state
	dropped bool
}

// state is what is written.
type state struct {
	Format  int                        `json:"format"`
	Process int                        `json:"process"`           // number of the process, which stays
	Image   int                        `json:"image"`             // descriptor of the program that handed over
	Files   []int                      `json:"files"`             // descriptors that stay open
	Parts   map[string]json.RawMessage `json:"parts"`             // what each part says
	Failure string                     `json:"failure,omitempty"` // why the next program gave it back
}

// Put adds what a part says.
func (b *Baton) Put(part string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hand over %s: %w", part, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Parts[part] = raw
	return nil
}

// Get reads what a part has said; ErrNone when it has said nothing.
func (b *Baton) Get(part string, v any) error {
	b.mu.Lock()
	raw := b.state.Parts[part]
	b.mu.Unlock()
	if raw == nil {
		return ErrNone
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("take over %s: %w", part, err)
	}
	return nil
}

// Failure is why the program that was to take over gave the baton back to this one;
// empty when this one is the next.
func (b *Baton) Failure() string { return b.state.Failure }

// check judges a state that was read. Nothing of it is used before.
func (s *state) check(self int) error {
	switch {
	case s.Format != Format:
		return fmt.Errorf("the program before hands over in format %d, and this one takes over format %d", s.Format, Format)
	case s.Process != self:
		return fmt.Errorf("it is meant for process %d", s.Process)
	case len(s.Files) > maxFiles:
		return fmt.Errorf("%d descriptors are too many", len(s.Files))
	}
	all := slices.Sorted(slices.Values(append(slices.Clone(s.Files), s.Image)))
	if len(slices.Compact(slices.Clone(all))) != len(all) || all[0] < lowest {
		return fmt.Errorf("the descriptors %v cannot be", all)
	}
	return nil
}

// Without returns an environment without the variable of a baton.
func Without(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(s string) bool {
		return len(s) > len(Variable) && s[:len(Variable)+1] == Variable+"="
	})
}

// CanGoBack returns nil while the program from which the baton came can take over again.
func (b *Baton) CanGoBack() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.dropped:
		return errors.New("this program serves already")
	case b.state.Failure != "":
		return errors.New("the program before is this one")
	}
	return nil
}

// written is the state as it is to be written, which fails when it is too large.
func (b *Baton) written(failure string) ([]byte, []int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.state
	s.Failure = failure
	s.Parts = maps.Clone(s.Parts)
	raw, err := json.Marshal(s)
	if err == nil && (len(raw) > maxState || len(s.Files) > maxFiles) {
		err = fmt.Errorf("%d bytes and %d descriptors are too much to hand over", len(raw), len(s.Files))
	}
	return raw, append(slices.Clone(s.Files), s.Image), err
}

// has reports whether a descriptor goes over.
func (b *Baton) has(fd int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.state.Files, fd)
}

// Program is the file of a program that is to take over: opened once, so that nobody can
// exchange it between the look at it and its start.
type Program struct {
	File *os.File
	Path string
}

// Close lets go of the file.
func (p *Program) Close() error { return p.File.Close() }
