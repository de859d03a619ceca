package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"podgate/internal/text"
)

func (inv *invocation) podCommand() *cobra.Command {
	return group("pod", "make, run, read and delete pods, and say what they reach",
		inv.podList(), inv.podShow(), inv.podCreate(), inv.podDeploy(), inv.podDeploys(), inv.podRollback(),
		inv.podManage("start", "start a pod"), inv.podManage("stop", "stop a pod; its files stay"),
		inv.podManage("restart", "end everything in a pod and start its app anew"),
		inv.podManage("reload", "install what an app needs after its files changed, and start it anew"),
		inv.podDelete(), inv.podUndelete(), inv.podSnapshot(), inv.podSnapshots(), inv.podRestore(), inv.podClone(), inv.podLogs(), inv.podExec(), inv.podJobs(), inv.podJob(), inv.podJobStop(), inv.podCopy(), inv.podFiles(), inv.podSearch(), inv.podMove(), inv.podRemove(), inv.podEnv(), inv.podPlan(), inv.podUse(), inv.podNetwork(), inv.podExport(), inv.podImport())
}

// pod is what is read of a tool's answer about one.
type pod struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Preset string `json:"preset"`
	Plan   string `json:"plan"`
	Region string `json:"region"`
	URL    string `json:"url"`
	Team   string `json:"team"`
}

func (inv *invocation) podList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "list the pods", Example: "podgate pod list", Long: "Pods that failed come first. On this machine they are those of every team, unless --team names one."}
	f := inv.toolFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := f.pods(cmd.Context())
		switch {
		case err != nil:
			return err
		case f.json:
			raw, err := json.Marshal(list)
			if err != nil {
				return err
			}
			return f.printData(raw)
		case len(list) == 0:
			return inv.say("There are no pods yet. «podgate pod deploy» makes one of a folder.")
		}
		return printTable(inv.Stdout, podRows(list))
	}
	return cmd
}

func podRows(list []pod) [][]string {
	rows := [][]string{{"POD", "STATUS", "PRESET", "PLAN", "TEAM", "ADDRESS"}}
	for _, p := range list {
		rows = append(rows, []string{p.Name, p.Status, p.Preset, p.Plan, p.Team, p.URL})
	}
	return rows
}

// pods lists those of one team or, on this machine, of all, the failed ones first.
func (f *toolFlags) pods(ctx context.Context) ([]pod, error) {
	teams := []string{f.team}
	all := []pod{}
	err := f.with(ctx, "", func(t *tools) error {
		if t.control != nil && f.team == "" {
			list, err := t.control.Teams(ctx)
			if err != nil {
				return err
			}
			teams = nil
			for _, one := range list {
				teams = append(teams, one.Slug)
			}
		}
		for _, team := range teams {
			if t.control != nil {
				t.Address, _ = t.control.Tools(team, "")
			}
			list, err := podsOf(ctx, t)
			if err != nil {
				return err
			}
			all = append(all, list...)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b pod) int {
		if failed := isFailed(b) - isFailed(a); failed != 0 {
			return failed
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, err
}

func isFailed(p pod) int {
	if p.Status == "failed" || p.Status == "failing" {
		return 1
	}
	return 0
}

func podsOf(ctx context.Context, t *tools) ([]pod, error) {
	r, err := t.Call(ctx, "list_pods", struct{}{}, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Team struct {
			Slug string `json:"slug"`
		} `json:"team"`
		Pods []pod `json:"pods"`
	}
	if err := json.Unmarshal(r.Data, &answer); err != nil {
		return nil, fmt.Errorf("the server's answer is not understood: %w", err)
	}
	for i := range answer.Pods {
		answer.Pods[i].Team = answer.Team.Slug
	}
	return answer.Pods, nil
}

func (inv *invocation) podShow() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "show NAME", Short: "show a pod: how it is and why, its address, and what it uses", Example: "podgate pod show hello", ValidArgsFunction: inv.completePods(),
	}, "get_pod", named(nil))
}

func (inv *invocation) podCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "make a pod with a first page", Example: "podgate pod create hello --preset static",
		Long: "NAME becomes a part of its address: lower-case letters, digits and hyphens.",
	}
	preset := cmd.Flags().String("preset", "static", "the `KIND` of app, such as static, nodejs, python, php or command")
	plan, region, env := newPodFlags(cmd)
	return inv.toolCommand(cmd, "create_pod", func(args []string) (map[string]any, error) {
		set, err := variables(cmd, *env)
		return map[string]any{"name": args[0], "preset": *preset, "plan": *plan, "region": *region, "env": set}, err
	})
}

// newPodFlags are what a pod is made with.
func newPodFlags(cmd *cobra.Command) (plan, region *string, env *[]string) {
	plan = cmd.Flags().String("plan", "", "its size, one of the server's plans (default: the first)")
	region = cmd.Flags().String("region", "", "where it runs, one of the server's regions (default: the first)")
	env = cmd.Flags().StringArray("env", nil, "set the environment variable `KEY=VALUE`; may be repeated")
	return plan, region, env
}

func (inv *invocation) podManage(action, short string) *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: action + " NAME", Short: short, Example: "podgate pod " + action + " hello", ValidArgsFunction: inv.completePods(),
	}, "manage_pod", named(map[string]any{"action": action}))
}

func (inv *invocation) podDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "delete a pod; for seven days it can be brought back", Example: "podgate pod delete hello --yes", ValidArgsFunction: inv.completePods(),
		Long: "On a terminal it says what there is and has the name typed. «podgate pod undelete» brings it back.",
	}
	f := inv.toolFlags(cmd)
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, name := cmd.Context(), args[0]
		if !*yes {
			if err := f.confirmDelete(cmd, name); err != nil {
				return err
			}
		}
		r, err := f.call(ctx, "manage_pod", map[string]any{"name": name, "action": "delete", "confirm": name}, nil)
		if err != nil {
			return err
		}
		return f.print(r)
	}
	return cmd
}

