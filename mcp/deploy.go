package mcp

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

type deployInput struct {
	Name       string            `json:"name" jsonschema:"the pod's name; a pod that does not exist is made: lower-case letters, digits and hyphens, part of the app's address"`
	Files      map[string]string `json:"files,omitempty" jsonschema:"the whole app: each file's path in the app folder, such as index.html or src/server.js, and its text"`
	Binary     map[string]string `json:"binary_files,omitempty" jsonschema:"more files, such as images: each one's path and its content as base64"`
	Git        *gitInput         `json:"git,omitempty" jsonschema:"a repository instead of files"`
	Archive    string            `json:"archive,omitempty" jsonschema:"instead of files: the path in the pod of a tar or tar.gz that has the whole app"`
	Upload     string            `json:"upload,omitempty" jsonschema:"instead of files: the id that create_upload answered with, of a tar or tar.gz of the whole app that was sent since; made without unpack"`
	Preset     string            `json:"preset,omitempty" jsonschema:"the kind of app, one of list_presets; found out from the files when left out"`
	Env        map[string]string `json:"env,omitempty" jsonschema:"environment variables to set, beside those that the pod has; they take effect with this deploy"`
	Plan       string            `json:"plan,omitempty" jsonschema:"of a new pod: one of list_plans; the first of them when left out"`
	Region     string            `json:"region,omitempty" jsonschema:"of a new pod: one of list_regions; the first of them when left out"`
	Background bool              `json:"background,omitempty" jsonschema:"true to be answered at once with a job while the deploy goes on; get_job waits for it and shows what it prints, stop_job ends it"`
}

type gitInput struct {
	URL   string `json:"url" jsonschema:"begins with https:// or http://"`
	Ref   string `json:"ref,omitempty" jsonschema:"branch, tag or commit; the default branch when left out"`
	Token string `json:"token,omitempty" jsonschema:"for a private repository at an https address; it is used for this fetch and not kept"`
}

type deployOutput struct {
	Deploy   deployInfo    `json:"deploy"`
	Job      string        `json:"job,omitempty" jsonschema:"for get_job and stop_job, while it goes on in the background"`
	Created  bool          `json:"created,omitempty" jsonschema:"whether the pod was made for it"`
	Snapshot string        `json:"snapshot,omitempty" jsonschema:"which snapshot has the files as they were before, or why there is none"`
	Answered *answerOutput `json:"answered,omitempty" jsonschema:"what a visitor of the address gets; absent when it has nothing for visitors"`
	Printed  []string      `json:"printed,omitempty" jsonschema:"what the app printed last, when it answered with an error"`
	Pod      podDetail     `json:"pod"`
}

type answerOutput struct {
	Status int    `json:"status"`
	Type   string `json:"content_type,omitempty"`
	Start  string `json:"start,omitempty" jsonschema:"the beginning of the body"`
}

