package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// rivalToken is what the SDK's own handler lets in.
const rivalToken = "a-token-of-as-many-characters-as-one-of-podgate"

// startRival serves the SDK's own handler with its own bearer check, and one tool that
// does nothing, written as its users write it.
func startRival(b *testing.B) string {
	b.Helper()
	type input struct{}
	type output struct {
		Answer string `json:"answer"`
	}
	s := sdk.NewServer(&sdk.Implementation{Name: "rival", Version: "1"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "hello", Description: "Says hello."}, func(context.Context, *sdk.CallToolRequest, input) (*sdk.CallToolResult, output, error) {
		return nil, output{"hello"}, nil
	})
	known := map[string]*auth.TokenInfo{rivalToken: {Scopes: []string{"read"}, Expiration: time.Now().Add(time.Hour), UserID: "ann"}}
	check := auth.RequireBearerToken(func(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
		if info := known[token]; info != nil {
			return info, nil
		}
		return nil, auth.ErrInvalidToken
	}, &auth.RequireBearerTokenOptions{Scopes: []string{"read"}})
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
	srv := httptest.NewServer(check(handler))
	b.Cleanup(srv.Close)
	return srv.URL
}

// startFloor answers every request with the same bytes, after it has read the request.
func startFloor(b *testing.B, answer []byte) string {
	b.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer) // nobody is there
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}

// callOf is a call of a tool as bytes of HTTP/1.1.
func callOf(b *testing.B, address, token, tool string) load {
	b.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	body := toolCall(tool, "{}")
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\nUser-Agent: bench\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n",
		"/"+strings.TrimPrefix(u.Path, "/"), u.Host, token, len(body))
	return load{Address: u.Host, Request: head + body}
}

// load is what clients do for a while: each keeps a connection, and asks again as soon as
// it has an answer. They run in a process of their own, so that what they take of the
// processor is not the server's.
type load struct {
	Address string
	Request string
	Clients int
	For     time.Duration
}

// done is what came of it.
type done struct {
	Answered int64
	Took     time.Duration
	Last     string // the newest answer, of one of them
	Fault    string
}

// loaded is the program of that process: loads come in, a line each, and what came of
// them goes out.
func loaded() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var l load
		if err := in.Decode(&l); err != nil {
			return // that was all
		}
		if err := out.Encode(l.run()); err != nil {
			return
		}
	}
}

func (l load) run() (d done) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var answered atomic.Int64
	began := time.Now()
	for range l.Clients {
		all.Go(func() {
			n, last, err := l.ask(began.Add(l.For))
			answered.Add(n)
			mu.Lock()
			defer mu.Unlock()
			d.Last = string(last)
			if err != nil {
				d.Fault = fmt.Sprintf("%v after %d answers: %s", err, n, last)
			}
		})
	}
	all.Wait()
	d.Took, d.Answered = time.Since(began), answered.Load()
	return d
}

func (l load) ask(end time.Time) (answered int64, body []byte, err error) {
	conn, err := net.Dial("tcp", l.Address)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	answers := bufio.NewReaderSize(conn, 64<<10)
	for request := []byte(l.Request); time.Now().Before(end); answered++ {
		if _, err := conn.Write(request); err != nil {
			return answered, body, err
		}
		if body, err = takeAnswer(answers, body[:0]); err != nil {
			return answered, body, err
		}
	}
	return answered, body, nil
}

// takeAnswer reads an answer and appends its body. It looks at no more than it needs, since
// what the client takes of the processors the server does not have.
func takeAnswer(r *bufio.Reader, body []byte) ([]byte, error) {
	length, chunked := -1, false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return append(body, line...), errors.New("refused")
		}
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return body, err
			}
		}
		chunked = chunked || bytes.Equal(line, []byte("Transfer-Encoding: chunked"))
	}
	if !chunked {
		return takeBytes(r, body, length)
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
		if err != nil {
			return body, err
		}
		if body, err = takeBytes(r, body, int(size)); err != nil {
			return body, err
		}
		if _, err := r.Discard(len("\r\n")); err != nil || size == 0 {
			return body, err
		}
	}
}

