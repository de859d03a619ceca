package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"podgate/backup"
	"podgate/control"
	"podgate/internal/text"
)

func (inv *invocation) podExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export NAME FILE", Short: "copy one pod into a file, for another server", Example: "podgate pod export hello hello.pod", ValidArgsFunction: inv.ask(podNames),
		Long: "Its files as of one moment, preset, plan and network policy. Values of its environment variables are secrets, and\n" +
			"are in the file only with --with-env. With - it writes to standard output. It is for the server's machine.",
	}
	asJSON, force := jsonFlag(cmd), cmd.Flags().Bool("force", false, "replace FILE if it is there")
	withEnv := cmd.Flags().Bool("with-env", false, "with the values of its environment variables")
	keys := cmd.Flags().StringArray("recipient", nil, "encrypt with age for the public key `KEY`; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		toStdout := args[1] == "-"
		if toStdout && *asJSON {
			return misuse(cmd, "with - standard output is the file, so --json has no place")
		}
		recipients, err := backup.Recipients(*keys, nil)
		if err != nil {
			return err
		}
		m := new(backup.Manifest)
		write := func(w io.Writer) error {
			return backup.Encrypt(w, recipients, func(w io.Writer) error {
				return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
					raw, err := c.ExportPod(cmd.Context(), w, args[0], *withEnv)
					if err != nil {
						return err
					}
					return json.Unmarshal(raw, m)
				})
			})
		}
		said := inv.Stdout
		if toStdout {
			said, err = inv.Stderr, write(inv.Stdout)
		} else {
			err = backup.Create(args[1], *force, write)
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(inv.Stdout, m)
		}
		_, err = fmt.Fprintf(said, "Copied the pod %s as of %s: files: %d, %s.\n", args[0], moment(m.Created), m.Entries, size(m.Bytes))
		if *withEnv {
			_, err = fmt.Fprintln(said, "The file holds secrets: the values of the pod's environment variables.")
		}
		if err == nil {
			err = sayPods(said, m)
		}
		return err
	}
	return cmd
}

func (inv *invocation) podImport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "make a pod of a file from another server", Example: "podgate pod import hello.pod --name hello-again",
		Long: "The file is proved whole before anything is written. Name and plan are those in the file, unless others are given. A\n" +
			"pod that ran is started. With - it reads standard input. It is for the server's machine.",
	}
	asJSON, identities := jsonFlag(cmd), identityFlag(cmd)
	var as control.PodImport
	cmd.Flags().StringVar(&as.Team, "team", "", "for the team `SLUG`; not needed where there is one")
	cmd.Flags().StringVar(&as.Name, "name", "", "call it `NAME`")
	cmd.Flags().StringVar(&as.Plan, "plan", "", "give it the plan `PLAN`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, err := backup.Identities(*identities)
		if err != nil {
			return err
		}
		var from io.Reader = inv.Stdin
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close() // it was only read
			from = f
		}
		from, err = backup.Decrypt(from, keys...)
		if err != nil {
			return err
		}
		return inv.withControl(cmd.Context(), false, func(c *control.Client) error {
			made, err := c.ImportPod(cmd.Context(), from, as)
			switch {
			case err != nil:
				return err
			case *asJSON:
				return printJSON(inv.Stdout, made)
			}
			err = inv.say("Made the pod %s of team %s with %d files, %s. It is %s: %s", made.Pod, made.Team, made.Files, size(made.Bytes), made.Status, made.URL)
			if err == nil && len(made.WithoutEnv) > 0 {
				err = inv.say("The file has no values for these environment variables; set them with «podgate pod env»: %s.", text.Visible(strings.Join(made.WithoutEnv, ", ")))
			}
			if err == nil && made.Problem != "" {
				err = inv.say("It did not start: %s", text.Visible(made.Problem))
			}
			return err
		})
	}
	return cmd
}
