package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"podgate/backup"
	"podgate/control"
	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

// podFiles makes files of the server's pods, and pods of files.
type podFiles struct{ *server }

// ExportPod implements control.PodFiles.
func (f podFiles) ExportPod(ctx context.Context, w io.Writer, name string, withEnv bool) ([]byte, error) {
	rec, err := f.db.PodByName(name)
	if err != nil {
		return nil, err
	}
	defer f.upgrades.hold("the pod " + rec.Name + " is copied into a file")()
	about := backup.PodExport{
		ID: rec.ID, Name: rec.Name, Preset: rec.Preset, Plan: rec.Plan, Network: rec.Network, Release: rec.Release, Deploys: rec.Deploys,
		Stopped: rec.Want != store.WantRunning, Names: slices.Sorted(maps.Keys(rec.Env)),
	}
	if withEnv {
		about.Env = rec.Env
	}
	source := backupSource(f.settings, nil)
	source.Hold = f.pods.Hold
	m, err := backup.WritePod(ctx, w, source, about)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// importing begins the name of a folder in the data folder, which ends in the id of a
// pod: it is being made of a file.
const importing = ".importing-"

// ImportPod implements control.PodFiles. The file is proved before anything is written
// but a copy of it that has no name.
func (f podFiles) ImportPod(ctx context.Context, r io.Reader, a authz.Actor, as control.PodImport) (made control.ImportedPod, err error) {
	var request pods.ImportRequest
	file, err := backup.ReadPod(ctx, f.settings.DataDir, r, func(is backup.PodExport) (int64, error) {
		request = pods.ImportRequest{
			CreateRequest: pods.CreateRequest{Name: cmp.Or(as.Name, is.Name), Preset: is.Preset, Plan: cmp.Or(as.Plan, is.Plan), Env: is.Env},
			Network:       is.Network, Release: is.Release, Deploys: is.Deploys, Stopped: is.Stopped,
		}
		limits, err := f.pods.CheckImport(a, request)
		return limits.Disk, err
	})
	if err != nil {
		return made, err
	}
	defer file.Close()
	var aside string
	pod, err := f.pods.Import(ctx, a, request, func(id store.PodID) error {
		aside = filepath.Join(f.settings.DataDir, importing+string(id))
		return f.place(ctx, file, aside, id)
	}, nil)
	if aside != "" {
		err = errors.Join(err, f.endImport(ctx, aside))
	}
	switch {
	case pod.ID == "":
		return made, err
	case err != nil:
		made.Problem = err.Error()
	}
	made.Pod, made.URL, made.Team, made.Plan, made.Status, made.ID = pod.Name, pod.URL, a.Team.Slug, pod.Plan, pod.Status, string(pod.ID)
	made.Files, made.Bytes = file.Manifest.Entries, file.Manifest.Bytes
	for _, name := range file.Names {
		if _, ok := file.Env[name]; !ok {
			made.WithoutEnv = append(made.WithoutEnv, name)
		}
	}
	return made, nil
}

// place unpacks the files of a pod beside and moves them to where the sandbox keeps them,
// which gives them to the pod when it starts.
func (f podFiles) place(ctx context.Context, file *backup.PodFile, aside string, id store.PodID) error {
	from, err := file.Unpack(ctx, aside)
	if err != nil {
		return err
	}
	dir := filepath.Join(f.settings.DataDir, "pods")
	if err := os.Rename(from, filepath.Join(dir, string(id))); err != nil {
		return err
	}
	top, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(top.Sync(), top.Close())
}

// endImport takes away what an import has left: the folder in which it was made, and
// the files of a pod that did not come to be.
func (srv *server) endImport(ctx context.Context, aside string) error {
	id := store.PodID(strings.TrimPrefix(filepath.Base(aside), importing))
	ctx = context.WithoutCancel(ctx)
	_, err := srv.db.Pod(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if err := srv.pods.Discard(ctx, srv.settings.Pods.DefaultRegion, id); err != nil {
			return fmt.Errorf("take away what an import has left: %w", err)
		}
	case err != nil:
		return err
	}
	return removeAll(aside)
}

// removeAll is os.RemoveAll for folders that may be closed to their owner.
func removeAll(dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = root.Chmod(name, 0o700) // what stays closed, RemoveAll names
		}
		return nil
	})
	return errors.Join(root.Close(), os.RemoveAll(dir))
}

// leftImports are those that were cut off with the server before, if nobody imports yet.
func (srv *server) leftImports() []string {
	left, _ := filepath.Glob(filepath.Join(srv.settings.DataDir, importing+"*")) // the pattern is well formed
	return left
}

// sweepImports takes away what they have left.
func (srv *server) sweepImports(ctx context.Context, left []string) {
	for _, aside := range left {
		if err := srv.endImport(ctx, aside); err != nil {
			srv.log.Warn("an import that was cut off has left something", "folder", aside, "error", err)
		}
	}
}
