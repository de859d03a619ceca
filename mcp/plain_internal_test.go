package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// plainBodies are bodies and whether they are plain calls.
var plainBodies = map[string]bool{
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_pods","arguments":{}}}`:                                       true,
	` { "id" : "a b" , "params" : { "_meta":{"a":[{}]} , "name" : "x" } , "method" : "tools/call" , "jsonrpc" : "2.0" } ` + "\n":        true,
	`{"jsonrpc":"2.0","id":-5,"method":"tools/call","params":{"arguments":{"a":"}{\"]","b":[1,2.5e3,null,true,"é\u00e9"]},"name":"x"}}`: true,
	`{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":""}}`:                                                               true,
	`{"jsonrpc":"2.0","id":"","method":"tools/call","params":{"name":"x"}}`:                                                             true,

	``:     false,
	`{}`:   false,
	`[]`:   false,
	`null`: false,
	`[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}]`:                                   false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}{}`:                                   false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}`:                                      false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"},}`:                                    false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",}}`:                                    false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`:                                                           false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`:                                               false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}`:                                 false,
	`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`:                                            false,
	`{"id":1,"method":"tools/call","params":{"name":"x"}}`:                                                     false,
	`{"jsonrpc":"2.0","id":1,"params":{"name":"x"}}`:                                                           false,
	`{"jsonrpc":"2.1","id":1,"method":"tools/call","params":{"name":"x"}}`:                                     false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"x"}}`:                                     false,
	`{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"x"}}`:                                  false,
	`{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"x"}}`:                                   false,
	`{"jsonrpc":"2.0","id":1e1,"method":"tools/call","params":{"name":"x"}}`:                                   false,
	`{"jsonrpc":"2.0","id":-0,"method":"tools/call","params":{"name":"x"}}`:                                    false,
	`{"jsonrpc":"2.0","id":01,"method":"tools/call","params":{"name":"x"}}`:                                    false,
	`{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"x"}}`:                      false,
	`{"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"name":"x"}}`:                              false,
	`{"jsonrpc":"2.0","id":"é","method":"tools/call","params":{"name":"x"}}`:                                   false,
	`{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"x"}}`:                              false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"tools/call","params":{"name":"x"}}`:               false,
	`{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`:                     false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"},"params":{"name":"y"}}`:               false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"y"}}`:                          false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","Name":"y"}}`:                          false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{},"arguments":{}}}`:       false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{},"_meta":{}}}`:               false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":null}}`:                    false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":[]}}`:                      false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a"}}}`:                   false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1]}}`:                 false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"` + "\n" + `"}}}`:    false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","requestState":"a"}}`:                  false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":1}}}`:         false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"},"result":{}}`:                         false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":` + nested(101) + `}}`:     false,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":` + nested(100) + `}}`:     true,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"\\"}}} {"b":"\\"}}}`: false,
}

func nested(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

func TestPlainOf(t *testing.T) {
	t.Parallel()
	for body, want := range plainBodies {
		if _, got := plainOf([]byte(body)); got != want {
			t.Errorf("%s is plain: %v, want %v", body, got, want)
		}
	}
}

// What is taken for a plain call is read as the SDK reads it, and as peek does.
func FuzzPlainOf(f *testing.F) {
	for body := range plainBodies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, ok := plainOf(body)
		if !ok {
			return
		}
		m, err := jsonrpc.DecodeMessage(body)
		if err != nil {
			t.Fatal(err)
		}
		r, isRequest := m.(*jsonrpc.Request)
		if !isRequest || r.Method != "tools/call" {
			t.Fatalf("%+v", m)
		}
		var p sdk.CallToolParamsRaw
		if err := json.Unmarshal(r.Params, &p); err != nil {
			t.Fatal(err)
		}
		if p.Name != string(c.tool) || !bytes.Equal(p.Arguments, c.arguments) || p.GetProgressToken() != nil && bytes.Contains(c.meta, []byte(`"progressToken"`)) {
			t.Fatalf("%+v is read as %q %q %q", p, c.tool, c.arguments, c.meta)
		}
		// The id is answered as it came.
		answer, err := jsonrpc.EncodeMessage(&jsonrpc.Response{ID: r.ID, Result: json.RawMessage("{}")})
		if want := `{"jsonrpc":"2.0","id":` + string(c.id) + `,"result":{}}`; err != nil || string(answer) != want {
			t.Fatalf("%s %v, want %s", answer, err, want)
		}
		calls, err := peek(body)
		if err != nil || len(calls) != 1 || calls[0].Params.Name != string(c.tool) || calls[0].Method != r.Method || !bytes.Equal(calls[0].ID, c.id) {
			t.Fatalf("%+v %v", calls, err)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "two\nlines\n", `"quotes" and \`, "<a href=\"x\">&</a>", "é ü\u2028\u2029 😀", "\xff\xfe", "\x00\x1f\x7f\t\r", "a\nb\xffc\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString([]byte("before "), s); string(got) != "before "+string(want) {
			t.Fatalf("%q is written as %s, want %s", s, got, want)
		}
	})
}
