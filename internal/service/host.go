package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Host is the machine that the service is on.
type Host struct {
	// Root is a folder that stands for the machine's own; "" is that itself.
	Root string
	// Run gives a command and returns what it printed, the two outputs together.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Executable is where the file of this program is, and Self what runs: by then
	// somebody else may have put another file there.
	Executable, Self string
}

// ThisHost is this machine.
func ThisHost() (Host, error) {
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	return Host{Run: runCommand, Executable: path, Self: "/proc/self/exe"}, err
}

func runCommand(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// read returns a file, and "" where there is none.
func (h Host) read(name string) (string, error) {
	raw, err := os.ReadFile(h.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(raw), err
}

// write puts a file in its place in one step.
func (h Host) write(name, content string, mode os.FileMode) error {
	path := h.path(name)
	f, err := os.CreateTemp(filepath.Dir(path), ".podgate-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name by then
	_, err = f.WriteString(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close(), os.Rename(f.Name(), path))
}

// systemdVersion is that of the systemd that runs this machine.
func (h Host) systemdVersion(ctx context.Context) (int, error) {
	if _, err := os.Stat(h.path("/run/systemd/system")); err != nil {
		return 0, errors.New("systemd does not run this machine. «podgate serve» is what another service manager has to run")
	}
	said, err := h.Run(ctx, "systemctl", "--version")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(said)
	if len(fields) < 2 {
		return 0, fmt.Errorf("systemctl --version says %q", said)
	}
	number, _, _ := strings.Cut(fields[1], ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("systemctl --version says %q", said)
	}
	return n, nil
}

// Versions of systemd.
const (
	reloadsBySignal = 253 // Type=notify-reload
)

// Isolation is what pods are kept apart by, as the user of the service decides it.
type Isolation struct {
	User    string `json:"user"`
	Words   string `json:"words"`
	profile bool   // AppArmor must be told
}

// isolation decides who podgate runs as: an ordinary user where user namespaces are to
// be had. user is what was asked for, "" for what fits.
func (h Host) isolation(ctx context.Context, user string) (Isolation, error) {
	root := Isolation{User: "root", Words: "as root: each pod has a uid of its own, and podgate has the rights of root that this takes"}
	if user == "root" {
		return root, nil
	}
	obstacle, profile, err := h.userNamespaces(ctx)
	if err != nil {
		return Isolation{}, err
	}
	if obstacle == "" {
		if user == "" {
			user = UserName
		}
		return Isolation{user, fmt.Sprintf("as the ordinary user %s: pods are in user namespaces and have one uid on the host, that of %s", user, user), profile}, nil
	}
	if user != "" {
		return Isolation{}, fmt.Errorf("%s, so pods cannot run as the user %s: change that, or give --root", obstacle, user)
	}
	root.Words += "; an ordinary user cannot run pods here, as " + obstacle
	return root, nil
}

// userNamespaces says what keeps an ordinary user from namespaces, if anything does, and
// whether AppArmor allows them by a profile only.
func (h Host) userNamespaces(ctx context.Context) (obstacle string, profile bool, err error) {
	sysctl := func(name string) (value string) {
		raw, readErr := h.read("/proc/sys/" + name)
		err = errors.Join(err, readErr)
		return strings.TrimSpace(raw)
	}
	if most := sysctl("user/max_user_namespaces"); most == "" || most == "0" {
		return "user.max_user_namespaces is " + orNone(most), false, err
	}
	if sysctl("kernel/unprivileged_userns_clone") == "0" {
		return "kernel.unprivileged_userns_clone is 0", false, err
	}
	if sysctl("kernel/apparmor_restrict_unprivileged_userns") != "1" {
		return "", false, err
	}
	if _, lookErr := h.Run(ctx, "apparmor_parser", "--version"); lookErr != nil {
		return "AppArmor forbids it (kernel.apparmor_restrict_unprivileged_userns) and apparmor_parser, which would load a profile, is not here", false, err
	}
	return "", true, err
}

func orNone(s string) string {
	if s == "" {
		return "not there"
	}
	return s
}
