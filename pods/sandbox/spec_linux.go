//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Names under which our binary knows that it is a part of a pod.
const (
	stage1Name = "podgate-pod"
	stage2Name = "podgate-agent"
)

const maxSpec = 1 << 20 // bytes; far more than any specification has

// spec is all that stage 1 knows about its pod.
type spec struct {
	Hostname  string   `json:"hostname"`
	Binds     []bind   `json:"binds"`
	Logs      bind     `json:"logs"`    // mounted nowhere, for the agent alone
	Scratch   int64    `json:"scratch"` // bytes of /tmp, of /var/tmp and of /dev/shm; 0 leaves it to the kernel
	Rlimits   []rlimit `json:"rlimits"`
	Uncounted bool     `json:"uncounted,omitempty"` // no cgroup counts its memory
	Meter     bool     `json:"meter,omitempty"`     // hand over what tells about its sockets
	Network   bool     `json:"network,omitempty"`   // make a device and hand its other end over
	Agent     agentSpec
}

// agentSpec is what of it goes on to stage 2.
type agentSpec struct {
	Control int `json:"control"` // descriptor of the control socket
	Logs    int `json:"logs"`    // descriptor of the folder for logs
	// Data is RLIMIT_DATA of the agent, which lowers it for all it starts; 0 for
	// none. Stage 2 sets it, so that its own start is not measured with it.
	Data uint64 `json:"data,omitempty"`
}

// bind is one part of the host's files in the pod.
type bind struct {
	Source   string `json:"source,omitempty"` // path on the host; empty: a detached mount with the name of Target is handed over
	Target   string `json:"target"`           // absolute, in the pod
	Writable bool   `json:"writable,omitempty"`
	NoExec   bool   `json:"noexec,omitempty"`
	Optional bool   `json:"optional,omitempty"` // left out when Source is absent
}

type rlimit struct {
	Resource int    `json:"resource"`
	Value    uint64 `json:"value"` // both soft and hard, cut to the hard limit there is
}

// failure is how stage 1 reports what went wrong.
type failure struct {
	Step   string        `json:"step"`
	Errno  syscall.Errno `json:"errno,omitempty"`
	Detail string        `json:"detail"`
	cause  error         // on the side where it happened
}

func (f *failure) Error() string { return f.Step + ": " + f.Detail }

func (f *failure) Unwrap() error {
	if f.cause != nil {
		return f.cause
	}
	if f.Errno != 0 {
		return f.Errno
	}
	return nil
}

// fail makes err a failure of step. It returns nil for nil.
func fail(step string, err error) error {
	if err == nil {
		return nil
	}
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	f = &failure{Step: step, Detail: err.Error(), cause: err}
	errors.As(err, &f.Errno)
	return f
}

func readSpec(r io.Reader) (s spec, err error) {
	err = json.NewDecoder(io.LimitReader(r, maxSpec)).Decode(&s)
	if err != nil {
		return spec{}, fmt.Errorf("specification of the pod: %w", err)
	}
	return s, nil
}

// readStatus waits until stage 1 has executed stage 2 (nil) or says what went
// wrong.
func readStatus(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSpec))
	if err != nil {
		return fail(stepExec, err)
	}
	if len(b) == 0 {
		return nil
	}
	f := &failure{}
	if err := json.Unmarshal(b, f); err != nil {
		return &failure{Step: stepExec, Detail: "a report that cannot be read"}
	}
	return f
}

func writeStatus(w *os.File, err error) {
	f := fail(stepExec, err)
	b, _ := json.Marshal(f)
	_, _ = w.Write(b) // the server is gone when this fails, and the pod with it
}
