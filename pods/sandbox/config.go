package sandbox

import (
	"log/slog"

	"podgate/internal/handover"
)

// Where things are inside a pod.
const (
	home   = "/home/pod"
	logDir = "/var/log/pod" // an empty folder to all but the agent
	podUID = 1000           // uid and gid of everything in a pod, seen from inside
)

// The values of Config.Limits.
const (
	LimitsAuto    = "auto"    // cgroups where they can be used, else rlimits and a watcher
	LimitsRequire = "require" // Open fails where cgroups cannot be used for memory, cpus and processes
	LimitsOff     = "off"     // no limit of a plan is enforced
)

// Config is what Open wants to know. The zero value of a field but Dir has the
// meaning that its comment names.
type Config struct {
	// Dir keeps the pods' homes and logs; it is made when absent.
	Dir string
	// Log gets what goes wrong beside the calls, and what agents print to
	// standard error. nil: slog.Default.
	Log *slog.Logger
	// Binds are absolute paths of the host that every pod sees read-only at
	// the same place, such as /opt/tools. Absent ones are left out.
	Binds []string
	// LimitsMode is one of the Limits… constants. "": LimitsAuto.
	LimitsMode string
	// FirstUID and UIDs are the range of host uids for pods when the server is
	// root. 0: 700000 and 65536. Ignored otherwise.
	FirstUID, UIDs int
	// Before is what the program before has left in this process; nil: none was. Pods that
	// it has detached are adopted, and run on.
	Before *handover.Baton
	// Next is asked at Detach for the baton with which pods go over to the next program.
	// nil, or one that returns nil: they cannot outlive this one.
	Next func() *handover.Baton
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.LimitsMode == "" {
		c.LimitsMode = LimitsAuto
	}
	if c.FirstUID == 0 {
		c.FirstUID = 700000
	}
	if c.UIDs == 0 {
		c.UIDs = 65536
	}
	return c
}