func takeBytes(r *bufio.Reader, body []byte, n int) ([]byte, error) {
	if n < 0 {
		return body, errors.New("an answer without a length")
	}
	at := len(body)
	body = slices.Grow(body, n)[:at+n]
	_, err := io.ReadFull(r, body[at:])
	return body, err
}

// clients is the process in which loads run.
type clients struct {
	b   *testing.B
	in  *json.Encoder
	out *json.Decoder
}

func startClients(b *testing.B) *clients {
	b.Helper()
	exe, err := exec.LookPath("podgate-load") // testscript puts this binary on PATH
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it ends with its input
	})
	return &clients{b, json.NewEncoder(in), json.NewDecoder(out)}
}

// cost is what calls cost a server in this process.
type cost struct {
	rate   float64 // answers a second, by the clock
	busy   float64 // µs of the processor, of this process
	allocs float64 // objects
	bytes  float64 // of memory that they had
	answer []byte
}

// put has clients ask for a while.
func (c *clients) put(l load, clients int, lasts time.Duration) cost {
	c.b.Helper()
	l.Clients, l.For = clients, lasts
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used := processorTime(c.b)
	var d done
	if err := errors.Join(c.in.Encode(l), c.out.Decode(&d)); err != nil {
		c.b.Fatal(err)
	}
	used = processorTime(c.b) - used
	runtime.ReadMemStats(&after)
	if d.Fault != "" || d.Answered == 0 || strings.Contains(d.Last, `"isError":true`) {
		c.b.Fatalf("%s %s", d.Fault, d.Last)
	}
	n := float64(d.Answered)
	return cost{
		rate: n / d.Took.Seconds(), busy: float64(used.Nanoseconds()) / 1000 / n, answer: []byte(d.Last),
		allocs: float64(after.Mallocs-before.Mallocs) / n, bytes: float64(after.TotalAlloc-before.TotalAlloc) / n,
	}
}

// costs are those of several turns.
type costs []cost

// middle is the median of something of them.
func (c costs) middle(of func(cost) float64) float64 {
	var all []float64
	for _, one := range c {
		all = append(all, of(one))
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func rateOf(c cost) float64 { return c.rate }
func busyOf(c cost) float64 { return c.busy }

// callTurn is how long one of the servers that are compared is asked before it is the
// turn of the next.
const callTurn = 100 * time.Millisecond

// BenchmarkListPods is list_pods of a team that has none, with a token, over loopback, in
// turns with the SDK's own server (rival), and with a handler that does nothing but write
// the same answer (floor). ratio is podgate's rate by that of the SDK, cpu-ratio the same
// of the processor time of the server, and floor-ratio and floor-cpu those beside the floor.
func BenchmarkListPods(b *testing.B) {
	srv := startServer(b, "[log]\nlevel = \"warn\"")
	c := connect(b, srv, setUp(b, srv), connectOptions{})
	clients := startClients(b)
	ours := callOf(b, srv.URL+"/api/mcp", c.wire.token(), "list_pods")
	rival := callOf(b, startRival(b), rivalToken, "hello")
	floor := callOf(b, startFloor(b, clients.put(ours, 1, callTurn).answer), "", "hello")
	for _, many := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("%d-clients", many), func(b *testing.B) {
			clients.b = b
			var podgate, sdks, floors costs
			for b.Loop() {
				podgate = append(podgate, clients.put(ours, many, callTurn))
				sdks = append(sdks, clients.put(rival, many, callTurn))
				floors = append(floors, clients.put(floor, many, callTurn))
			}
			b.ReportMetric(podgate.middle(rateOf), "podgate/s")
			b.ReportMetric(sdks.middle(rateOf), "sdk/s")
			b.ReportMetric(podgate.middle(rateOf)/sdks.middle(rateOf), "ratio")
			b.ReportMetric(podgate.middle(busyOf), "cpu-µs")
			b.ReportMetric(sdks.middle(busyOf)/podgate.middle(busyOf), "cpu-ratio")
			b.ReportMetric(podgate.middle(rateOf)/floors.middle(rateOf), "floor-ratio")
			b.ReportMetric(floors.middle(busyOf), "floor-cpu-µs")
			b.ReportMetric(podgate.middle(func(c cost) float64 { return c.allocs }), "allocs/call")
			b.ReportMetric(podgate.middle(func(c cost) float64 { return c.bytes }), "B/call")
			b.ReportMetric(sdks.middle(func(c cost) float64 { return c.allocs }), "sdk-allocs/call")
			b.ReportMetric(0, "ns/op")
		})
	}
}

