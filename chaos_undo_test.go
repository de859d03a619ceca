package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"podgate/control"
)

// chaosUndo is an assistant that takes snapshots of a pod, goes back to them, clones it
// and deletes it, and the person at the server's machine who brings it back. All files of
// the pod have the same word at any time.
type chaosUndo struct {
	*chaosPods
	state string            // there, deleted or none; empty: in doubt
	words int               // so far
	held  []string          // what the files may have: one of these
	kept  map[string]string // snapshots that were acknowledged, by id, with their word
	twin  string            // a clone that may be there
	twins int               // so far
	did   map[string]int    // what was answered
}

const (
	undoPod   = "undo"
	undoFiles = 40 // beside the page
	undoKept  = 4  // snapshots at a time

	firstPage = "the page of a pod that nothing was deployed to" // as a word
)

func newChaosUndo(a chaosActor) *chaosUndo {
	return &chaosUndo{chaosPods: newChaosPods(a), state: "none", kept: map[string]string{}, did: map[string]int{}}
}

// ask is that of chaosPods, and counts.
func (a *chaosUndo) ask(tool string, with args) map[string]any {
	answer := a.chaosPods.ask(tool, with)
	a.did[tool]++
	return answer
}

func (a *chaosUndo) step() {
	switch {
	case len(a.live) == 0:
		a.register()
		return
	case a.live[0].Access == "":
		a.connect(a.live[0])
		a.redeem(a.live[0])
		return
	case a.state == "none":
		a.held = []string{firstPage}
		a.becomesPod("", "there", "create_pod", args{"name": undoPod, "preset": "static"})
		a.replace()
		return
	case a.state == "deleted":
		a.state = ""
		a.commands("undelete", undoPod)
		a.state = "there"
		return
	}
	ids := slices.Sorted(maps.Keys(a.kept))
	switch dice := a.rng.IntN(12); {
	case dice == 0:
		a.becomesPod("", "deleted", "manage_pod", args{"name": undoPod, "action": "delete", "confirm": undoPod})
	case dice == 1:
		a.clone()
	case dice < 4:
		a.replace()
	case len(ids) == undoKept:
		id := ids[a.rng.IntN(len(ids))]
		delete(a.kept, id)
		a.ask("delete_snapshot", args{"name": undoPod, "snapshot": id})
	case dice < 7:
		word := a.look(undoPod)
		id, _ := a.ask("snapshot_pod", args{"name": undoPod})["id"].(string)
		a.kept[id] = word
	case dice < 10 && len(ids) > 0:
		id := ids[a.rng.IntN(len(ids))]
		before := a.held
		a.held = append(slices.Clone(before), a.kept[id])
		a.ask("restore_snapshot", args{"name": undoPod, "snapshot": id})
		a.held = []string{a.kept[id]}
	default:
		a.look(undoPod)
	}
}

// becomesPod calls a tool, until the answer of which the pod is in one state, and in the
// other from then on.
func (a *chaosUndo) becomesPod(until, then, tool string, with args) {
	a.state = until
	a.ask(tool, with)
	a.state = then
}

// replace deploys another word.
func (a *chaosUndo) replace() {
	a.words++
	word := fmt.Sprint("word-", a.words)
	files := args{"index.html": word + "\n"}
	for i := range undoFiles {
		files[fmt.Sprintf("file-%d", i)] = word + strings.Repeat(" ", 3000) + "\n"
	}
	before := a.held
	a.held = append(slices.Clone(before), word)
	a.ask("deploy", args{"name": undoPod, "files": files})
	if a.held = []string{word}; a.loses {
		a.held = append(a.held, before...)
	}
}

