package pods_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var heard strings.Builder
	p, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "nodejs", Plan: "medium", Env: map[string]string{"KEY": "secret"}},
		func(stream string, data []byte) { fmt.Fprintf(&heard, "%s: %s", stream, data) })
	if err != nil {
		t.Fatal(err)
	}
	if p.Status != "running" || p.Name != "shop" || p.Plan != "medium" || p.Region != "here" || p.Port != 3000 || p.Command != "run it" ||
		p.URL != "http://shop.localhost:8080" || p.Limits.Memory != 512<<20 || p.Team != h.ann.Team.ID {
		t.Errorf("created %+v", p)
	}
	if want := "status: starting the environment\nstatus: start the app\ninstall: working\n"; heard.String() != want {
		t.Errorf("progress %q, want %q", heard.String(), want)
	}
	got := h.script.asked[0]
	if got.Action != "start" || !got.Welcome || got.WaitMillis <= 0 || got.Spec.Preset != "nodejs" || got.Spec.Port != 3000 || got.Spec.Env["KEY"] != "secret" ||
		got.Spec.Name != "shop" || got.Spec.URL != p.URL {
		t.Errorf("the agent was told %+v %+v", got, got.Spec)
	}
}

func TestCreateRefusesBadInputAndChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) {
		c.Regions = append(c.Regions, podstest.DownRegion("down", &pods.UnavailableError{Reason: "the kernel says no", Fix: "Say yes"}))
	})
	h.fake.Lack("php")
	h.create(t, "mine")
	for name, c := range map[string]struct {
		r    pods.CreateRequest
		want error
		say  string
	}{
		"name":           {pods.CreateRequest{Name: "My_Shop", Preset: "static"}, pods.ErrInvalidName, "try my-shop"},
		"taken":          {pods.CreateRequest{Name: "mine", Preset: "static"}, pods.ErrNameTaken, "another name"},
		"preset":         {pods.CreateRequest{Name: "x", Preset: "cobol"}, pods.ErrUnknownPreset, "static, nodejs, python, php, go, command"},
		"no preset":      {pods.CreateRequest{Name: "x"}, pods.ErrUnknownPreset, "choose one of"},
		"missing preset": {pods.CreateRequest{Name: "x", Preset: "php"}, pods.ErrPresetMissing, "apt install php-cli"},
		"plan":           {pods.CreateRequest{Name: "x", Preset: "static", Plan: "huge"}, pods.ErrUnknownPlan, "small, medium, large"},
		"region":         {pods.CreateRequest{Name: "x", Preset: "static", Region: "mars"}, pods.ErrUnknownRegion, "here, down"},
		"dead region":    {pods.CreateRequest{Name: "x", Preset: "static", Region: "down"}, pods.ErrUnavailable, "the kernel says no. Say yes"},
		"env":            {pods.CreateRequest{Name: "x", Preset: "static", Env: map[string]string{"PORT": "1"}}, pods.ErrBadInput, "PORT"},
	} {
		_, err := h.Create(t.Context(), h.ann, c.r, nil)
		t.Run(name, func(t *testing.T) { wants(t, err, c.want, c.say) })
	}
	list, err := h.List(t.Context(), h.ann)
	if err != nil || len(list) != 1 || h.fake.Count("start") != 1 {
		t.Errorf("afterwards: %v %v, %d starts", list, err, h.fake.Count("start"))
	}
}

func TestCreateWhoseEnvironmentFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fake.FailStart(errors.New("/var/lib/secret/path: no such file"))
	p, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	wants(t, err, pods.ErrNotStarted, "action start", "delete")
	if strings.Contains(err.Error(), "secret") || p.Status != "failed" || p.Reason != err.Error() {
		t.Errorf("%+v\n%v", p, err)
	}
	h.fake.FailStart(nil)
	if p, err = h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" || p.Reason != "" {
		t.Errorf("started again: %+v %v", p, err)
	}
}

