package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"podgate/control"
)

func (inv *invocation) debug() *cobra.Command {
	return group("debug", "look into the running server", inv.debugProfile())
}

func (inv *invocation) debugProfile() *cobra.Command {
	cmd := &cobra.Command{
		Use: "profile FILE", Short: "write what the running server spends its time or memory on", Args: cobra.ExactArgs(1),
		Example: "podgate debug profile --kind heap heap.pprof",
		Long:    "The file is for «go tool pprof» and for whoever helps with a report of a fault. It holds names of functions and\nnumbers, and nothing of what the server keeps. A file that is there is not overwritten; - prints.",
	}
	kind := cmd.Flags().String("kind", "cpu", "the profile: "+strings.Join(control.ProfileKinds, ", "))
	seconds := cmd.Flags().Int("seconds", 10, "how long the CPU is looked at, at most 120")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := inv.running(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close() // nothing was written
		profile, err := c.Profile(cmd.Context(), *kind, *seconds)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err = io.Copy(inv.Stdout, bytes.NewReader(profile))
			return err
		}
		return writeNew(args[0], profile)
	}
	return cmd
}

// writeNew writes a file that is not there yet, for this user only.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("there is a file %s already; name another", path)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