// deployInfo is one deploy of a pod.
type deployInfo struct {
	Number  int       `json:"number"`
	Action  string    `json:"action" jsonschema:"deploy, reload or rollback"`
	State   string    `json:"state" jsonschema:"building, succeeded or failed"`
	Live    bool      `json:"live,omitempty" jsonschema:"whether its app is the one that runs"`
	Kept    bool      `json:"kept,omitempty" jsonschema:"whether rollback can go back to it"`
	Source  string    `json:"source,omitempty" jsonschema:"what it was made from"`
	Commit  string    `json:"commit,omitempty"`
	Preset  string    `json:"preset,omitempty"`
	Reason  string    `json:"reason,omitempty" jsonschema:"why it failed"`
	Lines   []string  `json:"last_lines,omitempty" jsonschema:"what was printed last when it failed"`
	By      string    `json:"by,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Seconds float64   `json:"seconds,omitempty"`
}

func deployOf(d pods.Deploy) deployInfo {
	out := deployInfo{
		Number: d.Number, Action: d.Action, State: string(d.State), Live: d.Live, Kept: d.Kept, Source: text.Valid(d.Source), Commit: d.Commit,
		Preset: d.Preset, Reason: text.Valid(d.Reason), By: text.Valid(d.By), Began: d.Began, Ended: d.Ended,
	}
	for _, line := range d.Lines {
		out.Lines = append(out.Lines, text.Valid(line))
	}
	if !d.Ended.IsZero() && !d.Began.IsZero() {
		out.Seconds = d.Ended.Sub(d.Began).Seconds()
	}
	return out
}

// text is a deploy in a line, and more when it failed.
func (d deployInfo) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %s", d.Number, d.Action)
	if d.Source != "" {
		fmt.Fprintf(&b, " of %s", d.Source)
	}
	if d.Commit != "" {
		fmt.Fprintf(&b, " at %s", d.Commit)
	}
	if d.By != "" {
		fmt.Fprintf(&b, " by %s", d.By)
	}
	if d.Preset != "" {
		fmt.Fprintf(&b, ", preset %s", d.Preset)
	}
	fmt.Fprintf(&b, ", %s", d.State)
	if !d.Began.IsZero() {
		fmt.Fprintf(&b, ", began %s", moment(d.Began))
	}
	if !d.Ended.IsZero() {
		fmt.Fprintf(&b, ", ended %s after %.1f s", moment(d.Ended), d.Seconds)
	}
	if d.Live {
		b.WriteString(", live")
	}
	if d.Kept {
		b.WriteString(", can be rolled back to")
	}
	if d.Reason != "" {
		fmt.Fprintf(&b, ": %s", d.Reason)
	}
	b.WriteByte('\n')
	if len(d.Lines) > 0 {
		fmt.Fprintf(&b, "it printed last:\n%s\n", strings.Join(d.Lines, "\n"))
	}
	return b.String()
}

type listDeploysInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
}

type listDeploysOutput struct {
	Deploys []deployInfo `json:"deploys" jsonschema:"the newest first"`
	Cut     int          `json:"cut,omitempty" jsonschema:"how many older ones were cut, as one answer has no room for them"`
}

type rollbackInput struct {
	Name   string `json:"name" jsonschema:"the pod's name"`
	Deploy *int   `json:"deploy,omitempty" jsonschema:"the number of the deploy to go back to, one that list_deploys shows as kept; 0 is what there was before the first deploy; the one before the present when left out"`
}

func (e *endpoint) addDeployTools(s *sdk.Server) {
	add(e, s, tool{
		name: "deploy", title: "Deploy an app", action: authz.Deploy, hints: changes(true, false), open: true, task: true, later: true,
		description: "Puts a whole app live in one call, and is the way to begin: makes the pod when there is none, installs what the app needs beside the app that runs, switches to the new one, waits until it answers and goes back to the old one when it does not. The answer has the address and what a visitor gets there, or the reason and the last lines printed. The app must listen on $PORT. The files take the place of all that was in /home/pod/app; what the app keeps from deploy to deploy belongs in /home/pod/data, which is $PODGATE_DATA. To change a file of an app that is there, write it and use manage_pod with action reload.",
		refine:      podName,
	}, e.deploy)
	add(e, s, tool{
		name: "list_deploys", title: "List deploys", action: authz.ReadPod, hints: readOnly, later: true, refine: podName,
		description: "Lists a pod's deploys, reloads and rollbacks, the newest first: when, from what, by whom, how each ended and why it failed, and to which rollback can go back.",
	}, e.listDeploys)
	add(e, s, tool{
		name: "rollback", title: "Go back to an earlier deploy", action: authz.Deploy, hints: changes(true, false), open: true, task: true, later: true,
		description: "Lets the app of an earlier deploy take the place of the one that runs, without an install. Environment variables and /home/pod/data stay as they are; restore_snapshot is for what changed there. When the app does not answer, nothing changes.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			least := 0.0
			s.Properties["deploy"].Minimum = &least
		},
	}, e.rollback)
}

func (e *endpoint) deploy(ctx context.Context, r request, in deployInput) (answer[deployOutput], error) {
	req := pods.DeployRequest{
		Name: in.Name, Preset: in.Preset, Plan: in.Plan, Region: in.Region, Archive: in.Archive, Upload: in.Upload, Env: in.Env, Background: in.Background,
	}
	if in.Git != nil {
		req.Git = &wire.Git{URL: in.Git.URL, Ref: in.Git.Ref, Token: in.Git.Token}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Files)) {
		req.Files = append(req.Files, pods.SourceFile{Path: name, Content: []byte(in.Files[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(in.Binary)) {
		content, err := base64.StdEncoding.DecodeString(in.Binary[name])
		if err != nil {
			return answer[deployOutput]{}, badInput("the content of %q in binary_files is not base64 (the standard alphabet, with padding)", text.Short(name, 80))
		}
		req.Files = append(req.Files, pods.SourceFile{Path: name, Content: content})
	}
	d, err := e.cfg.Pods.Deploy(ctx, r.actor, req, r.progress)
	return e.deployed(ctx, "deploy", d, err)
}

func (e *endpoint) rollback(ctx context.Context, r request, in rollbackInput) (answer[deployOutput], error) {
	d, err := e.cfg.Pods.Rollback(ctx, r.actor, in.Name, in.Deploy, r.progress)
	return e.deployed(ctx, "rollback", d, err)
}

// deployed answers with how a deploy ended. One that failed has data too: what it was,
// why it failed and what runs now.
func (e *endpoint) deployed(ctx context.Context, tool string, d pods.Deployment, err error) (answer[deployOutput], error) {
	switch {
	case err == nil:
		return deployAnswer(d), nil
	case d.Deploy.Number == 0 || !pods.IsPublic(err):
		return answer[deployOutput]{}, err
	}
	out := deployOutput{Deploy: deployOf(d.Deploy), Created: d.Created, Pod: detail(d.Pod)}
	about := "deploy " + out.Deploy.text()
	if out.Created {
		about = "The pod was made for it.\n" + about
	}
	return answer[deployOutput]{text: e.public(ctx, tool, err), blocks: []string{about + out.Pod.text()}, data: out, failed: err}, nil
}

func deployAnswer(d pods.Deployment) answer[deployOutput] {
	out := deployOutput{Deploy: deployOf(d.Deploy), Created: d.Created, Pod: detail(d.Pod)}
	var b strings.Builder
	switch {
	case d.Deploy.State == store.DeployBuilding:
		out.Job = pods.DeployJob(d.Deploy.Number)
		b.WriteString(goesOn(d.Deploy, d.Pod))
	default:
		fmt.Fprintf(&b, "The app is live at %s (deploy %d, preset %s, %.1f s).\n", d.Pod.URL, d.Deploy.Number, d.Deploy.Preset, out.Deploy.Seconds)
	}
	if out.Created {
		b.WriteString("The pod was made for it.\n")
	}
	if a := d.Answer; a != nil {
		out.Answered = &answerOutput{Status: a.Status, Type: text.Valid(a.Type), Start: text.Valid(a.Start)}
		fmt.Fprintf(&b, "GET / answered %d %s\n", a.Status, out.Answered.Type)
		if a.Start != "" {
			fmt.Fprintf(&b, "%s\n", out.Answered.Start)
		}
	} else if d.Deploy.Live && !d.Listens {
		b.WriteString("It has no process for visitors, only workers and cron lines: nothing answers at the address.\n")
	}
	for _, line := range d.Lines {
		out.Printed = append(out.Printed, text.Valid(line))
	}
	out.Snapshot = d.Snapshot
	if d.Snapshot != "" {
		fmt.Fprintf(&b, "About undoing it: %s.\n", d.Snapshot)
	}
	if len(out.Printed) > 0 {
		fmt.Fprintf(&b, "It printed last:\n%s\n", strings.Join(out.Printed, "\n"))
	}
	b.WriteString(out.Pod.text())
	return answer[deployOutput]{text: b.String(), data: out}
}

// goesOn says how to hear of a deploy or reload in the background.
func goesOn(d pods.Deploy, p pods.Pod) string {
	return fmt.Sprintf("The %s of pod %s goes on as job %s: get_job waits for it and shows what it prints, stop_job ends it.\n", d.Action, p.Name, pods.DeployJob(d.Number))
}

func (e *endpoint) listDeploys(_ context.Context, r request, in listDeploysInput) (answer[listDeploysOutput], error) {
	list, err := e.cfg.Pods.Deploys(r.actor, in.Name)
	if err != nil {
		return answer[listDeploysOutput]{}, err
	}
	out := listDeploysOutput{Deploys: []deployInfo{}}
	var b strings.Builder
	room := maxOutput - framing
	for i, d := range list {
		info := deployOf(d)
		line := info.text()
		if room -= len(line); room < 0 {
			out.Cut = len(list) - i
			fmt.Fprintf(&b, "(%d older ones were cut)\n", out.Cut)
			break
		}
		out.Deploys = append(out.Deploys, info)
		b.WriteString(line)
	}
	if len(list) == 0 {
		b.WriteString("Nothing was deployed yet.\n")
	}
	return answer[listDeploysOutput]{text: b.String(), data: out}, nil
}
