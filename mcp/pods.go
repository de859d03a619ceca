package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/store"
)

// podSummary is a pod in a list.
type podSummary struct {
	Name   string `json:"name"`
	Status string `json:"status" jsonschema:"creating, starting, running, failing (its app dies again and again), stopping, stopped, failed, or unknown (its agent has not answered yet)"`
	Preset string `json:"preset"`
	Plan   string `json:"plan"`
	Region string `json:"region"`
	URL    string `json:"url" jsonschema:"where the app answers"`
}

// podDetail is all that is known of a pod.
type podDetail struct {
	podSummary
	besideInfo
	Reason      string      `json:"reason,omitempty" jsonschema:"why the pod failed or does not answer yet, or why it runs on unchanged after a reload"`
	LastLines   []string    `json:"last_lines,omitempty" jsonschema:"what the app printed last, when it failed"`
	LastDeploy  *deployInfo `json:"last_deploy,omitempty" jsonschema:"how the app was made last, and why that failed when it did"`
	Created     time.Time   `json:"created"`
	Started     time.Time   `json:"started,omitzero" jsonschema:"when the app was started"`
	Restarts    int         `json:"restarts" jsonschema:"how often the app died and was started again"`
	LastExit    *lastExit   `json:"last_exit,omitempty" jsonschema:"how the app or the pod ended last, when nobody had asked for it, also after it was started again"`
	Command     string      `json:"command,omitempty" jsonschema:"the app's start command"`
	Port        int         `json:"port" jsonschema:"what PORT is in the pod; the app must listen there"`
	MemoryUsed  int64       `json:"memory_used_bytes"`
	MemoryLimit int64       `json:"memory_limit_bytes"`
	CPUUsed     float64     `json:"cpu_used_seconds"`
	CPULimit    float64     `json:"cpu_limit_cores"`
	DiskUsed    int64       `json:"disk_used_bytes"`
	DiskLimit   int64       `json:"disk_limit_bytes"`
	Processes   int         `json:"processes"`
	Enforced    []string    `json:"enforced_limits,omitempty" jsonschema:"the limits that this server can enforce, and by what means"`
	Env         []string    `json:"env,omitempty" jsonschema:"the names of the environment variables that were set; their values are never shown"`
	Network     string      `json:"network" jsonschema:"what the pod may reach outside: none, names (those in network_names) or internet"`
	NetworkRate int64       `json:"network_limit_bytes_per_second,omitempty" jsonschema:"how much the pod may send and receive a second, both together; absent: no limit"`
	Names       []string    `json:"network_names,omitempty" jsonschema:"the hosts that it may reach"`
	Refused     []string    `json:"network_refused,omitempty" jsonschema:"what the pod tried to reach lately and may not, and who can allow it"`
}

type lastExit struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason" jsonschema:"such as disk full or out of memory"`
}

func summarize(p pods.Pod) podSummary {
	return podSummary{Name: p.Name, Status: p.Status, Preset: p.Preset, Plan: p.Plan, Region: p.Region, URL: p.URL}
}

func detail(p pods.Pod) podDetail {
	d := podDetail{
		podSummary: summarize(p), Reason: text.Valid(p.Reason), Created: p.Created, Started: p.Started, Restarts: p.Restarts,
		Command: text.Valid(p.Command), Port: p.Port, MemoryUsed: p.Memory, MemoryLimit: p.Limits.Memory, CPUUsed: p.CPU, CPULimit: p.Limits.CPUs,
		DiskUsed: p.Disk, DiskLimit: p.Limits.Disk, Processes: p.Processes, Enforced: p.Enforced, Env: p.Env,
		Network: p.Network, NetworkRate: p.Limits.Network, Names: p.NetworkNames, Refused: p.Refused,
	}
	if p.LastDeploy != nil {
		last := deployOf(*p.LastDeploy)
		d.LastDeploy = &last
	}
	if p.LastExit.Reason != "" {
		d.LastExit = &lastExit{p.LastExit.At.UTC(), text.Valid(p.LastExit.Reason)}
	}
	d.besideInfo = besideOf(p)
	for _, line := range p.Tail {
		start, _ := text.Start(text.Valid(line.Text), 500)
		d.LastLines = append(d.LastLines, start)
	}
	return d
}

