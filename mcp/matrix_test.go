package mcp_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/store"
	"podgate/store/storetest"
)

// callers are those whose connections call every tool, by what they are to the team of
// the pod shop.
var callers = []string{"owner", "member", "viewer", "read-only", "foreign", "removed"}

// What a call comes to.
const (
	works    = "it works"
	looksOn  = "only looks in this team (viewer)"
	readOnly = "this connection is read-only"
	absent   = "pod not found: "
	taken    = "name is taken: " // addresses are everybody's to see
	outside  = "401"             // before any tool
)

// rights are what every tool answers the callers, in their order.
var rights = map[string][6]string{
	"list_presets":    {works, works, works, works, works, outside},
	"list_plans":      {works, works, works, works, works, outside},
	"list_regions":    {works, works, works, works, works, outside},
	"list_pods":       {works, works, works, works, works, outside},
	"create_pod":      {works, works, looksOn, readOnly, works, outside},
	"get_pod":         reads,
	"list_files":      reads,
	"read_file":       reads,
	"search_files":    reads,
	"create_download": reads,
	"get_logs":        reads,
	"list_jobs":       reads,
	"get_job":         reads,
	"list_deploys":    reads,
	"manage_pod":      changes,
	"set_env":         changes,
	"write_file":      changes,
	"edit_file":       changes,
	"delete_file":     changes,
	"move_file":       changes,
	"create_upload":   changes,
	"deploy":          {works, works, looksOn, readOnly, taken, outside}, // it makes what is not there
	"rollback":        changes,
	"exec_command":    changes,
	"stop_job":        changes,

	"list_snapshots": reads, "snapshot_pod": changes, "restore_snapshot": changes, "delete_snapshot": changes, "resize_pod": changes, "clone_pod": changes,
}

var (
	reads   = [6]string{works, works, works, works, absent, outside}
	changes = [6]string{works, works, looksOn, readOnly, absent, outside}
)

// secretOfTeam is in a file and in an environment variable's name.
const secretOfTeam = "KEPT_BY_THE_TEAM"

// matrixWorld has the pod shop of ann's team and a connection of each caller, with all
// scopes.
type matrixWorld struct {
	*guarded
	owner    authz.Actor
	job      string
	snapshot string
	tokens   map[string]string
}

func newMatrixWorld(t *testing.T) *matrixWorld {
	w := &matrixWorld{guarded: newGuarded(t), tokens: map[string]string{}}
	w.owner = authz.Person(w.world.User.ID, store.Membership{Team: w.world.Team, Role: store.RoleOwner})
	for _, name := range callers {
		w.arrive(name)
	}
	if _, err := w.db.RemoveMember(w.world.Team.ID, w.userOf("removed")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // so that there is one to go back to
		w.as("owner", "deploy", args{"name": "shop", "files": args{"index.html": "one"}})
	}
	w.as("owner", "set_env", args{"name": "shop", "set": args{secretOfTeam: "x"}})
	w.startJob()
	return w
}

func (w *matrixWorld) startJob() {
	started := w.as("owner", "exec_command", args{"name": "shop", "command": "echo a", "background": true})
	_, rest, _ := strings.Cut(started, `"job":"`)
	w.job, _, _ = strings.Cut(rest, `"`)
}

func (w *matrixWorld) userOf(name string) store.UserID { return store.UserID("user " + name) }

// arrive makes a person, their membership and their connection.
func (w *matrixWorld) arrive(name string) {
	w.Helper()
	role := map[string]store.Role{"owner": store.RoleOwner, "viewer": store.RoleViewer}[name]
	if role == "" {
		role = store.RoleMember
	}
	theirs := w.world
	if name == "foreign" {
		theirs = storetest.Populate(w, w.db, name, w.world.Now)
	} else {
		theirs.User = store.User{ID: w.userOf(name), Email: name + "@example.com", Name: name, Created: w.world.Now}
		if err := w.db.CreateUser(theirs.User, store.Member{Team: theirs.Team.ID, User: theirs.User.ID, Role: role, Created: w.world.Now}); err != nil {
			w.Fatal(err)
		}
	}
	code := theirs.Code(w, w.db, authz.Scopes()...)
	w.tokens[name] = fmt.Sprintf("pgat_%s%043d", code.Grant, len(w.tokens))
	code.Access = store.HashSecret(w.tokens[name])
	redeemed, err := w.db.RedeemCode(code, w.world.Now)
	if err == nil && name == "read-only" {
		_, err = w.db.LimitGrant(redeemed.Grant.ID, theirs.User.ID, authz.Scopes(), store.Limits{ReadOnly: true}, w.world.Now)
	}
	if err != nil {
		w.Fatalf("%s: %v", name, err)
	}
}

func (w *matrixWorld) as(name, tool string, with args) string {
	w.Helper()
	return w.sendAs(w.tokens[name], modern, "tools/call", args{"name": tool, "arguments": with})
}

