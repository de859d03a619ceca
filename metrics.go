package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"podgate/control"
	"podgate/internal/config"
	"podgate/internal/metrics"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
)

// metricsPath is where the numbers are.
const metricsPath = "/metrics"

// numbers are what the server counts as things happen. What can be looked up is in
// sampled.
type numbers struct {
	*metrics.Set
	requests metrics.Counter
	latency  metrics.Durations
	events   metrics.Counter
	tools    metrics.Counter
	toolTime metrics.Durations
	swept    metrics.Counter
}

func newNumbers() *numbers {
	s := metrics.New()
	return &numbers{
		Set:      s,
		requests: s.Counter("podgate_http_requests_total", "Requests that were answered, by the kind of address and the status.", "class", "code"),
		latency:  s.Durations("podgate_http_request_duration_seconds", "How long answers took, but for streams.", "class"),
		events:   s.Counter("podgate_events_total", "What people, assistants and commands did, as in the audit list.", "event", "outcome"),
		tools:    s.Counter("podgate_tool_calls_total", "Calls of tools by how they ended.", "tool", "outcome"),
		toolTime: s.Durations("podgate_tool_call_duration_seconds", "How long calls of tools took.", "tool"),
		swept:    s.Counter("podgate_store_swept_total", "Records that had expired and were taken away."),
	}
}

// answered hears of the requests of a class.
func (n *numbers) answered(class string) func(status int, took time.Duration, stream bool) {
	return func(status int, took time.Duration, stream bool) {
		code := "other" // an app in a pod answers what it likes
		if http.StatusText(status) != "" {
			code = strconv.Itoa(status)
		}
		n.requests.Add(1, class, code)
		if !stream {
			n.latency.Observe(took, class)
		}
	}
}

// event hears of what goes into the audit list.
func (n *numbers) event(action store.AuditAction, ok bool) {
	outcome := "ok"
	if !ok {
		outcome = "refused"
	}
	n.events.Add(1, string(action), outcome)
}

// called hears of calls of tools.
func (n *numbers) called(tool, outcome string, took time.Duration) {
	n.tools.Add(1, tool, outcome)
	n.toolTime.Observe(took, tool)
}

// classes are the kinds of addresses, by how their paths begin; the first that fits.
var classes = []struct{ prefix, name string }{
	{"/api/mcp", "mcp"}, {"/oauth/", "oauth"}, {"/.well-known/", "discovery"}, {"/api/", "api"},
	{"/healthz", "health"}, {"/readyz", "health"}, {metricsPath, "health"},
}

// classOf is the kind of a route's address.
func classOf(path string) string {
	for _, c := range classes {
		if strings.HasPrefix(path, c.prefix) {
			return c.name
		}
	}
	return "pages"
}

// sampled says where the numbers come from that are looked up.
func (srv *server) sampled() {
	srv.sampleServer()
	srv.sampleStore()
	srv.samplePods()
	srv.sampleCertificates()
	srv.sampleBackup()
}

func (srv *server) sampleBackup() {
	var g metrics.Group
	last := g.Number(metrics.Gauge, "podgate_backup_last_seconds", "The moment of the newest daily backup, in Unix time.")
	failed := g.Number(metrics.Gauge, "podgate_backup_failed", "Whether the last try to make one failed.")
	srv.numbers.Sampled(g, func(put func(*metrics.Number, float64, ...string)) {
		if srv.keeper == nil {
			return
		}
		s := srv.keeper.State()
		put(failed, oneIf(s.Fault != ""))
		if !s.Last.IsZero() {
			put(last, float64(s.Last.Unix()))
		}
	})
}

