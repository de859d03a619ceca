package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"podgate/backup"
	"podgate/control"
	"podgate/internal/config"
	"podgate/internal/text"
)

func (inv *invocation) backup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "copy the whole server into one file, while it runs", Example: "podgate backup podgate.tar.zst",
		Long: "Database, pods' files, certificates and the configuration file. With - it writes to standard output. A pod that\n" +
			"runs is held still for a moment; where that cannot be, the command says so. The file is for you alone: it holds\n" +
			"everything that the server knows.",
	}
	cmd.AddCommand(inv.backupVerify(), inv.backupKey(), inv.backupAdopt())
	asJSON, force := jsonFlag(cmd), cmd.Flags().Bool("force", false, "replace FILE if it is there")
	keys := cmd.Flags().StringArray("recipient", nil, "encrypt with age for the public key `KEY`; may be repeated")
	files := cmd.Flags().StringArray("recipients-file", nil, "encrypt for the public keys in `FILE`, one a line; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		toStdout := args[0] == "-"
		if toStdout && *asJSON {
			return misuse(cmd, "with - standard output is the backup, so --json has no place")
		}
		recipients, err := backup.Recipients(*keys, *files)
		if err != nil {
			return err
		}
		var m *backup.Manifest
		write := func(w io.Writer) error {
			return backup.Encrypt(w, recipients, func(w io.Writer) (err error) { m, err = inv.makeBackup(cmd.Context(), w); return err })
		}
		if toStdout {
			err = write(inv.Stdout)
		} else {
			err = backup.Create(args[0], *force, write)
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(inv.Stdout, m)
		case toStdout:
			return sayBackup(inv.Stderr, m, "Backed up")
		}
		return sayBackup(inv.Stdout, m, "Backed up to "+text.Visible(args[0]))
	}
	return cmd
}

// makeBackup has the running server write a backup, or writes one of its folder.
func (inv *invocation) makeBackup(ctx context.Context, w io.Writer) (*backup.Manifest, error) {
	s, err := inv.load()
	if err != nil {
		return nil, err
	}
	c, err := control.Running(ctx, s.DataDir)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return localBackup(ctx, s, w)
	}
	defer c.Close() // nothing was written
	raw, err := c.Backup(ctx, w)
	if err != nil {
		return nil, err
	}
	m := new(backup.Manifest)
	return m, json.Unmarshal(raw, m)
}

// sayBackup says what is in a backup, and what of the pods is not as it should be.
func sayBackup(w io.Writer, m *backup.Manifest, done string) error {
	if _, err := fmt.Fprintf(w, "%s: the database of %s, pods: %d, files: %d, %s.\n", done, moment(m.Created), len(m.Pods), m.Entries, size(m.Bytes)); err != nil {
		return err
	}
	return sayPods(w, m)
}

// sayPods says what of the pods in a file is not as it should be.
func sayPods(w io.Writer, m *backup.Manifest) (err error) {
	for _, p := range m.Pods {
		switch {
		case p.State == backup.PodRunning:
			_, err = fmt.Fprintf(w, "The pod %s ran on while it was copied, so that its files may not fit together: %s.\n", p.Name, text.Visible(p.Why))
		case p.State == backup.PodAbsent:
			_, err = fmt.Fprintf(w, "The pod %s has no files.\n", p.Name)
		}
		if p.LeftOut > 0 {
			_, err = fmt.Fprintf(w, "Files of the pod %s that were left out: %d.\n", p.Name, p.LeftOut)
		}
		for _, such := range p.Such {
			_, err = fmt.Fprintf(w, "  %s\n", text.Visible(such))
		}
	}
	return err
}

// identityFlag declares --identity.
func identityFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("identity", nil, "open an encrypted backup with the key in `FILE`; may be repeated")
}

func (inv *invocation) backupVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "prove that a backup is whole", Example: "podgate backup verify podgate.tar.zst",
		Long: "Reads all of it and writes nothing. With - it reads standard input. FILE may also be the folder or the bucket in\n" +
			"which the server keeps its backups, of which the newest is read. The exit code is 1 when it is not whole.",
	}
	asJSON, keys, at := jsonFlag(cmd), identityFlag(cmd), atFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var m *backup.Manifest
		kept, err := inv.kept(cmd, args[0], *at, *keys)
		switch {
		case err != nil:
			return err
		case kept != nil:
			m, err = kept.Verify(cmd.Context())
		case args[0] == "-":
			m, err = verifyBackup(cmd.Context(), inv.Stdin, *keys)
		default:
			var f *os.File
			if f, err = os.Open(args[0]); err != nil {
				return err
			}
			defer f.Close() // it was only read
			m, err = verifyBackup(cmd.Context(), f, *keys)
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(inv.Stdout, m)
		}
		return sayBackup(inv.Stdout, m, "The backup is whole")
	}
	return cmd
}