// text describes a pod for reading.
func (d podDetail) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Pod %s is %s.\nurl: %s\npreset: %s, plan: %s, region: %s\n", d.Name, d.Status, d.URL, d.Preset, d.Plan, d.Region)
	if d.Reason != "" {
		fmt.Fprintf(&b, "reason: %s\n", d.Reason)
	}
	if d.LastDeploy != nil {
		fmt.Fprintf(&b, "last deploy: %s", d.LastDeploy.text())
	}
	if d.LastExit != nil {
		fmt.Fprintf(&b, "last exit: %s, %s\n", d.LastExit.Time.Format(time.RFC3339), d.LastExit.Reason)
	}
	if d.Command != "" {
		fmt.Fprintf(&b, "command: %s\n", d.Command)
	}
	fmt.Fprintf(&b, "PORT: %d, created: %s", d.Port, moment(d.Created))
	if !d.Started.IsZero() {
		fmt.Fprintf(&b, ", app started: %s, restarted %d times", moment(d.Started), d.Restarts)
	}
	b.WriteByte('\n')
	d.besideInfo.write(&b)
	d.writeUse(&b)
	if len(d.Env) > 0 {
		fmt.Fprintf(&b, "environment variables: %s\n", strings.Join(d.Env, ", "))
	}
	fmt.Fprintf(&b, "network: %s\n", strings.Join(append([]string{d.Network}, d.Names...), " "))
	if d.NetworkRate > 0 {
		fmt.Fprintf(&b, "network limit: %s a second, both directions together\n", size(d.NetworkRate))
	}
	if len(d.Refused) > 0 {
		fmt.Fprintf(&b, "refused lately:\n%s\n", strings.Join(d.Refused, "\n"))
	}
	if len(d.LastLines) > 0 {
		fmt.Fprintf(&b, "last lines:\n%s\n", strings.Join(d.LastLines, "\n"))
	}
	return b.String()
}

// writeUse says what the pod uses, when that is known, and may use.
func (d podDetail) writeUse(b *strings.Builder) {
	if d.Processes > 0 || d.DiskUsed > 0 {
		fmt.Fprintf(b, "uses: %s memory, %s disk, %.1f s CPU, %d processes\n", size(d.MemoryUsed), size(d.DiskUsed), d.CPUUsed, d.Processes)
	}
	fmt.Fprintf(b, "limits: %s memory, %s disk, %g CPU\n", size(d.MemoryLimit), size(d.DiskLimit), d.CPULimit)
	if len(d.Enforced) > 0 {
		fmt.Fprintf(b, "enforced: %s\n", strings.Join(d.Enforced, "; "))
	}
}

// moment is a time for reading.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func podAnswer(p pods.Pod) answer[podDetail] {
	d := detail(p)
	return answer[podDetail]{text: d.text(), data: d}
}

type listPodsInput struct{}

type teamOutput struct {
	Slug string `json:"slug"`
	Name string `json:"name"`
}

type listPodsOutput struct {
	Team   teamOutput   `json:"team"`
	Limits limitsOutput `json:"limits,omitzero" jsonschema:"what the person who connected you narrowed this connection to"`
	Pods   []podSummary `json:"pods"`
}

// limitsOutput is what a connection is narrowed to, so that a model need not
// find out by being refused.
type limitsOutput struct {
	ReadOnly bool   `json:"read_only,omitempty" jsonschema:"nothing can be created, changed, deleted or run"`
	Prefix   string `json:"name_prefix,omitempty" jsonschema:"there are only pods whose name begins with it, and new ones need it too"`
	MaxPods  int    `json:"max_pods,omitempty" jsonschema:"create_pod is refused once so many pods exist"`
}

type getPodInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
}

type createPodInput struct {
	Name   string            `json:"name" jsonschema:"a new name: lower-case letters, digits and hyphens; it becomes part of the pod's address"`
	Preset string            `json:"preset" jsonschema:"the kind of pod; list_presets also says why one is not available here"`
	Plan   string            `json:"plan,omitempty" jsonschema:"one of list_plans; the first of them when left out"`
	Region string            `json:"region,omitempty" jsonschema:"one of list_regions; the first of them when left out"`
	Env    map[string]string `json:"env,omitempty" jsonschema:"environment variables for the app and for commands"`
}