// look returns the one word of a pod that runs.
func (a *chaosUndo) look(name string) string {
	may := a.held
	answer := a.ask("exec_command", args{"name": name, "command": "cat file-* index.html | tr -d ' ' | sort | uniq -c"})
	out, _ := answer["stdout"].(string)
	word := firstPage
	if fields := strings.Fields(out); len(fields) == 2 && fields[0] == fmt.Sprint(undoFiles+1) {
		word = fields[1]
	} else if strings.Contains(out, "word-") || !strings.Contains(out, "html") {
		word = "something else"
	}
	if !slices.Contains(may, word) {
		a.Errorf("%s has %q, want all of one of %q: %v", name, out, may, answer)
	}
	if !a.loses { // else the disk may have what was there before
		a.held = []string{word}
	}
	return word
}

// clone makes a copy of the pod, looks at it, and ends it.
func (a *chaosUndo) clone() {
	a.look(undoPod)
	a.twins++
	a.twin = fmt.Sprint("twin-", a.twins)
	a.ask("clone_pod", args{"name": undoPod, "new_name": a.twin})
	a.endTwin()
}

// endTwin holds the clone, which runs, against the pod that it is of.
func (a *chaosUndo) endTwin() {
	a.look(a.twin)
	a.ask("manage_pod", args{"name": a.twin, "action": "delete", "confirm": a.twin})
	a.commands("undelete", a.twin, "--for-good", "--yes")
	a.twin = ""
}

// commands gives a command about pods on the server's machine.
func (a *chaosUndo) commands(words ...string) string {
	code, out, errs := a.srv.command(append([]string{"pod"}, words...)...)
	if code != exitDone {
		panic(cutOff{errors.New(errs)})
	}
	a.did[words[0]]++
	return out
}

func (a *chaosUndo) verify() {
	a.chaosApps.verify()
	if len(a.live) == 0 || a.live[0].Access == "" {
		return
	}
	switch is, want := a.where(), a.state; {
	case want == "":
		a.state = is
	case is != want:
		a.Errorf("the pod is %s, want %s", is, want)
	}
	switch a.state {
	case "none":
		a.held, a.kept = nil, map[string]string{}
	case "there":
		a.runs(undoPod)
		a.look(undoPod)
		a.listed()
	}
	if a.twin == "" {
		return
	}
	if a.runs(a.twin) {
		a.endTwin()
	}
	a.twin = ""
}

// where is what the server says of the pod.
func (a *chaosUndo) where() string {
	if _, ok := a.statuses()[undoPod]; ok {
		return "there"
	}
	var deleted []control.DeletedPod
	if err := json.Unmarshal([]byte(a.commands("undelete", "--json")), &deleted); err != nil {
		a.Error(err)
	}
	if slices.ContainsFunc(deleted, func(p control.DeletedPod) bool { return p.Name == undoPod }) {
		return "deleted"
	}
	return "none"
}

// runs waits until a pod runs, and answers, or is gone.
func (a *chaosUndo) runs(name string) (there bool) {
	status := ""
	eventually(chaosTB{a.chaos}, func() bool {
		status = a.statuses()[name]
		if status == "stopped" { // it was brought back or cloned and cut off before its start
			a.ask("manage_pod", args{"name": name, "action": "start"})
		}
		return status == "" || status == "running"
	})
	return status != ""
}

// listed holds the snapshots that there are against those that were acknowledged. Of
// others that were asked for nobody knows what they are of, or they were to go.
func (a *chaosUndo) listed() {
	list, _ := a.ask("list_snapshots", args{"name": undoPod})["snapshots"].([]any)
	found := map[string]bool{}
	for _, s := range list {
		snapshot, _ := s.(map[string]any)
		id, _ := snapshot["id"].(string)
		found[id] = true
		if _, ours := a.kept[id]; snapshot["why"] == "manual" && !ours {
			a.ask("delete_snapshot", args{"name": undoPod, "snapshot": id})
		}
	}
	for id := range a.kept {
		if !found[id] {
			a.Errorf("the snapshot %s is lost: %v", id, list)
		}
	}
}

func (a *chaosUndo) finish() {
	if a.state == "there" {
		a.becomesPod("", "deleted", "manage_pod", args{"name": undoPod, "action": "delete", "confirm": undoPod})
	}
	a.chaosApps.finish()
	a.Logf("what was answered about undo: %v", a.did)
}
