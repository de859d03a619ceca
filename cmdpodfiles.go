package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"podgate/internal/text"
	"podgate/remote"
)

// maxInCall is how many bytes of files go into one call of a tool, so that their
// base64 stays far below what a call may have. More goes by a link.
const maxInCall = 2 << 20

func (inv *invocation) podCopy() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cp FROM TO", Short: "copy a file or a folder to or from a pod", Example: "podgate pod cp config.json hello:/home/pod/data/config.json",
		Long: "One of the two is NAME:PATH, a place in a pod: below /home/pod or /tmp, or from the app's folder on. A path that\n" +
			"ends with a slash, and a folder of this machine, is what it goes into. Of a folder links are not fetched. For - as FROM or TO it is\n" +
			"standard input or output.",
	}
	f := inv.toolFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		fromPod, fromPath, isFrom := inPod(args[0])
		toPod, toPath, isTo := inPod(args[1])
		if isFrom == isTo {
			return misuse(cmd, "one of FROM and TO must be NAME:PATH, a place in a pod, and the other one of this machine; write ./a:b for a file with a colon")
		}
		ctx := cmd.Context()
		if isTo {
			return f.with(ctx, toPod, func(t *tools) error { return f.upload(ctx, t, args[0], toPod, toPath) })
		}
		return f.with(ctx, fromPod, func(t *tools) error { return f.download(ctx, t, fromPod, fromPath, args[1]) })
	}
	return cmd
}

// inPod reads NAME:PATH.
func inPod(s string) (name, path string, ok bool) {
	name, path, ok = strings.Cut(s, ":")
	ok = ok && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	return name, path, ok
}

// copied is what a copy says of itself.
type copied struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Bytes int64  `json:"bytes,omitempty"`
	Files int    `json:"files,omitempty"`
	Links int    `json:"skipped,omitempty"` // that were left out
}

func (f *toolFlags) done(c copied) error {
	if f.json {
		return printJSON(f.inv.Stdout, c)
	}
	what := size(c.Bytes)
	if c.Files > 0 {
		what = fmt.Sprintf("%d files", c.Files)
	}
	if c.Links > 0 {
		what += fmt.Sprintf(", %d links left out", c.Links)
	}
	_, err := fmt.Fprintf(f.inv.Stderr, "Copied %s to %s (%s).\n", text.Visible(c.From), text.Visible(c.To), what)
	return err
}

// size is a number of bytes for reading.
func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// upload brings a file or a folder into a pod.
func (f *toolFlags) upload(ctx context.Context, t *tools, from, pod, to string) error {
	if from == "-" {
		content, err := io.ReadAll(io.LimitReader(f.inv.Stdin, maxInCall+1))
		if err == nil && len(content) > maxInCall {
			err = fmt.Errorf("more than %s came on standard input; copy a file", size(maxInCall))
		}
		if err != nil {
			return err
		}
		return f.writeFile(ctx, t, copied{From: "-", To: to}, pod, content, 0)
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return f.uploadFolder(ctx, t, from, pod, cmp.Or(to, "."))
	}
	if to == "" || strings.HasSuffix(to, "/") {
		to += filepath.Base(from)
	}
	c := copied{From: from, To: to}
	if info.Size() <= maxInCall {
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return f.writeFile(ctx, t, c, pod, content, info.Mode().Perm())
	}
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	link, err := t.uploadLink(ctx, map[string]any{"name": pod, "path": to, "bytes": info.Size(), "mode": fileMode(info.Mode().Perm())})
	if err != nil {
		return err
	}
	if err := remote.Send(ctx, f.inv.way(), link.URL, file, info.Size()); err != nil {
		return err
	}
	c.To, c.Bytes = pod+":"+link.Path, info.Size()
	return f.done(c)
}

// fileMode keeps of a mode whether it can be run.
func fileMode(mode os.FileMode) string {
	if mode&0o111 != 0 {
		return "0755"
	}
	return "0644"
}

