package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/config"
	"podgate/internal/service"
	"podgate/internal/text"
)

func (inv *invocation) serviceCommand() *cobra.Command {
	return group("service", "run podgate as a service of systemd", inv.serviceInstall(), inv.serviceStatus(), inv.serviceUninstall())
}

// servicePlan is what a command of the service did, or would do, for programs.
type servicePlan struct {
	Done bool `json:"done"` // false: nothing was changed, as with --dry-run
	service.Plan
}

func (inv *invocation) serviceInstall() *cobra.Command {
	cmd := &cobra.Command{
		Use: "install", Short: "make podgate a service that starts with the machine", Example: "podgate service install --dry-run",
		Long: "It copies the program to " + service.ProgramPath + " where it is not in a place of that kind, makes a system user\n" +
			"without rights, a configuration, a hardened unit and, on Ubuntu, an AppArmor profile, and starts it. Given again\n" +
			"it changes what is no longer as it should be, such as after a change of data_dir or backup.to, and says what that\n" +
			"was. Files that somebody else wrote or edited are left.",
	}
	asJSON := jsonFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "print what would be done, with every file, and change nothing")
	force := cmd.Flags().Bool("force", false, "replace a unit or profile that somebody else wrote or edited")
	later := cmd.Flags().Bool("no-start", false, "do not start it")
	asRoot := cmd.Flags().Bool("root", false, "run as root, which gives each pod a uid of its own")
	user := cmd.Flags().String("user", "", "run as the system user `NAME` (default "+service.UserName+")")
	address := cmd.Flags().String("public-url", "", "write the public `URL` into a new configuration")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asRoot && *user != "" {
			return misuse(cmd, "--root and --user exclude each other")
		}
		w, err := inv.serviceWish(*address)
		if err != nil {
			return err
		}
		w.User, w.Force, w.Start = *user, *force, !*later
		if *asRoot {
			w.User = "root"
		}
		h, err := service.ThisHost()
		if err != nil {
			return err
		}
		p, err := h.Install(cmd.Context(), w)
		if err != nil {
			return err
		}
		if !*asJSON {
			if err := inv.say("podgate runs %s.", p.Isolation.Words); err != nil {
				return err
			}
		}
		if err := inv.carryOut(cmd.Context(), p, *dry, *asJSON); err != nil || *dry || *asJSON {
			return err
		}
		if *later {
			return inv.say("«systemctl start podgate» starts it.")
		}
		return inv.say("«podgate service status» shows how it is. The first account: sudo podgate setup-link --config %s", w.Config)
	}
	return cmd
}

// serviceWish is what the service is to be by its configuration, which is made where it
// is not there yet. Settings of this command's own surroundings are not the service's.
func (inv *invocation) serviceWish(address string) (service.Wish, error) {
	w := service.Wish{Config: inv.config}
	if w.Config == "" {
		w.Config = service.ConfigPath
	}
	if !filepath.IsAbs(w.Config) {
		return w, errors.New("give --config with the whole path: the service runs in another folder")
	}
	if _, err := os.Stat(w.Config); errors.Is(err, os.ErrNotExist) {
		return inv.newService(w, address)
	}
	s, err := config.Load(w.Config, nil, nil)
	switch {
	case err != nil:
		return w, err
	case inv.changed["data_dir"] != "" && inv.changed["data_dir"] != s.DataDir:
		return w, fmt.Errorf("%s is there already and says data_dir = %q: change it there", w.Config, s.DataDir)
	case address != "" && address != s.PublicURL:
		return w, fmt.Errorf("%s is there already and says public_url = %q: change it there", w.Config, s.PublicURL)
	case !filepath.IsAbs(s.DataDir):
		return w, fmt.Errorf("%s says data_dir = %q: write the whole path, as the service runs in another folder", w.Config, s.DataDir)
	}
	w.Data = filepath.Clean(s.DataDir)
	if filepath.IsAbs(s.Backup.To) {
		w.Writes = []string{filepath.Clean(s.Backup.To)}
	}
	return w, nil
}

// newService is a service that has no configuration yet.
func (inv *invocation) newService(w service.Wish, address string) (service.Wish, error) {
	w.Data = service.DataPath
	if given := inv.changed["data_dir"]; given != "" {
		w.Data = filepath.Clean(given)
	}
	changed := map[string]string{"data_dir": w.Data}
	if address != "" {
		changed["public_url"] = address
	}
	if _, err := config.Load("", nil, changed); err != nil {
		return w, err
	}
	w.Settings = newSettings(address, w.Data)
	return w, nil
}

// newSettings is a configuration for a service.
func newSettings(address, data string) string {
	first := "# public_url = \"https://pods.example.com\""
	if address != "" {
		first = fmt.Sprintf("public_url = %q", address)
	}
	return fmt.Sprintf("# «podgate config show» shows every setting, and «podgate config check» whether these work.\n%s\ndata_dir = %q\n", first, data)
}

// carryOut does what is planned, and says what that was.
func (inv *invocation) carryOut(ctx context.Context, p service.Plan, dry, asJSON bool) error {
	if asJSON && dry {
		return printJSON(inv.Stdout, servicePlan{Plan: p})
	}
	if dry {
		return inv.printPlan(p)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("this is for root: «sudo %s»", strings.Join(append([]string{"podgate"}, inv.Args...), " "))
	}
	err := p.Do(ctx, func(s service.Step) {
		if !asJSON {
			_ = inv.say("%-9s %s", map[bool]string{true: "unchanged", false: "done"}[s.Done], text.Visible(s.Words))
		}
	})
	if err != nil || !asJSON {
		return err
	}
	return printJSON(inv.Stdout, servicePlan{true, p})
}

