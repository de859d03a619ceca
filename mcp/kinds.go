package mcp

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/pods"
)

// listWithKinds names the kinds of pod in the schema of each tool that takes one:
// those that can be made now, since regions come and go. A call is checked by
// package pods, which says why a kind is not to be had.
func (e *endpoint) listWithKinds(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		result, err := next(ctx, method, r)
		list, ok := result.(*sdk.ListToolsResult)
		if !ok || err != nil {
			return result, err
		}
		kinds, err := e.cfg.Pods.Presets(authz.FromContext(ctx))
		if err != nil { // the connection may not see them
			return result, nil
		}
		kinds = slices.DeleteFunc(kinds, func(p pods.Preset) bool { return !p.Available })
		if len(kinds) == 0 {
			return result, nil
		}
		list.Tools = slices.Clone(list.Tools)
		for i, t := range list.Tools {
			list.Tools[i] = withKinds(t, kinds)
		}
		return list, nil
	}
}

// withKinds returns a tool whose property preset, if it has one, is one of kinds.
func withKinds(t *sdk.Tool, kinds []pods.Preset) *sdk.Tool {
	declared, ok := t.InputSchema.(*jsonschema.Schema)
	if !ok || declared.Properties["preset"] == nil {
		return t
	}
	tool, input, preset := *t, *declared, *declared.Properties["preset"]
	lines := []string{preset.Description}
	for _, k := range kinds {
		preset.Enum = append(preset.Enum, k.Name)
		lines = append(lines, "- "+k.Name+": "+k.Description)
	}
	preset.Description = strings.Join(lines, "\n")
	input.Properties = maps.Clone(input.Properties)
	input.Properties["preset"] = &preset
	tool.InputSchema = &input
	return &tool
}