type managePodInput struct {
	Name       string `json:"name" jsonschema:"the pod's name"`
	Action     string `json:"action" jsonschema:"start, stop, restart (end everything in the pod, then start the app), reload (install, find the start command, restart) or delete"`
	Confirm    string `json:"confirm,omitempty" jsonschema:"only for delete: the pod's name once more"`
	Background bool   `json:"background,omitempty" jsonschema:"only for reload: true to be answered at once with a job while it goes on"`
}

type managePodOutput struct {
	Name    string     `json:"name"`
	Deleted bool       `json:"deleted" jsonschema:"true after delete; there is no pod then"`
	Job     string     `json:"job,omitempty" jsonschema:"for get_job and stop_job, while a reload goes on in the background"`
	Pod     *podDetail `json:"pod,omitempty"`
}

func podName(s *jsonschema.Schema) {
	s.Properties["name"].Pattern = podNamePattern
	longest(s, "name", 63)
}

func (e *endpoint) addPodTools(s *sdk.Server) {
	add(e, s, tool{
		name: "list_pods", title: "List pods", action: authz.ListPods, hints: readOnly,
		description: "Lists the pods of this team with status and address. Begin here to see what exists.",
	}, e.listPods)
	add(e, s, tool{
		name: "get_pod", title: "Show a pod", action: authz.ReadPod, hints: readOnly, refine: podName,
		description: "Shows one pod: status and why it failed, address, start command, limits and what it uses.",
	}, func(ctx context.Context, r request, in getPodInput) (answer[podDetail], error) {
		p, err := e.cfg.Pods.Get(ctx, r.actor, in.Name)
		return podAnswer(p), err
	})
	add(e, s, tool{
		name: "create_pod", title: "Create a pod", action: authz.CreatePod, hints: changes(false, false), refine: podName,
		description: "Makes a new pod and answers when its welcome page is up, with its address. Afterwards write the app's files with write_file and use manage_pod with action reload.",
	}, func(ctx context.Context, r request, in createPodInput) (answer[podDetail], error) {
		p, err := e.cfg.Pods.Create(ctx, r.actor, pods.CreateRequest{Name: in.Name, Preset: in.Preset, Plan: in.Plan, Region: in.Region, Env: in.Env}, r.progress)
		return podAnswer(p), err
	})
	add(e, s, tool{
		name: "manage_pod", title: "Start, stop, restart, reload or delete a pod", action: authz.ManagePod, hints: changes(true, true), open: true, task: true,
		description: "Changes what a pod does and answers with the pod after it. Use reload after changing files: it installs dependencies, finds the start command and waits until the app answers. delete takes the pod away and wants confirm set to the pod's name; for seven days an owner of the team can bring it back on podgate's page of pods, and then it is gone for good.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			enum(s, "action", "start", "stop", "restart", "reload", "delete")
		},
	}, e.managePod)
}

// listShown is what a list of pods is made of, but for the pods.
type listShown struct {
	team   teamOutput
	limits store.Limits
}

// madeList is the answer that was made of a list.
type madeList struct {
	listShown
	reply *reply
}

func (e *endpoint) listPods(ctx context.Context, r request, _ listPodsInput) (answer[listPodsOutput], error) {
	list, err := e.cfg.Pods.Lines(ctx, r.actor)
	if err != nil {
		return answer[listPodsOutput]{}, err
	}
	shown := listShown{teamOutput{Slug: r.actor.Team.Slug, Name: r.actor.Team.Name}, r.actor.Bounds()}
	made, _ := list.Made.Load().(madeList)
	if made.reply == nil || made.listShown != shown {
		a := shown.answer(r.actor, list.Lines)
		if made.reply, err = a.reply(); err != nil {
			return a, err
		}
		made.listShown = shown
		made.reply.wire = made.reply.appendContent(nil)
		list.Made.Store(made)
	}
	return answer[listPodsOutput]{made: made.reply}, nil
}