func verifyBackup(ctx context.Context, from io.Reader, keys []string) (*backup.Manifest, error) {
	identities, err := backup.Identities(keys)
	if err != nil {
		return nil, err
	}
	return backup.Verify(ctx, from, identities...)
}

func atFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("at", "", "of the backups in a folder or a bucket take the newest of `TIME`, such as 2026-11-26 or 20261126T033000Z")
}

// kept is the backup of the time at in a folder or a bucket; nil when place is neither.
func (inv *invocation) kept(cmd *cobra.Command, place, at string, keys []string) (*backup.Restorable, error) {
	var storage backup.Storage
	if config.IsBucket(place) {
		s, err := inv.load()
		if err == nil {
			storage, err = backupStorage(s, place)
		}
		if err != nil {
			return nil, err
		}
	} else if info, err := os.Stat(place); err == nil && info.IsDir() {
		storage = backup.Folder{Dir: place}
	} else if at != "" {
		return nil, misuse(cmd, "--at is for a folder or a bucket with several backups")
	} else {
		return nil, nil
	}
	identities, err := backup.Identities(keys)
	if err != nil {
		return nil, err
	}
	list, err := backup.Backups(cmd.Context(), storage, time.Now())
	if err != nil {
		return nil, err
	}
	made, err := list.At(at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text.Visible(place), err)
	}
	return &backup.Restorable{Storage: storage, Made: made, Identities: identities}, nil
}

func (inv *invocation) backupAdopt() *cobra.Command {
	cmd := &cobra.Command{
		Use: "adopt", Short: "let this server go on where another one kept its backups", Example: "podgate backup adopt",
		Long: "The folder or the bucket of backup.to belongs to one server, so that two do not delete each other's backups. A server\n" +
			"that was restored is another one. Say this when the one whose backups are there does not run any more.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := inv.load()
		switch {
		case err != nil:
			return err
		case !s.Backup.On():
			return errors.New("backup.to is not set, so this server keeps no backups")
		}
		storage, err := backupStorage(s, s.Backup.To)
		if err == nil {
			err = backup.Release(cmd.Context(), storage)
		}
		if err != nil {
			return err
		}
		return inv.done(*asJSON, map[string]string{"to": s.Backup.To}, "The backups in %s are nobody's, and this server's with its next backup.", text.Visible(s.Backup.To))
	}
	return cmd
}

func (inv *invocation) backupKey() *cobra.Command {
	cmd := &cobra.Command{
		Use: "key FILE", Short: "make a key for encrypted backups", Example: "podgate backup key backup.key",
		Long: "FILE gets the secret part, which opens backups: keep it elsewhere than on this machine. The public part, which is\nprinted, is for --recipient and the setting backup.recipients. Both are in the form of age.",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var recipient string
		err := backup.Create(args[0], false, func(w io.Writer) (err error) { recipient, err = backup.NewKey(w); return err })
		if err != nil {
			return err
		}
		return inv.done(*asJSON, map[string]string{"recipient": recipient}, "%s", recipient)
	}
	return cmd
}

func (inv *invocation) restore() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "make the data folder of a backup", Example: "podgate restore podgate.tar.zst",
		Long: "FILE may also be the folder or the bucket in which the server keeps its backups, of which the newest is taken.\n" +
			"The data folder must be empty or absent. Nothing is written before the backup was proved whole, and nothing is in place\n" +
			"before it is complete. As root, the files are given to whom the empty folder belongs. The configuration file that\nwas in force is podgate.toml in the folder.",
	}
	asJSON, keys, at := jsonFlag(cmd), identityFlag(cmd), atFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := inv.load()
		if err != nil {
			return err
		}
		kept, err := inv.kept(cmd, args[0], *at, *keys)
		if err != nil {
			return err
		}
		var m *backup.Manifest
		if kept != nil {
			m, err = kept.Restore(cmd.Context(), s.DataDir)
		} else {
			m, err = restoreFile(cmd.Context(), args[0], s.DataDir, *keys)
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(inv.Stdout, m)
		}
		return sayBackup(inv.Stdout, m, "Restored to "+text.Visible(s.DataDir))
	}
	return cmd
}

func restoreFile(ctx context.Context, file, dir string, keys []string) (*backup.Manifest, error) {
	identities, err := backup.Identities(keys)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	return backup.Restore(ctx, f, dir, identities...)
}