func TestCreateThatMakesNoSenseToKeepIsUndone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fake.FailStart(&pods.UnavailableError{Reason: "no namespaces", Fix: "Set the switch"})
	_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	wants(t, err, pods.ErrUnavailable, "no namespaces. Set the switch")

	ctx, cancel := context.WithCancel(t.Context())
	h.fake.OnStart(func(ctx context.Context, _ pods.Spec, _ func(string)) error { cancel(); <-ctx.Done(); return ctx.Err() })
	_, err = h.Create(ctx, h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	wants(t, err, context.Canceled)
	if list, err := h.db.Pods(); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v %v", list, err)
	}
	h.fake.FailStart(nil)
	h.create(t, "shop")
}

func TestQuota(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 2, Memory: 700 << 20} })
	h.create(t, "one")
	_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "big", Preset: "static", Plan: "medium"}, nil)
	wants(t, err, pods.ErrOverQuota, "256 MiB of the 700 MiB", "medium needs 512 MiB")
	h.create(t, "two")
	_, err = h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "three", Preset: "static"}, nil)
	wants(t, err, pods.ErrOverQuota, "2 pods of 2")
	if err := h.Delete(t.Context(), h.ann, "one", "one"); err != nil {
		t.Fatal(err)
	}
	h.create(t, "three")
	if _, err := h.Create(t.Context(), h.bob, pods.CreateRequest{Name: "his", Preset: "static"}, nil); err != nil {
		t.Errorf("another team: %v", err)
	}
}

func TestQuotaHoldsInParallel(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 3, Memory: 1 << 40} })
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: fmt.Sprintf("p%d", i), Preset: "static"}, nil)
			if err != nil && !errors.Is(err, pods.ErrOverQuota) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := h.List(t.Context(), h.ann); err != nil || len(list) != 3 {
		t.Errorf("%d pods, %v", len(list), err)
	}
}

// calls is every method that takes an actor and a name.
func (h *house) calls(ctx context.Context) map[string]func(authz.Actor, string) error {
	return map[string]func(authz.Actor, string) error{
		"Get":       func(a authz.Actor, n string) error { _, err := h.Get(ctx, a, n); return err },
		"Start":     func(a authz.Actor, n string) error { _, err := h.Start(ctx, a, n, nil); return err },
		"Stop":      func(a authz.Actor, n string) error { _, err := h.Stop(ctx, a, n, nil); return err },
		"Restart":   func(a authz.Actor, n string) error { _, err := h.Restart(ctx, a, n, nil); return err },
		"Reload":    func(a authz.Actor, n string) error { _, err := h.Reload(ctx, a, n, nil); return err },
		"Delete":    func(a authz.Actor, n string) error { return h.Delete(ctx, a, n, n) },
		"WriteFile": func(a authz.Actor, n string) error { _, err := h.WriteFile(ctx, a, n, "x", nil, 0); return err },
		"ReadFile":  func(a authz.Actor, n string) error { _, err := h.ReadFile(ctx, a, n, "x", 0, 0); return err },
		"ListFiles": func(a authz.Actor, n string) error { _, err := h.ListFiles(ctx, a, n, pods.ListQuery{}); return err },
		"SearchFiles": func(a authz.Actor, n string) error {
			_, err := h.SearchFiles(ctx, a, n, pods.SearchQuery{Query: "x"})
			return err
		},
		"CreateUpload": func(a authz.Actor, n string) error {
			_, err := h.CreateUpload(ctx, a, n, pods.UploadRequest{Path: "x"})
			return err
		},
		"CreateDownload": func(a authz.Actor, n string) error { _, err := h.CreateDownload(ctx, a, n, "x"); return err },
		"SetEnv": func(a authz.Actor, n string) error {
			_, err := h.SetEnv(ctx, a, n, map[string]string{"X": "x"}, nil, nil)
			return err
		},
		"Deploys":  func(a authz.Actor, n string) error { _, err := h.Deploys(a, n); return err },
		"Rollback": func(a authz.Actor, n string) error { _, err := h.Rollback(ctx, a, n, nil, nil); return err },
		"EditFile": func(a authz.Actor, n string) error { _, err := h.EditFile(ctx, a, n, "x", "x", "y", false); return err },
		"Logs":     func(a authz.Actor, n string) error { _, err := h.Logs(ctx, a, n, pods.LogQuery{}); return err },
		"Upload": func(a authz.Actor, n string) error {
			_, err := h.Upload(ctx, a, n, "x", 0, 1, strings.NewReader("x"))
			return err
		},
		"Download":   func(a authz.Actor, n string) error { _, err := h.Download(ctx, a, n, "x"); return err },
		"ExportHome": func(a authz.Actor, n string) error { _, err := h.ExportHome(ctx, a, n); return err },
		"ImportHome": func(a authz.Actor, n string) error {
			_, err := h.ImportHome(ctx, a, n, strings.NewReader(""))
			return err
		},
		"Watch":      func(a authz.Actor, n string) error { return h.Watch(ctx, a, n, nil) },
		"FollowLogs": func(a authz.Actor, n string) error { return h.FollowLogs(ctx, a, n, pods.LogQuery{}, nil) },
		"Exec": func(a authz.Actor, n string) error {
			_, err := h.Exec(ctx, a, n, pods.ExecRequest{Command: "true"}, nil)
			return err
		},
	}
}

