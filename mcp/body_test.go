package mcp_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"podgate/internal/web"
	"podgate/mcp"
	"podgate/store"
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
		if status, body := send(c.body); status != c.want || status == http.StatusRequestEntityTooLarge && !strings.HasPrefix(body, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the message has more than 16777216 bytes; `) {
			t.Errorf("%s: %d %.300s", name, status, body)
		}
	}
	c := b.connect("ann", modern)
	file := bytes.Repeat([]byte("0123456789abcde\n"), 10<<20/16)
	if got := c.call("write_file", args{"name": "shop", "path": "large", "content": string(file)}); got["bytes"] != float64(10<<20) {
		t.Errorf("the largest file: %v", got)
	}
	if words := c.refused("write_file", args{"name": "shop", "path": "large", "content": string(file) + "x"}); !strings.HasPrefix(words, "file too large: ") {
		t.Errorf("a larger file: %s", words)
	}
}

// blanks is a body without an end.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) { return copy(p, strings.Repeat(" ", 32<<10)), nil }

// wroteFirst sends a body of size bytes as clients do that read nothing before all of it
// is sent, and returns the answer, or how much the server took before it gave up.
func (b *bench) wroteFirst(t *testing.T, token string, size int) (a answered, code int, taken int64) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /api/mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", token, size)
	if taken, err = io.CopyN(c, blanks{}, int64(size)); err != nil {
		return a, 0, taken
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%d bytes: %v", size, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	var refused struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &refused)
	}
	if err != nil || refused.Version != "2.0" || string(refused.ID) != "null" {
		t.Errorf("%d bytes: no error of JSON-RPC: %s, %v", size, raw, err)
	}
	return answered{res.StatusCode, res.Header.Get("Retry-After"), refused.Error.Message}, refused.Error.Code, taken
}

// Whoever sends all of a body before reading hears why it is refused: in the form of
// JSON-RPC, at once or at the latest when the connection ends. There is an end to it.
func TestRefusedBodiesAreAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const tooLarge = "the message has more than 16777216 bytes; "
	for _, size := range []int{largest + 1, 60 << 20, 66 << 20} {
		if a, code, _ := b.wroteFirst(t, "ann", size); a.status != http.StatusRequestEntityTooLarge || code != -32600 || !strings.HasPrefix(a.words, tooLarge) {
			t.Errorf("%d bytes: %+v, %d", size, a, code)
		}
	}
	// What the two ends buffer is taken, too.
	const most = 2*64<<20 + 32<<20
	if a, _, taken := b.wroteFirst(t, "ann", 512<<20); a.status != 0 || taken > most {
		t.Errorf("without an end: %d bytes are taken, %+v", taken, a)
	}
	held := []*sending{b.begins(t, "ann", largest, true), b.begins(t, "ann", largest, true)}
	if a, code, _ := b.wroteFirst(t, "ann", largest); a.status != http.StatusTooManyRequests || code != -32000 || a.retry != "2" || !strings.Contains(a.words, "of one person") {
		t.Errorf("over the share: %+v, %d", a, code)
	}
	for _, s := range held {
		if a := s.finish(largest - pingLength); a.status != http.StatusOK {
			t.Errorf("%+v", a)
		}
	}
}

// sending is a request whose body is being sent.
type sending struct {
	t    *testing.T
	rest io.WriteCloser
	done chan answered
}

type answered struct {
	status int
	retry  string
	words  string
}

// begin sends a request of size bytes up to where its body begins, and returns
// it when the server asks for the body. The second result is the answer, if that
// came instead. told says whether the server knows the size.
func (b *bench) begin(t *testing.T, token string, size int, told bool) (*sending, *answered) {
	t.Helper()
	body, rest := io.Pipe()
	_, header := message(legacy, "ping", nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Expect", "100-continue")
	if told {
		r.ContentLength = int64(size)
	}
	s := &sending{t, rest, make(chan answered, 1)}
	asked := make(chan struct{})
	go func() {
		if _, err := io.WriteString(rest, `{"jsonrpc": "2.0", "id": 1, "method": "ping"}`); err == nil {
			close(asked)
		}
	}()
	transport := &http.Transport{ExpectContinueTimeout: time.Hour, DisableKeepAlives: true}
	go func() {
		defer body.Close()
		res, err := transport.RoundTrip(r)
		if err != nil {
			s.done <- answered{words: err.Error()}
			return
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		s.done <- answered{res.StatusCode, res.Header.Get("Retry-After"), string(raw)}
	}()
	select {
	case <-asked:
		return s, nil
	case a := <-s.done:
		return nil, &a
	}
}

// begins is begin for one that must be let in.
func (b *bench) begins(t *testing.T, token string, size int, told bool) *sending {
	t.Helper()
	s, refused := b.begin(t, token, size, told)
	if refused != nil {
		t.Fatalf("%s, %d bytes: %+v", token, size, refused)
	}
	return s
}

// finish sends n bytes more, which count for nothing, and returns the answer.
func (s *sending) finish(n int) answered {
	s.t.Helper()
	_, _ = io.WriteString(s.rest, strings.Repeat(" ", n)) // fails when the answer is there already
	_ = s.rest.Close()
	return <-s.done
}

const (
	pingLength = len(`{"jsonrpc": "2.0", "id": 1, "method": "ping"}`)
	largest    = 16 << 20
)

// What bodies hold at once is bounded in all and by person, however many
// connections they have, and whoever has nothing on the way gets in.
func TestBodiesAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for token, user := range map[string]store.UserID{"one": "one", "one more": "one", "two": "two", "three": "three"} {
		a := b.actor("ann")
		a.User, a.Grant = user, store.GrantID(token)
		b.as(token, a)
	}
	begin := func(token string, size int) *sending { t.Helper(); return b.begins(t, token, size, true) }
	refuses := func(token string, size, status int, words string) {
		t.Helper()
		if s, a := b.begin(t, token, size, true); s != nil || a.status != status || a.retry != "2" || !strings.Contains(a.words, words) {
			t.Errorf("%s, %d bytes: %+v", token, size, a)
		}
	}
	held := []*sending{begin("one", largest), begin("one more", largest)}
	for _, token := range []string{"one", "one more"} {
		refuses(token, 1000, http.StatusTooManyRequests, "of one person")
	}
	held = append(held, begin("two", largest))
	refuses("three", largest, http.StatusServiceUnavailable, "Try again")
	if a := begin("three", 1000).finish(1000 - pingLength); a.status != http.StatusOK {
		t.Errorf("a small one of a newcomer: %+v", a)
	}
	for _, s := range held {
		if a := s.finish(largest - pingLength); a.status != http.StatusOK {
			t.Errorf("%+v", a)
		}
	}
	if a := begin("three", largest).finish(largest - pingLength); a.status != http.StatusOK {
		t.Errorf("afterwards: %+v", a)
	}
}

// A body whose length is untold is counted as it comes, and what was refused or
// broke off holds nothing.
func TestBodiesAreCountedAsTheyCome(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 3 { // two fill the share
		if a := b.begins(t, "ann", 0, false).finish(largest); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("too large: %d %.200s", a.status, a.words)
		}
	}
	var held []*sending
	for range 2 {
		held = append(held, b.begins(t, "ann", largest, true))
	}
	if a := b.begins(t, "ann", 0, false).finish(1000); a.status != http.StatusTooManyRequests || a.retry != "2" {
		t.Errorf("%+v", a)
	}
	for _, s := range held {
		if a := s.finish(1000); a.status == http.StatusOK {
			t.Errorf("a body that breaks off: %+v", a)
		}
	}
	b.begins(t, "ann", largest, true)
}

// A body that pauses too long is given up on in the words of whoever has the
// clock.
func TestStalledBodyKeepsItsWords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	handler, err := mcp.New(mcp.Config{Pods: b.pods, Log: slog.New(slog.DiscardHandler), InsufficientScope: insufficient, Watch: unwatched})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/api/mcp", iotest.ErrReader(web.Fault(http.StatusRequestTimeout, "timeout", "Send it again.", nil)))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusRequestTimeout || !strings.Contains(w.Body.String(), "Send it again.") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
