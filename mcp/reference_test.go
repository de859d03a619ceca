//lint:file-ignore SA1019 the suite judges sampling, roots and logging for as long as clients have them
package mcp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// The reference is the server that the conformance suite looks for: tools,
// prompts and resources whose names and answers the suite fixes. It knows
// nothing of podgate; it stands behind podgate's transport, so that the suite
// can judge that with all its scenarios.

type (
	toolResult = sdk.CallToolResult
	toolFunc   = func(context.Context, *sdk.CallToolRequest) (*toolResult, error)
	schema     = map[string]any
)

func newReference() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "reference", Version: "1"}, &sdk.ServerOptions{
		CompletionHandler: func(context.Context, *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{"paris", "park"}, Total: 2}}, nil
		},
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
		Capabilities:       &sdk.ServerCapabilities{Logging: &sdk.LoggingCapabilities{}, Extensions: map[string]any{"io.modelcontextprotocol/tasks": struct{}{}}},
	})
	for name, answer := range map[string][]sdk.Content{
		"test_simple_text":            {words("This is a simple text response for testing.")},
		"test_image_content":          {pixel()},
		"test_audio_content":          {&sdk.AudioContent{Data: decode(silence), MIMEType: "audio/wav"}},
		"test_embedded_resource":      {embedded("test://embedded-resource", "This is an embedded resource content.")},
		"test_multiple_content_types": {words("Multiple content types test:"), pixel(), embedded("test://mixed-content-resource", "mixed")},
		"test_streaming_elicitation":  {words("nothing was asked")},
	} {
		addTool(s, name, nil, func(context.Context, *sdk.CallToolRequest) (*toolResult, error) {
			return &toolResult{Content: answer}, nil
		})
	}
	addSchemaTools(s)
	addStreamTools(s)
	addChangeTools(s)
	addAskingTools(s)
	addTaskTools(s)
	addReferenceResources(s)
	addReferencePrompts(s)
	return s
}

func addTool(s *sdk.Server, name string, input schema, fn toolFunc) {
	if input == nil {
		input = schema{"type": "object"}
	}
	s.AddTool(&sdk.Tool{Name: name, Description: "A fixture of the conformance suite", InputSchema: input}, fn)
}

func words(format string, a ...any) sdk.Content {
	return &sdk.TextContent{Text: fmt.Sprintf(format, a...)}
}

func saying(format string, a ...any) (*toolResult, error) {
	return &toolResult{Content: []sdk.Content{words(format, a...)}}, nil
}

// The smallest image and the smallest sound.
const (
	redPixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
	silence  = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
)

func decode(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err) // of a literal above
	}
	return raw
}

func pixel() sdk.Content {
	return &sdk.ImageContent{Data: decode(redPixel), MIMEType: "image/png"}
}

func embedded(uri, text string) sdk.Content {
	return &sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: uri, MIMEType: "text/plain", Text: text}}
}

func addSchemaTools(s *sdk.Server) {
	addTool(s, "json_schema_2020_12_tool", schema{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false,
		"$defs": schema{"address": schema{
			"$anchor": "addressDef", "type": "object", "properties": schema{"street": schema{"type": "string"}, "city": schema{"type": "string"}},
		}},
		"properties": schema{
			"name": schema{"type": "string"}, "address": schema{"$ref": "#/$defs/address"},
			"contactMethod": schema{"type": "string", "enum": []string{"phone", "email"}}, "phone": schema{"type": "string"}, "email": schema{"type": "string"},
		},
		"allOf": []schema{{"anyOf": []schema{{"required": []string{"phone"}}, {"required": []string{"email"}}}}},
		"if":    schema{"properties": schema{"contactMethod": schema{"const": "phone"}}, "required": []string{"contactMethod"}},
		"then":  schema{"required": []string{"phone"}},
		"else":  schema{"required": []string{"email"}},
	}, func(_ context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		return saying("called with %s", r.Params.Arguments)
	})
	addTool(s, "test_x_mcp_header", schema{"type": "object", "properties": schema{
		"region": schema{"type": "string", "x-mcp-header": "Region"}, "level": schema{"type": "integer"},
	}}, func(_ context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		return saying("called with %s", r.Params.Arguments)
	})
	addTool(s, "test_error_handling", nil, func(context.Context, *sdk.CallToolRequest) (*toolResult, error) {
		return &toolResult{IsError: true, Content: []sdk.Content{words("This tool intentionally returns an error for testing")}}, nil
	})
	addTool(s, "test_missing_capability", nil, func(_ context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		if caps := r.ClientCapabilities(); caps != nil && caps.Sampling != nil {
			return saying("the client can sample")
		}
		data, err := json.Marshal(sdk.MissingRequiredClientCapabilityData{RequiredCapabilities: &sdk.ClientCapabilities{Sampling: &sdk.SamplingCapabilities{}}})
		if err != nil {
			return nil, err
		}
		return nil, &jsonrpc.Error{Code: sdk.CodeMissingRequiredClientCapabilities, Message: "this tool needs sampling", Data: data}
	})
}

