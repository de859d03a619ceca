package mcp

import (
	"context"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
)

type setEnvInput struct {
	Name  string            `json:"name" jsonschema:"the pod's name"`
	Set   map[string]string `json:"set,omitempty" jsonschema:"variables and their values; others stay as they are"`
	Unset []string          `json:"unset,omitempty" jsonschema:"names of variables to take away"`
}

type setEnvOutput struct {
	Env       []string   `json:"env" jsonschema:"the names of all variables that are set now; values are never shown"`
	Restarted bool       `json:"restarted" jsonschema:"whether the app was restarted, which a stopped pod is not"`
	Failed    string     `json:"restart_failed,omitempty" jsonschema:"why the app did not start again; the variables are set all the same"`
	Pod       *podDetail `json:"pod"`
}

func (e *endpoint) addEnvTool(s *sdk.Server) {
	add(e, s, tool{
		name: "set_env", title: "Set environment variables", action: authz.ManagePod, hints: changes(true, true), open: true, later: true, refine: podName,
		description: "Sets or removes environment variables of a pod, for its app and for commands, such as keys and addresses of databases, and restarts the app when the pod runs. Values can only be written: no tool shows them again.",
	}, e.setEnv)
}

func (e *endpoint) setEnv(ctx context.Context, r request, in setEnvInput) (answer[setEnvOutput], error) {
	change, err := e.cfg.Pods.SetEnv(ctx, r.actor, in.Name, in.Set, in.Unset, r.progress)
	if err != nil {
		return answer[setEnvOutput]{}, err
	}
	d := detail(change.Pod)
	out := setEnvOutput{Env: append([]string{}, d.Env...), Restarted: change.Restarted, Pod: &d}
	var said string
	switch {
	case change.Failed != nil:
		out.Failed, _ = text.Start(e.public(ctx, "set_env", change.Failed), maxRefusal)
		said = "The variables are set, but the app did not start again: " + out.Failed + "\n"
	case change.Restarted:
		said = "The variables are set, and the app was restarted.\n"
	default:
		said = "The variables are set; they count from the pod's next start.\n"
	}
	if len(out.Env) == 0 {
		said += "No variable is set now.\n"
	}
	return answer[setEnvOutput]{text: said + d.text(), data: out}, nil
}
