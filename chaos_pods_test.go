package main

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// chaosPods is an assistant that makes pods, writes files into them, stops,
// starts and deletes them.
type chaosPods struct {
	chaosApps
	pods   map[string]*chaosPod
	named  int             // pods so far
	groups map[string]bool // names of cgroups that pods were in
}

// chaosPod is what was acknowledged of a pod.
type chaosPod struct {
	status string              // running, stopped or gone; empty: in doubt
	files  map[string][]string // by path what the content may be, one of these; absent for none
	// deploy is the content of both files of a deploy that got no answer and was not
	// looked at yet. Both have it or none does.
	deploy string
}

// absent is the content of a file that there is not.
const absent = "(absent)"

func newChaosPods(a chaosActor) *chaosPods {
	return &chaosPods{chaosApps: chaosApps{chaosActor: a}, pods: map[string]*chaosPod{}, groups: map[string]bool{}}
}

func (a *chaosPods) step() {
	if len(a.live) == 0 {
		a.register()
		return
	}
	if a.live[0].Access == "" {
		a.connect(a.live[0])
		a.redeem(a.live[0])
		return
	}
	names := slices.Sorted(maps.Keys(a.pods))
	if len(names) < 2 {
		a.create()
		return
	}
	name := names[a.rng.IntN(len(names))]
	pod := a.pods[name]
	switch dice := a.rng.IntN(10); {
	case dice == 0:
		a.manage(name, "delete", "gone")
	case dice == 1 && pod.status == "running":
		a.manage(name, "stop", "stopped")
	case dice == 2:
		a.deploy(name)
	case pod.status == "stopped":
		a.manage(name, "start", "running")
	case dice < 7:
		a.write(name)
	default:
		a.read(name)
	}
}

// ask calls a tool that must work.
func (a *chaosPods) ask(tool string, with args) map[string]any {
	status, answer := a.tool(a.live[0].Access, tool, with)
	if status != http.StatusOK || answer.Result.IsError {
		a.Errorf("%s %v: %d %v", tool, with, status, answer)
	}
	return answer.Result.StructuredContent
}

func (a *chaosPods) create() {
	a.named++
	name := fmt.Sprint("pod-", a.named)
	pod := &chaosPod{files: map[string][]string{}}
	a.pods[name] = pod
	a.ask("create_pod", args{"name": name, "preset": "static"})
	pod.status = "running"
}

// manage does something with a pod, which then is as the answer says.
func (a *chaosPods) manage(name, action, becomes string) {
	pod := a.pods[name]
	pod.status = ""
	with := args{"name": name, "action": action}
	if action == "delete" {
		with["confirm"] = name
	}
	a.ask("manage_pod", with)
	pod.status = becomes
	if becomes == "gone" {
		delete(a.pods, name)
	}
}

func (a *chaosPods) write(name string) {
	path, content := fmt.Sprintf("file-%d", a.rng.IntN(3)), strings.Repeat(fmt.Sprintln(a.rng.Uint64()), a.rng.IntN(2000)+1)
	files := a.pods[name].files
	a.pods[name].deploy = ""
	if files[path] == nil {
		files[path] = []string{absent}
	}
	files[path] = append(files[path], content)
	a.ask("write_file", args{"name": name, "path": path, "content": content})
	a.has(name, path, content)
}

// deploy replaces the app of a pod, which runs then.
func (a *chaosPods) deploy(name string) {
	pod := a.pods[name]
	content := fmt.Sprintln("deploy", a.rng.Uint64())
	after := map[string]string{"file-0": content, "file-1": content, "file-2": absent}
	for path, becomes := range after {
		if pod.files[path] == nil {
			pod.files[path] = []string{absent}
		}
		pod.files[path] = append(pod.files[path], becomes)
	}
	pod.status, pod.deploy = "", content
	a.ask("deploy", args{"name": name, "files": args{"index.html": "chaos", "file-0": content, "file-1": content}})
	for path, becomes := range after {
		a.has(name, path, becomes)
	}
	pod.status, pod.deploy = "running", ""
}

// has notes what a file now is. Where the end of the server may undo it, it may also be
// what it was before.
func (a *chaosPods) has(name, path, content string) {
	files := a.pods[name].files
	if !a.loses {
		files[path] = nil
	}
	files[path] = append(files[path], content)
}