// addStreamTools adds the tools that say something before they answer.
func addStreamTools(s *sdk.Server) {
	log := func(ctx context.Context, r *sdk.CallToolRequest, text string) error {
		return r.Session.Log(ctx, &sdk.LoggingMessageParams{Level: "info", Data: text})
	}
	addTool(s, "test_tool_with_logging", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		for _, text := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
			if err := log(ctx, r, text); err != nil {
				return nil, err
			}
		}
		return saying("Tool with logging executed successfully")
	})
	addTool(s, "test_logging_tool", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		if err := log(ctx, r, "unasked"); err != nil {
			return nil, err
		}
		return saying("logged, where the client asked for it")
	})
	addTool(s, "test_tool_with_progress", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		token := r.Params.GetProgressToken()
		for _, done := range []float64{0, 50, 100} {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: done, Total: 100}); err != nil {
				return nil, err
			}
		}
		return saying("%v", token)
	})
}

// addChangeTools adds the tools that change what the server offers, which those
// who subscribed must hear of.
func addChangeTools(s *sdk.Server) {
	addTool(s, "test_trigger_tool_change", nil, func(context.Context, *sdk.CallToolRequest) (*toolResult, error) {
		addTool(s, "passing_tool", nil, func(context.Context, *sdk.CallToolRequest) (*toolResult, error) { return saying("passing") })
		return saying("the tools have changed")
	})
	addTool(s, "test_trigger_prompt_change", nil, func(context.Context, *sdk.CallToolRequest) (*toolResult, error) {
		addPrompt(s, "passing_prompt", nil, words("passing"))
		return saying("the prompts have changed")
	})
}

func addReferenceResources(s *sdk.Server) {
	read := func(c sdk.ResourceContents) sdk.ResourceHandler {
		return func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
			c := c
			c.URI = r.Params.URI
			return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{&c}}, nil
		}
	}
	for uri, c := range map[string]sdk.ResourceContents{
		"test://static-text":      {MIMEType: "text/plain", Text: "This is the content of the static text resource."},
		"test://static-binary":    {MIMEType: "image/png", Blob: decode(redPixel)},
		"test://watched-resource": {MIMEType: "text/plain", Text: "watched"},
	} {
		s.AddResource(&sdk.Resource{Name: strings.TrimPrefix(uri, "test://"), Description: "A fixture", MIMEType: c.MIMEType, URI: uri}, read(c))
	}
	s.AddResourceTemplate(&sdk.ResourceTemplate{Name: "template", MIMEType: "application/json", URITemplate: "test://template/{id}/data"},
		func(ctx context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
			id := strings.TrimSuffix(strings.TrimPrefix(r.Params.URI, "test://template/"), "/data")
			text := fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id)
			return read(sdk.ResourceContents{MIMEType: "application/json", Text: text})(ctx, r)
		})
}

func addPrompt(s *sdk.Server, name string, arguments []string, content ...sdk.Content) {
	p := &sdk.Prompt{Name: name, Description: "A fixture of the conformance suite"}
	for _, a := range arguments {
		p.Arguments = append(p.Arguments, &sdk.PromptArgument{Name: a, Description: "An argument", Required: true})
	}
	s.AddPrompt(p, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		result := &sdk.GetPromptResult{}
		for _, c := range content {
			if c == nil { // made of the arguments
				c = words("Prompt with arguments: arg1='%s', arg2='%s'", r.Params.Arguments["arg1"], r.Params.Arguments["arg2"])
			}
			if e, ok := c.(*sdk.EmbeddedResource); ok {
				c = embedded(r.Params.Arguments["resourceUri"], e.Resource.Text)
			}
			result.Messages = append(result.Messages, &sdk.PromptMessage{Role: "user", Content: c})
		}
		return result, nil
	})
}

func addReferencePrompts(s *sdk.Server) {
	addPrompt(s, "test_simple_prompt", nil, words("This is a simple prompt for testing."))
	addPrompt(s, "test_prompt_with_arguments", []string{"arg1", "arg2"}, nil)
	addPrompt(s, "test_prompt_with_embedded_resource", []string{"resourceUri"}, embedded("", "Embedded resource content for testing."), words("Please process it."))
	addPrompt(s, "test_prompt_with_image", nil, pixel(), words("Please analyze the image above."))
	s.AddPrompt(&sdk.Prompt{Name: "test_input_required_result_prompt", Description: "A fixture"}, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		if said := accepted(r.Params.InputResponses, "user_context"); said != nil {
			return &sdk.GetPromptResult{Messages: []*sdk.PromptMessage{{Role: "user", Content: words("Context: %v", said["context"])}}}, nil
		}
		return &sdk.GetPromptResult{InputRequests: sdk.InputRequestMap{"user_context": form("Please say more", "context", "string")}}, nil
	})
}
