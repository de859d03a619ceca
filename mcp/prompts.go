package mcp

import (
	"context"
	"fmt"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/text"
)

// addPrompts declares the prompts: starting points that a person picks from a
// menu of the assistant.
func addPrompts(s *sdk.Server) {
	add := func(p *sdk.Prompt, text func(args map[string]string) string) {
		s.AddPrompt(p, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
			message := &sdk.PromptMessage{Role: "user", Content: &sdk.TextContent{Text: text(r.Params.Arguments)}}
			return &sdk.GetPromptResult{Description: p.Description, Messages: []*sdk.PromptMessage{message}}, nil
		})
	}
	add(&sdk.Prompt{
		Name: "getting-started", Title: "Get to know podgate", Description: "Shows what this team has and what can be done with it.",
	}, func(map[string]string) string { return gettingStarted })
	add(&sdk.Prompt{
		Name: "deploy-app", Title: "Deploy an app", Description: "Puts the app at hand into a pod and sees that it answers.",
		Arguments: []*sdk.PromptArgument{
			{Name: "preset", Title: "Preset", Description: "the kind of pod, such as static, nodejs or python; the assistant chooses when it is left out"},
			{Name: "name", Title: "Name", Description: "the pod's name; the assistant proposes one when it is left out"},
		},
	}, deployApp)
	add(&sdk.Prompt{
		Name: "debug-pod", Title: "Find out why a pod fails", Description: "Looks at a pod's state, logs and files and mends what is wrong.",
		Arguments: []*sdk.PromptArgument{{Name: "name", Title: "Name", Description: "the pod's name", Required: true}},
	}, debugPod)
}

const gettingStarted = `Show me around podgate.

1. Call list_pods and tell me which team this is and what it has, with the addresses.
2. Call list_presets and say in one line each what I can run here, and what is missing.
3. Propose one small thing to try, and wait for my answer before you create anything.`

// argument returns what the person gave, bounded, or a fallback. It is quoted
// where it is used: it is data, not part of the instructions.
func argument(args map[string]string, name, fallback string) string {
	value, _ := text.Start(text.Valid(args[name]), 100)
	if value == "" {
		return fallback
	}
	return fmt.Sprintf("%q", value)
}

func deployApp(args map[string]string) string {
	return fmt.Sprintf(`Deploy the app that we are working on to podgate.

Preset: %s. Name: %s.

1. Call list_presets and list_pods. If a pod of that name exists, ask me before you change it.
2. Call deploy with the name and the whole app: its files, or the address of its git repository, or, where you have a shell and there is much of it, create_upload and then the upload. The app must listen on the port in the environment variable PORT, and keep its data below $PODGATE_DATA. Where the start command is not obvious, add a Procfile with a line that begins with "web:".
3. If that fails, read the reason and the lines in the answer, and get_logs where they are not enough. Mend the cause and deploy again.
4. Tell me the address and what a visitor gets there.`,
		argument(args, "preset", "choose what fits the app"), argument(args, "name", "propose a short one"))
}

func debugPod(args map[string]string) string {
	return fmt.Sprintf(`Find out what is wrong with the podgate pod %s and mend it.

1. Call get_pod: read status, reason, command, memory and disk.
2. Call get_logs, first with source agent (starts and deaths), then with source app.
3. Look at the files with list_files and read_file, and try things with exec_command; check that the app listens on $PORT.
4. Tell me the cause in one sentence before you change anything that could lose data. Then mend it, call manage_pod with action reload, and confirm with get_pod that it runs.`,
		argument(args, "name", "(ask me which one)"))
}
