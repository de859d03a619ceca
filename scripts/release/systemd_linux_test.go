package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnderSystemd installs a release on Debian machines, with their own systemd as first
// process, and has the service live and fail there. PODGATE_SYSTEMD names folders with
// such machines, divided by colons, which stay as they are:
//
//	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus trixie trixie
//	PODGATE_SYSTEMD=$PWD/trixie go test ./scripts/release -run TestUnderSystemd -v
//
// Nothing else asks for it: it takes root, and systemd raises two limits of the whole
// kernel, which the test puts back.
func TestUnderSystemd(t *testing.T) {
	roots := os.Getenv("PODGATE_SYSTEMD")
	if roots == "" {
		t.Skip("PODGATE_SYSTEMD names no machine; it is asked for by hand")
	}
	here := target{runtime.GOOS, runtime.GOARCH}
	source, dist, unpacked := t.TempDir(), filepath.Join(t.TempDir(), "dist"), t.TempDir()
	checkout(t, "../..", source)
	var said bytes.Buffer
	if err := run(t.Context(), []string{"--source", source, "--version", testVersion, "--url", testURL, "--only", here.String(), dist}, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	r := &release{version: testVersion}
	unpackedTo(t, filepath.Join(dist, r.archiveName(here)), unpacked)
	putBack(t, "/proc/sys/fs/nr_open", "/proc/sys/fs/file-max")
	for _, root := range filepath.SplitList(roots) {
		t.Run(filepath.Base(root), func(t *testing.T) {
			t.Run("program", func(t *testing.T) {
				m := boot(t, root)
				program := filepath.Join(unpacked, "podgate_"+r.number(), "podgate")
				m.put(program, "/root/podgate")
				m.put(laterVersion(t, program), "/root/later")
				livesAsService(m)
			})
			t.Run("package", func(t *testing.T) {
				m := boot(t, root)
				m.put(filepath.Join(dist, "podgate_"+r.debianVersion()+"_"+here.arch+".deb"), "/root/podgate.deb")
				livesAsPackage(m)
			})
		})
	}
}

const later = "v1.2.3-rc.2"

// laterVersion is the program under the name of another version.
func laterVersion(t *testing.T, program string) string {
	raw, err := os.ReadFile(program)
	to := filepath.Join(t.TempDir(), "podgate")
	err = errors.Join(err, os.WriteFile(to, bytes.ReplaceAll(raw, []byte(testVersion), []byte(later)), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// putBack gives files of the kernel the values that they have now when the test ends.
func putBack(t *testing.T, files ...string) {
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(name, raw, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// container is a machine that systemd runs, in namespaces of its own.
type container struct {
	t    *testing.T
	init int // its first process, as this machine knows it
}

// firstSteps make a machine of the folder that is given, of which nothing is changed, and
// hand it over to systemd. What would set up the kernel, which is this machine's, stays
// away.
const firstSteps = `set -e
mount -t tmpfs tmpfs "$2"
mkdir "$2/changes" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" overlay "$2/root"
cd "$2/root"
mkdir -p outside
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mkdir -p run/systemd/system
for unit in systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger; do ln -s /dev/null run/systemd/system/$unit.service; done
pivot_root . outside
umount -l outside
cd /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init --unit=multi-user.target
`

func boot(t *testing.T, root string) *container {
	t.Helper()
	group := newGroup(t)
	defer group.Close()
	var console bytes.Buffer // read after the process has ended
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "--propagation", "private", "sh", "-c", firstSteps, "sh", root, t.TempDir())
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // which is the parent whose death counts
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &container{t: t}
	t.Cleanup(func() {
		if m.init > 0 {
			_ = syscall.Kill(m.init, syscall.SIGKILL) // all else of its namespace goes with it
		}
		_ = cmd.Process.Kill() // has ended with it
		_ = cmd.Wait()
		runtime.UnlockOSThread()
		if t.Failed() {
			t.Logf("the console:\n%s", console.String())
		}
	})
	eventually(t, "a first process", func() bool {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)) // absent: not yet
		m.init, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		return m.init > 0
	})
	said := ""
	defer func() {
		if t.Failed() {
			t.Logf("systemd says that it is %q", said)
		}
	}()
	eventually(t, "a machine that runs", func() bool {
		said, _ = m.try("systemctl is-system-running") // degraded is an exit code, and no concern of ours
		return strings.HasPrefix(said, "running") || strings.HasPrefix(said, "degraded")
	})
	return m
}

// newGroup makes a group of processes for a machine, with the controllers that are to be
// had.
func newGroup(t *testing.T) *os.File {
	t.Helper()
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cgroup.procs"); err != nil {
		top += "/unified" // beside version 1, which has the controllers
	}
	for _, controller := range []string{"+memory", "+pids", "+cpu"} {
		_ = os.WriteFile(top+"/cgroup.subtree_control", []byte(controller), 0) // version 1 may have it
	}
	dir, err := os.MkdirTemp(top, "podgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "an empty group", func() bool {
			return removeTree(dir) == nil
		})
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// removeTree removes groups, the innermost first.
func removeTree(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range list {
		if d.IsDir() {
			err = errors.Join(err, removeTree(filepath.Join(dir, d.Name())))
		}
	}
	return errors.Join(err, syscall.Rmdir(dir))
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// try gives a line to the machine's shell.
func (m *container) try(line string) (said string, err error) {
	out, err := exec.CommandContext(m.t.Context(), "nsenter", "--target", strconv.Itoa(m.init), "--all", "env", "HOME=/root", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "sh", "-c", "cd /root && "+line).CombinedOutput()
	return string(out), err
}

// sh gives a line that must succeed, and say all of the words.
func (m *container) sh(line string, words ...string) string {
	m.t.Helper()
	said, err := m.try(line)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s\n%s", line, err, said, m.journal())
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			m.t.Errorf("%s does not say %q:\n%s", line, w, said)
		}
	}
	return said
}

// refuses gives a line that must fail, and say the words.
func (m *container) refuses(line, words string) {
	m.t.Helper()
	if said, err := m.try(line); err == nil || !strings.Contains(said, words) {
		m.t.Errorf("%s: %v, want %q:\n%s", line, err, words, said)
	}
}

func (m *container) journal() string {
	said, _ := m.try("journalctl -u podgate --no-pager -n 50")
	return said
}

func (m *container) put(from, to string) {
	m.t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("/proc/%d/root%s", m.init, to), raw, 0o755)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// property is what systemd says of the service.
func (m *container) property(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.sh("systemctl show --value --property=" + name + " podgate"))
}

