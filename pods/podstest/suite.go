package podstest

import (
	"context"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
	"podgate/store/storetest"
)

// Subject is a runtime under test, with what it can do. The suite proves that it can,
// and that pods say so of what it cannot.
type Subject struct {
	// Open returns a runtime for one test. It is closed with t, also when the test
	// closed it already.
	Open func(t testing.TB) pods.Runtime
	Kill Kill
	// Limits are those that its pods are held to, of LimitMemory and the others. nil: none.
	Limits func(r pods.Runtime) []string
	// NoNetwork: its pods have no way out.
	NoNetwork bool
}

func (s Subject) limits(r pods.Runtime) []string {
	if s.Limits == nil {
		return nil
	}
	return s.Limits(r)
}

// Run proves that a runtime keeps the contract. Each subtest opens its own.
func Run(t *testing.T, s Subject) {
	for name, test := range map[string]func(*testing.T, pods.Runtime){
		"Lifecycle": testLifecycle,
		"Unknown":   testUnknown,
		"Gone":      testFilesGone,
		"Cancel":    testCancelledStart,
		"Cancelled": testCancelled,
		"Home":      testHome,
		"Parallel":  testParallelStart,
		"Apart":     testPodsApart,
		"Close":     testClose,
		"Exec":      testExec,
		"ExecKills": testExecKills,
		"ExecMany":  testExecMany,
		"Jobs":      testJobs,
		"JobsEnd":   testJobsEnd,
		"Env":       testEnv,
		"SetEnv":    testSetEnv,
		"Files":     testFiles,
		"Paths":     testPaths,
		"Special":   testSpecialFiles,
		"List":      testListFiles,
		"Walk":      testWalkFiles,
		"Search":    testSearchFiles,
		"Edit":      testEditFile,
		"Delete":    testDeleteFile,
		"Move":      testMoveFile,
		"Deploy":    testDeploy,
		"Rollback":  testRollback,
		"Sources":   testDeploySources,
		"Refused":   testDeployRefused,
		"Later":     testDeployLater,
		"DeployJob": testDeployJobs,
		"Workers":   testDeployBeside,
		"Static":    testStatic,
		"Logs":      testLogs,
		"App":       testApp,
		"Beside":    testBeside,
		"EndsAll":   testEndsAll,
		"Upload":    testUpload,
		"Unpack":    testUnpack,
		"Download":  testDownload,
		"Transfer":  testTransfer,
		"MoveHome":  testMoveHome,
		"Follow":    testFollow,
		"Progress":  testProgress,
		"Terminal":  testTerminal,
		"Terminals": testTerminals,
		"Plan":      testPlan,
		"Flood":     testFlood,
		"Snapshots": testSnapshots,
		"Clones":    testClones,
		"Undelete":  testUndelete,
		"Lists":     func(t *testing.T, r pods.Runtime) { testLists(t, r, s.Kill) },
		"Ended":     func(t *testing.T, r pods.Runtime) { testEnded(t, r, s.Kill) },
		"Cut":       func(t *testing.T, r pods.Runtime) { testDeployCut(t, r, s.Kill) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s.Open(t))
		})
	}
	for name, test := range map[string]func(*testing.T, Subject){"Limits": testLimits, "Network": testNetwork} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// Kill ends a pod as its engine or kernel may, without a word to the runtime.
type Kill func(t testing.TB, r pods.Runtime, id store.PodID)

// RunReopened proves what a restart of the server must not lose. open returns
// a runtime that keeps its pods under dir, and is called again with the same
// folder once the first is closed or detached. Whoever opens sees to it that all
// pods end with t.
func RunReopened(t *testing.T, open func(t testing.TB, dir string) pods.Runtime) {
	for name, test := range map[string]func(*testing.T, func() pods.Runtime){
		"Detach":    testDetach,
		"Reconcile": testReconcile,
		"Remains":   testNothingRemains,
		"Cut":       testDeployServerCut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test(t, func() pods.Runtime { return open(t, dir) })
		})
	}
}

// patience is how long the suite polls for something that should happen soon.
const patience = 20 * time.Second

// bench is a service over the runtime under test, with one actor.
type bench struct {
	*pods.Service
	t       *testing.T
	db      *store.DB
	actor   authz.Actor
	runtime pods.Runtime
}

func newBench(t *testing.T, r pods.Runtime, change ...func(*pods.Config)) *bench {
	t.Helper()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	return &bench{
		Service: ServiceOver(t, db, r, change...), t: t, db: db, runtime: r,
		actor: authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner}),
	}
}

// create makes a pod or ends the test.
func (b *bench) create(name, preset string, env map[string]string) pods.Pod {
	b.t.Helper()
	p, err := b.Create(b.t.Context(), b.actor, pods.CreateRequest{Name: name, Preset: preset, Env: env}, nil)
	if err != nil {
		b.t.Fatalf("create %s: %v", name, err)
	}
	return p
}

// run runs a command in a pod; an error ends the test.
func (b *bench) run(pod, command string) pods.ExecResult {
	b.t.Helper()
	out, err := b.Exec(b.t.Context(), b.actor, pod, pods.ExecRequest{Command: command, Timeout: patience}, nil)
	if err != nil {
		b.t.Fatalf("%s: %v", command, err)
	}
	return out
}

// prints is run for a command that must end well; it returns its output.
func (b *bench) prints(pod, command string) string {
	b.t.Helper()
	out := b.run(pod, command)
	if out.Code != 0 {
		b.t.Errorf("%s ended with %d: %s", command, out.Code, out.Stderr)
	}
	return string(out.Stdout)
}

func (b *bench) write(pod, path, content string) {
	b.t.Helper()
	if _, err := b.WriteFile(b.t.Context(), b.actor, pod, path, []byte(content), 0); err != nil {
		b.t.Fatalf("write %s: %v", path, err)
	}
}

func (b *bench) read(pod, path string) string {
	b.t.Helper()
	part, err := b.ReadFile(b.t.Context(), b.actor, pod, path, 0, 0)
	if err != nil {
		b.t.Fatalf("read %s: %v", path, err)
	}
	return string(part.Content)
}

// until polls a condition, and ends the test when it does not come true.
func (b *bench) until(what string, holds func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			b.t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// bare is a new pod for calls to the runtime itself.
func bare() pods.Spec {
	return pods.Spec{ID: store.PodID(store.NewID()), Name: "bare", Limits: limits()}
}

func limits() pods.Limits { return pods.DefaultPlans()[0].Limits }

// quiet is a Start that nobody listens to.
func quiet(string) {}

// look asks the runtime for one pod.
func look(t *testing.T, r pods.Runtime, id store.PodID) pods.Status {
	t.Helper()
	st, err := r.Status(t.Context(), id)
	if err != nil || st.ID != id {
		t.Fatalf("status of %s: %+v, %v", id, st, err)
	}
	return st
}

// listed is a pod that must be in what the runtime lists.
func listed(t *testing.T, r pods.Runtime, id store.PodID) pods.Status {
	t.Helper()
	st, ok := status(t, r, id)
	if !ok {
		t.Errorf("%s is not listed", id)
	}
	return st
}

// status finds a pod in what the runtime lists.
func status(t *testing.T, r pods.Runtime, id store.PodID) (pods.Status, bool) {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var found []pods.Status
	for _, st := range list {
		if st.ID == id {
			found = append(found, st)
		}
	}
	switch len(found) {
	case 0:
		return pods.Status{}, false
	case 1:
		return found[0], true
	}
	t.Fatalf("listed %d times", len(found))
	return pods.Status{}, false
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