var listedPods = flag.Int("list-pods", 10, "how many pods BenchmarkListPodsRunning starts at most for a team: 50 for all of it")

// BenchmarkListPodsRunning is list_pods of teams with so many pods that run, each with an
// agent of its own, and at last the same ones stopped, in turns with that of a team which
// has none. rate-of-none is the rate beside that, by the clock, which has the client's
// part in it, and cpu-of-none by the processor time of the server. Beside each is a handler that
// does nothing but write the same answer: what it is as good as at best.
func BenchmarkListPodsRunning(b *testing.B) {
	srv := startServer(b, "[log]\nlevel = \"warn\"\n[pods]\nquota_pods = 1000\nquota_memory = \"1TiB\"")
	needSandbox(b, srv)
	owner := setUp(b, srv)
	clients := startClients(b)
	none := connect(b, srv, owner, connectOptions{})
	measure := func(name string, c *connection) {
		b.Run(name, func(b *testing.B) {
			clients.b = b
			empty := callOf(b, srv.URL+"/api/mcp", none.wire.token(), "list_pods")
			full := callOf(b, srv.URL+"/api/mcp", c.wire.token(), "list_pods")
			floor := callOf(b, startFloor(b, clients.put(full, 1, callTurn).answer), "", "hello")
			var nones, lists, floors costs
			for b.Loop() {
				nones = append(nones, clients.put(empty, 1, callTurn))
				lists = append(lists, clients.put(full, 1, callTurn))
				floors = append(floors, clients.put(floor, 1, callTurn))
			}
			b.ReportMetric(lists.middle(rateOf), "podgate/s")
			b.ReportMetric(lists.middle(busyOf), "cpu-µs")
			b.ReportMetric(lists.middle(rateOf)/nones.middle(rateOf), "rate-of-none")
			b.ReportMetric(nones.middle(busyOf)/lists.middle(busyOf), "cpu-of-none")
			b.ReportMetric(lists.middle(rateOf)/floors.middle(rateOf), "floor-ratio")
			b.ReportMetric(floors.middle(busyOf), "floor-cpu-µs")
			b.ReportMetric(lists.middle(func(c cost) float64 { return c.allocs }), "allocs/call")
			b.ReportMetric(lists.middle(func(c cost) float64 { return c.bytes }), "B/call")
			b.ReportMetric(float64(len(lists[0].answer)), "B-answer")
			b.ReportMetric(0, "ns/op")
		})
	}
	for _, many := range []int{1, 10, 50, 300} {
		if many > *listedPods {
			break
		}
		team := addPerson(b, srv, fmt.Sprintf("bench%d", many))
		c := connect(b, srv, team, connectOptions{})
		for i := range many {
			c.call(b, "create_pod", args{"name": fmt.Sprintf("bench-%d-%d", many, i), "preset": "static"})
		}
		measure(fmt.Sprintf("running/%d", many), c)
		if many < 10 {
			continue
		}
		for i := range many {
			c.call(b, "manage_pod", args{"name": fmt.Sprintf("bench-%d-%d", many, i), "action": "stop"})
		}
		measure(fmt.Sprintf("stopped/%d", many), c)
	}
}
