package mcp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
)

type snapshotPodInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
	Note string `json:"note,omitempty" jsonschema:"one line to know it by, such as before the new database"`
}

type snapshotInfo struct {
	ID      string    `json:"id" jsonschema:"for restore_snapshot, clone_pod and delete_snapshot"`
	Why     string    `json:"why" jsonschema:"manual, or what it was taken before by itself: deploy or restore"`
	Note    string    `json:"note,omitempty"`
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"`
	LeftOut int       `json:"left_out,omitempty" jsonschema:"files that are not in it, such as pipes and sockets"`
	Such    []string  `json:"left_out_such,omitempty" jsonschema:"the first of these, with reasons"`
	Moving  bool      `json:"moving,omitempty" jsonschema:"true when too much changed meanwhile for it to be of one moment"`
	Preset  string    `json:"preset"`
}

type listSnapshotsOutput struct {
	Snapshots []snapshotInfo `json:"snapshots" jsonschema:"the newest first"`
}

type snapshotInput struct {
	Name     string `json:"name" jsonschema:"the pod's name"`
	Snapshot string `json:"snapshot" jsonschema:"an id that list_snapshots shows"`
}

type deleteSnapshotOutput struct {
	Name     string `json:"name"`
	Snapshot string `json:"snapshot"`
	Deleted  bool   `json:"deleted"`
}

type clonePodInput struct {
	Name     string `json:"name" jsonschema:"the pod that is copied"`
	NewName  string `json:"new_name" jsonschema:"the new pod's name: lower-case letters, digits and hyphens; it becomes part of its address"`
	Snapshot string `json:"snapshot,omitempty" jsonschema:"an id that list_snapshots shows; the files as they are now when left out"`
	WithEnv  bool   `json:"with_env,omitempty" jsonschema:"true to copy the values of its environment variables too, which may be secrets"`
}

type clonePodOutput struct {
	WithoutEnv []string  `json:"without_env" jsonschema:"the names of environment variables that were not copied"`
	Pod        podDetail `json:"pod"`
}

type resizePodInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
	Plan string `json:"plan" jsonschema:"one of list_plans"`
}

func snapshotOf(s pods.Snapshot) snapshotInfo {
	out := snapshotInfo{
		ID: s.ID, Why: s.Why, Note: text.Valid(s.Note), By: text.Valid(s.By), Created: s.Created, Bytes: s.Bytes, LeftOut: s.LeftOut, Moving: s.Moving, Preset: s.Preset,
	}
	for _, such := range s.Such {
		out.Such = append(out.Such, text.Valid(such))
	}
	return out
}

// text is a snapshot in a line.
func (s snapshotInfo) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s, %s, preset %s", s.ID, s.Why, moment(s.Created), size(s.Bytes), s.Preset)
	if s.Note != "" {
		fmt.Fprintf(&b, ", %s", s.Note)
	}
	if s.By != "" {
		fmt.Fprintf(&b, ", by %s", s.By)
	}
	if s.LeftOut > 0 {
		fmt.Fprintf(&b, ", without %d files", s.LeftOut)
	}
	for i, such := range s.Such {
		b.WriteString([]string{" (", "; "}[min(i, 1)] + such)
	}
	if len(s.Such) > 0 {
		b.WriteString(")")
	}
	if s.Moving {
		b.WriteString(", not of one moment")
	}
	return b.String() + "\n"
}