// read holds the files of a running pod against what they may contain.
func (a *chaosPods) read(name string) {
	files := a.pods[name].files
	deployed := 0
	for path, may := range files {
		status, answer := a.tool(a.live[0].Access, "read_file", args{"name": name, "path": path})
		content := absent
		if !answer.Result.IsError {
			content, _ = answer.Result.StructuredContent["content"].(string)
		}
		if status != http.StatusOK || !slices.Contains(may, content) {
			a.Errorf("%s in %s: %d, %d bytes that were never written there: %.100v", path, name, status, len(content), answer.Result.Content)
		}
		a.has(name, path, content)
		if content == a.pods[name].deploy {
			deployed++
		}
	}
	if deployed == 1 {
		a.Errorf("half of a deploy of %s is there", name)
	}
	a.pods[name].deploy = ""
}

func (a *chaosPods) verify() {
	a.chaosApps.verify()
	if len(a.live) == 0 || a.live[0].Access == "" {
		return
	}
	statuses := a.statuses()
	for name, pod := range a.pods {
		if pod.status == "" {
			a.settle(name, statuses[name])
		} else {
			a.becomes(name, pod.status)
		}
	}
	for name := range statuses {
		if a.pods[name] == nil {
			a.Errorf("%s is there after its acknowledged end", name)
		}
	}
	for name, pod := range a.pods {
		if pod.status == "running" {
			a.read(name)
		}
	}
	for _, p := range a.processes() {
		for _, name := range podGroup.FindAllString(p.groups, -1) {
			a.groups[name] = true
		}
	}
}

// podGroup is the part of a cgroup's name that is the server's own.
var podGroup = regexp.MustCompile(`podgate-[0-9a-f]+`)

// settle finds out what became of a pod whose last change got no answer: it is
// gone, or it runs or stands as any other.
func (a *chaosPods) settle(name, status string) {
	if status == "" {
		delete(a.pods, name)
		return
	}
	a.becomes(name, "running", "stopped")
}

// becomes waits until a pod has one of the statuses.
func (a *chaosPods) becomes(name string, want ...string) {
	eventually(chaosTB{a.chaos}, func() bool {
		status := a.statuses()[name]
		if status == "failed" || status == "" {
			panic(cutOff{fmt.Errorf("%s is %q, want one of %q: %v", name, status, want, a.ask("get_pod", args{"name": name}))})
		}
		a.pods[name].status = status
		return slices.Contains(want, status)
	})
}

// statuses is what the server says of each pod.
func (a *chaosPods) statuses() map[string]string {
	all := map[string]string{}
	list, _ := a.ask("list_pods", args{})["pods"].([]any)
	for _, p := range list {
		pod, _ := p.(map[string]any)
		name, _ := pod["name"].(string)
		all[name], _ = pod["status"].(string)
	}
	return all
}

func (a *chaosPods) finish() {
	for name := range a.pods {
		a.manage(name, "delete", "gone")
	}
	a.chaosApps.finish()
	// The server is asked to stop after this, and takes them away.
	a.Cleanup(func() {
		for _, path := range cgroups(a.groups) {
			a.Errorf("a cgroup is left: %s", path)
		}
	})
}

// cgroups are the folders of the groups with these names.
func cgroups(names map[string]bool) (found []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && names[d.Name()] {
			found = append(found, path)
		}
		return nil // other groups come and go
	})
	return found
}

// podProcess is one that sees the data folder: it was given its name, or has a part
// of it mounted.
type podProcess struct{ command, groups string }

// processes are the podgate that runs and all that runs in its pods.
func (c *chaos) processes() (found []podProcess) {
	all, _ := filepath.Glob("/proc/[0-9]*") // none on other systems
	for _, dir := range all {
		read := func(name string) string {
			raw, _ := os.ReadFile(filepath.Join(dir, name)) // it may just end
			return string(raw)
		}
		p := podProcess{command: strings.ReplaceAll(read("cmdline"), "\x00", " "), groups: read("cgroup")}
		if strings.Contains(p.command+read("mountinfo"), c.dir) && dir != fmt.Sprint("/proc/", os.Getpid()) {
			found = append(found, p)
		}
	}
	return found
}
