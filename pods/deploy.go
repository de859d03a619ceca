package pods

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"strings"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

// Limits of the files that come with a deploy.
const (
	MaxDeployFiles = 5000
	maxDeployName  = 1024 // bytes
)

// unguessed is the preset of a pod that is made for an app nobody has looked at.
const unguessed = "command"

const deployWait = reloadWait

// SourceFile is a file of an app.
type SourceFile struct {
	Path    string // in the app folder
	Content []byte
}

// DeployRequest asks for an app to be made and put in place. Its source is Files, or
// Archive, or Upload, or Git.
type DeployRequest struct {
	Name    string
	Preset  string // empty: the pod's, or guessed for one that has no app yet
	Plan    string // of a new pod; of another it must be the plan that it has
	Region  string // likewise
	Files   []SourceFile
	Archive string // path in the pod of a tar or tar.gz
	Upload  string // instead of Archive the id of an upload that is through
	Git     *wire.Git
	Env     map[string]string // beside the variables that the pod has
	// Background has the call return once the deploy has begun and its files are in the
	// pod. It goes on when the caller leaves; Deploys shows how it ends.
	Background bool

	spent bool // Archive is of no more use afterwards
	fresh bool // the pod was made for it
}

// Deployment is a deploy that went live, or one that goes on in the background.
type Deployment struct {
	Pod      Pod
	Created  bool // the pod is new
	Deploy   Deploy
	Listens  bool         // it has a process of its own for visitors
	Answer   *wire.Answer // what GET / gave; nil when nothing of HTTP came back
	Lines    []string     // what the app printed last, when the answer is none or an error
	Snapshot string       // a sentence: which one has what was there before, or why there is none
}

// deployPlan is what is about to be done.
type deployPlan struct {
	record  store.Deploy
	request wire.DeployRequest
	files   []SourceFile
	spent   string // a file in the pod that is deleted afterwards; empty: none
	begun   func() // when no more is needed of the caller: its files are in the pod

	replaces bool   // files that are worth a snapshot
	snapshot string // what became of that
}

// Deploy makes an app beside the one that runs and lets it take its place when it
// answers; otherwise what ran before goes on, and the error says why, with the last
// lines. A pod that is not there is created. One that was created for a deploy that
// failed stays, with its first page.
func (s *Service) Deploy(ctx context.Context, a authz.Actor, r DeployRequest, p Progress) (Deployment, error) {
	if err := a.Allow(authz.Deploy, a.Team.ID); err != nil {
		return Deployment{}, err
	}
	files, err := r.check()
	if err != nil {
		return Deployment{}, err
	}
	if r.Upload != "" {
		if r.Archive, r.spent, err = s.UploadedFile(a, r.Name, r.Upload); err != nil {
			return Deployment{}, err
		}
	}
	rec, created, err := s.podFor(ctx, a, r, p)
	if err != nil {
		return Deployment{}, err
	}
	r.fresh = created
	plan := func(op *operation, rec store.Pod) (deployPlan, error) { return s.planDeploy(rec, r, files) }
	do := s.deployed
	if r.Background {
		do = s.deployLater
	}
	out, err := do(ctx, a, rec, plan, p)
	out.Created = created
	if err != nil && created {
		err = s.afterCreation(err, r.Name)
	}
	return out, err
}

// afterCreation adds to why a deploy failed that its pod is there.
func (s *Service) afterCreation(err error, name string) error {
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	more := *f
	more.text += fmt.Sprintf(". The pod %s was made and stays; mend the app and deploy again", name)
	return &more
}

// check refuses what cannot be deployed, and returns the files with their names made
// plain.
func (r *DeployRequest) check() ([]SourceFile, error) {
	sources := 0
	for _, given := range []bool{len(r.Files) > 0, r.Archive != "", r.Upload != "", r.Git != nil} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return nil, refuse(ErrBadInput, "give the app as files, or as an archive or upload, or as git; exactly one of them")
	}
	if r.Preset != "" {
		if _, err := findPreset(r.Preset); err != nil {
			return nil, err
		}
	}
	if r.Git != nil {
		if err := r.Git.Check(); err != nil {
			return nil, refuse(ErrBadInput, "%v", err)
		}
	}
	if r.Archive != "" {
		return nil, checkPath(r.Archive)
	}
	if r.Upload != "" && !isText(r.Upload) {
		return nil, refuse(ErrBadInput, "the upload is no id that create_upload answered with")
	}
	if len(r.Files) > MaxDeployFiles {
		return nil, refuse(ErrBadInput, "there are %d files, at most %d are allowed; send an archive with create_upload", len(r.Files), MaxDeployFiles)
	}
	files, seen := make([]SourceFile, 0, len(r.Files)), map[string]bool{}
	for _, f := range r.Files {
		name, err := sourceName(f.Path)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, refuse(ErrBadInput, "the file %s is given twice", name)
		}
		seen[name] = true
		files = append(files, SourceFile{name, f.Content})
	}
	return files, nil
}