func TestForeignAndAbsentPodsLookTheSame(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "hers")
	h.create(t, "gone")
	rec, err := h.db.PodByName("gone")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.db.SetWant(rec.ID, store.WantGone); err != nil {
		t.Fatal(err)
	}
	for method, call := range h.calls(t.Context()) {
		texts := map[string]bool{}
		for _, name := range []string{"hers", "gone", "absent", "", "NO name\x00", strings.Repeat("x", 1000)} {
			err := call(h.bob, name)
			wants(t, err, pods.ErrNotFound, "list_pods")
			if err != nil {
				texts[err.Error()] = true
			}
		}
		if len(texts) != 1 {
			t.Errorf("%s tells them apart: %v", method, texts)
		}
	}
	for method, call := range h.calls(t.Context()) {
		if err := call(h.ann, "gone"); !errors.Is(err, pods.ErrNotFound) {
			t.Errorf("%s of her own pod that is being deleted: %v", method, err)
		}
	}
	if p := h.status(t, "hers"); p.Status != "running" {
		t.Errorf("a stranger changed it: %+v", p)
	}
}

func TestPodOfAnotherTeamOfTheSameUser(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "hers")
	if err := h.db.PutMember(store.Member{Team: h.ann.Team.ID, User: h.bob.User, Role: store.RoleMember, Created: day}); err != nil {
		t.Fatal(err)
	}
	for method, call := range h.calls(t.Context()) {
		err := call(h.bob, "hers")
		if !errors.Is(err, pods.ErrNotMember) || !strings.Contains(err.Error(), "choose that team") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestScopesAreCheckedFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "hers")
	for method, call := range h.calls(t.Context()) {
		for who, a := range map[string]authz.Actor{"nobody": {}, "without scopes": {User: h.ann.User, Team: h.ann.Team, Role: h.ann.Role}} {
			var denied *authz.Denied
			if err := call(a, "hers"); !errors.As(err, &denied) {
				t.Errorf("%s by %s: %v", method, who, err)
			}
			if err := call(a, "absent"); !errors.As(err, &denied) {
				t.Errorf("%s of nothing by %s: %v", method, who, err)
			}
		}
	}
	for name, call := range map[string]func() error{
		"List":    func() error { _, err := h.List(t.Context(), authz.Actor{}); return err },
		"Presets": func() error { _, err := h.Presets(authz.Actor{}); return err },
		"Plans":   func() error { _, err := h.Plans(authz.Actor{}); return err },
		"Regions": func() error { _, err := h.Regions(authz.Actor{}); return err },
		"Create":  func() error { _, err := h.Create(t.Context(), authz.Actor{}, pods.CreateRequest{}, nil); return err },
	} {
		var denied *authz.Denied
		if err := call(); !errors.As(err, &denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStopStartRestartReload(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	if p, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "stopped" {
		t.Fatalf("stop: %+v %v", p, err)
	}
	if p, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "stopped" {
		t.Fatalf("stop again: %+v %v", p, err)
	}
	for method, call := range h.calls(t.Context()) {
		if strings.HasSuffix(method, "File") || method == "ListFiles" || method == "Exec" {
			err := call(h.ann, "shop")
			wants(t, err, pods.ErrNotRunning, "use manage_pod with action start first")
		}
	}
	if _, err := h.Logs(t.Context(), h.ann, "shop", pods.LogQuery{}); err != nil {
		t.Errorf("logs of the stopped pod: %v", err)
	}
	if p, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" {
		t.Fatalf("start: %+v %v", p, err)
	}
	if _, err := h.Restart(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Reload(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	same(t, "the agent was asked to", h.script.actions(), []string{"start", "start", "restart", "reload"})
	if rec, err := h.db.Pod(id); err != nil || rec.Want != store.WantRunning {
		t.Errorf("%+v %v", rec, err)
	}
}

func TestRestartOfAStoppedPodStartsIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	if _, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if p, err := h.Restart(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" {
		t.Errorf("%+v %v", p, err)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	now := day
	h := newHouse(t, func(c *pods.Config) { c.Now = func() time.Time { return now } })
	h.create(t, "shop")
	wants(t, h.Delete(t.Context(), h.ann, "shop", "shopp"), pods.ErrBadInput, "nothing was deleted")
	if err := h.Delete(t.Context(), h.ann, "shop", "shop"); err != nil {
		t.Fatal(err)
	}
	wants(t, h.Delete(t.Context(), h.ann, "shop", "shop"), pods.ErrNotFound)
	_, err := h.Create(t.Context(), h.bob, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	wants(t, err, pods.ErrNameTaken)
	now = now.Add(pods.Reserved)
	if _, err := h.Create(t.Context(), h.bob, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err != nil {
		t.Errorf("after the reservation: %v", err)
	}
}

func TestDeleteThatTheRuntimeResistsIsFinishedLater(t *testing.T) {
	t.Parallel()
	now := day
	h := newHouse(t, func(c *pods.Config) { c.Now = func() time.Time { return now } })
	h.SetPurgePause(0)
	id := h.create(t, "shop").ID
	h.fake.FailStop(errors.New("busy"))
	if err := h.Delete(t.Context(), h.ann, "shop", "shop"); err != nil {
		t.Fatal(err)
	}
	_, err := h.Get(t.Context(), h.ann, "shop")
	wants(t, err, pods.ErrNotFound)
	h.fake.FailStop(nil)
	h.reconcile(t)
	if st, err := h.fake.Status(t.Context(), id); err != nil || st.Running {
		t.Errorf("the deleted pod is %+v, %v", st, err)
	}
	now = now.Add(pods.Reserved - time.Second)
	h.fake.FailRemove(errors.New("busy"))
	for range 2 {
		h.reconcile(t)
		if rec, err := h.db.Pod(id); err != nil || rec.Deleted.IsZero() {
			t.Errorf("the record: %+v, %v", rec, err)
		}
		now = now.Add(time.Second)
	}
	h.fake.FailRemove(nil)
	h.reconcile(t)
	if _, err := h.db.Pod(id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record is still there: %v", err)
	}
	h.create(t, "shop")
}

func TestStopAndDeleteInterruptAReload(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*house) error{
		"stop":   func(h *house) error { _, err := h.Stop(t.Context(), h.ann, "shop", nil); return err },
		"delete": func(h *house) error { return h.Delete(t.Context(), h.ann, "shop", "shop") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.create(t, "shop")
			h.script.set(func(s *script) { s.hold = make(chan struct{}) })
			reloaded := make(chan error, 1)
			go func() { _, err := h.Reload(t.Context(), h.ann, "shop", nil); reloaded <- err }()
			<-h.script.held
			if p := h.status(t, "shop"); p.Status != "starting" {
				t.Errorf("meanwhile %+v", p)
			}
			if err := end(h); err != nil {
				t.Fatal(err)
			}
			wants(t, <-reloaded, pods.ErrInterrupted)
		})
	}
}

func TestOperationsOnOnePodTakeTurns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	hold := make(chan struct{})
	h.script.set(func(s *script) { s.hold = hold })
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := h.Restart(t.Context(), h.ann, "shop", nil); err != nil {
				t.Error(err)
			}
		})
	}
	<-h.script.held
	select {
	case <-h.script.held:
		t.Error("two operations at a time")
	default:
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Restart(ctx, h.ann, "shop", nil)
	wants(t, err, context.Canceled)
	close(hold)
	wg.Wait()
}

func TestAppThatFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	tail := []wire.LogLine{{Source: "app", Stream: "stderr", Text: "Cannot find module"}}
	for app, want := range map[string]string{wire.AppFailed: "failed", wire.AppWaiting: "failing", wire.AppStarting: "starting", wire.AppRunning: "running", "king": "failed"} {
		h.script.set(func(s *script) { s.state = wire.State{App: app, Reason: "because", Tail: tail} })
		if p := h.status(t, "shop"); p.Status != want || len(p.Tail) != 1 || app != "king" && p.Reason != "because" {
			t.Errorf("%s: %+v, want %s", app, p, want)
		}
	}
	for deaths, want := range map[int]string{-1: "running", 0: "running", 2: "running", 3: "failing"} {
		h.script.set(func(s *script) { s.state = wire.State{App: wire.AppRunning, Deaths: deaths} })
		if p := h.status(t, "shop"); p.Status != want {
			t.Errorf("after %d deaths: %s, want %s", deaths, p.Status, want)
		}
	}
	h.script.set(func(s *script) { s.state = wire.State{App: wire.AppStarting, Deaths: 1} })
	if p := h.status(t, "shop"); p.Status != "failing" {
		t.Errorf("the next try: %s", p.Status)
	}
	h.script.set(func(s *script) {
		s.fault = &wire.Fault{Code: wire.FaultFailed, Message: "npm ci\x1b[31m failed"}
	})
	_, err := h.Reload(t.Context(), h.ann, "shop", nil)
	wants(t, err, pods.ErrAppFailed, "reload: npm ci[31m failed")
	if _, err := h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "true"}, nil); err != nil {
		t.Errorf("commands in a pod whose app failed: %v", err)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	h.script.set(func(s *script) {
		s.exec = func(w http.ResponseWriter, r *http.Request, req wire.ExecRequest) {
			switch req.Command {
			case "slow":
				send(w, wire.Event{Stream: "stdout", Data: []byte("so far")})
				send(w, wire.Event{Exit: &wire.Exit{Code: 137, Signal: "SIGKILL", TimedOut: true}})
			case "refused":
				send(w, wire.Event{Fault: &wire.Fault{Code: wire.FaultPath, Message: "no such folder"}})
			case "dies":
				send(w, wire.Event{Stream: "stdout", Data: []byte("so")})
				panic(http.ErrAbortHandler)
			default:
				send(w, wire.Event{Stream: "stderr", Data: fmt.Appendf(nil, "%d %d %s", req.TimeoutMillis, req.MaxOutput, req.Dir)})
				send(w, wire.Event{Exit: &wire.Exit{Code: 2}})
			}
		}
	})
	out, err := h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "x", Dir: "sub"}, nil)
	if err != nil || out.Code != 2 || string(out.Stderr) != fmt.Sprintf("60000 %d sub", pods.MaxStream) {
		t.Errorf("%+v %v", out, err)
	}
	out, err = h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "slow", Timeout: time.Second}, nil)
	wants(t, err, pods.ErrTimedOut, "ran for 1s", "longer timeout")
	if string(out.Stdout) != "so far" {
		t.Errorf("with the timeout came %+v", out)
	}
	_, err = h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "refused"}, nil)
	wants(t, err, pods.ErrPath, "no such folder")
	_, err = h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "dies"}, nil)
	wants(t, err, pods.ErrNotAnswering, "action stop, then start")
}