func (f *toolFlags) writeFile(ctx context.Context, t *tools, c copied, pod string, content []byte, mode os.FileMode) error {
	in := map[string]any{"name": pod, "path": c.To, "content": string(content), "mode": fileMode(mode)}
	if !utf8.Valid(content) {
		in["content"], in["encoding"] = base64.StdEncoding.EncodeToString(content), "base64"
	}
	r, err := t.Call(ctx, "write_file", in, nil)
	if err != nil {
		return err
	}
	var wrote struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
	}
	if err := json.Unmarshal(r.Data, &wrote); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	c.To, c.Bytes = pod+":"+wrote.Path, wrote.Bytes
	return f.done(c)
}

func (f *toolFlags) uploadFolder(ctx context.Context, t *tools, from, pod, to string) error {
	folder, err := remote.Look(from, false)
	if err != nil {
		return err
	}
	link, err := t.uploadLink(ctx, map[string]any{"name": pod, "path": to, "unpack": true})
	if err != nil {
		return err
	}
	if err := f.inv.sendFolder(ctx, folder, link.URL); err != nil {
		return err
	}
	return f.done(copied{From: from, To: pod + ":" + link.Path, Bytes: folder.Bytes, Files: len(folder.Files), Links: folder.LeftOut})
}

// sendFolder packs a folder while it sends it.
func (inv *invocation) sendFolder(ctx context.Context, folder *remote.Folder, address string) error {
	read, write := io.Pipe()
	defer read.Close() // ends the packing when the server hangs up
	go func() { write.CloseWithError(folder.Pack(write)) }()
	return remote.Send(ctx, inv.way(), address, read, -1)
}

// way is how links are followed: straight there, and no redirect after.
func (inv *invocation) way() http.RoundTripper { return http.DefaultTransport }

// fileLink is what create_upload and create_download answer.
type fileLink struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Path   string `json:"path"`
	Folder bool   `json:"folder"`
	Bytes  int64  `json:"bytes"`
}

func (t *tools) uploadLink(ctx context.Context, in map[string]any) (fileLink, error) {
	return t.link(ctx, "create_upload", in)
}

func (t *tools) link(ctx context.Context, tool string, in map[string]any) (link fileLink, err error) {
	r, err := t.Call(ctx, tool, in, nil)
	if err != nil {
		return link, err
	}
	if err := json.Unmarshal(r.Data, &link); err != nil {
		return link, fmt.Errorf("the server's answer is not understood: %w", err)
	}
	if t.login != nil && !t.login.Within(link.URL) {
		return link, fmt.Errorf("%s names an address for the file that is not its own; nothing was sent or fetched", t.where)
	}
	return link, nil
}

// download brings a file or a folder out of a pod.
func (f *toolFlags) download(ctx context.Context, t *tools, pod, from, to string) error {
	link, err := t.link(ctx, "create_download", map[string]any{"name": pod, "path": cmp.Or(from, ".")})
	if err != nil {
		return err
	}
	body, err := remote.Fetch(ctx, f.inv.way(), link.URL)
	if err != nil {
		return err
	}
	defer body.Close()
	if info, err := os.Stat(to); to != "-" && (err == nil && info.IsDir() || strings.HasSuffix(to, "/")) {
		to = filepath.Join(to, nameOfCopy(pod, from))
	}
	c := copied{From: pod + ":" + link.Path, To: to}
	switch {
	case link.Folder && to == "-":
		return errors.New("a folder cannot go to standard output; name a folder of this machine")
	case link.Folder:
		out, err := remote.Unpack(body, to)
		if err != nil {
			return err
		}
		c.Files, c.Links = out.Files, out.Skipped
		return f.done(c)
	case to == "-":
		if isTerminal(f.inv.Stdout) {
			return f.show(body)
		}
		_, err := io.Copy(f.inv.Stdout, body)
		return err
	}
	if c.Bytes, err = keepFile(c.To, body); err != nil {
		return err
	}
	return f.done(c)
}