func (srv *server) sampleServer() {
	var g metrics.Group
	build := g.Number(metrics.Gauge, "podgate_build_info", "The version that runs; always 1.", "version")
	connections := g.Number(metrics.Gauge, "podgate_connections", "Open network connections.")
	dropped := g.Number(metrics.Total, "podgate_spans_dropped_total", "Parts of traces that were not sent.")
	upgraded := g.Number(metrics.Total, "podgate_upgrades_total", "Programs that were to take over, by what became of it; counted on by those that did.", "result")
	problems := g.Number(metrics.Gauge, "podgate_problems", "What keeps the server from doing all that it is there for, as in /readyz.")
	srv.numbers.Sampled(g, func(put func(*metrics.Number, float64, ...string)) {
		put(build, 1, version())
		put(connections, float64(srv.bounds.Open()))
		if srv.traces != nil {
			put(dropped, float64(srv.traces.Dropped()))
		}
		ended := srv.upgrades.count()
		for _, state := range []string{control.UpgradeDone, control.UpgradeFailed} {
			put(upgraded, float64(ended[state]), state)
		}
		put(problems, float64(len(srv.problems(srv.certs == nil || srv.certs.Status().Ready(time.Now())))))
	})
}

func (srv *server) sampleStore() {
	var g metrics.Group
	size := g.Number(metrics.Gauge, "podgate_store_size_bytes", "The size of the database.")
	free := g.Number(metrics.Gauge, "podgate_store_free_bytes", "How much of it can be used again.")
	commits := g.Number(metrics.Total, "podgate_store_commits_total", "Transactions that wrote, since the database was made.")
	writing := g.Number(metrics.Total, "podgate_store_write_seconds_total", "The time that they spent on writing to the disk.")
	reads := g.Number(metrics.Total, "podgate_store_reads_total", "Transactions that only read.")
	reading := g.Number(metrics.Gauge, "podgate_store_open_reads", "Such that are open.")
	queue := g.Number(metrics.Gauge, "podgate_store_queue", "What waits to be written.", "queue")
	srv.numbers.Sampled(g, func(put func(*metrics.Number, float64, ...string)) {
		s, err := srv.db.Stats()
		if err != nil {
			srv.log.Error("the numbers of the database could not be read", "error", err)
			return
		}
		put(size, float64(s.Size))
		put(free, float64(s.Free))
		put(commits, float64(s.Commits))
		put(writing, s.Writing.Seconds())
		put(reads, float64(s.Reads))
		put(reading, float64(s.Reading))
		put(queue, float64(s.Waiting), "commit")
		put(queue, float64(s.Notes), "history")
	})
}

// podStates are the statuses that are shown with a number even when no pod has them.
var podStates = []string{"running", "starting", "stopped", "failing", "failed", "unknown"}

func (srv *server) samplePods() {
	var g metrics.Group
	states := g.Number(metrics.Gauge, "podgate_pods", "Pods by status.", "status")
	memory := g.Number(metrics.Gauge, "podgate_pod_memory_bytes", "Memory of a running pod.", "team", "pod")
	cpu := g.Number(metrics.Total, "podgate_pod_cpu_seconds_total", "CPU time of a running pod since it was started.", "team", "pod")
	processes := g.Number(metrics.Gauge, "podgate_pod_processes", "Processes of a running pod.", "team", "pod")
	disk := g.Number(metrics.Gauge, "podgate_pod_disk_bytes", "What a running pod's home takes on the disk.", "team", "pod")
	restarts := g.Number(metrics.Gauge, "podgate_pod_restarts", "How often a running pod's app was started anew.", "team", "pod")
	network := g.Number(metrics.Total, "podgate_pod_network_bytes_total", "What connections carried into a pod and out of it.", "team", "pod", "direction")
	regions := g.Number(metrics.Gauge, "podgate_region_up", "Whether pods can run in a region.", "region")
	srv.numbers.Sampled(g, func(put func(*metrics.Number, float64, ...string)) {
		for _, r := range srv.pods.RegionStates() {
			put(regions, oneIf(r.Err == nil), r.Name)
		}
		list, err := srv.pods.Gauges(context.Background())
		if err != nil {
			srv.log.Error("the numbers of pods could not be read", "error", err)
			return
		}
		count := map[string]int{}
		for _, s := range podStates {
			count[s] = 0
		}
		for _, p := range list {
			count[p.Status]++
			put(network, float64(p.In), p.Team, p.Name, "in")
			put(network, float64(p.Out), p.Team, p.Name, "out")
			if p.Usage == (pods.Usage{}) {
				continue
			}
			put(memory, float64(p.Usage.Memory), p.Team, p.Name)
			put(cpu, p.Usage.CPU, p.Team, p.Name)
			put(processes, float64(p.Usage.Processes), p.Team, p.Name)
			put(disk, float64(p.Usage.Disk), p.Team, p.Name)
			put(restarts, float64(p.Restarts), p.Team, p.Name)
		}
		for status, n := range count {
			put(states, float64(n), status)
		}
	})
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (srv *server) sampleCertificates() {
	var g metrics.Group
	expires := g.Number(metrics.Gauge, "podgate_certificate_expiry_seconds", "When the certificate of a name of podgate's own runs out, in Unix time.", "name")
	failed := g.Number(metrics.Gauge, "podgate_certificate_failed", "Whether the last try to get or renew it failed.", "name")
	podsFailed := g.Number(metrics.Gauge, "podgate_pod_certificates_failed", "Pods whose certificate was refused last.")
	srv.numbers.Sampled(g, func(put func(*metrics.Number, float64, ...string)) {
		if srv.certs == nil {
			return
		}
		status := srv.certs.Status()
		put(podsFailed, float64(status.PodProblems))
		for _, n := range status.Names {
			put(failed, oneIf(n.Problem != ""), n.Name)
			if !n.Expires.IsZero() {
				put(expires, float64(n.Expires.Unix()), n.Name)
			}
		}
	})
}

// leastToken is how many characters the token for the numbers has at least.
const leastToken = 16

// metricsHandler shows the numbers to whoever has the token of the settings, or, where
// there is none, to whoever asks on this machine by a name of it.
func (srv *server) metricsHandler() (web.Handler, error) {
	token, err := config.SecretFile(srv.settings.Metrics.TokenFile)
	if err == nil && token != "" && len(token) < leastToken {
		err = fmt.Errorf("%s should hold a token of at least %d characters, such as «openssl rand -hex 32» prints", srv.settings.Metrics.TokenFile, leastToken)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics.token_file: %w", err)
	}
	show := srv.numbers.Handler()
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := mayCount(r, token); err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		show.ServeHTTP(w, r)
		return nil
	}, nil
}