// prepare puts in place what the tool finds.
func (w *matrixWorld) prepare(tool string) {
	w.Helper()
	for _, path := range map[string][]string{"edit_file": {"edited"}, "create_download": {"edited"}, "delete_file": {"old"}, "move_file": {"from"}}[tool] {
		if _, err := w.service.WriteFile(w.Context(), w.owner, "shop", "/home/pod/"+path, []byte("x "+secretOfTeam), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(w.folder, "home", "to")); err != nil {
		w.Fatal(err)
	}
	if examples[tool]["snapshot"] != nil {
		made, err := w.service.TakeSnapshot(w.Context(), w.owner, "shop", "", nil)
		if err != nil {
			w.Fatal(err)
		}
		w.snapshot = made.ID
	}
	if examples[tool]["job"] != nil {
		w.startJob() // what restarts the pod ends it
	}
}

// with is a call's arguments, for one caller.
func (w *matrixWorld) with(tool, caller string) args {
	with := args{}
	maps.Copy(with, examples[tool])
	if with["job"] != nil {
		with["job"] = w.job
	}
	if with["snapshot"] != nil {
		with["snapshot"] = w.snapshot
	}
	switch tool {
	case "create_pod":
		with["name"] = "shop-of-" + caller
	case "clone_pod":
		with["new_name"] = "copy-for-" + caller
	case "resize_pod":
		with["plan"] = map[string]string{"owner": "medium"}[caller]
		if caller != "owner" {
			with["plan"] = "small"
		}
	}
	return with
}

// state is all that a call could change: the pods, their files and what is to be run.
func (w *matrixWorld) state() string {
	w.Helper()
	pod, err := w.service.Get(w.Context(), w.owner, "shop")
	if err != nil {
		w.Fatal(err)
	}
	list, err := w.service.List(w.Context(), w.owner)
	if err != nil {
		w.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintln(&b, pod.Status, pod.Restarts, pod.Env, pod.Plan)
	for _, p := range list {
		fmt.Fprintln(&b, p.Name)
	}
	snapshots, err := w.service.Snapshots(w.owner, "shop")
	if err != nil {
		w.Fatal(err)
	}
	fmt.Fprintln(&b, snapshots)
	root := os.DirFS(w.folder)
	err = fs.WalkDir(root, "home", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return b.String()
}

// said reads what a call came to.
func said(answer string) string {
	status, body, _ := strings.Cut(answer, " ")
	if status != "200" {
		return status
	}
	for _, words := range []string{looksOn, readOnly, absent, taken} {
		if strings.Contains(body, words) && strings.Contains(body, `"isError":true`) {
			return words
		}
	}
	if strings.Contains(body, `"isError":true`) || strings.Contains(body, `"error":`) {
		return answer
	}
	return works
}

// Every tool answers every caller as the table says: the full product. What is refused
// changes nothing, and tells nobody what is the team's.
func TestRoleMatrixOfTools(t *testing.T) {
	t.Parallel()
	w := newMatrixWorld(t)
	for _, tool := range slices.Sorted(maps.Keys(rights)) {
		for i, caller := range callers {
			want, before := rights[tool][i], ""
			w.prepare(tool)
			if want != works {
				before = w.state()
			}
			answer := w.as(caller, tool, w.with(tool, caller))
			if got := said(answer); got != want {
				t.Errorf("%s by %s: %.600s\nwant %s", tool, caller, got, want)
			}
			if want != works && w.state() != before {
				t.Errorf("%s by %s changes\n%s\nto\n%s", tool, caller, before, w.state())
			}
			if (want != works || caller == "foreign") && strings.Contains(answer, secretOfTeam) {
				t.Errorf("%s tells %s: %s", tool, caller, answer)
			}
		}
	}
}

// Each caller's list has the tools that could work for them: viewers those that read. A
// read-only connection has all of them, because its person changes that at any time. No
// tool is without a row in the table.
func TestToolsListedByRole(t *testing.T) {
	t.Parallel()
	w := newMatrixWorld(t)
	all := slices.Sorted(maps.Keys(rights))
	looking := slices.DeleteFunc(slices.Clone(all), func(tool string) bool { return rights[tool][2] != works })
	for i, want := range [][]string{all, all, looking, all, all, nil} {
		for _, era := range eras {
			status, body, _ := strings.Cut(w.sendAs(w.tokens[callers[i]], era, "tools/list", args{}), " ")
			var answer struct {
				Result struct {
					Tools []struct{ Name string }
				}
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil && status == "200" {
				t.Fatal(err)
			}
			var got []string
			for _, tool := range answer.Result.Tools {
				got = append(got, tool.Name)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || (status == "200") != (want != nil) {
				t.Errorf("%s: %s has %s and the tools %q, want %q", era, callers[i], status, got, want)
			}
		}
	}
}
