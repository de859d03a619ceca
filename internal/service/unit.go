package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Where things are on a machine.
const (
	Name        = "podgate.service"
	ProgramPath = "/usr/local/bin/podgate"
	ConfigPath  = "/etc/podgate.toml"
	DataPath    = "/var/lib/podgate"
	UserName    = "podgate"

	unitPath    = "/etc/systemd/system/" + Name
	profilePath = "/etc/apparmor.d/podgate"
)

// Unit is what podgate's unit depends on.
type Unit struct {
	Program string   // the file that runs
	Config  string   // the configuration that it reads
	User    string   // who it runs as; "" for root
	Data    string   // the data folder
	Writes  []string // further folders that it writes to
	// Reloads says that systemd waits for the end of a reload by itself, as it does from
	// version 253 on.
	Reloads bool
}

// Default is the unit for an ordinary user where everything is at its usual place.
func Default() Unit {
	return Unit{Program: ProgramPath, Config: ConfigPath, User: UserName, Data: DataPath, Reloads: true}
}

// plainPath has nothing in it that a unit or a profile would understand.
var plainPath = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(/[A-Za-z0-9._+@-]+)+$`) })

// Check says what of the unit cannot be written into one.
func (u Unit) Check() error {
	for _, path := range append([]string{u.Program, u.Config, u.Data}, u.Writes...) {
		if !plainPath().MatchString(path) || filepath.Clean(path) != path {
			return fmt.Errorf("the path %q cannot stand in a unit: use an absolute one of letters, digits and ._+@-", path)
		}
		for _, hidden := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"} {
			if path == hidden || strings.HasPrefix(path, hidden+"/") {
				return fmt.Errorf("%s is below %s, which the service does not see (ProtectHome, PrivateTmp): choose another place", path, hidden)
			}
		}
	}
	if u.User != "" && !plainUser().MatchString(u.User) {
		return fmt.Errorf("%q is no name for a system user", u.User)
	}
	return nil
}

var plainUser = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`) })

// group is lines of a unit, with what they are for.
type group struct {
	why   string
	lines []string
}