// mayCount lets a request through that has the token. Without a token the address is
// for this machine, and a page whose name leads here (DNS rebinding) is refused.
func mayCount(r *http.Request, token string) error {
	if token == "" {
		if name, ok := hostName(r.Host); !ok || !config.IsLoopback(name) {
			return web.Fault(http.StatusMisdirectedRequest, "unknown_host", "The numbers are here under the name localhost or an address of this machine only.", nil)
		}
		return nil
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
		fault := web.Fault(http.StatusUnauthorized, "unauthorized", "The numbers are for whoever has the token in the file that metrics.token_file names: send it as «Authorization: Bearer TOKEN».", nil)
		fault.Header = http.Header{"Www-Authenticate": {`Bearer realm="metrics"`}}
		return fault
	}
	return nil
}

// metricsRoutes are at the public address, where a token guards the numbers and they
// have no address of their own.
func (srv *server) metricsRoutes() ([]web.Route, error) {
	if m := srv.settings.Metrics; m.TokenFile == "" || m.Listen != "" {
		return nil, nil
	}
	h, err := srv.metricsHandler()
	return []web.Route{{Method: http.MethodGet, Path: metricsPath, Handler: h, Errors: web.WriteJSONError}}, err
}

// openMetrics says where the numbers come from, and shows them at an address of their
// own where one is configured.
func (srv *server) openMetrics(ctx context.Context) error {
	srv.sampled()
	if srv.settings.Metrics.Listen == "" {
		return nil
	}
	h, err := srv.metricsHandler()
	if err != nil {
		return err
	}
	listeners, err := srv.listenAt(ctx, srv.settings.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	stack := &web.Stack{Log: srv.log, Now: time.Now}
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, stack.Handle(h, web.WriteJSONError))
	mux.Handle("/", stack.Handle(func(http.ResponseWriter, *http.Request) error {
		return web.Fault(http.StatusNotFound, "not_found", "The numbers are at "+metricsPath+".", nil)
	}, web.WriteJSONError))
	bounds := connectionBounds(nil)
	s := srv.httpServer(mux, bounds)
	srv.serveOn(s, bounds, listeners, s.Serve)
	for _, ln := range listeners {
		srv.log.Info("numbers", "address", "http://"+ln.Addr().String()+metricsPath)
	}
	return nil
}
