package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// addTaskTools adds what the suite looks for in a server with tasks: greet never
// is one.
func addTaskTools(s *sdk.Server) {
	addTool(s, "greet", nil, func(_ context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		var in struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(r.Params.Arguments, &in); err != nil {
			return nil, err
		}
		return saying("Hello, %s!", in.Name)
	})
	addTool(s, "slow_compute", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*toolResult, error) {
		var in struct {
			Seconds float64 `json:"seconds"`
		}
		if err := json.Unmarshal(r.Params.Arguments, &in); err != nil {
			return nil, err
		}
		if !pause(ctx, time.Duration(in.Seconds*float64(time.Second))) {
			return nil, ctx.Err()
		}
		return saying("computed for %.0f s", in.Seconds)
	})
	addTool(s, "failing_job", nil, func(ctx context.Context, _ *sdk.CallToolRequest) (*toolResult, error) {
		pause(ctx, time.Second)
		result := &toolResult{}
		result.SetError(errors.New("the job failed"))
		return result, nil
	})
	addTool(s, "protocol_error_job", nil, func(ctx context.Context, _ *sdk.CallToolRequest) (*toolResult, error) {
		pause(ctx, time.Second)
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "broken"}
	})
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
