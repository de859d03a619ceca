package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"podgate/internal/text"
	"podgate/remote"
)

// loginTime is how long a login waits for somebody's decision.
const loginTime = 15 * time.Minute

func (inv *invocation) login() *cobra.Command {
	cmd := &cobra.Command{
		Use: "login [URL]", Short: "let this command line use a server, through a browser", Example: "podgate login --list",
		Long: "It opens the server's consent page, where its person chooses team and rights, as for any assistant: it becomes a\n" +
			"connection, which can be limited and revoked. Where there is no browser it prints the address, and takes the\n" +
			"one that the browser could not open. What it is given is kept in podgate/credentials.json below the folder for\n" +
			"settings (~/.config), for this user only. The newest login is the one that commands use where none is named.",
	}
	list := cmd.Flags().Bool("list", false, "show the logins there are")
	asJSON := jsonFlag(cmd)
	noBrowser := cmd.Flags().Bool("no-browser", false, "open no browser; print the address and read the one it leads to")
	readOnly := cmd.Flags().Bool("read-only", false, "ask for the right to read alone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *list:
			return inv.listLogins(*asJSON)
		case len(args) == 0:
			return misuse(cmd, "say which server, such as podgate login https://pods.example.com")
		}
		one, err := inv.logIn(cmd.Context(), args[0], *noBrowser, *readOnly)
		if err != nil {
			return err
		}
		team := ""
		if one.Team != "" {
			team = " for the team " + text.Visible(one.Team)
		}
		return inv.done(*asJSON, one, "Logged in to %s%s. «podgate pod list» shows its pods.", one.Server, team)
	}
	return cmd
}

func (inv *invocation) listLogins(asJSON bool) error {
	logins, err := inv.logins()
	if err != nil {
		return err
	}
	list, err := logins.List()
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(inv.Stdout, list)
	case len(list) == 0:
		return inv.say("There is no login. «podgate login URL» makes one.")
	}
	rows := [][]string{{"SERVER", "TEAM", "SINCE", "DEFAULT"}}
	for _, one := range list {
		rows = append(rows, []string{one.Server, orDash(one.Team), moment(one.Since), yesNo(one.Default)})
	}
	return printTable(inv.Stdout, rows)
}

func (inv *invocation) logIn(ctx context.Context, typed string, noBrowser, readOnly bool) (remote.Login, error) {
	logins, err := inv.logins()
	if err != nil {
		return remote.Login{}, err
	}
	origin, err := remote.Origin(typed)
	if err != nil {
		return remote.Login{}, err
	}
	if _, err := logins.List(); err != nil {
		return remote.Login{}, err // before somebody decides in vain
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loginTime, errors.New("nobody decided in time"))
	defer cancel()
	attempt, err := logins.Begin(ctx, origin, readOnly)
	if err != nil {
		return remote.Login{}, err
	}
	defer attempt.Close()
	opened := !noBrowser && inv.openBrowser(ctx, attempt.Address)
	if opened {
		fmt.Fprintf(inv.Stderr, "Decide in the browser. If none has opened, open this address:\n\n  %s\n\n", text.Visible(attempt.Address))
	} else {
		fmt.Fprintf(inv.Stderr, "Open this address in a browser and decide there:\n\n  %s\n\nA browser on another machine will then fail to open an address that begins with http://127.0.0.1.\nCopy that whole address and paste it here: ", text.Visible(attempt.Address))
		go inv.takePasted(attempt)
	}
	one, err := attempt.Finish(ctx, version())
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return remote.Login{}, err
	}
	if !opened {
		fmt.Fprintln(inv.Stderr)
	}
	return one, nil
}

// takePasted reads addresses until one is the right one. It ends with the process.
func (inv *invocation) takePasted(attempt *remote.Attempt) {
	const longest = 8 << 10
	lines := bufio.NewScanner(io.LimitReader(inv.Stdin, longest))
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		err := attempt.Paste(lines.Text())
		if err == nil {
			return
		}
		fmt.Fprintf(inv.Stderr, "%s: ", visibleLines(err.Error()))
	}
}

// openBrowser opens an address in the person's browser, and reports whether there
// seems to be one: somebody who came over ssh sits in front of another machine.
func (inv *invocation) openBrowser(ctx context.Context, address string) bool {
	var program string
	has := func(name string) bool { value, ok := inv.Env.Lookup(name); return ok && value != "" }
	switch {
	case has("SSH_CONNECTION") || has("SSH_TTY"):
		return false
	case runtime.GOOS == "darwin":
		program = "open"
	case has("DISPLAY") || has("WAYLAND_DISPLAY"):
		program = "xdg-open"
	default:
		return false
	}
	found, err := exec.LookPath(program)
	if err != nil {
		return false
	}
	cmd := exec.CommandContext(ctx, found, address)
	cmd.Env = inv.Env
	if cmd.Start() != nil {
		return false
	}
	go func() { _ = cmd.Wait() }() // some stay as long as the browser does
	return true
}

func (inv *invocation) logout() *cobra.Command {
	cmd := &cobra.Command{
		Use: "logout [URL]", Short: "end a login at its server and forget it", Example: "podgate logout https://pods.example.com",
		Long: "Without URL it is the default that «podgate login --list» shows.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		logins, err := inv.logins()
		if err != nil {
			return err
		}
		server := ""
		if len(args) > 0 {
			server = args[0]
		}
		one, err := logins.Find(server)
		if err != nil {
			return err
		}
		if err := logins.Logout(cmd.Context(), one); err != nil {
			return fmt.Errorf("forgotten here, but %s could not be told (%w); revoke the connection there", one.Server, err)
		}
		return inv.done(*asJSON, one, "Logged out of %s.", one.Server)
	}
	return cmd
}

// logins are those of this person on this machine.
func (inv *invocation) logins() (*remote.Logins, error) {
	dir, err := inv.settingsFolder()
	if err != nil {
		return nil, err
	}
	return &remote.Logins{Dir: filepath.Join(dir, "podgate"), Way: http.DefaultTransport, Now: time.Now}, nil
}

// settingsFolder is os.UserConfigDir by this process's own environment.
func (inv *invocation) settingsFolder() (string, error) {
	if dir, ok := inv.Env.Lookup("XDG_CONFIG_HOME"); ok && filepath.IsAbs(dir) && runtime.GOOS != "darwin" {
		return dir, nil
	}
	home, ok := inv.Env.Lookup("HOME")
	switch {
	case !ok || !filepath.IsAbs(home):
		return "", errors.New("there is no folder for logins: neither HOME nor XDG_CONFIG_HOME is set")
	case runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Application Support"), nil
	}
	return filepath.Join(home, ".config"), nil
}