func (inv *invocation) printPlan(p service.Plan) error {
	for _, s := range p.Steps {
		how := "to do"
		if s.Done {
			how = "unchanged"
		}
		if err := inv.say("%-9s %s", how, text.Visible(s.Words)); err != nil {
			return err
		}
		if s.Content == "" {
			continue
		}
		if err := inv.say("\n--- %s", s.Path); err != nil {
			return err
		}
		if err := inv.sayLines(s.Content + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (inv *invocation) serviceUninstall() *cobra.Command {
	cmd := &cobra.Command{
		Use: "uninstall", Short: "stop the service and take it away; program, settings and data stay", Example: "podgate service uninstall --dry-run",
	}
	asJSON := jsonFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "print what would be done, and change nothing")
	force := cmd.Flags().Bool("force", false, "remove a unit that somebody else wrote or edited")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := service.ThisHost()
		if err != nil {
			return err
		}
		p, err := h.Uninstall(cmd.Context(), *force)
		if err != nil {
			return err
		}
		if err := inv.carryOut(cmd.Context(), p, *dry, *asJSON); err != nil || *asJSON {
			return err
		}
		w, err := inv.serviceWish("")
		if err != nil {
			return inv.say("Program, configuration and data are left.")
		}
		return inv.say("Left are the data in %s, with every pod's files, the configuration %s, and the program.", w.Data, w.Config)
	}
	return cmd
}

// serviceState is how the service is, with what its server says of itself.
type serviceState struct {
	service.Status
	Isolation string          `json:"isolation,omitempty"`
	Server    *control.Status `json:"server,omitempty"` // absent: it does not answer, or not to this user
}

func (inv *invocation) serviceStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "show how the service is, and its last words when it does not run", Example: "podgate service status",
		Long: "What its server does is shown to root and to the user that it runs as. The exit code is 1 when the service does not run.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := service.ThisHost()
		if err != nil {
			return err
		}
		st, err := h.Status(cmd.Context())
		if err != nil {
			return err
		}
		now := serviceState{Status: st, Isolation: isolationWords(st.User), Server: inv.serviceServer(cmd.Context(), st)}
		if *asJSON {
			err = printJSON(inv.Stdout, now)
		} else {
			err = inv.printService(now)
		}
		if err == nil && st.Active != "active" && st.Active != "reloading" {
			err = errSilent
		}
		return err
	}
	return cmd
}

func isolationWords(user string) string {
	switch user {
	case "":
		return ""
	case "root":
		return "root; each pod has a uid of its own"
	}
	return fmt.Sprintf("the ordinary user %s; pods are in user namespaces", user)
}

// serviceServer asks the server of the service how it is, where it runs and answers.
func (inv *invocation) serviceServer(ctx context.Context, st service.Status) *control.Status {
	if st.PID == 0 {
		return nil
	}
	w, err := inv.serviceWish("")
	if err != nil {
		return nil
	}
	c, err := control.Running(ctx, w.Data)
	if err != nil || c == nil {
		return nil
	}
	defer c.Close() // nothing was written
	now, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	return &now
}

func (inv *invocation) printService(s serviceState) error {
	if !s.Installed {
		return inv.say("podgate is no service here: «sudo podgate service install» makes it one.")
	}
	state := s.Active
	if !s.Since.IsZero() {
		state += " since " + moment(s.Since)
	}
	for _, more := range []struct {
		is    bool
		words string
	}{
		{s.Result != "", "; it ended with: " + s.Result},
		{s.Restarts > 0, fmt.Sprintf("; restarted by itself: %d", s.Restarts)},
		{!s.Enabled, "; does not start with the machine"},
	} {
		if more.is {
			state += more.words
		}
	}
	rows := [][]string{{"SERVICE", state}}
	unit := s.Unit
	if s.Edited {
		unit += ", edited by hand"
	}
	rows = append(rows, []string{"UNIT", unit}, []string{"RUNS AS", s.Isolation}, []string{"VERSION", s.versions()})
	if s.Server != nil {
		rows = append(rows, []string{"ADDRESS", s.Server.Address})
		for _, p := range s.Server.Problems {
			rows = append(rows, []string{"PROBLEM", p})
		}
		for _, r := range s.Server.Regions {
			rows = append(rows, []string{"REGION", regionLine(r)})
		}
	}
	for _, line := range s.Journal {
		rows = append(rows, []string{"SAID", line})
	}
	return printTable(inv.Stdout, rows)
}

// versions says which version runs and which one the file is.
func (s serviceState) versions() string {
	file := fmt.Sprintf("%s in %s", s.Version, s.Program)
	switch {
	case s.Version == "":
		file = "the program " + s.Program + " cannot be run"
	case s.Server != nil && (s.Replaced || s.Server.Version != s.Version):
		return fmt.Sprintf("%s runs, and %s", s.Server.Version, file)
	case s.Replaced:
		file += ", and another one runs"
	}
	return file
}
