//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Names of descriptors that stage 1 gets. Detached mounts go by the place that
// they are for.
const (
	donatedSpec    = "spec"    // read: the specification
	donatedStatus  = "status"  // write: a failure; end of file means that stage 2 runs
	donatedControl = "control" // the control socket, for stage 2
	donatedNetwork = "network" // a socket to send the other end of the network device over
	donatedDiag    = "diag"    // a socket to send one over that tells about the pod's sockets
	donatedApps    = "apps"    // a socket to send those over that reach apps
	donatedSelf    = "self"    // our binary
)

// firstDonated is the number of the first of them, after the standard ones.
const firstDonated = 3

// donation is the files that a new process gets beside the standard ones. Each
// is named where it is added, and the process finds it by that name.
type donation struct {
	names []string
	files []*os.File
}

func (d *donation) add(name string, f *os.File) {
	d.names, d.files = append(d.names, name), append(d.files, f)
}

// with is d and one more, which stays the caller's to close.
func (d donation) with(name string, f *os.File) donation {
	d.names, d.files = slices.Clip(d.names), slices.Clip(d.files)
	d.add(name, f)
	return d
}

// argument tells the process which descriptor is which.
func (d *donation) argument() string {
	numbers := donated{}
	for i, name := range d.names {
		numbers[name] = firstDonated + i
	}
	b, _ := json.Marshal(numbers) // strings and numbers
	return string(b)
}

// donated is a donation as the process that got it sees it: numbers by name.
type donated map[string]int

// readDonated reads the argument.
func readDonated(args []string) (donated, error) {
	if len(args) != 2 {
		return nil, errors.New("this is started by podgate itself, not by hand")
	}
	var d donated
	if err := json.Unmarshal([]byte(args[1]), &d); err != nil {
		return nil, fmt.Errorf("the list of descriptors: %w", err)
	}
	return d, nil
}

// number is the descriptor of that name; -1, which the kernel refuses, when it
// was not handed over.
func (d donated) number(name string) int {
	if n, ok := d[name]; ok {
		return n
	}
	return -1
}

func (d donated) file(name string) *os.File { return os.NewFile(uintptr(d.number(name)), name) }