// nameOfCopy is what a copy is called in a folder: the last part of the path as it was
// typed, or else the pod's name. A name that server or pod chose could be that of a file
// which the person has there, such as .bashrc; and of a folder every file would be one.
func nameOfCopy(pod, from string) string {
	name := path.Base(from)
	if name == "." || !filepath.IsLocal(name) {
		return pod
	}
	return name
}

// show prints a file on a terminal.
func (f *toolFlags) show(body io.Reader) error {
	content, err := io.ReadAll(io.LimitReader(body, maxInCall))
	if err != nil {
		return err
	}
	return output(f.inv.Stdout, ended(string(content)))
}

// keepFile writes a file beside its place and moves it there once it is whole.
func keepFile(name string, from io.Reader) (int64, error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".podgate-*")
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(tmp, from)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return n, errors.Join(err, os.Remove(tmp.Name()))
	}
	return n, nil
}

func (inv *invocation) podFiles() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls NAME [PATH]", Short: "list the files of a pod", Example: "podgate pod ls hello /home/pod/data", ValidArgsFunction: inv.completePods(),
		Long: "Without PATH it is the app's folder. «podgate pod cp hello:FILE -» shows one.",
	}
	recursive := cmd.Flags().BoolP("recursive", "r", false, "list all that lies below, too")
	glob := cmd.Flags().String("glob", "", "only names like `GLOB`, such as *.js or src/**/*.ts")
	cursor := cmd.Flags().String("cursor", "", "go on where an answer that was cut says")
	return inv.toolCommand(cmd, "list_files", func(args []string) (map[string]any, error) {
		in := map[string]any{"name": args[0], "recursive": *recursive}
		addGiven(in, map[string]string{"path": strings.Join(args[1:], ""), "glob": *glob, "cursor": *cursor})
		return in, nil
	})
}

// addGiven adds the arguments that were given.
func addGiven(in map[string]any, more map[string]string) {
	for key, value := range more {
		if value != "" {
			in[key] = value
		}
	}
}

func (inv *invocation) podSearch() *cobra.Command {
	cmd := &cobra.Command{
		Use: "search NAME TEXT [PATH]", Short: "look for a text in the files of a pod", Example: "podgate pod search hello TODO", ValidArgsFunction: inv.completePods(),
		Long: "Without PATH it looks in the app's folder.",
	}
	regex := cmd.Flags().Bool("regex", false, "TEXT is a regular expression (RE2)")
	anyCase := cmd.Flags().BoolP("ignore-case", "i", false, "take small and capital letters for the same")
	glob := cmd.Flags().String("glob", "", "only in files like `GLOB`, such as *.js")
	cursor := cmd.Flags().String("cursor", "", "go on where an answer that was cut says")
	return inv.toolCommand(cmd, "search_files", func(args []string) (map[string]any, error) {
		in := map[string]any{"name": args[0], "query": args[1], "regex": *regex, "case_insensitive": *anyCase}
		addGiven(in, map[string]string{"path": strings.Join(args[2:], ""), "glob": *glob, "cursor": *cursor})
		return in, nil
	})
}

func (inv *invocation) podMove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "mv NAME FROM TO", Short: "move or rename a file of a pod", Example: "podgate pod mv hello draft.html index.html", ValidArgsFunction: inv.completePods(),
	}
	overwrite := cmd.Flags().Bool("overwrite", false, "replace a file that has the new name")
	return inv.toolCommand(cmd, "move_file", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "from": args[1], "to": args[2], "overwrite": *overwrite}, nil
	})
}

func (inv *invocation) podRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm NAME PATH", Short: "delete a file of a pod", Example: "podgate pod rm hello draft.html", ValidArgsFunction: inv.completePods(),
		Long: "There is no way back.",
	}
	recursive := cmd.Flags().BoolP("recursive", "r", false, "delete a folder with all that lies in it")
	return inv.toolCommand(cmd, "delete_file", func(args []string) (map[string]any, error) {
		return map[string]any{"name": args[0], "path": args[1], "recursive": *recursive}, nil
	})
}
