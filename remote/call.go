package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// protocol is the revision of MCP in which each request stands for itself.
const protocol = "2026-07-28"

// maxAnswer bounds an answer in bytes, with all that is told before it. Tools
// answer a fraction of it.
const maxAnswer = 32 << 20

// Client calls the tools of one server.
type Client struct {
	Address string            // of the MCP endpoint
	Way     http.RoundTripper // there, with whatever lets one in
	Version string            // of this program
}

// Result is what a tool answered.
type Result struct {
	Text string          // for reading
	Data json.RawMessage // the same as data; nil: none
}

// ToolError is a tool's refusal or failure, in the server's words.
type ToolError struct{ Result }

func (e *ToolError) Error() string { return e.Text }

// HTTPError is an answer that is none of a tool's.
type HTTPError struct {
	Status  int
	Code    string // in the server's words; may be empty
	Message string // the same
}

func (e *HTTPError) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
}

// message is a message of JSON-RPC that comes back.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Message string `json:"message"`
	} `json:"params"`
	Result *struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
	} `json:"result"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Call calls a tool. heard gets what the server tells meanwhile; nil: it is not
// asked for. The error is a *ToolError when the tool itself says that it failed.
func (c *Client) Call(ctx context.Context, tool string, arguments any, heard func(string)) (Result, error) {
	req, err := c.request(ctx, tool, arguments, heard != nil)
	if err != nil {
		return Result{}, err
	}
	resp, err := c.Way.RoundTrip(req)
	if err != nil {
		return Result{}, fmt.Errorf("ask the server: %w", err)
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK {
		return Result{}, refusal(resp.StatusCode, body)
	}
	m, err := last(resp.Header.Get("Content-Type"), body, heard)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err != nil {
		return Result{}, fmt.Errorf("read the server's answer: %w", err)
	}
	return m.result()
}

func (c *Client) request(ctx context.Context, tool string, arguments any, progress bool) (*http.Request, error) {
	const prefix = "io.modelcontextprotocol/"
	meta := map[string]any{
		prefix + "protocolVersion": protocol, prefix + "clientInfo": map[string]string{"name": "podgate command line", "version": c.Version}, prefix + "clientCapabilities": struct{}{},
	}
	if progress {
		meta["progressToken"] = 1
	}
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": arguments, "_meta": meta},
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": protocol, "Mcp-Method": "tools/call", "Mcp-Name": tool,
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// result makes of the last message what its reader wants.
func (m message) result() (Result, error) {
	switch {
	case m.Error != nil:
		return Result{}, errors.New(cmp.Or(m.Error.Message, "the server refused the call without a reason"))
	case m.Result == nil:
		return Result{}, errors.New("the server's answer has no result")
	}
	var texts []string
	for _, c := range m.Result.Content {
		texts = append(texts, c.Text)
	}
	r := Result{Text: strings.Join(texts, "\n"), Data: m.Result.Structured}
	if m.Result.IsError {
		r.Text = cmp.Or(append(texts, "")[0], r.Text) // what follows tells of what there is now, as the data does
		return r, &ToolError{r}
	}
	return r, nil
}

// last returns the message that answers: the only one of a JSON body, or of a
// stream of events (HTML standard, section 9.2) the one with an id.
func last(contentType string, body io.Reader, heard func(string)) (m message, err error) {
	if kind, _, _ := mime.ParseMediaType(contentType); kind != "text/event-stream" {
		return m, json.NewDecoder(body).Decode(&m)
	}
	lines := bufio.NewReader(body)
	var data []byte
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return m, fmt.Errorf("it broke off: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if more, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(more, []byte(" "))...), '\n')
			continue
		}
		if len(line) > 0 || len(data) == 0 {
			continue
		}
		m = message{}
		if err := json.Unmarshal(data, &m); err != nil {
			return m, err
		}
		data = data[:0]
		switch {
		case m.Method == "" && len(m.ID) > 0:
			return m, nil
		case m.Method == "notifications/progress" && heard != nil:
			heard(m.Params.Message)
		}
	}
}

// refusal reads the words of an answer that is an error, in any of the forms that
// podgate has for them.
func refusal(status int, body io.Reader) *HTTPError {
	const enough = 64 << 10
	e := &HTTPError{Status: status}
	raw, err := io.ReadAll(io.LimitReader(body, enough))
	var words struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Code        string          `json:"code"`
		Message     string          `json:"message"`
	}
	if err != nil || json.Unmarshal(raw, &words) != nil {
		return e
	}
	e.Code, e.Message = words.Code, cmp.Or(words.Description, words.Message)
	var rpc struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(words.Error, &e.Code) != nil && json.Unmarshal(words.Error, &rpc) == nil {
		e.Message = cmp.Or(e.Message, rpc.Message)
	}
	return e
}