// confirmDelete says what is lost and has the pod's name typed.
func (f *toolFlags) confirmDelete(cmd *cobra.Command, name string) error {
	tty := f.inv.terminal()
	if tty == nil {
		return misuse(cmd, "nobody can be asked here; write --yes to delete %s with all its files", text.Visible(name))
	}
	ctx := cmd.Context()
	return f.with(ctx, name, func(t *tools) error {
		r, err := t.Call(ctx, "get_pod", map[string]any{"name": name}, nil)
		if err != nil {
			return err
		}
		var p struct {
			pod
			Disk    int64    `json:"disk_used_bytes"`
			Env     []string `json:"env"`
			Deploys *struct {
				Number int `json:"number"`
			} `json:"last_deploy"`
		}
		if err := json.Unmarshal(r.Data, &p); err != nil {
			return fmt.Errorf("the server's answer is not understood: %w", err)
		}
		lost := fmt.Sprintf("all its files (%d MiB), %d environment variables", p.Disk>>20, len(p.Env))
		if p.Deploys != nil {
			lost += fmt.Sprintf(", %d deploys", p.Deploys.Number)
		}
		fmt.Fprintf(f.inv.Stderr, "The pod %s on %s is %s, at %s.\nOwners of its team can bring it back for seven days; then it is lost: %s and its logs.\n", text.Visible(p.Name), t.where, text.Visible(p.Status), text.Visible(p.URL), lost)
		typed, err := askLine(ctx, tty, f.inv.Stderr, "Type its name to delete it: ")
		if err == nil && typed != name {
			err = errDeclined
		}
		return err
	})
}

// askLine asks somebody at a terminal for a line.
func askLine(ctx context.Context, tty io.Reader, prompt io.Writer, question string) (string, error) {
	if _, err := io.WriteString(prompt, question); err != nil {
		return "", err
	}
	read := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(tty).ReadString('\n') // what came before an end is the answer
		read <- line
	}()
	select {
	case line := <-read:
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (inv *invocation) podDeploys() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "deploys NAME", Short: "list a pod's deploys, and to which it can go back", Example: "podgate pod deploys hello", ValidArgsFunction: inv.completePods(),
	}, "list_deploys", named(nil))
}

func (inv *invocation) podRollback() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "rollback NAME [DEPLOY]", Short: "let the app of an earlier deploy run again", Example: "podgate pod rollback hello", ValidArgsFunction: inv.completePods(),
		Long: "DEPLOY is a number that «podgate pod deploys» shows; without one it is the deploy before the present.",
	}, "rollback", func(args []string) (map[string]any, error) {
		in := map[string]any{"name": args[0]}
		if len(args) < 2 {
			return in, nil
		}
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return nil, errors.New("DEPLOY must be a number that «podgate pod deploys» shows")
		}
		in["deploy"] = n
		return in, nil
	})
}

func (inv *invocation) podEnv() *cobra.Command {
	cmd := &cobra.Command{
		Use: "env NAME [KEY=VALUE…]", Short: "show the names of a pod's environment variables, or set some", Example: "podgate pod env hello GREETING=hi", ValidArgsFunction: inv.completePods(),
		Long: "Values can only be written and are never shown. A pod that runs restarts its app. A value that nobody is to\nread in the list of processes comes from --stdin.",
	}
	f := inv.toolFlags(cmd)
	unset := cmd.Flags().StringArray("unset", nil, "take the variable `KEY` away; may be repeated")
	fromStdin := cmd.Flags().Bool("stdin", false, "read more KEY=VALUE from standard input, one a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pairs := args[1:]
		if *fromStdin {
			lines, err := io.ReadAll(io.LimitReader(inv.Stdin, maxStdin))
			if err != nil {
				return fmt.Errorf("read the variables: %w", err)
			}
			pairs = slices.Concat(pairs, slices.DeleteFunc(strings.Split(string(lines), "\n"), func(line string) bool { return strings.TrimSpace(line) == "" }))
		}
		set, err := variables(cmd, pairs)
		if err != nil {
			return err
		}
		if len(set) == 0 && len(*unset) == 0 {
			return f.showEnv(cmd.Context(), args[0])
		}
		r, err := f.call(cmd.Context(), "set_env", map[string]any{"name": args[0], "set": set, "unset": append([]string{}, *unset...)}, f.heard())
		if err != nil {
			return err
		}
		return f.print(r)
	}
	return cmd
}

func (f *toolFlags) showEnv(ctx context.Context, name string) error {
	r, err := f.call(ctx, "get_pod", map[string]any{"name": name}, nil)
	if err != nil {
		return err
	}
	p := struct {
		Env []string `json:"env"`
	}{[]string{}}
	if err := json.Unmarshal(r.Data, &p); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	switch {
	case f.json:
		return printJSON(f.inv.Stdout, p)
	case len(p.Env) == 0:
		return f.inv.say("No variable is set.")
	}
	return f.inv.sayLines(strings.Join(p.Env, "\n"))
}

// variables reads KEY=VALUE.
func variables(cmd *cobra.Command, pairs []string) (map[string]string, error) {
	set := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, misuse(cmd, "%q is not of the form KEY=VALUE", text.Short(pair, 40))
		}
		set[key] = value
	}
	return set, nil
}

// completePods completes the first argument with the names of pods.
func (inv *invocation) completePods() cobra.CompletionFunc { return inv.ask(podNames) }
