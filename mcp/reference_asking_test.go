//lint:file-ignore SA1019 the suite judges sampling, roots and logging for as long as clients have them
package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Tools of the reference that need an answer from the client first. In the
// handshake revisions the server sends a request of its own, which wants a
// stream that both sides keep; in the stateless one the call ends with what is
// wanted, and comes again with it.

func form(message, field, kind string) *sdk.ElicitParams {
	return &sdk.ElicitParams{Message: message, RequestedSchema: schema{"type": "object", "properties": schema{field: schema{"type": kind}}, "required": []string{field}}}
}

func prompting(text string) *sdk.CreateMessageParams {
	return &sdk.CreateMessageParams{MaxTokens: 50, Messages: []*sdk.SamplingMessage{{Role: "user", Content: &sdk.TextContent{Text: text}}}}
}

// accepted returns what a form came back with, and nil when it did not.
func accepted(said sdk.InputResponseMap, key string) map[string]any {
	if r, ok := said[key].(*sdk.ElicitResult); ok && r != nil && r.Action == "accept" {
		return r.Content
	}
	return nil
}

func sampled(said sdk.InputResponseMap, key string) (string, bool) {
	r, ok := said[key].(*sdk.CreateMessageWithToolsResult)
	if !ok || r == nil || len(r.Content) == 0 {
		return "", false
	}
	text, ok := r.Content[0].(*sdk.TextContent)
	if !ok {
		return "", false
	}
	return text.Text, true
}

func wanting(state string, requests sdk.InputRequestMap) (*toolResult, error) {
	return &toolResult{InputRequests: requests, RequestState: state}, nil
}

func addAskingTools(s *sdk.Server) {
	const prefix = "test_input_required_result_"
	ask := func(name string, fn func(sdk.InputResponseMap, *sdk.CallToolRequest) (*toolResult, error)) {
		addTool(s, prefix+name, nil, func(_ context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
			return fn(r.Params.InputResponses, r)
		})
	}
	ask("elicitation", func(said sdk.InputResponseMap, _ *sdk.CallToolRequest) (*toolResult, error) {
		if name, ok := accepted(said, "user_name")["name"].(string); ok && name != "" {
			return saying("Hello, %s!", name)
		}
		return wanting("", sdk.InputRequestMap{"user_name": form("What is your name?", "name", "string")})
	})
	ask("sampling", func(said sdk.InputResponseMap, _ *sdk.CallToolRequest) (*toolResult, error) {
		if text, ok := sampled(said, "capital_question"); ok {
			return saying("Sampling response: %s", text)
		}
		return wanting("", sdk.InputRequestMap{"capital_question": prompting("What is the capital of France?")})
	})
	ask("list_roots", func(said sdk.InputResponseMap, _ *sdk.CallToolRequest) (*toolResult, error) {
		if roots, ok := said["client_roots"].(*sdk.ListRootsResult); ok {
			return saying("The client has %d roots", len(roots.Roots))
		}
		return wanting("", sdk.InputRequestMap{"client_roots": &sdk.ListRootsParams{}})
	})
	ask("request_state", confirmed)
	ask("tampered_state", confirmed)
	ask("multiple_inputs", func(said sdk.InputResponseMap, _ *sdk.CallToolRequest) (*toolResult, error) {
		text, greeted := sampled(said, "greeting")
		roots, listed := said["client_roots"].(*sdk.ListRootsResult)
		if name := accepted(said, "user_name"); name != nil && greeted && listed {
			return saying("%s %v, of %d roots", text, name["name"], len(roots.Roots))
		}
		return wanting("several", sdk.InputRequestMap{
			"user_name": form("What is your name?", "name", "string"), "greeting": prompting("Generate a greeting"), "client_roots": &sdk.ListRootsParams{},
		})
	})
	ask("multi_round", rounds)
	ask("capabilities", whatTheClientCan)
	addSessionTools(s)
}

// confirmed is a tool whose state must come back as it went out. The suite
// changes it by adding to it.
func confirmed(said sdk.InputResponseMap, r *sdk.CallToolRequest) (*toolResult, error) {
	const state = "confirm-1"
	if got := r.Params.RequestState; got != "" && got != state {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "requestState is not what was given out"}
	}
	if accepted(said, "confirm") != nil && r.Params.RequestState == state {
		return saying("state-ok")
	}
	return wanting(state, sdk.InputRequestMap{"confirm": form("Please confirm", "ok", "boolean")})
}

// rounds asks twice. What it knows by then is in the state.
func rounds(said sdk.InputResponseMap, r *sdk.CallToolRequest) (*toolResult, error) {
	name, again := strings.CutPrefix(r.Params.RequestState, "round=2;")
	switch {
	case again:
		return saying("%s likes %v", name, accepted(said, "step2")["color"])
	case r.Params.RequestState == "round=1":
		state := fmt.Sprintf("round=2;%v", accepted(said, "step1")["name"])
		return wanting(state, sdk.InputRequestMap{"step2": form("Which colour do you like?", "color", "string")})
	}
	return wanting("round=1", sdk.InputRequestMap{"step1": form("What is your name?", "name", "string")})
}

func whatTheClientCan(said sdk.InputResponseMap, r *sdk.CallToolRequest) (*toolResult, error) {
	if len(said) > 0 {
		return saying("the client gave what it can")
	}
	wanted := sdk.InputRequestMap{}
	if can := r.ClientCapabilities(); can != nil {
		if can.Elicitation != nil {
			wanted["user_name"] = form("What is your name?", "name", "string")
		}
		if can.Sampling != nil {
			wanted["greeting"] = prompting("Generate a short greeting")
		}
		if can.RootsV2 != nil {
			wanted["client_roots"] = &sdk.ListRootsParams{}
		}
	}
	if len(wanted) == 0 {
		return saying("the client can give nothing")
	}
	return wanting("", wanted)
}

// addSessionTools adds those of the handshake revisions, whose requests need a
// session. A server without one answers that it cannot ask.
func addSessionTools(s *sdk.Server) {
	for _, name := range []string{"test_sampling", "test_elicitation", "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums"} {
		addTool(s, name, nil, func(ctx context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
			var err error
			if name == "test_sampling" {
				_, err = r.Session.CreateMessage(ctx, prompting("Test prompt for sampling"))
			} else {
				_, err = r.Session.Elicit(ctx, form("Please say", "username", "string"))
			}
			return nil, errors.Join(err, errors.New("the client was asked without a session"))
		})
	}
}