// Text is the unit as a file.
func (u Unit) Text() string {
	var b strings.Builder
	b.WriteString("[Unit]\nDescription=podgate\nAfter=network-online.target\nWants=network-online.target\n")
	fmt.Fprintf(&b, "RequiresMountsFor=%s\n\n[Service]\n", u.Data)
	for i, g := range []group{u.life(), u.output(), u.folders(), u.rights(), delegation, shell, rest, missing} {
		if i > 0 {
			b.WriteString("\n")
		}
		for line := range strings.Lines(g.why) {
			b.WriteString("# " + line)
		}
		b.WriteString("\n")
		for _, line := range g.lines {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

func (u Unit) life() group {
	start := "ExecStart=" + u.Program + " serve --config " + u.Config
	g := group{why: `podgate says when it is up. After a crash, and when it has not answered itself for
two minutes, it is started again; pods come back as they were. «systemctl reload»
reads the configuration again, and has another program that was put in the place of
this one take over while pods go on.`}
	if u.Reloads {
		g.lines = []string{"Type=notify-reload", "NotifyAccess=main", start}
	} else {
		g.lines = []string{"Type=notify", "NotifyAccess=main", start, "ExecReload=/bin/sh -c \"kill -HUP $MAINPID\""}
	}
	g.lines = append(g.lines, "WatchdogSec=2min", "Restart=on-failure", "RestartSec=2s", "TimeoutStartSec=5min", "TimeoutStopSec=1min")
	return g
}

func (Unit) output() group {
	return group{`The first start prints a secret link, which has no place in the journal. The log is
on standard error and gets there; without the second line it would follow the first.`,
		[]string{"StandardOutput=null", "StandardError=journal"}}
}

// folders are where it writes. systemd makes the data folder where it is below /var/lib.
func (u Unit) folders() group {
	g := group{why: `All is read-only but the data folder, which is podgate's alone, and the folder for
backups. Nobody's home is seen, and /tmp is its own. Pods inherit all of this.`,
		lines: []string{"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "UMask=0077"}}
	if state, ok := strings.CutPrefix(u.Data, "/var/lib/"); ok {
		g.lines = append(g.lines, "StateDirectory="+state, "StateDirectoryMode=0700")
	} else {
		g.lines = append(g.lines, "ReadWritePaths="+u.Data)
	}
	for _, dir := range u.Writes {
		g.lines = append(g.lines, "ReadWritePaths=-"+dir) // absent, it must not keep podgate from starting
	}
	return g
}

func (u Unit) rights() group {
	if u.User != "" {
		return group{`An ordinary user: pods are in namespaces that need no right of root. The ports 80 and
443 are all that it may do beyond. As root (podgate service install --root) every pod
has a uid of its own, which keeps pods further apart; the price is a server that is
root.`, []string{"User=" + u.User, "AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes"}}
	}
	return group{`Root, so that every pod has a uid of its own, with what that takes: to own files as
pods do, to become a pod's uid and map it, to mount its home and end its processes.
CAP_SYS_ADMIN is much of root; an ordinary user (podgate service install) has none.`,
		[]string{"CapabilityBoundingSet=" + strings.Join(rootCapabilities, " "), "NoNewPrivileges=yes"}}
}

var rootCapabilities = []string{"CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}

var delegation = group{`podgate holds each pod to its memory, processes and processor time in groups of its
own. A pod that runs out of memory ends, and not the service.`,
	[]string{"Delegate=memory pids cpu", "OOMPolicy=continue", "TasksMax=infinity"}}

var shell = group{`What neither podgate nor a pod ever needs.`,
	[]string{"PrivateDevices=yes", "ProtectKernelModules=yes", "ProtectClock=yes", "RestrictRealtime=yes", "LockPersonality=yes", "RemoveIPC=yes"}}

var rest = group{`No 32-bit calls, no rare kinds of sockets, nothing of clocks, modules, swap or ports.
AF_PACKET is for the network of pods, which PrivateDevices keeps from /dev/net/tun;
podgate may use it in a pod's network only.`,
	[]string{
		"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET",
		"SystemCallArchitectures=native",
		"SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap",
		"SystemCallErrorNumber=EPERM",
	}}

// missing names the settings that pods could not run with. TestUnitNamesWhatBreaks holds
// it against the lines above.
var missing = group{why: `Not here, because pods could not run:
  RestrictNamespaces, PrivateUsers: a pod is made of namespaces
  ProtectHostname: each has a host name
  ProtectProc, ProcSubset, ProtectKernelTunables, ProtectKernelLogs: a pod mounts its
    own /proc, which the kernel allows only who sees all of it
  MountAPIVFS, ProtectControlGroups: limits are files of /sys/fs/cgroup
  SystemCallFilter without @mount, or with ~@privileged: a pod mounts its files
  MemoryDenyWriteExecute: Node.js and others compile as they run
  RestrictSUIDSGID: git and others set the group bit of folders
  PrivateNetwork, IPAddressDeny: pods reach what podgate reaches for them`}

// Profile lets the program make user namespaces where AppArmor keeps programs without a
// profile from it, as Ubuntu does from 23.10 on.
func Profile(name, program string) string {
	return fmt.Sprintf(`# Lets podgate make user namespaces, of which pods are made. It confines nothing:
# pods are confined by podgate, and podgate by its unit.
abi <abi/4.0>,
include <tunables/global>

profile %[1]s %[2]s flags=(unconfined) {
  userns,

  include if exists <local/%[1]s>
}
`, name, program)
}

const seal = "# Written by podgate, which leaves this file alone once it is edited. sha256 "

// Sealed is a text with a first line that tells whether it is still as it was written.
func Sealed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return seal + hex.EncodeToString(sum[:]) + "\n" + text
}

// isSealed says whether a file is as it was written here.
func isSealed(raw string) bool {
	_, text, ok := strings.Cut(raw, "\n")
	return ok && raw == Sealed(text)
}
