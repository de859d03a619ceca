package mcp

import (
	"strings"
	"testing"
)

// A member whose name is only nearly that of one that is looked at is refused: the SDK
// would not see it, and what watches the call would.
func TestNamesAreExact(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"exec_command","NAME":"list_pods"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"exec_command"},"METHOD":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"exec_command"},"param\u017f":{"name":"list_pods"}}`,
		`{"jsonrpc":"2.0","ID":2,"id":1,"method":"tools/call","params":{"name":"exec_command"}}`,
		`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"tools/call","Params":{"name":"list_pods"},"params":{"name":"exec_command"}}]`,
		`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"a","taskid":"b"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"taskIds":[],"TaskIds":["a"]}}}`,
	} {
		if calls, err := peek([]byte(body)); err == nil || !strings.Contains(err.Error(), "where it should have") {
			t.Errorf("%s is let through as %+v (%v)", body, calls, err)
		}
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write_file","arguments":{"Name":"x","METHOD":"y"},"_meta":{"ID":1}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `[]`, `[1]`, `"text"`, `null`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`,
	} {
		if _, err := peek([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}
