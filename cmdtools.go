package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"podgate/control"
	"podgate/internal/text"
	"podgate/remote"
)

// toolFlags are what every command has that calls the tools of a server: which
// server, for which team, and in what form it prints.
type toolFlags struct {
	inv    *invocation
	server string
	team   string
	json   bool
}

// whichServer is the rule that each such command's help gives.
const whichServer = `It asks the server that runs from this machine's data folder. Where none does, or with --server, it asks
the one that «podgate login» let it in to, as the person who logged in.`

func (inv *invocation) toolFlags(cmd *cobra.Command) *toolFlags {
	f := &toolFlags{inv: inv}
	cmd.Flags().StringVar(&f.server, "server", "", "ask the server at `URL`, which «podgate login» let in to (also PODGATE_SERVER)")
	cmd.Flags().StringVar(&f.team, "team", "", "for the team `SLUG`, where the server of this machine has several")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON for programs")
	_ = cmd.RegisterFlagCompletionFunc("team", inv.askForFlag(slugs)) // it was declared here
	if cmd.Long != "" {
		cmd.Long += "\n"
	}
	cmd.Long += whichServer
	return f
}

// toolCommand makes a command of one call: it prints what the tool answers.
func (inv *invocation) toolCommand(cmd *cobra.Command, tool string, arguments func(args []string) (map[string]any, error)) *cobra.Command {
	f := inv.toolFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := arguments(args)
		if err != nil {
			return err
		}
		r, err := f.call(cmd.Context(), tool, in, f.heard())
		if err != nil {
			return err
		}
		return f.print(r)
	}
	return cmd
}

// named are arguments of which the pod's name is the first.
func named(more map[string]any) func(args []string) (map[string]any, error) {
	return func(args []string) (map[string]any, error) {
		in := map[string]any{"name": args[0]}
		for key, value := range more {
			in[key] = value
		}
		return in, nil
	}
}

// call calls a tool once.
func (f *toolFlags) call(ctx context.Context, tool string, in map[string]any, heard func(string)) (remote.Result, error) {
	var r remote.Result
	name, _ := in["name"].(string)
	err := f.with(ctx, name, func(t *tools) (err error) {
		r, err = t.Call(ctx, tool, in, heard)
		return err
	})
	return r, err
}

// tools are those of one server.
type tools struct {
	*remote.Client
	where   string          // the server, as a person calls it
	control *control.Client // nil: it is far away
	login   *remote.Login   // nil: it is not
}

// with finds the way to a server, calls act and lets go of it again. pod is the pod
// that it is about, which says for which team where there are several; "" for none.
func (f *toolFlags) with(ctx context.Context, pod string, act func(*tools) error) error {
	server := f.server
	if server == "" {
		server, _ = f.inv.Env.Lookup("PODGATE_SERVER")
	}
	if server == "" {
		s, err := f.inv.load()
		if err != nil {
			return err
		}
		c, err := control.Running(ctx, s.DataDir)
		if err != nil {
			return err
		}
		if c != nil {
			defer c.Close() // nothing was written
			address, way := c.Tools(f.team, pod)
			return act(&tools{Client: &remote.Client{Address: address, Way: way, Version: version()}, where: "this machine", control: c})
		}
		if _, chosen := f.inv.changed["data_dir"]; chosen {
			return fmt.Errorf("no server runs from %s; start one there, or leave --data out to use what «podgate login» let in to", s.DataDir)
		}
	}
	return f.withLogin(ctx, server, act)
}

func (f *toolFlags) withLogin(ctx context.Context, server string, act func(*tools) error) error {
	if f.team != "" {
		return errors.New("--team is for the server of this machine; a login is for the team that was chosen on the consent page, so log in again for another")
	}
	logins, err := f.inv.logins()
	if err != nil {
		return err
	}
	login, err := logins.Find(server)
	if errors.Is(err, remote.ErrNoLogin) && server == "" {
		return errors.New("no server runs from this machine's data folder, and there is no login; start «podgate», name its folder with --data, or log in to another machine's with «podgate login URL»")
	}
	if err != nil {
		return err
	}
	err = act(&tools{Client: logins.Client(login, version()), where: login.Server, login: &login})
	var refused *remote.HTTPError
	if errors.As(err, &refused) && refused.Status == 401 {
		return fmt.Errorf("%s does not know this login any more; «podgate login %s» makes a new one", login.Server, login.Server)
	}
	return err
}

// heard shows what goes on meanwhile, on standard error; nil when a program reads.
func (f *toolFlags) heard() func(string) {
	if f.json {
		return nil
	}
	return func(words string) { fmt.Fprint(f.inv.Stderr, visibleLines(words)) }
}

// print shows what a tool answered.
func (f *toolFlags) print(r remote.Result) error {
	if f.json {
		return f.printData(r.Data)
	}
	return f.inv.sayLines(r.Text)
}

// printData prints JSON of a server in the order in which it came.
func (f *toolFlags) printData(data json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return fmt.Errorf("the server's answer is no JSON: %w", err)
	}
	_, err := fmt.Fprintln(f.inv.Stdout, plainJSON(b.String()))
	return err
}

// plainJSON writes what is not seen as itself as escapes, which mean the same.
func plainJSON(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch seen := text.Visible(string(c)) == string(c); {
		case seen || c == '\n':
			b.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

// sayLines prints words of a server, which may hold what pods printed.
func (inv *invocation) sayLines(words string) error {
	_, err := io.WriteString(inv.Stdout, ended(visibleLines(words)))
	return err
}

// visibleLines is text.Visible that leaves line breaks and tabs.
func visibleLines(s string) string {
	var b strings.Builder
	for piece := range strings.SplitAfterSeq(s, "\n") {
		line, end := strings.CutSuffix(piece, "\n")
		for i, cell := range strings.Split(line, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(text.Visible(cell))
		}
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// ended is a text that ends its last line.
func ended(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}

// output is what pods printed, as it is for a file or a program, and harmless for a
// terminal.
func output(w io.Writer, s string) error {
	if isTerminal(w) {
		s = visibleLines(s)
	}
	_, err := io.WriteString(w, s)
	return err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
