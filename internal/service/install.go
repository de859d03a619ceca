package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Wish is what is asked of [Host.Install].
type Wish struct {
	User   string // "root", another one, or "" for the one that it has, and at first what fits
	Config string // the configuration file that the service reads
	// Settings is what goes into Config where it is not there yet.
	Settings string
	Data     string   // the data folder that Config names
	Writes   []string // further folders that it lets podgate write to
	Force    bool     // replace files that somebody else wrote or edited
	Start    bool
}

// Step is one thing that is done to a machine.
type Step struct {
	Words   string `json:"step"`
	Done    bool   `json:"already"`           // it is so already
	Path    string `json:"path,omitempty"`    // the file that is written
	Content string `json:"content,omitempty"` // of it, where that is a text
	do      func(context.Context) error
}

// Plan is what is to be done, in order.
type Plan struct {
	Isolation Isolation `json:"isolation"`
	Steps     []Step    `json:"steps"`
}

// Do does what is not done yet, up to the first step that fails.
func (p Plan) Do(ctx context.Context, tell func(Step)) error {
	for _, s := range p.Steps {
		if !s.Done {
			if err := s.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", s.Words, err)
			}
		}
		tell(s)
	}
	return nil
}

// Install plans how podgate becomes a service, or the service that it is becomes what is
// wished. Nothing is changed yet.
func (h Host) Install(ctx context.Context, w Wish) (Plan, error) {
	version, err := h.systemdVersion(ctx)
	if err != nil {
		return Plan{}, err
	}
	user := w.User
	if user == "" {
		if user, err = h.userOfUnit(); err != nil {
			return Plan{}, err
		}
	}
	isolation, err := h.isolation(ctx, user)
	if err != nil {
		return Plan{}, err
	}
	u := Unit{Program: h.program(), Config: w.Config, User: isolation.User, Data: w.Data, Writes: w.Writes, Reloads: version >= reloadsBySignal}
	if u.User == "root" {
		u.User = ""
	}
	if err := u.Check(); err != nil {
		return Plan{}, err
	}
	p := Plan{Isolation: isolation}
	program, changed := false, false // whether the program, and anything else, is no longer what runs
	for i, plan := range []func(context.Context, Unit, Wish) (Step, error){h.planProgram, h.planUser, h.planConfig, h.planData, h.planProfile(isolation), h.planUnit} {
		s, err := plan(ctx, u, w)
		if err != nil {
			return Plan{}, err
		}
		if s.Words == "" {
			continue
		}
		p.Steps = append(p.Steps, s)
		if i == 0 {
			program = !s.Done
		} else {
			changed = changed || !s.Done
		}
	}
	p.Steps = append(p.Steps, h.planStart(ctx, u, w, program, changed)...)
	return p, nil
}

// userOfUnit is who the service runs as by the unit that was written here; "": there is
// none.
func (h Host) userOfUnit() (string, error) {
	there, err := h.read(unitPath)
	if err != nil || !isSealed(there) {
		return "", err
	}
	for line := range strings.Lines(there) {
		if user, ok := strings.CutPrefix(line, "User="); ok {
			return strings.TrimSpace(user), nil
		}
	}
	return "root", nil
}

// program is where the program is to be: where it is, if only root can change it there and
// the service sees it, else at its usual place.
func (h Host) program() string {
	if (Unit{Program: h.Executable, Config: ConfigPath, Data: DataPath}).Check() != nil {
		return ProgramPath
	}
	for path := h.Executable; ; path = filepath.Dir(path) {
		info, err := os.Lstat(h.path(path))
		if err != nil {
			return ProgramPath
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
			return ProgramPath
		}
		if path == "/" {
			return h.Executable
		}
	}
}

func (h Host) planProgram(_ context.Context, u Unit, _ Wish) (Step, error) {
	s := Step{Words: "the program is at " + u.Program, Path: u.Program, Done: true}
	if u.Program == h.Executable {
		return s, nil
	}
	raw, err := os.ReadFile(h.Self)
	if err != nil {
		return s, err
	}
	there, err := h.read(u.Program)
	s.Words = fmt.Sprintf("copy the program from %s to %s", h.Executable, u.Program)
	s.Done = there == string(raw)
	s.do = func(context.Context) error { return h.write(u.Program, string(raw), 0o755) }
	return s, err
}

func (h Host) planUser(ctx context.Context, u Unit, _ Wish) (Step, error) {
	if u.User == "" {
		return Step{}, nil
	}
	_, absent := h.Run(ctx, "getent", "passwd", u.User)
	return Step{
		Words: fmt.Sprintf("make the system user %s, who cannot sign in", u.User), Done: absent == nil,
		do: func(ctx context.Context) error {
			_, err := h.Run(ctx, "useradd", "--system", "--user-group", "--home-dir", u.Data, "--no-create-home", "--shell", "/usr/sbin/nologin", u.User)
			return err
		},
	}, nil
}

func (h Host) planConfig(_ context.Context, u Unit, w Wish) (Step, error) {
	_, err := os.Stat(h.path(u.Config))
	s := Step{Words: "write the configuration " + u.Config, Path: u.Config, Content: w.Settings, Done: err == nil}
	if s.Done {
		s.Words, s.Content = "the configuration is "+u.Config, ""
	}
	s.do = func(context.Context) error { return h.write(u.Config, w.Settings, 0o644) }
	return s, nil
}