func TestBadCalls(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	long := strings.Repeat("x", 200<<10)
	exec := func(r pods.ExecRequest) error { _, err := h.Exec(t.Context(), h.ann, "shop", r, nil); return err }
	write := func(path string, content []byte, mode uint32) error {
		_, err := h.WriteFile(t.Context(), h.ann, "shop", path, content, mode)
		return err
	}
	read := func(path string, offset, limit int64) error {
		_, err := h.ReadFile(t.Context(), h.ann, "shop", path, offset, limit)
		return err
	}
	logs := func(q pods.LogQuery) error { _, err := h.Logs(t.Context(), h.ann, "shop", q); return err }
	for name, c := range map[string]struct{ got, want error }{
		"no command":         {exec(pods.ExecRequest{Command: " \n"}), pods.ErrBadInput},
		"long command":       {exec(pods.ExecRequest{Command: long}), pods.ErrBadInput},
		"NUL in a command":   {exec(pods.ExecRequest{Command: "a\x00b"}), pods.ErrBadInput},
		"long timeout":       {exec(pods.ExecRequest{Command: "x", Timeout: wire.MaxExecTimeout + 1}), pods.ErrBadInput},
		"negative timeout":   {exec(pods.ExecRequest{Command: "x", Timeout: -1}), pods.ErrBadInput},
		"much output":        {exec(pods.ExecRequest{Command: "x", MaxOutput: 1 << 30}), pods.ErrBadInput},
		"much input":         {exec(pods.ExecRequest{Command: "x", Stdin: make([]byte, 2<<20)}), pods.ErrBadInput},
		"NUL in a folder":    {exec(pods.ExecRequest{Command: "x", Dir: "a\x00"}), pods.ErrPath},
		"no path":            {write("", nil, 0), pods.ErrPath},
		"long path":          {write(long, nil, 0), pods.ErrPath},
		"path of no text":    {read("\xff", 0, 0), pods.ErrPath},
		"setuid":             {write("x", nil, 0o4755), pods.ErrBadInput},
		"big file":           {write("x", make([]byte, wire.MaxFile+1), 0), pods.ErrTooLarge},
		"negative offset":    {read("x", -1, 0), pods.ErrBadInput},
		"huge limit":         {read("x", 0, wire.MaxRead+1), pods.ErrBadInput},
		"many lines":         {logs(pods.LogQuery{Lines: wire.MaxLines + 1}), pods.ErrBadInput},
		"negative lines":     {logs(pods.LogQuery{Lines: -1}), pods.ErrBadInput},
		"source of nowhere":  {logs(pods.LogQuery{Source: "kernel"}), pods.ErrBadInput},
		"endless expression": {logs(pods.LogQuery{Grep: long}), pods.ErrBadInput},
	} {
		t.Run(name, func(t *testing.T) { wants(t, c.got, c.want) })
	}
}