// startedAnew waits until systemd has started the service by itself for the nth time.
func (m *container) startedAnew(n string) {
	m.t.Helper()
	eventually(m.t, "a restart", func() bool { return m.property("NRestarts") == n && m.property("ActiveState") == "active" })
}

// podRuns waits until the pod answers a command.
func (m *container) podRuns() {
	m.t.Helper()
	eventually(m.t, "the pod", func() bool {
		said, err := m.try("podgate pod exec --config /etc/podgate.toml demo id")
		return err == nil && strings.Contains(said, "uid=1000(pod)")
	})
}

func (m *container) makesPod() {
	m.t.Helper()
	m.sh("podgate team add makers --config /etc/podgate.toml && podgate user add ada@example.com --team makers --config /etc/podgate.toml")
	m.sh("podgate pod create demo --team makers --config /etc/podgate.toml", "Pod demo is running.")
	m.podRuns()
}

// serviceStatus is what «podgate service status --json» says.
type serviceStatus struct {
	Installed, Enabled                bool
	Active, Version, User, Unit, Says string
	Server                            struct {
		Version string
		Regions []struct{ Works bool }
	}
}

func (m *container) status() (s serviceStatus) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.sh("podgate service status --json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

func livesAsService(m *container) {
	m.refuses("./podgate service status", "podgate is no service here")
	if said := m.sh("./podgate service install --dry-run", "StateDirectory=podgate", "User=podgate"); strings.Contains(said, "done ") {
		m.t.Errorf("a dry run says\n%s", said)
	}
	m.refuses("ls /etc/systemd/system/podgate.service /usr/local/bin/podgate", "No such file")
	m.refuses("cp podgate /tmp/p && setpriv --reuid=65534 --clear-groups /tmp/p service install", "sudo podgate service install")
	m.sh("./podgate service install", "as the ordinary user podgate", "done      start it")
	if said := m.sh("./podgate service install"); strings.Contains(said, "done ") {
		m.t.Errorf("a second time says\n%s", said)
	}
	if s := m.status(); !s.Installed || !s.Enabled || s.Active != "active" || s.Version != testVersion || s.Server.Version != testVersion || s.User != "podgate" || s.Says != "ready at http://localhost:8080" || len(s.Server.Regions) != 1 || !s.Server.Regions[0].Works {
		m.t.Errorf("%+v", s)
	}
	if said := m.sh("systemd-analyze verify /etc/systemd/system/podgate.service"); said != "" {
		m.t.Errorf("systemd says of the unit:\n%s", said)
	}
	said := m.sh("systemd-analyze security --no-pager podgate", "Overall exposure level for podgate.service: ")
	m.t.Log(strings.TrimSpace(said[strings.Index(said, "Overall"):]))
	if strings.Contains(said, "UNSAFE") || strings.Contains(said, "EXPOSED") {
		m.t.Errorf("%s", said)
	}
	m.makesPod()
	m.t.Log(strings.TrimSpace(m.sh("podgate pod show demo --config /etc/podgate.toml | grep enforced")))
	m.sh("journalctl -u podgate -o cat --no-pager -p 6..6", "msg=listening")
	if said := m.sh("journalctl -u podgate -o cat --no-pager"); strings.Contains(said, "/setup?token=") {
		m.t.Errorf("the journal has the first link:\n%s", said)
	}
	reloads(m)
	upgrades(m)
	fails(m)
	m.sh("./podgate service install --root", "as root", "done      replace the unit")
	m.podRuns()
	if s := m.status(); s.User != "root" || !s.Server.Regions[0].Works {
		m.t.Errorf("as root: %+v", s)
	}
	m.sh("echo '# mine' >>/etc/systemd/system/podgate.service")
	m.refuses("podgate service install", "somebody else wrote or edited it")
	m.refuses("podgate service uninstall", "somebody else wrote or edited it")
	m.sh("podgate service uninstall --force", "Left are the data in /var/lib/podgate")
	m.sh("ls /var/lib/podgate/podgate.db /etc/podgate.toml /usr/local/bin/podgate")
	m.refuses("ls /etc/systemd/system/podgate.service", "No such file")
	m.refuses("podgate service status", "podgate is no service here")
}

func reloads(m *container) {
	goesOn(m, func() { m.sh("systemctl reload podgate") })
	m.sh("journalctl -u podgate -o cat --no-pager", "the configuration was read again")
}

// goesOn does something that ends neither the service nor its pod.
func goesOn(m *container, do func()) {
	m.t.Helper()
	const started = "podgate pod show demo --json --config /etc/podgate.toml | grep started"
	pid, start := m.property("MainPID"), m.sh(started)
	do()
	if now := m.property("MainPID"); now != pid || m.property("ActiveState") != "active" || m.property("NRestarts") != "0" {
		m.t.Errorf("the process %s is now %s, %s", pid, now, m.property("ActiveState"))
	}
	if again := m.sh(started); again != start {
		m.t.Errorf("the pod was started anew: %s%s", start, again)
	}
	m.podRuns()
}

// upgrades has another program take over, by the command and by a reload.
func upgrades(m *container) {
	goesOn(m, func() { m.sh("./later service install", "done      have the new program take over") })
	m.runs(later)
	goesOn(m, func() {
		m.sh("cp podgate /usr/local/bin/.next && mv /usr/local/bin/.next /usr/local/bin/podgate && systemctl reload podgate")
	})
	m.runs(testVersion)
}

// runs waits for a version, as an older systemd does not wait for the end of a reload.
func (m *container) runs(version string) {
	m.t.Helper()
	eventually(m.t, "version "+version, func() bool {
		s := m.status()
		return s.Version == version && s.Server.Version == version
	})
}

// fails has the service crash, and hang.
func fails(m *container) {
	m.sh("kill -9 $(systemctl show --value --property=MainPID podgate)")
	m.startedAnew("1")
	m.podRuns()
	m.sh("mkdir -p /run/systemd/system/podgate.service.d && printf '[Service]\\nWatchdogSec=8s\\n' >/run/systemd/system/podgate.service.d/test.conf && systemctl daemon-reload && systemctl restart podgate")
	pid := m.property("MainPID")
	told := m.property("WatchdogTimestampMonotonic")
	eventually(m.t, "a word to the watchdog", func() bool { return m.property("WatchdogTimestampMonotonic") != told })
	m.sh("kill -STOP " + pid)
	m.startedAnew("1")
	if m.property("MainPID") == pid {
		m.t.Error("it still hangs")
	}
	m.sh("journalctl -u podgate --no-pager", "Watchdog timeout", "SIGABRT: abort", "goroutine ")
	m.podRuns()
}

func livesAsPackage(m *container) {
	m.sh("dpkg -i podgate.deb", "set public_url in /etc/podgate.toml")
	m.refuses("systemctl is-active podgate", "inactive")
	m.refuses("podgate service install", "a package has brought")
	m.sh("systemctl enable --now podgate")
	if s := m.status(); s.Active != "active" || s.Version != testVersion || !strings.HasSuffix(s.Unit, "/lib/systemd/system/podgate.service") || s.User != "podgate" || !s.Server.Regions[0].Works {
		m.t.Errorf("%+v", s)
	}
	if said := m.sh("systemd-analyze verify podgate.service"); said != "" {
		m.t.Errorf("systemd says of the unit:\n%s", said)
	}
	m.makesPod()
	reloads(m)
	goesOn(m, func() { m.sh("dpkg -i podgate.deb", "took over from") })
	m.sh("dpkg -r podgate")
	m.refuses("systemctl is-active podgate", "inactive")
	m.sh("dpkg -i podgate.deb && cp /usr/bin/podgate /usr/local/bin/podgate && /usr/local/bin/podgate service install --force")
	goesOn(m, func() { m.sh("dpkg -i podgate.deb && dpkg -r podgate") }) // it is not the package's any more
	m.sh("podgate service uninstall")
	m.sh("dpkg -P podgate", "/var/lib/podgate, with every pod's files, is left")
	m.sh("ls /var/lib/podgate/podgate.db")
	m.refuses("ls /etc/podgate.toml", "No such file")
}
