package main

import (
	"path/filepath"
	"time"

	"podgate/pods/images"
	"podgate/pods/sandbox"
)

// podsDir is where the sandbox keeps its pods.
func (srv *server) podsDir() string { return filepath.Join(srv.settings.DataDir, "pods") }

// openImages opens the images that pods of the sandbox can have as their root. Without
// them there are pods all the same, of what this machine has.
func (srv *server) openImages() {
	conf, dir := srv.settings.Images, srv.settings.DataDir
	keep, err := images.Open(images.Config{
		Dir: filepath.Join(dir, "images"), Log: srv.log, Now: time.Now, Owner: sandbox.ImageOwner(),
		MaxSize: int64(conf.MaxSize), MaxImage: int64(conf.MaxImage), Logins: conf.LoginsFile,
		Used: func() ([]string, error) { return sandbox.UsedImages(srv.podsDir()) },
		Left: func() (int64, error) { return sandbox.DiskLeft(dir) },
	})
	if err != nil {
		srv.log.Error("pods cannot have images", "error", err)
		return
	}
	srv.images = keep
	srv.onStop(func() error { keep.Close(); return nil })
}