func (e *endpoint) addSnapshotTools(s *sdk.Server) {
	id := func(s *jsonschema.Schema) {
		podName(s)
		longest(s, "snapshot", 64)
	}
	add(e, s, tool{
		name: "snapshot_pod", title: "Take a snapshot", action: authz.Deploy, hints: changes(false, false), task: true, later: true,
		description: "Copies all files of a pod as they are, beside the pod, to come back to with restore_snapshot. A deploy and a restore take one by themselves before they change anything. A pod keeps 10; the oldest make room, those taken with this tool last.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			longest(s, "note", 200)
		},
	}, func(ctx context.Context, r request, in snapshotPodInput) (answer[snapshotInfo], error) {
		made, err := e.cfg.Pods.TakeSnapshot(ctx, r.actor, in.Name, in.Note, r.progress)
		out := snapshotOf(made)
		return answer[snapshotInfo]{text: "Snapshot " + out.text(), data: out}, err
	})
	add(e, s, tool{
		name: "list_snapshots", title: "List snapshots", action: authz.ReadPod, hints: readOnly, later: true, refine: podName,
		description: "Lists the snapshots of a pod, the newest first: when, why, by whom and how large.",
	}, e.listSnapshots)
	add(e, s, tool{
		name: "restore_snapshot", title: "Restore a snapshot", action: authz.Deploy, hints: changes(true, false), open: true, task: true, later: true, refine: id,
		description: "Puts the files of a snapshot in the place of all files of the pod, /home/pod/data as well, and restarts the app. The files as they were become a snapshot themselves, so it can be undone. Environment variables stay as they are. To go back to an earlier app and keep the data, use rollback.",
	}, func(ctx context.Context, r request, in snapshotInput) (answer[podDetail], error) {
		p, err := e.cfg.Pods.RestoreSnapshot(ctx, r.actor, in.Name, in.Snapshot, r.progress)
		return podAnswer(p), err
	})
	add(e, s, tool{
		name: "delete_snapshot", title: "Delete a snapshot", action: authz.Deploy, hints: changes(true, false), later: true, refine: id,
		description: "Deletes one snapshot of a pod, to make room for others.",
	}, func(ctx context.Context, r request, in snapshotInput) (answer[deleteSnapshotOutput], error) {
		err := e.cfg.Pods.DeleteSnapshot(ctx, r.actor, in.Name, in.Snapshot)
		return answer[deleteSnapshotOutput]{text: fmt.Sprintf("The snapshot %s of pod %s is deleted.", in.Snapshot, in.Name), data: deleteSnapshotOutput{in.Name, in.Snapshot, true}}, err
	})
	add(e, s, tool{
		name: "clone_pod", title: "Clone a pod", action: authz.CreatePod, hints: changes(false, false), open: true, task: true, later: true,
		description: "Makes a new pod with the preset, the plan, all files and the network rules of another, and starts it: to try something on a copy. Values of environment variables are copied only with with_env; the answer names those that were left out.",
		refine: func(s *jsonschema.Schema) {
			id(s)
			s.Properties["new_name"].Pattern = podNamePattern
			longest(s, "new_name", 63)
		},
	}, e.clonePod)
	add(e, s, tool{
		name: "resize_pod", title: "Change a pod's plan", action: authz.ChangePlan, hints: changes(true, true), open: true, task: true, later: true, refine: podName,
		description: "Gives a pod another plan: more or less memory, CPU and disk. One that runs is restarted. Its files stay; a plan with less disk than they take is refused.",
	}, func(ctx context.Context, r request, in resizePodInput) (answer[podDetail], error) {
		p, err := e.cfg.Pods.ChangePlan(ctx, r.actor, in.Name, in.Plan, r.progress)
		return podAnswer(p), err
	})
}

func (e *endpoint) listSnapshots(_ context.Context, r request, in getPodInput) (answer[listSnapshotsOutput], error) {
	list, err := e.cfg.Pods.Snapshots(r.actor, in.Name)
	if err != nil {
		return answer[listSnapshotsOutput]{}, err
	}
	out := listSnapshotsOutput{Snapshots: []snapshotInfo{}}
	var b strings.Builder
	for _, s := range list {
		info := snapshotOf(s)
		out.Snapshots = append(out.Snapshots, info)
		b.WriteString(info.text())
	}
	if len(list) == 0 {
		b.WriteString("There are no snapshots yet.\n")
	}
	return answer[listSnapshotsOutput]{text: b.String(), data: out}, nil
}

func (e *endpoint) clonePod(ctx context.Context, r request, in clonePodInput) (answer[clonePodOutput], error) {
	c, err := e.cfg.Pods.Clone(ctx, r.actor, pods.CloneRequest{Name: in.Name, To: in.NewName, Snapshot: in.Snapshot, WithEnv: in.WithEnv}, r.progress)
	if err != nil {
		return answer[clonePodOutput]{}, err
	}
	out := clonePodOutput{WithoutEnv: append([]string{}, c.WithoutEnv...), Pod: detail(c.Pod)}
	said := ""
	if len(out.WithoutEnv) > 0 {
		said = "Without the environment variables " + strings.Join(out.WithoutEnv, ", ") + "; set those that it needs with set_env.\n"
	}
	return answer[clonePodOutput]{text: said + out.Pod.text(), data: out}, nil
}