// planData makes a data folder that systemd does not make by itself.
func (h Host) planData(ctx context.Context, u Unit, _ Wish) (Step, error) {
	if strings.HasPrefix(u.Data, "/var/lib/") {
		return Step{}, nil
	}
	_, err := os.Stat(h.path(u.Data))
	return Step{
		Words: "make the data folder " + u.Data, Path: u.Data, Done: err == nil,
		do: func(ctx context.Context) error {
			owner := u.User
			if owner == "" {
				owner = "root"
			}
			_, err := h.Run(ctx, "install", "-d", "-m", "700", "-o", owner, h.path(u.Data))
			return err
		},
	}, nil
}

func (h Host) planProfile(i Isolation) func(context.Context, Unit, Wish) (Step, error) {
	return func(_ context.Context, u Unit, w Wish) (Step, error) {
		if !i.profile {
			return Step{}, nil
		}
		s, err := h.planFile(profilePath, "the AppArmor profile, which allows user namespaces", Profile("podgate", u.Program), w.Force)
		write := s.do
		s.do = func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			_, err := h.Run(ctx, "apparmor_parser", "--replace", h.path(profilePath))
			return err
		}
		return s, err
	}
}

func (h Host) planUnit(ctx context.Context, u Unit, w Wish) (Step, error) {
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if _, err := os.Stat(h.path(dir + Name)); err == nil && !w.Force {
			return Step{}, fmt.Errorf("a package has brought %s%s: «systemctl enable --now podgate» starts it. --force writes a unit of your own that takes its place", dir, Name)
		}
	}
	s, err := h.planFile(unitPath, "the unit", u.Text(), w.Force)
	write := s.do
	s.do = func(ctx context.Context) error {
		if err := write(ctx); err != nil {
			return err
		}
		_, err := h.Run(ctx, "systemctl", "daemon-reload")
		return err
	}
	return s, err
}

// planFile writes a text with its seal, where nobody else wrote or edited what is there.
func (h Host) planFile(path, what, text string, force bool) (Step, error) {
	content := Sealed(text)
	there, err := h.read(path)
	if err != nil {
		return Step{}, err
	}
	if there != "" && !isSealed(there) && !force {
		return Step{}, fmt.Errorf("%s is not as podgate wrote it: somebody else wrote or edited it. Keep changes in a drop-in («systemctl edit podgate»), or give --force to replace it", path)
	}
	words := "write " + what
	if there != "" && there != content {
		words = "replace " + what
	}
	return Step{
		Words: words, Path: path, Content: content, Done: there == content,
		do: func(context.Context) error { return h.write(path, content, 0o644) },
	}, nil
}

// planStart has the service start with the machine, and now. In what runs, another program
// takes over; anything else that changed has it started anew.
func (h Host) planStart(ctx context.Context, u Unit, w Wish, program, changed bool) []Step {
	command := func(name string, args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := h.Run(ctx, name, args...)
			return err
		}
	}
	_, disabled := h.Run(ctx, "systemctl", "is-enabled", "--quiet", Name)
	steps := []Step{{Words: "let it start with the machine", Done: disabled == nil, do: command("systemctl", "enable", "--quiet", Name)}}
	if !w.Start {
		return steps
	}
	_, inactive := h.Run(ctx, "systemctl", "is-active", "--quiet", Name)
	switch {
	case inactive != nil:
		return append(steps, Step{Words: "start it", do: started(command("systemctl", "start", Name))})
	case changed:
		return append(steps, Step{Words: "start it anew, as something changed", do: started(command("systemctl", "restart", Name))})
	case program:
		return append(steps, Step{Words: "have the new program take over, while pods go on", do: command(u.Program, "upgrade", "--config", u.Config)})
	}
	return append(steps, Step{Words: "it runs", Done: true})
}

// started says where to look when it does not start.
func started(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := do(ctx)
		if err != nil {
			err = errors.Join(err, errors.New("«podgate service status» shows what it said"))
		}
		return err
	}
}

// Uninstall plans how the service goes. Program, configuration, user and data stay.
func (h Host) Uninstall(ctx context.Context, force bool) (Plan, error) {
	if _, err := h.systemdVersion(ctx); err != nil {
		return Plan{}, err
	}
	unit, err := h.read(unitPath)
	if err != nil {
		return Plan{}, err
	}
	if unit == "" {
		return Plan{}, fmt.Errorf("there is no %s. A package's unit goes with the package", unitPath)
	}
	if !isSealed(unit) && !force {
		return Plan{}, fmt.Errorf("%s is not as podgate wrote it: somebody else wrote or edited it. Remove it yourself, or give --force", unitPath)
	}
	p := Plan{Steps: []Step{
		{Words: "stop it, and let it start with the machine no more", do: func(ctx context.Context) error {
			_, err := h.Run(ctx, "systemctl", "disable", "--quiet", "--now", Name)
			return err
		}},
		{Words: "remove " + unitPath, Path: unitPath, do: func(ctx context.Context) error {
			if err := os.Remove(h.path(unitPath)); err != nil {
				return err
			}
			_, err := h.Run(ctx, "systemctl", "daemon-reload")
			return err
		}},
	}}
	profile, err := h.read(profilePath)
	if isSealed(profile) {
		p.Steps = append(p.Steps, Step{Words: "remove " + profilePath, Path: profilePath, do: func(ctx context.Context) error {
			_, err := h.Run(ctx, "apparmor_parser", "--remove", h.path(profilePath))
			return errors.Join(err, os.Remove(h.path(profilePath)))
		}})
	}
	return p, err
}
