package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"podgate/remote"
)

func (inv *invocation) podDeploy() *cobra.Command {
	cmd := &cobra.Command{
		Use: "deploy [FOLDER]", Short: "put the app in a folder live, in a pod that is made when there is none", Example: "podgate pod deploy ./site --name hello",
		Long: "FOLDER is the present one when left out. It does not send what .gitignore or .podgateignore names, .git,\n" +
			"node_modules, __pycache__ and .venv. With --git the server fetches a repository, and nothing is sent from here. It\n" +
			"says what is printed meanwhile, and at the end the address, or why it failed.",
	}
	f := inv.toolFlags(cmd)
	d := &deployment{toolFlags: f}
	flags := cmd.Flags()
	flags.StringVar(&d.name, "name", "", "the pod's `NAME` (default: that of the folder)")
	flags.StringVar(&d.preset, "preset", "", "the `KIND` of app (default: found out from the files)")
	flags.StringVar(&d.git, "git", "", "deploy the repository at the https `URL`")
	flags.StringVar(&d.ref, "ref", "", "with --git: the branch, tag or commit")
	plan, region, env := newPodFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := variables(cmd, *env)
		if err != nil {
			return err
		}
		d.more = map[string]any{"env": set, "plan": *plan, "region": *region}
		return d.run(cmd, args)
	}
	return cmd
}

// deployment is one use of pod deploy.
type deployment struct {
	*toolFlags
	name, preset, git, ref string
	more                   map[string]any // arguments for a new pod
}

func (d *deployment) run(cmd *cobra.Command, args []string) error {
	root := "."
	if len(args) > 0 {
		root = args[0]
	}
	if d.name == "" {
		d.name = nameFrom(root)
	}
	switch {
	case d.git != "" && len(args) > 0:
		return misuse(cmd, "either a folder or --git can be deployed")
	case d.git != "" && !cmd.Flags().Changed("name"), d.name == "":
		return misuse(cmd, "say with --name what the pod is called: lower-case letters, digits and hyphens")
	}
	ctx := cmd.Context()
	return d.with(ctx, d.name, func(t *tools) error {
		in := map[string]any{"name": d.name, "preset": d.preset}
		for key, value := range d.more {
			in[key] = value
		}
		if d.git != "" {
			in["git"] = map[string]any{"url": d.git, "ref": d.ref}
		} else if err := d.addFolder(ctx, t, root, in); err != nil {
			return err
		}
		r, err := t.Call(ctx, "deploy", in, d.heard())
		if err != nil {
			return err
		}
		return d.print(r)
	})
}

// nameFrom makes of a folder's name one that a pod can have; "" when nothing is left.
func nameFrom(root string) string {
	full, err := filepath.Abs(root)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, c := range strings.ToLower(filepath.Base(full)) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		} else if !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	name := b.String()
	return strings.Trim(name[:min(len(name), 63)], "-")
}

// addFolder puts the files into the call, or sends them before it as an archive when
// they are many or are more than their text.
func (d *deployment) addFolder(ctx context.Context, t *tools, root string, in map[string]any) error {
	folder, err := remote.Look(root, true)
	if err != nil {
		return err
	}
	if len(folder.Files) == 0 {
		return fmt.Errorf("there is nothing to send in %s", root)
	}
	left := ""
	if folder.LeftOut > 0 {
		left = fmt.Sprintf(", %d left out", folder.LeftOut)
	}
	fmt.Fprintf(d.inv.Stderr, "Sending %d files of %s, %s%s.\n", len(folder.Files), visibleLines(root), size(folder.Bytes), left)
	if folder.Bytes > maxInCall || len(folder.Files) > 1000 || !folder.IsPlain() {
		in["upload"], err = d.send(ctx, t, folder)
		return err
	}
	texts, binary := map[string]string{}, map[string]string{}
	for _, one := range folder.Files {
		content, err := folder.Read(one)
		if err != nil {
			return err
		}
		if utf8.Valid(content) {
			texts[one.Name] = string(content)
		} else {
			binary[one.Name] = base64.StdEncoding.EncodeToString(content)
		}
	}
	in["files"], in["binary_files"] = texts, binary
	return nil
}

// send sends an archive into the pod, which is made when there is none, and returns
// the upload's id.
func (d *deployment) send(ctx context.Context, t *tools, folder *remote.Folder) (string, error) {
	_, err := t.Call(ctx, "get_pod", map[string]any{"name": d.name}, nil)
	var refused *remote.ToolError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Text, "pod not found") {
		const unguessed = "command" // whose kind the first deploy finds out
		in := map[string]any{"name": d.name, "preset": cmp.Or(d.preset, unguessed)}
		for key, value := range d.more {
			in[key] = value
		}
		fmt.Fprintf(d.inv.Stderr, "Making the pod %s.\n", d.name)
		_, err = t.Call(ctx, "create_pod", in, d.heard())
	}
	if err != nil {
		return "", err
	}
	link, err := t.uploadLink(ctx, map[string]any{"name": d.name})
	if err != nil {
		return "", err
	}
	if err := d.inv.sendFolder(ctx, folder, link.URL); err != nil {
		return "", err
	}
	return link.ID, nil
}