func (l listShown) answer(a authz.Actor, list []pods.Line) answer[listPodsOutput] {
	out := listPodsOutput{Team: l.team, Limits: limitsOutput(l.limits), Pods: make([]podSummary, 0, len(list))}
	var b strings.Builder
	if words := authz.LimitWords(l.limits); len(words) > 0 {
		fmt.Fprintf(&b, "This connection is limited: %s.\n", strings.Join(words, ", "))
	}
	fmt.Fprintf(&b, "Team %s has %d pods%s.\n", out.Team.Slug, len(list), within(a))
	if len(list) == 0 && !l.limits.ReadOnly {
		b.WriteString("Make one with create_pod; list_presets shows the kinds there are.\n")
	}
	for _, p := range list {
		out.Pods = append(out.Pods, podSummary{Name: p.Name, Status: p.Status, Preset: p.Preset, Plan: p.Plan, Region: p.Region, URL: p.URL})
		fmt.Fprintf(&b, "- %s: %s, %s, %s, plan %s in %s\n", p.Name, p.Status, p.Preset, p.URL, p.Plan, p.Region)
	}
	return answer[listPodsOutput]{text: b.String(), data: out}
}

// within keeps a list from being taken for all that the team has.
func within(a authz.Actor) string {
	if a.Bounds().Prefix == "" {
		return ""
	}
	return " with such a name"
}

func (e *endpoint) managePod(ctx context.Context, r request, in managePodInput) (answer[managePodOutput], error) {
	if in.Action == "delete" {
		if err := e.cfg.Pods.Delete(ctx, r.actor, in.Name, in.Confirm); err != nil {
			return answer[managePodOutput]{}, err
		}
		text := fmt.Sprintf("Pod %s is deleted. For seven days an owner of this team can bring it back with all its files, on podgate's page of pods or with «podgate pod undelete %s»; its name stays reserved for this team that long.", in.Name, in.Name)
		return answer[managePodOutput]{text: text, data: managePodOutput{Name: in.Name, Deleted: true}}, nil
	}
	if in.Background {
		return e.reloadLater(ctx, r, in)
	}
	do := map[string]func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){
		"start": e.cfg.Pods.Start, "stop": e.cfg.Pods.Stop, "restart": e.cfg.Pods.Restart, "reload": e.cfg.Pods.Reload,
	}[in.Action]
	if do == nil {
		return answer[managePodOutput]{}, badInput("action must be start, stop, restart, reload or delete")
	}
	p, err := do(ctx, r.actor, in.Name, r.progress)
	if in.Action == "reload" && errors.Is(err, pods.ErrAppFailed) {
		return e.failedReload(ctx, r, in.Name, err)
	}
	if err != nil {
		return answer[managePodOutput]{}, err
	}
	d := detail(p)
	return answer[managePodOutput]{text: d.text(), data: managePodOutput{Name: in.Name, Pod: &d}}, nil
}

func (e *endpoint) reloadLater(ctx context.Context, r request, in managePodInput) (answer[managePodOutput], error) {
	if in.Action != "reload" {
		return answer[managePodOutput]{}, badInput("background is for reload; %s is waited for", text.Short(in.Action, 20))
	}
	p, d, err := e.cfg.Pods.ReloadLater(ctx, r.actor, in.Name)
	if err != nil {
		return answer[managePodOutput]{}, err
	}
	out := detail(p)
	return answer[managePodOutput]{text: goesOn(d, p) + out.text(), data: managePodOutput{Name: in.Name, Job: pods.DeployJob(d.Number), Pod: &out}}, nil
}

// failedReload answers with why a reload failed, and with the pod as it is now.
func (e *endpoint) failedReload(ctx context.Context, r request, name string, failed error) (answer[managePodOutput], error) {
	p, err := e.cfg.Pods.Get(ctx, r.actor, name)
	if err != nil || p.LastDeploy == nil || p.LastDeploy.State != store.DeployFailed {
		return answer[managePodOutput]{}, failed
	}
	d := detail(p)
	return answer[managePodOutput]{text: e.public(ctx, "manage_pod", failed), blocks: []string{d.text()}, data: managePodOutput{Name: name, Pod: &d}, failed: failed}, nil
}
