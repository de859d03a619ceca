package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/internal/text"
	"podgate/store"
)

func (inv *invocation) upgrade() *cobra.Command {
	cmd := &cobra.Command{
		Use: "upgrade", Short: "have the program's new file take over from the running server, without an outage", Example: "podgate upgrade --check",
		Long: "Put the new program where the old one is, and give this command: the server starts it beside itself to try the\n" +
			"settings and, on a copy, what it does to the database, lets requests end for up to 10 seconds and executes it. Pods\n" +
			"run on, and who comes meanwhile waits. A program that does not come up gives back to the old one, and this command\n" +
			"says why. With the same file the server starts anew in the same way, after which all settings hold.",
	}
	asJSON, check := jsonFlag(cmd), cmd.Flags().Bool("check", false, "only try whether it could, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := inv.running(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close() // nothing was written
		u, err := c.Upgrade(cmd.Context(), *check)
		if err == nil && !*check {
			u, err = awaitUpgrade(cmd.Context(), c, u)
		}
		if err != nil {
			return err
		}
		if u.State == control.UpgradeFailed {
			return fmt.Errorf("%s goes on, because the program at %s did not take over: %s", u.From, u.Program, text.Visible(u.Reason))
		}
		words := "%s at %s took over from %s; nobody was answered for %d ms."
		args := []any{u.To, u.Program, u.From, u.Took}
		if *check {
			words, args = "%s at %s could take over from %s.", args[:3]
		}
		if u.FromFormat != u.ToFormat {
			words += " The database goes from format %d to %d."
			args = append(args, u.FromFormat, u.ToFormat)
		}
		if u.Restarts {
			words += " Pods are started anew by it: it speaks in another way with what runs in them."
		}
		return inv.done(*asJSON, u, words, args...)
	}
	return cmd
}

// upgradeTime is what an upgrade takes at most, with all its waiting.
const upgradeTime = busyTime + 2*drainTime + 2*takeOverTime

// awaitUpgrade asks until the upgrade has ended, in whichever program.
func awaitUpgrade(ctx context.Context, c *control.Client, begun control.Upgrade) (control.Upgrade, error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeTime)
	defer cancel()
	for {
		s, err := c.Status(ctx)
		if err == nil && s.Upgrade != nil && s.Upgrade.ID == begun.ID && s.Upgrade.State != control.UpgradeGoing {
			return *s.Upgrade, nil
		}
		if err == nil && (s.Upgrade == nil || s.Upgrade.ID != begun.ID) {
			return begun, errors.New("the server was started anew meanwhile; its log says why")
		}
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) { // the socket stays open else
			return begun, errors.New("the server has ended meanwhile; its log says why")
		}
		select {
		case <-ctx.Done():
			return begun, errors.Join(errors.New("it is not known how the upgrade ended; «podgate status» says it"), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// rehearse is for the program that is to be replaced: see examine.
func (inv *invocation) rehearse() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rehearse", Hidden: true, Short: "say whether this program could take over", Example: "podgate rehearse",
	}
	database := cmd.Flags().String("database", "", "migrate and check the copy of the database in `FILE`")
	inv.listenFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if _, err := inv.load(); err != nil {
			return err
		}
		if *database != "" {
			db, err := store.Open(*database)
			if err != nil {
				return err
			}
			if err := errors.Join(db.Check(), db.Close()); err != nil {
				return err
			}
		}
		return printJSON(inv.Stdout, rehearsedHere())
	}
	return cmd
}

// rehearsalArgs is the command line of rehearse for the settings of this one.
func (inv *invocation) rehearsalArgs() []string {
	args := []string{"rehearse"}
	if inv.config != "" {
		args = append(args, "--config", inv.config)
	}
	for flag, key := range map[string]string{"--data": "data_dir", "--listen": "listen"} {
		if value, ok := inv.changed[key]; ok {
			args = append(args, flag, value)
		}
	}
	return args
}

// readRehearsed reads what a program has printed.
func readRehearsed(b []byte, found *rehearsed) error {
	if err := json.Unmarshal(b, found); err != nil || found.Version == "" || found.Handover < 1 || found.Format < 1 {
		return errors.New("it is no podgate that could take over")
	}
	found.Version = text.Line(found.Version, 64)
	return nil
}

// bounded keeps the first of what is written to it.
type bounded struct{ bytes.Buffer }

const maxBounded = 64 << 10

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxBounded-b.Len())])
	return len(p), nil
}

// lastLine is the last line of what a program printed, fit to be shown.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return text.Line(lines[len(lines)-1], 300)
}