func TestWritesStayWithinThePlan(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) {
		c.Plans = []pods.Plan{{Name: "tiny", Limits: pods.Limits{Memory: 1, CPUs: 1, Disk: 3 << 20, Processes: 1}}}
	})
	h.create(t, "shop")
	h.script.set(func(s *script) { s.usage.Disk = 1 << 20 })
	write := func(name string) error {
		_, err := h.WriteFile(t.Context(), h.ann, "shop", name, make([]byte, 1<<20), 0)
		return err
	}
	if err := errors.Join(write("a"), write("b")); err != nil {
		t.Fatal(err)
	}
	wants(t, write("c"), pods.ErrOverPlan, "3 MiB of the 3 MiB", "delete files first")
	h.script.set(func(s *script) { s.usage.Disk = 1<<20 + 1 }) // measured again: something was deleted
	if err := write("c"); err != nil {
		t.Error(err)
	}
	if _, there := h.script.files["c"]; !there {
		t.Error("it was not written")
	}
}

// Nor may they fill the disk that homes are on, whether their size is known or not.
func TestUploadsLeaveSomeOfTheDisk(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	h.fake.SetDiskLeft(1 << 20)
	upload := func(size int64, bytesOf int) error {
		_, err := h.Upload(t.Context(), h.ann, "shop", "x", 0, size, bytes.NewReader(make([]byte, bytesOf)))
		return err
	}
	wants(t, upload(1<<20+1, 1<<20+1), pods.ErrTooLarge, "the disk of the server has room for 1 MiB more", "make room")
	if err := upload(-1, 2<<20); err == nil {
		t.Error("one of unknown size took more than there is")
	}
	if err := upload(1<<20, 1<<20); err != nil {
		t.Error(err)
	}
	h.fake.SetDiskLeft(0)
	if err := upload(2<<20, 2<<20); err != nil {
		t.Errorf("where it is not known how much is left: %v", err)
	}
}