// sourceName is the name of a file within the app folder.
func sourceName(p string) (string, error) {
	name := path.Clean(strings.TrimPrefix(p, "/home/pod/app/"))
	if !isText(p) || len(p) > maxDeployName || !filepath.IsLocal(name) || name == "." || strings.HasSuffix(p, "/") {
		return "", refuse(ErrPath, "%q is no name of a file in the app folder; names are relative to it, such as index.html or src/main.js", text.Short(p, maxSnippet))
	}
	return name, nil
}

// podFor finds the pod of a deploy, or makes it.
func (s *Service) podFor(ctx context.Context, a authz.Actor, r DeployRequest, p Progress) (rec store.Pod, created bool, err error) {
	rec, err = s.find(a, authz.Deploy, r.Name)
	if errors.Is(err, ErrNotFound) {
		if err := CheckName(r.Name); err != nil {
			return rec, false, err
		}
		pod, err := s.Create(ctx, a, CreateRequest{Name: r.Name, Preset: cmp.Or(r.Preset, unguessed), Plan: r.Plan, Region: r.Region, Env: r.Env}, p)
		if err != nil {
			return rec, pod.ID != "", err
		}
		rec, err = s.current(pod.ID)
		return rec, true, err
	}
	switch {
	case err != nil:
		return rec, false, err
	case r.Plan != "" && r.Plan != rec.Plan:
		return rec, false, refuse(ErrBadInput, "the pod has plan %s, which a deploy does not change; leave plan out", rec.Plan)
	case r.Region != "" && r.Region != rec.Region:
		return rec, false, refuse(ErrBadInput, "the pod is in region %s and stays there; leave region out", rec.Region)
	}
	_, err = s.envWith(rec, r.Env)
	return rec, false, err
}

// envWith is a pod's environment with more variables.
func (s *Service) envWith(rec store.Pod, more map[string]string) (map[string]string, error) {
	env := maps.Clone(rec.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, more)
	return env, checkEnv(env)
}

// planDeploy is what a request comes to for the pod as it is.
func (s *Service) planDeploy(rec store.Pod, r DeployRequest, files []SourceFile) (deployPlan, error) {
	env, err := s.envWith(rec, r.Env)
	if err != nil {
		return deployPlan{}, err
	}
	kind := r.Preset
	if kind == "" && (rec.Release != 0 || rec.Preset != unguessed) {
		kind = rec.Preset
	}
	if kind != "" && kind != rec.Preset {
		region, err := s.region(rec.Region)
		if err != nil {
			return deployPlan{}, err
		}
		known, _ := preset.Find(kind)
		if err := region.provides(known.Needs); err != nil {
			return deployPlan{}, err
		}
	}
	spec := s.spec(rec)
	spec.Preset, spec.Port, spec.Env = kind, portOf(kind), env
	spent := ""
	if r.spent {
		spent = r.Archive
	}
	return deployPlan{
		spent:   spent,
		record:  store.Deploy{Action: "deploy", Source: r.source(), Release: -1},
		request: wire.DeployRequest{Spec: *spec, Git: r.Git, Archive: r.Archive},
		files:   files,

		replaces: !r.fresh,
	}, nil
}

// source says what is deployed, for a person.
func (r *DeployRequest) source() string {
	switch {
	case r.Git != nil && r.Git.Ref != "":
		return text.Line("git "+r.Git.URL+" "+r.Git.Ref, maxReason)
	case r.Git != nil:
		return text.Line("git "+r.Git.URL, maxReason)
	case r.Upload != "":
		return text.Line("upload "+r.Archive, maxReason)
	case r.Archive != "":
		return text.Line("archive "+r.Archive, maxReason)
	case len(r.Files) == 1:
		return "1 file"
	}
	return fmt.Sprintf("%d files", len(r.Files))
}
