package mcp_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A body over the limit is refused with 413, whether its length is told or not,
// and the largest file still fits with all its escapes.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	send := func(body io.Reader) (int, string) {
		t.Helper()
		_, header := message(legacy, "ping", nil)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		r.Header.Set("Authorization", "Bearer ann")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(raw)
	}
	ping := `{"jsonrpc": "2.0", "id": 1, "method": "ping"}`
	pad := func(n int) string { return ping + strings.Repeat(" ", n-len(ping)) }
	for name, c := range map[string]struct {
		body io.Reader
		want int
	}{
		"at the limit":                {strings.NewReader(pad(16 << 20)), http.StatusOK},
		"over it":                     {strings.NewReader(pad(16<<20 + 1)), http.StatusRequestEntityTooLarge},
		"at the limit, length untold": {struct{ io.Reader }{strings.NewReader(pad(16 << 20))}, http.StatusOK},
		"over it, length untold":      {struct{ io.Reader }{strings.NewReader(pad(16<<20 + 1))}, http.StatusRequestEntityTooLarge},
	} {
		if status, body := send(c.body); status != c.want || status == http.StatusRequestEntityTooLarge && !strings.Contains(body, "16777216") {
			t.Errorf("%s: %d %.300s", name, status, body)
		}
	}
	c := b.connect("ann", modern)
	largest := bytes.Repeat([]byte("0123456789abcde\n"), 10<<20/16)
	if got := c.call("write_file", args{"name": "shop", "path": "large", "content": string(largest)}); got["bytes"] != float64(10<<20) {
		t.Errorf("the largest file: %v", got)
	}
	if words := c.refused("write_file", args{"name": "shop", "path": "large", "content": string(largest) + "x"}); !strings.HasPrefix(words, "file too large: ") {
		t.Errorf("a larger file: %s", words)
	}
}