// Uploads under way count with what they still bring, and one of unknown size
// with what has come; who breaks off takes back the rest.
func TestUploadsStayWithinThePlan(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) {
		c.Plans = []pods.Plan{{Name: "tiny", Limits: pods.Limits{Memory: 1, CPUs: 1, Disk: 3 << 20, Processes: 1}}}
	})
	h.create(t, "shop")
	h.script.set(func(s *script) { s.usage.Disk = 1 << 20 })
	upload := func(size int64, r io.Reader) error {
		_, err := h.Upload(t.Context(), h.ann, "shop", "x", 0, size, r)
		return err
	}
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- upload(1<<20+1, r) }()
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	wants(t, upload(1<<20, bytes.NewReader(make([]byte, 1<<20))), pods.ErrOverPlan)
	wants(t, upload(-1, bytes.NewReader(make([]byte, 1<<20))), pods.ErrOverPlan)
	gone := errors.New("gone")
	_ = w.CloseWithError(gone)
	if err := <-first; !errors.Is(err, gone) {
		t.Errorf("a source that broke off: %v", err)
	}
	h.script.set(func(s *script) { s.usage.Disk++ }) // measured again
	if err := upload(-1, bytes.NewReader(make([]byte, 1<<20))); err != nil {
		t.Error(err)
	}
}

// A stream ends soon after the one who reads it may not any more.
func TestFollowingEndsWithTheRight(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "hers")
	if err := h.db.PutMember(store.Member{Team: h.ann.Team.ID, User: h.bob.User, Role: store.RoleMember, Created: day}); err != nil {
		t.Fatal(err)
	}
	bob := authz.Person(h.bob.User, store.Membership{Team: h.ann.Team, Role: store.RoleMember})
	h.script.set(func(s *script) { s.follow = make(chan wire.Event, 1) })
	h.script.follow <- wire.Event{State: &wire.State{App: wire.AppRunning}}
	seen, ended := make(chan pods.Pod, 1), make(chan error, 1)
	go func() {
		ended <- h.Watch(t.Context(), bob, "hers", func(p pods.Pod) error { seen <- p; return nil })
	}()
	if p := <-seen; p.Status != "running" || p.Name != "hers" {
		t.Errorf("%+v", p)
	}
	if _, err := h.db.RemoveMember(h.ann.Team.ID, h.bob.User); err != nil {
		t.Fatal(err)
	}
	wants(t, <-ended, pods.ErrNotFound)
}

func TestNewReportsEveryFaultOfTheConfiguration(t *testing.T) {
	t.Parallel()
	_, err := pods.New(pods.Config{
		Regions: []pods.Region{{Name: "UP"}, podstest.DownRegion("a", nil), podstest.DownRegion("a", nil)},
		Plans:   []pods.Plan{{Name: "free"}}, Quota: pods.Quota{Pods: -1},
	})
	for _, want := range []string{"no store", `"UP": names`, `"UP" cannot be opened`, `"a": names`, `"free"`, "quota"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	if _, err := pods.New(pods.Config{}); err == nil || !strings.Contains(err.Error(), "no region") {
		t.Errorf("no region: %v", err)
	}
}
