package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"podgate/control"
	"podgate/store"
	"podgate/ui/page"
)

type compactReport struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

func (inv *invocation) compact() *cobra.Command {
	cmd := &cobra.Command{
		Use: "compact", Short: "give back the room that is free in the database", Example: "podgate compact",
		Long: "Writes the file anew, which takes the room of what is in it for a moment. The server must not run. It does the\nsame by itself when it starts and more than half of the file is free.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := inv.load()
		if err != nil {
			return err
		}
		db, err := control.OpenDatabase(s.DataDir, false)
		if errors.Is(err, store.ErrLocked) {
			return fmt.Errorf("a server uses the database in %s. Stop it first; it also does this by itself when it starts and more than half of the file is free", s.DataDir)
		}
		if err != nil {
			return dataDirWords(err, s)
		}
		c, err := db.Compact()
		if err := errors.Join(err, db.Close()); err != nil {
			return err
		}
		return inv.done(*asJSON, compactReport(c), "The database had %s and has %s now.", page.BytesWords(c.Before), page.BytesWords(c.After))
	}
	return cmd
}
