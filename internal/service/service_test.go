package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// machine is a folder that stands for a machine, and answers commands.
type machine struct {
	Host
	fails map[string]bool // commands that say no, by how they begin
	said  map[string]string
	ran   []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{fails: map[string]bool{}, said: map[string]string{"systemctl --version": "systemd 257 (257.1-1)\n+PAM"}}
	m.Host = Host{Root: t.TempDir(), Executable: "/opt/podgate-file", Run: func(_ context.Context, name string, args ...string) (string, error) {
		line := strings.Join(append([]string{name}, args...), " ")
		m.ran = append(m.ran, line)
		for begin := range m.fails {
			if strings.HasPrefix(line, begin) {
				return "", errors.New("no")
			}
		}
		for begin, words := range m.said {
			if strings.HasPrefix(line, begin) {
				return words, nil
			}
		}
		return "", nil
	}}
	m.put(t, "/run/systemd/system/x", "")
	m.put(t, "/proc/sys/user/max_user_namespaces", "15000\n")
	for _, dir := range []string{"/etc/systemd/system", "/etc/apparmor.d", "/usr/local/bin"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Executable, m.Self = m.path("/exchanged"), m.path("/podgate-file") // read as they are, so not below Root
	m.put(t, "/exchanged", "what somebody put there meanwhile")
	m.put(t, "/podgate-file", "the program")
	for _, no := range []string{"getent", "systemctl is-enabled", "systemctl is-active"} {
		m.fails[no] = true
	}
	return m
}

func (m *machine) put(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.path(name)), 0o755), os.WriteFile(m.path(name), []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) get(t *testing.T, name string) string {
	t.Helper()
	raw, err := m.read(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func wish() Wish { return Wish{Config: ConfigPath, Settings: "data_dir", Data: DataPath, Start: true} }

// install does what is planned and returns the words of what changed.
func (m *machine) install(t *testing.T, w Wish) (changed []string) {
	t.Helper()
	m.ran = nil
	p, err := m.Install(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), func(s Step) {
		if !s.Done {
			changed = append(changed, s.Words)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestInstallTwice(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	changed := m.install(t, wish())
	if len(changed) != 6 {
		t.Errorf("a new machine: %q", changed)
	}
	if got := m.get(t, unitPath); !isSealed(got) || !strings.Contains(got, "\nUser=podgate\n") || !strings.Contains(got, "\nType=notify-reload\n") {
		t.Errorf("the unit is\n%s", got)
	}
	if m.get(t, ProgramPath) != "the program" || m.get(t, ConfigPath) != "data_dir" {
		t.Error("program or configuration is not there")
	}
	for _, want := range []string{"useradd --system --user-group --home-dir /var/lib/podgate --no-create-home --shell /usr/sbin/nologin podgate", "systemctl daemon-reload", "systemctl enable --quiet podgate.service", "systemctl start podgate.service"} {
		if !slices.Contains(m.ran, want) {
			t.Errorf("%q was not run: %q", want, m.ran)
		}
	}
	clear(m.fails) // now it has a user, is enabled and runs
	m.put(t, ConfigPath, "changed by its owner")
	if changed := m.install(t, wish()); len(changed) > 0 || m.get(t, ConfigPath) != "changed by its owner" {
		t.Errorf("again: %q", changed)
	}
	m.put(t, "/podgate-file", "another program")
	if changed := m.install(t, wish()); len(changed) != 2 || changed[1] != "have the new program take over, while pods go on" || !slices.Contains(m.ran, "/usr/local/bin/podgate upgrade --config /etc/podgate.toml") {
		t.Errorf("another program: %q, %q", changed, m.ran)
	}
	w := wish()
	w.Writes = []string{"/mnt/backups"}
	if changed := m.install(t, w); !slices.Equal(changed, []string{"replace the unit", "start it anew, as something changed"}) {
		t.Errorf("with a folder for backups: %q", changed)
	}
	if !strings.Contains(m.get(t, unitPath), "\nReadWritePaths=-/mnt/backups\n") {
		t.Error("backups cannot be written")
	}
	w.User = "root"
	m.install(t, w)
	w.User = "" // stays
	if changed := m.install(t, w); len(changed) > 0 || strings.Contains(m.get(t, unitPath), "\nUser=") {
		t.Errorf("as root, again: %q", changed)
	}
}

// What somebody else wrote or edited is neither replaced nor removed.
func TestFilesOfOthersAreLeft(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.install(t, wish())
	edited := strings.Replace(m.get(t, unitPath), "RestartSec=2s", "RestartSec=9s", 1)
	for name, there := range map[string]string{"edited": edited, "foreign": "[Service]\nExecStart=/bin/true\n"} {
		m.put(t, unitPath, there)
		_, err := m.Install(t.Context(), wish())
		if err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: install: %v", name, err)
		}
		if _, err := m.Uninstall(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: uninstall: %v", name, err)
		}
		if m.get(t, unitPath) != there {
			t.Errorf("%s: was replaced", name)
		}
	}
	w := wish()
	w.Force = true
	if m.install(t, w); !isSealed(m.get(t, unitPath)) {
		t.Error("--force did not replace it")
	}
	m.put(t, "/usr/lib/systemd/system/"+Name, "[Service]\n")
	if _, err := m.Install(t.Context(), wish()); err == nil || !strings.Contains(err.Error(), "a package has brought") {
		t.Errorf("beside a package: %v", err)
	}
}

func TestUninstallLeavesTheRest(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.put(t, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
	m.install(t, wish())
	if !isSealed(m.get(t, profilePath)) || !slices.Contains(m.ran, "apparmor_parser --replace "+m.path(profilePath)) {
		t.Errorf("no profile: %q", m.ran)
	}
	p, err := m.Uninstall(t.Context(), false)
	if err = errors.Join(err, p.Do(t.Context(), func(Step) {})); err != nil {
		t.Fatal(err)
	}
	if m.get(t, unitPath) != "" || m.get(t, profilePath) != "" {
		t.Error("unit or profile is left")
	}
	if m.get(t, ProgramPath) == "" || m.get(t, ConfigPath) == "" {
		t.Error("program or configuration is gone")
	}
	if _, err := m.Uninstall(t.Context(), false); err == nil || !strings.Contains(err.Error(), "there is no "+unitPath) {
		t.Errorf("again: %v", err)
	}
}

// An ordinary user is taken where user namespaces are to be had, and root elsewhere.
func TestIsolation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, value, fails, user string
		want, fault              string
	}{
		"there":           {want: "podgate"},
		"none":            {file: "user/max_user_namespaces", value: "0", want: "root"},
		"none, of a user": {file: "user/max_user_namespaces", value: "0", user: "web", fault: "max_user_namespaces is 0"},
		"old Debian":      {file: "kernel/unprivileged_userns_clone", value: "0", want: "root"},
		"Ubuntu":          {file: "kernel/apparmor_restrict_unprivileged_userns", value: "1", want: "podgate"},
		"Ubuntu, bare":    {file: "kernel/apparmor_restrict_unprivileged_userns", value: "1", fails: "apparmor_parser", want: "root"},
		"another user":    {user: "web", want: "web"},
		"root":            {user: "root", want: "root"},
	} {
		m := newMachine(t)
		if c.file != "" {
			m.put(t, "/proc/sys/"+c.file, c.value+"\n")
		}
		if c.fails != "" {
			m.fails[c.fails] = true
		}
		got, err := m.isolation(t.Context(), c.user)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || got.User != c.want || got.profile != (name == "Ubuntu") {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// Nothing gets into a unit but a path, and nothing that the service would not see.
func TestUnitPaths(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "data", "/a b", "/a\nExecStartPre=/bin/sh", "/a%n", "/a$x", "/a//b", "/a/../b", "/home/ada/podgate", "/root", "/tmp/x", "/a\"b", "/a;b", "/"} {
		for i, u := range []Unit{{path, ConfigPath, "", DataPath, nil, true}, {ProgramPath, path, "", DataPath, nil, true}, {ProgramPath, ConfigPath, "", path, nil, true}, {ProgramPath, ConfigPath, "", DataPath, []string{path}, true}} {
			if u.Check() == nil {
				t.Errorf("%d: %q is let through", i, path)
			}
		}
	}
	u := Default()
	u.User = "a\nUser=root"
	if u.Check() == nil {
		t.Error("a user of two lines is let through")
	}
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	if other := (Unit{ProgramPath, ConfigPath, "", "/srv/podgate", nil, true}).Text(); !strings.Contains(other, "\nReadWritePaths=/srv/podgate\n") || strings.Contains(other, "\nStateDirectory") {
		t.Errorf("a data folder elsewhere:\n%s", other)
	}
}

// What breaks pods is named, and not used.
func TestUnitNamesWhatBreaks(t *testing.T) {
	t.Parallel()
	for _, u := range []Unit{Default(), {ProgramPath, ConfigPath, "", DataPath, nil, false}} {
		text := u.Text()
		for _, name := range []string{"RestrictNamespaces", "PrivateUsers", "ProtectHostname", "ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups", "MemoryDenyWriteExecute", "RestrictSUIDSGID", "PrivateNetwork", "IPAddressDeny"} {
			if strings.Contains(text, "\n"+name+"=") || !strings.Contains(missing.why, name) {
				t.Errorf("%s is used, or not named", name)
			}
		}
		if !strings.Contains(text, "\nStandardOutput=null\nStandardError=journal\n") {
			t.Error("the first link gets into the journal, or the log does not")
		}
		if !strings.Contains(text, "\nNoNewPrivileges=yes\n") || !strings.Contains(text, "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE") {
			t.Errorf("the unit is\n%s", text)
		}
	}
}

// The program stays where it is only if nobody but root can change it there.
func TestProgramOfOthersIsCopied(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root makes files of root")
	}
	const own = "/opt/podgate/podgate"
	m := newMachine(t)
	m.put(t, own, "the program")
	m.Executable = own
	if got := m.program(); got != own {
		t.Errorf("root's: %s", got)
	}
	for name, change := range map[string]func(path string) error{
		"writable for a group": func(path string) error { return os.Chmod(path, 0o775) },
		"of somebody else":     func(path string) error { return os.Chown(path, 65534, 0) },
	} {
		for _, path := range []string{own, "/opt"} {
			if err := change(m.path(path)); err != nil {
				t.Fatal(err)
			}
			if got := m.program(); got != ProgramPath {
				t.Errorf("%s, %s: %s", path, name, got)
			}
			if err := errors.Join(os.Chown(m.path(path), 0, 0), os.Chmod(m.path(path), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Executable = "/root/podgate"
	if got := m.program(); got != ProgramPath {
		t.Errorf("where the service does not see it: %s", got)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if err := os.RemoveAll(m.path("/run/systemd")); err != nil {
		t.Fatal(err)
	}
	_, install := m.Install(t.Context(), wish())
	_, remove := m.Uninstall(t.Context(), false)
	_, status := m.Status(t.Context())
	for _, err := range []error{install, remove, status} {
		if err == nil || !strings.Contains(err.Error(), "systemd does not run this machine") {
			t.Error(err)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.install(t, wish())
	m.said["systemctl show"] = fmt.Sprintf("LoadState=loaded\nActiveState=failed\nStateChangeTimestamp=@1767323045\nResult=watchdog\nNRestarts=3\nMainPID=0\nStatusText=\nUser=podgate\nFragmentPath=%s\nUnitFileState=enabled\nExecStart={ path=/usr/local/bin/podgate ; argv[]=/usr/local/bin/podgate serve ; ignore_errors=no }\n", unitPath)
	m.said["/usr/local/bin/podgate version --json"] = `{"version":"v1.2.3"}`
	m.said["journalctl"] = "one\ntwo\n"
	s, err := m.Host.Status(t.Context())
	if err != nil || !s.Installed || s.Edited || !s.Enabled || s.Active != "failed" || s.Result != "watchdog" || s.Restarts != 3 || s.User != "podgate" || s.Version != "v1.2.3" || !s.Since.Equal(time.Unix(1767323045, 0)) || !slices.Equal(s.Journal, []string{"one", "two"}) {
		t.Errorf("%+v %v", s, err)
	}
	m.put(t, unitPath, "[Service]\n")
	if s, err = m.Host.Status(t.Context()); err != nil || !s.Edited {
		t.Errorf("edited: %+v %v", s, err)
	}
}

// The words reach the manager as sd_notify(3) has them.
func TestManager(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: at})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	env := map[string]string{"NOTIFY_SOCKET": at, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": fmt.Sprint(os.Getpid())}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	m := ManagerOf(lookup)
	if m.Watchdog != 3*time.Second {
		t.Errorf("watchdog %s", m.Watchdog)
	}
	for _, c := range []struct {
		tell func() error
		want string
	}{
		{func() error { return m.Ready("up") }, "READY=1\nSTATUS=up\n"}, {m.Alive, "WATCHDOG=1\n"}, {m.Stopping, "STOPPING=1\n"}, {m.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
	} {
		if err := c.tell(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		n, err := ln.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), c.want) {
			t.Errorf("%q %v, want %q", b[:n], err, c.want)
		}
	}
	env["WATCHDOG_PID"] = "1"
	if other := ManagerOf(lookup); other.Watchdog != 0 {
		t.Error("took the watchdog of another process")
	}
	if err := (Manager{}).Ready("up"); err != nil {
		t.Error(err)
	}
}
